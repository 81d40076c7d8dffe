// The end of a spawned task and those who wait for it or ask it to stop from other threads; the
// listeners of a token; a guard that defers. The code under test is runtime/root_task.*,
// runtime/cancel.* and runtime/context.* themselves.
#include "explore.hpp"
#include "worker.hpp"

#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/root_task.hpp>

#include <array>
#include <memory>

namespace toadstone::model {
namespace {

using toadstone::detail::cancel_listener;
using toadstone::detail::cancel_ref;
using toadstone::detail::cancel_state;
using toadstone::detail::plain;
using toadstone::detail::root_task;
using toadstone::detail::root_waiter;

/// Waits for ever, unless it is cancelled.
class endless final : public toadstone::detail::leaf {
public:
    bool cancel(cancel_reason, bool) noexcept override { return true; }
    bool taken() noexcept override { return true; }
    [[nodiscard]] bool await_ready() noexcept { return !may_complete_at_once() && false; }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        static_cast<void>(suspend(frame));
    }
    void await_resume() const noexcept {}
};

/// What a job leaves behind.
struct report {
    plain<int> written = 0; ///< by the job's body or its teardown
    int gone = 0;           ///< jobs whose last reference went
};

class job final : public root_task {
public:
    job(worker& home, report& out) : root_task(home, {}), out_(out) {}
    /// From any thread. The run has one reference, the caller another.
    void start(bool ends) {
        launch((ends ? write(out_) : wait_for_ever(*this)).promise(), nullptr);
    }

private:
    ~job() override { ++out_.gone; }
    static body write(report& out) {
        out.written = 1;
        co_return;
    }
    static body wait_for_ever(job& self) {
        const writing_at_the_end end{self.out_};
        self.leaf_.bind(self, place::current());
        co_await self.leaf_;
    }
    [[nodiscard]] std::exception_ptr failure() const noexcept override { return nullptr; }

    struct writing_at_the_end {
        report& out;
        ~writing_at_the_end() { out.written = 1; }
    };

    report& out_;
    endless leaf_;
};

/// A worker that goes away as soon as its one task has ended.
template <class Derived>
struct home_scenario : scenario<Derived, 3> {
    void run_home() {
        home->run([this] { return home->gone == 1; });
        home.reset(); // whoever still posts to it touches what is gone
    }

    report out;
    sleep_waker alarm;
    std::unique_ptr<worker> home = std::make_unique<worker>(alarm);
    job* task = new job(*home, out);
};

/// Told of the end, as a thread that joins is.
class joiner final : public root_waiter {
public:
    void sleep() noexcept {
        while (!told_.exchange(false, std::memory_order_acquire)) bed_.sleep();
    }
    plain<int> told = 0;

private:
    void root_ended() noexcept override {
        told = told + 1;
        told_.store(true, std::memory_order_release);
        bed_.notify();
    }
    toadstone::detail::atomic<bool> told_{false};
    sleeping_place bed_;
};

bool waits(root_task& task, joiner& waiter) noexcept {
    return task.wait(waiter) == root_task::wait_result::waits;
}

/// Joined while it ends: told once or refused, and what the task did is seen.
struct joined : home_scenario<joined> {
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else if (i == 1) {
            worker::plain_thread();
            task->add_reference(); // for the joiner, as a copy of the handle
            shared.store(true, std::memory_order_release);
            task->start(true);
            task->mark_observed(); // read by whoever frees the task
            task->drop_reference();
        } else {
            worker::plain_thread();
            if (!shared.load(std::memory_order_acquire)) return;
            joiner waiter; // made here, used by the worker
            if (waits(*task, waiter)) {
                waiter.sleep();
                check(waiter.told == 1, "who waits is told once");
            }
            check(out.written == 1, "who joined sees what the task did");
            task->drop_reference();
        }
    }
    void after() {
        const bool kept = out.gone == 0; // nobody joined
        if (kept) task->drop_reference();
        check(out.gone == 1, "the last reference frees the task, once");
    }
    toadstone::detail::atomic<bool> shared{false};
};

/// A join that is given up while the task ends: taken back, or told.
struct join_given_up : home_scenario<join_given_up> {
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else if (i == 1) {
            worker::plain_thread();
            task->start(true);
        } else {
            worker::plain_thread();
            if (waits(*task, waiter) && !task->stop_waiting(waiter)) {
                waiter.sleep();
                check(out.written == 1, "who is told sees what the task did");
            }
            task->mark_observed();
            task->drop_reference();
        }
    }
    void after() { check(out.gone == 1, "the last reference frees the task, once"); }
    joiner waiter;
};

