// spawn(fn, args...): a record that keeps a callable and its arguments while the frames live.
#ifndef TOADSTONE_RUNTIME_DETAIL_CALLED_ROOT_HPP
#define TOADSTONE_RUNTIME_DETAIL_CALLED_ROOT_HPP

#include <toadstone/runtime/detail/awaitable.hpp>
#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/runtime/detail/kept_values.hpp>
#include <toadstone/runtime/detail/root_task.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <exception>
#include <memory>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::detail {

/// A coroutine frame without a coroutine, laid out as both compilers lay theirs out: two
/// functions, then the promise. What resumes, awaits and destroys frames takes it for one.
struct outer_frame {
    using function = void (*)(void*);
    function resume;
    function destroy;
    promise_base promise;

    [[nodiscard]] bool well_placed() noexcept {
        return promise.handle().address() == static_cast<void*>(this);
    }
};

/// A spawned task that begins by calling `Fn` with `Arguments`, moved as std::thread does. They
/// are the outermost frame: destroyed behind all others, in the same slice as they.
///
/// Shape: one block beside the frame of the coroutine that is called, as for spawn(task).
template <class T, class Fn, class... Arguments>
class called_root final : public typed_root<T> {
public:
    template <class... A>
    called_root(executor& home, const root_options& options, A&&... values)
        : typed_root<T>(home, options), kept_(std::forward<A>(values)...) {
        TOADSTONE_ASSERT(frame_.well_placed(), "a frame begins with two pointers");
    }

    ~called_root() {}

    /// For launch(), at once: only the end of the frame destroys callable and arguments.
    [[nodiscard]] promise_base& body() noexcept { return frame_.promise; }

private:
    [[nodiscard]] typename context::extent record() const noexcept override {
        return {this, sizeof *this};
    }
    struct own_frame : outer_frame {
        explicit own_frame(called_root& in) noexcept
            : outer_frame{&called_root::resume_frame, &called_root::destroy_frame, {}},
              root(in) {}
        called_root& root;
    };
    static called_root& of(void* frame) noexcept {
        return static_cast<own_frame*>(static_cast<outer_frame*>(frame))->root;
    }
    static void resume_frame(void* frame) noexcept { of(frame).go_on(); }
    static void destroy_frame(void* frame) { std::destroy_at(&of(frame).kept_); }

    /// Once to call, and once more when the coroutine that was called has ended.
    void go_on() noexcept {
        if (!std::exchange(called_, true) && called()) return;
        if (this->outcome.error()) frame_.promise.threw = this->outcome.error_place();
        static_cast<context&>(*this).ended(frame_.promise);
    }
    [[nodiscard]] bool called() noexcept {
        try {
            go_into(as_task(kept_.call()));
            return true;
        } catch (...) {
            std::exception_ptr error = std::current_exception();
            explain_causes(error);
            this->outcome.set_error(std::move(error));
            return false;
        }
    }

    void go_into(task<T> inside) noexcept {
        promise_base& inner = inside.release(this->outcome);
        inner.ctx = this;
        inner.parent = &frame_.promise;
        inner.owner = &owner_;
        owner_.child = &inner;
        this->call(inner);
    }

    union {
        kept_values<Fn, Arguments...> kept_; // until the frame is destroyed
    };
    own_frame frame_{*this};
    frame_owner owner_;
    bool called_ = false;
};

template <class First, class... Rest>
struct spawned {
    static auto probe() {
        if constexpr (sizeof...(Rest) == 0 && library_awaitable<First>) {
            return std::type_identity<await_result_t<First>>();
        } else if constexpr (std::is_invocable_v<std::decay_t<First>, std::decay_t<Rest>...>) {
            using made = std::invoke_result_t<std::decay_t<First>, std::decay_t<Rest>...>;
            if constexpr (library_awaitable<made>) {
                return std::type_identity<await_result_t<made>>();
            } else {
                return std::type_identity<void>();
            }
        } else {
            return std::type_identity<void>();
        }
    }
    using type = typename decltype(probe())::type;
};
/// What the task of spawn(a...) gives: a task, an awaitable, or a callable with its arguments.
template <class... A>
using spawned_t = typename spawned<A...>::type;

/// A record that is not launched yet, and its outermost frame.
template <class T>
struct prepared_root {
    prepared_root(typed_root<T>& record, promise_base& frame) noexcept
        : root(record), body(frame) {}
    typed_root<T>& root;
    promise_base& body;
};

/// Makes the record of spawn(first, rest...): a task, an awaitable, or a callable with its
/// arguments. To be launched at once.
template <class First, class... Rest>
prepared_root<spawned_t<First, Rest...>>
prepare_root(executor& home, const root_options& options, First&& first, Rest&&... rest) {
    using T = spawned_t<First, Rest...>;
    constexpr bool alone = sizeof...(Rest) == 0;
    constexpr bool callable = std::is_invocable_v<std::decay_t<First>, std::decay_t<Rest>...>;
    if constexpr (alone && is_join_handle<First>::value) { // handed over: nobody gives up
        task<T> body = run_awaitable<First>(std::move(first));
        auto* root = new typed_root<T>(home, options);
        return {*root, body.release(root->outcome)};
    } else if constexpr (alone && (library_awaitable<First> || !callable)) {
        task<T> body = as_task(std::forward<First>(first));
        auto* root = new typed_root<T>(home, options);
        return {*root, body.release(root->outcome)};
    } else if constexpr (!callable) {
        static_assert(never<First>, "this function does not take these arguments, copied or "
                                    "moved: std::ref() passes a reference; options come first");
        std::terminate();
    } else if constexpr (!library_awaitable<std::invoke_result_t<std::decay_t<First>,
                                                                 std::decay_t<Rest>...>>) {
        static_assert(never<First>, "spawn() and block_on() take a function that returns a "
                                    "task: a coroutine, or what makes one");
        std::terminate();
    } else {
        static_assert(fits_frame<std::decay_t<First>> &&
                          (fits_frame<std::decay_t<Rest>> && ...),
                      "records are aligned to 64 bytes: pass what needs more by "
                      "std::unique_ptr");
        auto* root = new called_root<T, std::decay_t<First>, std::decay_t<Rest>...>(
            home, options, std::forward<First>(first), std::forward<Rest>(rest)...);
        return {*root, root->body()};
    }
}

} // namespace toadstone::detail

#endif
