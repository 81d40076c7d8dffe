// The floor under the figures: coroutines that can do nothing but be called, without a runtime,
// without cancellation, without results.
#ifndef TOADSTONE_BENCH_BARE_HPP
#define TOADSTONE_BENCH_BARE_HPP

#include <coroutine>
#include <cstddef>
#include <exception>
#include <new>
#include <utility>

namespace bench {

/// Frames from malloc.
struct from_malloc {
    static void* take(std::size_t size) { return ::operator new(size); }
    static void give(void* frame, std::size_t size) noexcept { ::operator delete(frame, size); }
};

/// Frames from one list, for coroutines that are all of one size. One thread only.
struct from_list {
    struct block {
        block* next;
    };
    inline static block* first = nullptr;
    static void* take(std::size_t size) {
        if (!first) return ::operator new(size);
        return std::exchange(first, first->next);
    }
    static void give(void* frame, std::size_t) noexcept { first = ::new (frame) block{first}; }
};

/// A lazy coroutine with symmetric transfer.
template <class Memory>
class bare {
public:
    struct promise_type {
        static void* operator new(std::size_t size) { return Memory::take(size); }
        static void operator delete(void* frame, std::size_t size) noexcept {
            Memory::give(frame, size);
        }
        bare get_return_object() noexcept { return bare(handle::from_promise(*this)); }
        std::suspend_always initial_suspend() const noexcept { return {}; }
        struct final_awaiter {
            final_awaiter() noexcept {}
            bool await_ready() const noexcept { return false; }
            std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> ended) const noexcept {
                return ended.promise().caller;
            }
            void await_resume() const noexcept {}
        };
        final_awaiter final_suspend() const noexcept { return {}; }
        void return_void() const noexcept {}
        void unhandled_exception() const noexcept { std::terminate(); }
        std::coroutine_handle<> caller = std::noop_coroutine();
    };
    using handle = std::coroutine_handle<promise_type>;

    bare(bare&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    bare& operator=(bare&&) = delete;
    ~bare() {
        if (frame_) frame_.destroy();
    }
    /// From outside: runs it until it suspends or ends.
    void resume() const { frame_.resume(); }
    [[nodiscard]] handle release() noexcept { return std::exchange(frame_, nullptr); }

    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> caller) const noexcept {
        frame_.promise().caller = caller;
        return frame_;
    }
    void await_resume() const noexcept {}

private:
    explicit bare(handle frame) noexcept : frame_(frame) {}
    handle frame_;
};

} // namespace bench

#endif