/// Spawned, and joined, on its own worker, which counts plainly; the handle, and a reference
/// more, are dropped elsewhere, before the end or after it.
struct handed_over : scenario<handed_over, 3> {
    handed_over() { home->post(start); }

    class errand final : public toadstone::detail::posted {
    public:
        explicit errand(handed_over& all) noexcept : all_(all) {}

    private:
        void run_posted() noexcept override {
            all_.task = new job(*all_.home, all_.out);
            all_.task->add_reference(); // beside the handle's
            all_.task->start(true);
            all_.task->begin_join(*all_.home);
            all_.shared.store(true, std::memory_order_release);
        }
        handed_over& all_;
    };

    void thread(unsigned i) {
        if (i == 0) {
            home->run([this] { return home->gone == 1; });
            task->end_join(*home);
            home.reset();
            return;
        }
        worker::plain_thread();
        if (!shared.load(std::memory_order_acquire)) return;
        if (i == 1) task->mark_observed();
        task->drop_reference();
        dropped[i - 1] = true;
    }
    void after() {
        const bool all = dropped[0] && dropped[1];
        check(all || out.gone == 0, "a reference keeps the task");
        for (const plain<bool>& each : dropped) {
            if (!each) task->drop_reference();
        }
        check(out.gone == 1, "the last reference frees the task, once");
    }

    report out;
    job* task = nullptr;
    errand start{*this};
    sleep_waker alarm;
    std::unique_ptr<worker> home = std::make_unique<worker>(alarm);
    toadstone::detail::atomic<bool> shared{false};
    std::array<plain<bool>, 2> dropped{false, false};
};

/// Asked to stop by two threads while it ends by itself: the worker is there for both posts.
struct stopped_at_the_end : home_scenario<stopped_at_the_end> {
    stopped_at_the_end() {
        task->start(true);
        task->add_reference();
    }
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
            return;
        }
        worker::plain_thread();
        task->request_from_anywhere(cancel_reason::requested);
        task->drop_reference();
    }
    void after() { check(out.gone == 1, "the last reference frees the task, once"); }
};

/// Asked to stop while it waits, or before it runs: it ends, whoever asks first.
struct stopped : home_scenario<stopped> {
    stopped() {
        task->start(false);
        task->add_reference();
    }
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
            return;
        }
        worker::plain_thread();
        task->request_from_anywhere(i == 1 ? cancel_reason::requested : cancel_reason::timeout);
        task->drop_reference();
    }
    void after() {
        check(out.written == 1, "a task that is stopped is torn down");
        check(out.gone == 1, "the last reference frees the task, once");
    }
};

/// A guard that another thread holds defers the task's cancellation, until it is released.
struct deferred : home_scenario<deferred> {
    deferred() : held(task->shared_extras()) {
        held->deferrals.fetch_add(1, std::memory_order_relaxed);
        task->start(false);
    }
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else if (i == 1) {
            worker::plain_thread();
            // As guard_core::stop_deferring().
            const cancel_ref guard = std::move(held);
            if (guard->deferrals.fetch_sub(1, std::memory_order_seq_cst) == 1) {
                guard->deferral_ended();
            }
        } else {
            worker::plain_thread();
            task->request_from_anywhere(cancel_reason::requested);
            task->drop_reference();
        }
    }
    void after() {
        check(out.written == 1, "a request that waited for a guard is carried out");
        check(out.gone == 1, "the last reference frees the task, once");
    }
    cancel_ref held;
};

/// The inside of a boundary that has ended, and has left its guard to the task around it.
class inside final : public toadstone::detail::context {
public:
    explicit inside(context& parent) : context(parent) {}

private:
    context* finish() noexcept override { return nullptr; }
};

