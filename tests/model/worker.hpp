// A worker of the model: the executor of production, with a sleep of the model in place of
// io_uring_enter and its eventfd.
#ifndef TOADSTONE_TESTS_MODEL_WORKER_HPP
#define TOADSTONE_TESTS_MODEL_WORKER_HPP

#include "engine.hpp"

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/executor.hpp>

#include <coroutine>

namespace toadstone::model {

class sleep_waker final : public toadstone::detail::waker {
public:
    // The real one writes to an eventfd, under a lock: a step, but no order to rely on.
    void notify() noexcept override {
        ++notified;
        bed.notify();
    }
    sleeping_place bed;
    int notified = 0;
};

/// Steps as runtime/uring/worker.cpp does, without a ring.
class worker final : public toadstone::detail::executor {
public:
    explicit worker(sleep_waker& waker) : executor(waker), bed_(waker.bed) {}
    ~worker() override = default;

    /// The loop of its thread, until done() says so with nothing left.
    template <class Done>
    void run(Done done) noexcept {
        bind_thread(this);
        const toadstone::detail::slice_scope nobody(nullptr);
        while (!done() || has_ready() || !inbox_empty()) {
            take_inbox();
            run_ready(~0U);
            // As the real worker: with nothing to come, the loop has to look.
            if (!has_ready() && !done() && !spin() && may_sleep()) bed_.sleep();
            woke_up();
        }
        bind_thread(nullptr);
    }
    /// For every other thread, first: the last execution may have ended anywhere.
    static void plain_thread() noexcept { bind_thread(nullptr); }
    /// For a thread that is this worker's and does not run its loop.
    void bind() noexcept { bind_thread(this); }

    [[nodiscard]] clock::time_point now() const noexcept override { return {}; }
    [[nodiscard]] executor& place(placement) noexcept override { return *this; }
    [[nodiscard]] unsigned peer_count() const noexcept override { return 1; }
    void root_gone() noexcept override {
        executor::root_gone();
        ++gone;
    }

    int gone = 0;  ///< roots; its own thread only, and no step of the model to look at
    int looks = 0; ///< how often it looks at the inbox, awake, before it sleeps

private:
    [[nodiscard]] bool spin() const noexcept {
        for (int i = 0; i < looks; ++i) {
            if (inbox_seems_filled()) return true;
        }
        return false;
    }
    sleeping_place& bed_;
};

/// A coroutine of one frame, to be run by a context.
class body {
public:
    struct promise_type : toadstone::detail::promise_base {
        body get_return_object() noexcept { return body(*this); }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct end {
            bool await_ready() noexcept { return false; }
            void await_suspend(std::coroutine_handle<promise_type> frame) noexcept {
                frame.promise().ctx->ended(frame.promise());
            }
            void await_resume() noexcept {}
        };
        end final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        void unhandled_exception() noexcept {}
    };
    [[nodiscard]] toadstone::detail::promise_base& promise() noexcept { return *promise_; }

private:
    explicit body(promise_type& promise) noexcept : promise_(&promise) {}
    promise_type* promise_;
};

} // namespace toadstone::model

#endif
