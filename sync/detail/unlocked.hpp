// guard::unlocked(): something else, in the middle of a section, with the lock open.
#ifndef TOADSTONE_SYNC_DETAIL_UNLOCKED_HPP
#define TOADSTONE_SYNC_DETAIL_UNLOCKED_HPP

#include <toadstone/runtime/detail/boundary.hpp>
#include <toadstone/sync/detail/open_section.hpp>

#include <coroutine>
#include <exception>
#include <source_location>
#include <type_traits>
#include <utility>

namespace toadstone::sync::detail {

template <class Fn>
using unlocked_result_t = toadstone::detail::await_result_t<std::invoke_result_t<Fn&>>;

/// Calls it when the lock is open.
template <class Fn>
task<unlocked_result_t<Fn>> call_unlocked(Fn& fn) {
    auto inside = toadstone::detail::as_task(fn());
    co_return co_await std::move(inside);
}

/// What runs inside ends first; then this waits for the mutex, which is no cancellation point.
/// `Section`: an open_section, with the guard's core that it is of.
template <class T, class Fn, class Section = open_section, class Core = guard_core>
class unlocked_awaiter final : public toadstone::detail::late_boundary<T> {
    using base = toadstone::detail::late_boundary<T>;

public:
    unlocked_awaiter(toadstone::detail::context& ctx, std::source_location where, Core*&& guard,
                     Fn&& fn)
        : base(ctx, where), section_(*guard), fn_(std::move(fn)) {}

    [[nodiscard]] bool await_ready() {
        section_.prepare(*this->ctx_, "a section is opened by the guard that holds its lock");
        return false;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) {
        this->suspend_always(frame);
        task<T> body = make_body();
        this->inherit_request(this->prepare(frame));
        section_.open();
        this->begin(std::move(body));
    }
    T await_resume() {
        if (this->inside().unwound()) {
            const task_cancelled stop(this->inside().reason());
            section_.close_after(std::make_exception_ptr(stop));
            throw stop;
        }
        if (const std::exception_ptr& failure = this->inside().outcome.error()) {
            section_.close_after(failure);
        } else {
            close_healthy();
        }
        return this->take();
    }
    bool cancel(cancel_reason reason, bool force) noexcept override {
        if (!ended_) return base::cancel(reason, force);
        return force && section_.give_up();
    }
    bool taken() noexcept override {
        if (!section_.locked()) return true; // by force, or it would wait for itself
        if (!this->inside().unwound()) return false;
        stop_closed(false);
        return true;
    }
    bool stopped(cancel_reason& why) noexcept override {
        if (!this->inside().unwound()) return false;
        why = this->inside().reason();
        if (!this->ctx_->deferred()) stop_closed(true);
        return true;
    }

private:
    using task_context = toadstone::detail::context;

    task<T> make_body() {
        try {
            section_.find_holder();
            return call_unlocked<Fn>(fn_);
        } catch (...) { // no memory for its frame
            this->ctx_->suspension_undone();
            throw;
        }
    }
    /// A request that has ended what runs inside was made since the task suspended here: the
    /// leaf is asked, by stopped().
    task_context* child_ended(task_context&) noexcept override {
        ended_ = true;
        if (this->ctx_->forced()) return this->ctx_;
        return section_.lock_again() ? this->ctx_ : nullptr;
    }
    void close_healthy() {
        try {
            section_.close_healthy();
        } catch (...) {
            this->inside().outcome.drop(); // nobody fetches it
            throw;
        }
    }
    void stop_closed(bool by_itself) noexcept {
        if (!section_.locked()) return;
        section_.spare_guard(by_itself); // first: from then on the guard may defer this end
        section_.close();
    }

    Section section_;
    Fn fn_;
    bool ended_ = false;
};

} // namespace toadstone::sync::detail

#endif