/// The same with a guard that came out of a boundary: its deferral has a state of its own.
struct deferred_by_adoption : home_scenario<deferred_by_adoption> {
    deferred_by_adoption() {
        inside boundary(*task);
        held = boundary.shared_extras();
        held->deferrals.fetch_add(1, std::memory_order_relaxed);
        task->adopt_deferral_of(boundary);
        task->start(false);
    }
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else if (i == 1) {
            worker::plain_thread();
            const cancel_ref guard = std::move(held);
            if (guard->deferrals.fetch_sub(1, std::memory_order_seq_cst) == 1) {
                guard->deferral_ended();
            }
        } else {
            worker::plain_thread();
            task->request_from_anywhere(cancel_reason::requested);
            task->drop_reference();
        }
    }
    void after() { check(out.written == 1 && out.gone == 1, "the request is carried out"); }
    cancel_ref held;
};

/// A task that looks while it runs, so that nobody else carries requests in: whether it has to
/// stop, or at its state, which it makes then.
class asking final : public root_task {
public:
    asking(worker& home, int& gone, bool at_state)
        : root_task(home, {}), gone_(gone), at_state_(at_state) {}
    void start() { launch(look(*this).promise(), nullptr); }
    toadstone::detail::atomic<bool> asked{false};

private:
    ~asking() override { ++gone_; }
    static body look(asking& self) {
        const cancel_ref state = self.at_state_ ? self.shared_extras() : cancel_ref();
        if (self.asked.load(std::memory_order_acquire)) {
            if (state) {
                check(state->requested(), "a state is told before the request returns");
            } else {
                check(self.should_stop(), "the next await stops, whoever asked first");
            }
        }
        co_return;
    }
    [[nodiscard]] std::exception_ptr failure() const noexcept override { return nullptr; }

    int& gone_;
    const bool at_state_;
};

/// Asked by two threads, each of which knows, once that has returned, that it is seen.
template <class Derived, bool AtState>
struct asked_twice : scenario<Derived, 3> {
    asked_twice() {
        task->start();
        task->add_reference();
    }
    void thread(unsigned i) {
        if (i == 0) {
            home->run([this] { return home->gone == 1; });
            home.reset();
            return;
        }
        worker::plain_thread();
        task->request_from_anywhere(cancel_reason::requested);
        task->asked.store(true, std::memory_order_release);
        task->drop_reference();
    }
    void after() { check(gone == 1, "the last reference frees the task, once"); }

    int gone = 0;
    sleep_waker alarm;
    std::unique_ptr<worker> home = std::make_unique<worker>(alarm);
    asking* task = new asking(*home, gone, AtState);
};

/// Its token is told by the thread that asks, whether it is made before or after.
struct told_at_once : asked_twice<told_at_once, true> {};
/// Its next await stops.
struct stops_at_once : asked_twice<stops_at_once, false> {};

/// Tasks inside, on other workers, ask for the state of what encloses them, all at once.
struct asked_from_inside : scenario<asked_from_inside, 3> {
    void thread(unsigned i) {
        worker::plain_thread();
        if (i == 2) {
            // As request_from_anywhere(), for a context that cannot go meanwhile.
            check(task->flag_request(cancel_reason::timeout), "nobody else asks");
            if (const cancel_ref state = task->state_to_tell()) {
                state->request(cancel_reason::timeout);
            }
            return;
        }
        states[i] = task->shared_extras();
        if (task->requested_by_anybody()) static_cast<void>(states[i]->requested());
    }
    void after() {
        check(states[0] == states[1], "a context has one state");
        check(states[0]->requested(), "it is told of the request");
        states = {};
        task->drop_run(); // it was never launched
        task->drop_reference();
        check(out.gone == 1, "the last reference frees the task, once");
    }

    report out;
    sleep_waker alarm;
    std::unique_ptr<worker> home = std::make_unique<worker>(alarm);
    job* task = new job(*home, out);
    std::array<cancel_ref, 2> states;
};

/// Whose listener it is may free it as soon as leave() returns.
class listener final : public cancel_listener {
public:
    ~listener() { told = told + 1; }
    plain<int> told = 0;

private:
    void cancelled(cancel_reason) noexcept override { told = told + 1; }
};

/// A token's request while one listener leaves and another comes and goes.
struct listeners : scenario<listeners, 3> {
    listeners() { check(state->listen(*first), "nothing was requested yet"); }
    void thread(unsigned i) {
        if (i == 0) {
            check(state->request(cancel_reason::timeout), "the first request counts");
        } else if (i == 1) {
            state->leave(*first);
            first.reset();
        } else {
            auto second = std::make_unique<listener>();
            if (state->listen(*second)) {
                state->leave(*second);
            } else {
                check(state->reason() == cancel_reason::timeout, "a refusal has a reason");
            }
        }
    }
    void after() { check(state->requested(), "a request is sticky"); }

    cancel_ref state{new cancel_state};
    std::unique_ptr<listener> first = std::make_unique<listener>();
};

/// A request to a state while one of its followers goes, and another comes.
struct followers : scenario<followers, 3> {
    followers() {
        check(first->follow(*leader) && held->follow(*leader), "they follow nobody yet");
        refs = {leader, leader, leader};
        leader = {};
    }
    void thread(unsigned i) {
        if (i == 0) {
            refs[0]->request(cancel_reason::timeout);
            check(held->requested(), "a follower is told before the request returns");
            check(held->reason() == cancel_reason::timeout, "it is told the reason");
            held = {};
            asked.store(true, std::memory_order_release);
        } else if (i == 1) {
            first = {}; // the last reference
        } else {
            const cancel_ref late(new cancel_state);
            const bool before = asked.load(std::memory_order_acquire);
            check(late->follow(*refs[2]), "it follows nobody yet");
            if (before) check(late->requested(), "who comes late is told at once");
        }
        refs[i] = {}; // the last of all frees the leader
    }

    cancel_ref leader{new cancel_state};
    cancel_ref first{new cancel_state};
    cancel_ref held{new cancel_state};
    std::array<cancel_ref, 3> refs;
    toadstone::detail::atomic<bool> asked{false};
};

/// Who sees the request sees what was done before it, as with a std::stop_token.
struct asked : scenario<asked, 3> {
    void thread(unsigned i) {
        cancel_ref& own = refs[i]; // the last of the three frees the state
        if (i == 0) {
            work = 1;
            own->request(cancel_reason::timeout);
        } else if (own->requested()) {
            check(work == 1, "who sees the request sees what was before it");
            check(own->reason() == cancel_reason::timeout, "the first reason counts");
        }
        own = {};
    }

    std::array<cancel_ref, 3> refs = [] {
        const cancel_ref state(new cancel_state);
        return std::array{state, state, state};
    }();
    plain<int> work = 0;
};

} // namespace
} // namespace toadstone::model

namespace {

using order = std::memory_order;

const std::vector<toadstone::model::spare> spares = {
    {"runtime/detail/root_task.cpp", "request_from_anywhere", "modify", order::release,
     order::relaxed,
     "on hardware it keeps the post before it; Relacy lets no operation overtake"},
    {"runtime/detail/context.hpp", "deferred", "load", order::seq_cst, order::acquire,
     "a task's own state has a lock that both sides take; it is written as for adopted ones"},
    {"runtime/cancel.cpp", "free", "modify", order::acq_rel, order::acquire,
     "no scenario writes to a state and then drops it while another drops the last one"},
    {"runtime/cancel.cpp", "free", "modify", order::acq_rel, order::release,
     "as above: whoever frees a state has to see what every other holder did to it"},
};

} // namespace

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "root",
         .promises =
             {
                 {"root: who joins is told once, and sees what the task did", explore<joined>},
                 {"root: a join that is given up is taken back or told",
                  explore<join_given_up>},
                 {"root: references that were counted plainly may go elsewhere",
                  explore<handed_over>},
                 {"root: a request at the end finds the worker still there",
                  explore<stopped_at_the_end>},
                 {"root: a request ends a task that waits, once", explore<stopped>},
                 {"root: a request that a guard defers is carried out after it",
                  explore<deferred>},
                 {"root: a deferral that came out of a boundary ends, too",
                  explore<deferred_by_adoption>},
                 {"root: a token is told before the request returns, whenever it is made",
                  explore<told_at_once>},
                 {"root: the next await stops when a request has returned, whoever asked first",
                  explore<stops_at_once>},
                 {"root: a context has one state, whoever asks for it inside",
                  explore<asked_from_inside>},
                 {"token: followers are told with their leader, or have gone",
                  explore<followers>},
                 {"token: who sees the request sees what was before it", explore<asked>},
                 {"token: a listener that has left is not told any more", explore<listeners>},
             },
         .files = {"runtime/root_task", "runtime/detail/root_task", "runtime/cancel",
                   "runtime/detail/cancel_state", "runtime/context", "runtime/detail/context"},
         .spares = spares});
}
