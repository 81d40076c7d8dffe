// The lock word of the mutex: acquiring, queueing, handing over, poisoning and withdrawing, by
// three threads. The code under test is sync/mutex_core.* itself.
#include "explore.hpp"
#include "woken.hpp"
#include "worker.hpp"

#include <toadstone/sync/detail/mutex_core.hpp>

#include <memory>

namespace toadstone::model {
namespace {

using sync::detail::lock_waiter;
using sync::detail::mutex_core;
using sync::detail::wants;
using toadstone::detail::atomic;
using toadstone::detail::plain;
using waiter = woken<lock_waiter>;

/// What the mutex guards. Broken inside the section and whole at its end; a race on it, or two
/// owners, end the execution.
struct guarded {
    plain<int> left = 0;
    plain<int> right = 0;

    [[nodiscard]] bool whole() const { return left == right; }
    void change() {
        check(whole(), "who acquires a healthy lock finds the data whole");
        left = left + 1;
        right = right + 1;
    }
    void break_it() { left = left + 1; }
    void repair() { right = static_cast<int>(left); }
};

template <class Derived>
struct lock_scenario : scenario<Derived, 3> {
    explicit lock_scenario(sync::fairness order = sync::fairness::strict)
        : mutex("model", order) {}
    mutex_core mutex;
    guarded data;

    void lock_and_change(unsigned thread) {
        if (!mutex.try_acquire()) {
            waiter self(wants::healthy);
            check(self.lock(mutex, thread + 1) == ending::granted, "a healthy lock is granted");
        }
        data.change();
        mutex.release();
    }
};

struct three_owners : lock_scenario<three_owners> {
    void thread(unsigned i) { lock_and_change(i); }
    void after() {
        check(data.whole() && data.left == 3, "each owner's change is there");
        check(!mutex.is_held(), "the lock is free in the end");
    }
};

/// With a batched lock, by two workers and a plain thread.
template <class Derived>
struct batched_scenario : lock_scenario<Derived> {
    batched_scenario() : lock_scenario<Derived>(sync::fairness::batched) {}
    void become(unsigned thread) {
        if (thread < 2) {
            workers[thread].bind();
        } else {
            worker::plain_thread();
        }
    }
    sleep_waker wakers[2];
    worker workers[2] = {worker(wakers[0]), worker(wakers[1])};
};

struct batched_owners : batched_scenario<batched_owners> {
    void thread(unsigned i) {
        become(i);
        lock_and_change(i);
        worker::plain_thread();
    }
    void after() {
        check(data.whole() && data.left == 3, "each owner's change is there");
        check(!mutex.is_held(), "the lock is free in the end");
    }
};

/// The same, and one comes again.
struct batched_twice : batched_scenario<batched_twice> {
    void thread(unsigned i) {
        become(i);
        lock_and_change(i);
        if (i == 0) lock_and_change(i);
        worker::plain_thread();
    }
    void after() {
        check(data.whole() && data.left == 4, "each owner's change is there");
        check(!mutex.is_held(), "the lock is free in the end");
    }
};

/// Two of one worker wait beside a plain thread: whoever is first leaves his lane to the other.
struct batched_lanes : batched_scenario<batched_lanes> {
    batched_lanes() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        become(i);
        if (i == 0) {
            mutex.release();
        } else if (i == 1) {
            waiter one(wants::healthy);
            waiter two(wants::healthy);
            const bool one_waits = !mutex.acquire_or_queue(one, 2);
            const bool two_waits = !mutex.acquire_or_queue(two, 22);
            pass(one, one_waits);
            pass(two, two_waits);
        } else {
            lock_and_change(i);
        }
        worker::plain_thread();
    }
    void pass(waiter& of, bool waits) {
        if (waits) of.wait();
        check(of.how() == ending::granted, "a healthy lock is granted");
        data.change();
        mutex.release();
    }
    void after() {
        check(data.whole() && data.left == 3, "each owner's change is there");
        check(!mutex.is_held(), "the lock is free in the end");
    }
};

/// One leaves, or is granted the lock and hands it on, while the others pass through.
struct batched_withdrawing : batched_scenario<batched_withdrawing> {
    void thread(unsigned i) {
        become(i);
        if (i == 1) {
            waiter self(wants::healthy);
            bool left = false;
            if (!mutex.acquire_or_queue(self, 2)) {
                left = mutex.withdraw(self, ending::withdrawn);
                if (!left) self.wait();
            }
            if (!left) {
                check(self.how() == ending::granted, "who does not leave is granted");
                mutex.release();
            }
        } else {
            lock_and_change(i);
        }
        worker::plain_thread();
    }
    void after() {
        check(data.whole() && data.left == 2, "each owner's change is there");
        check(!mutex.is_held(), "the lock is free in the end");
    }
};

/// A batched lock that is poisoned under those who wait: one fails, or comes later and fails;
/// one repairs.
struct batched_poison : batched_scenario<batched_poison> {
    batched_poison() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        become(i);
        if (i == 0) {
            data.break_it();
            mutex.release_poisoned(some_cause());
        } else {
            waiter self(i == 1 ? wants::healthy : wants::anything);
            const ending ended = self.lock(mutex, i + 1);
            if (i == 2) {
                check(ended == ending::granted, "who wants anything is granted");
                check(mutex.is_poisoned(), "poison and hand-over are one step");
                data.repair();
                mutex.clear_poison();
                mutex.release();
            } else if (ended == ending::granted) {
                data.change();
                mutex.release();
            } else {
                check(ended == ending::refused, "a wait is granted or poisoned");
                check(static_cast<bool>(self.take_failure()), "who fails learns the cause");
            }
        }
        worker::plain_thread();
    }
    void after() {
        check(!mutex.is_held(), "the lock is free in the end");
        check(mutex.is_poisoned() == !data.whole(), "broken data is behind poison");
    }
};

/// The first owns the lock, breaks the data and poisons; the second wants healthy data; the
/// third repairs.
struct poison_and_repair : lock_scenario<poison_and_repair> {
    poison_and_repair() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            data.break_it();
            mutex.release_poisoned(some_cause());
        } else if (i == 1) {
            waiter self(wants::healthy);
            if (self.lock(mutex, 2) == ending::granted) {
                data.change();
                mutex.release();
            } else {
                check(self.how() == ending::refused, "a wait is granted or poisoned");
                check(static_cast<bool>(self.take_failure()), "who fails learns the cause");
            }
        } else {
            waiter self(wants::anything);
            check(self.lock(mutex, 3) == ending::granted, "who wants anything is granted");
            check(mutex.is_poisoned(), "poison and hand-over are one step");
            data.repair();
            mutex.clear_poison();
            mutex.release();
        }
    }
    void after() {
        check(!mutex.is_held(), "the lock is free in the end");
        check(mutex.is_poisoned() == !data.whole(), "broken data is behind poison");
    }
};

/// The same, but whoever comes first is the first owner.
struct poison_in_any_order : lock_scenario<poison_in_any_order> {
    void thread(unsigned i) {
        waiter self(i == 2 ? wants::anything : wants::healthy);
        const ending ended = self.lock(mutex, i + 1);
        if (i == 1 && ended == ending::refused) return;
        check(ended == ending::granted, "nobody else poisons");
        if (i == 0) {
            data.break_it();
            mutex.release_poisoned(some_cause());
        } else if (i == 1) {
            data.change();
            mutex.release();
        } else {
            check(mutex.is_poisoned() == !data.whole(), "poison and hand-over are one step");
            mutex.release(); // looked, and repaired nothing
        }
    }
    void after() {
        check(!mutex.is_held(), "the lock is free in the end");
        check(mutex.is_poisoned() && !data.whole(), "poison is sticky");
    }
};

/// One queues and withdraws, whatever happens meanwhile; what is granted too late goes on.
struct withdrawing : lock_scenario<withdrawing> {
    void thread(unsigned i) {
        if (i != 1) {
            lock_and_change(i);
            return;
        }
        waiter self(wants::healthy);
        if (!mutex.acquire_or_queue(self, 2)) {
            if (mutex.withdraw(self, ending::withdrawn)) {
                check(self.how() == ending::withdrawn, "who leaves the queue is not granted");
                return;
            }
            self.wait();
        }
        check(self.how() == ending::granted, "who does not leave is granted");
        mutex.release(); // never entered
    }
    void after() {
        check(data.whole() && data.left == 2, "each owner's change is there");
        check(!mutex.is_held(), "the lock is free in the end");
    }
};

/// The same while the owner poisons: the waiter leaves, or is told of the poison, or passes on.
struct withdrawing_from_poison : lock_scenario<withdrawing_from_poison> {
    withdrawing_from_poison() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            data.break_it();
            mutex.release_poisoned(some_cause());
            return;
        }
        waiter self(i == 1 ? wants::healthy : wants::anything);
        if (i == 2) {
            check(self.lock(mutex, 3) == ending::granted, "who wants anything is granted");
            data.repair();
            mutex.release();
        } else if (!mutex.acquire_or_queue(self, 2)) {
            if (!mutex.withdraw(self, ending::withdrawn)) {
                check(self.wait() == ending::refused, "who does not leave is told");
            }
        } else {
            check(self.how() == ending::refused, "poison is sticky");
        }
    }
    void after() { check(!mutex.is_held() && data.whole(), "the lock is free in the end"); }
};

/// A poisoned lock: its owner repairs it, one waits for that, one fails or is served, depending
/// on who comes first.
struct patience : lock_scenario<patience> {
    patience() {
        check(mutex.try_acquire(), "a new lock is free");
        data.break_it();
        mutex.poison_held(some_cause());
    }
    void thread(unsigned i) {
        if (i == 0) {
            data.repair();
            mutex.clear_poison();
            mutex.release();
            return;
        }
        waiter self(i == 1 ? wants::patience : wants::healthy);
        const ending ended = self.lock(mutex, i + 1);
        if (i == 2 && ended == ending::refused) return;
        check(ended == ending::granted, "patience is rewarded");
        data.change();
        mutex.release();
    }
    void after() { check(!mutex.is_held() && data.whole(), "the lock is free in the end"); }
};

/// A lock that is poisoned while it is held: patience lasts until the next owner's repair.
struct patience_until_repair : lock_scenario<patience_until_repair> {
    patience_until_repair() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            data.break_it();
            mutex.release_poisoned(some_cause());
            return;
        }
        waiter self(i == 1 ? wants::patience : wants::anything);
        check(self.lock(mutex, i + 1) == ending::granted, "patience is rewarded");
        if (i == 1) {
            data.change();
        } else {
            data.repair();
            mutex.clear_poison();
        }
        mutex.release();
    }
    void after() { check(!mutex.is_held() && data.whole(), "the lock is free in the end"); }
};

/// The owner poisons and goes on holding: healthy waiters fail at once, although it is held.
struct declared : lock_scenario<declared> {
    declared() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            data.break_it();
            mutex.poison_held(some_cause());
            while (!failed.exchange(false, std::memory_order_acquire)) bed.sleep();
            data.repair();
            mutex.clear_poison();
            mutex.release();
        } else if (i == 1) {
            waiter self(wants::healthy);
            check(self.lock(mutex, 2) == ending::refused, "healthy waiters fail at once");
            failed.store(true, std::memory_order_release);
            bed.notify();
        } else {
            waiter self(wants::anything);
            check(self.lock(mutex, 3) == ending::granted, "who wants anything is granted");
            check(data.whole(), "the section is exclusive");
            mutex.release();
        }
    }
    void after() { check(!mutex.is_held() && data.whole(), "the lock is free in the end"); }

    atomic<bool> failed{false};
    sleeping_place bed;
};

/// A repair fails: who wants to repair, too, fails with it or comes later, whoever wants the
/// data as it is becomes the owner, and nobody is stranded.
struct failed_repair : lock_scenario<failed_repair> {
    failed_repair() {
        check(mutex.try_acquire(), "a new lock is free");
        data.break_it();
        mutex.poison_held(some_cause());
    }
    void thread(unsigned i) {
        if (i == 0) {
            mutex.release_poisoned(some_cause(), true);
            return;
        }
        waiter self(i == 1 ? wants::repair : wants::anything);
        if (self.lock(mutex, i + 1) == ending::refused) {
            check(i == 1, "who wants anything is granted");
            check(static_cast<bool>(self.take_failure()), "who fails learns the cause");
            return;
        }
        if (i == 1 && mutex.is_poisoned()) {
            data.repair();
            mutex.clear_poison();
        }
        mutex.release();
    }
    void after() {
        check(!mutex.is_held(), "the lock is free in the end");
        check(mutex.is_poisoned() == !data.whole(), "broken data is behind poison");
    }
};

/// Whoever sees the poison from outside finds its cause, and then the lock as it was left.
struct looking : lock_scenario<looking> {
    looking() { check(mutex.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            data.break_it();
            mutex.release_poisoned(some_cause());
        } else if (i == 1) {
            if (mutex.is_poisoned()) {
                check(static_cast<bool>(mutex.cause()), "a poisoned lock has a cause");
            }
        } else {
            waiter self(wants::anything);
            if (mutex.acquire_now(self, 3)) {
                check(self.how() == ending::granted, "who wants anything is granted");
                data.repair();
                mutex.release_poisoned(some_cause());
            }
        }
    }
    void after() { check(mutex.is_poisoned() && !mutex.is_held(), "poison is sticky"); }
};

/// Whoever leaves last destroys the lock, as the last owner of a shared object does: those who
/// have released it must not touch it any more.
struct destroyed_by_the_last : scenario<destroyed_by_the_last, 3> {
    void thread(unsigned i) {
        if (!mutex->try_acquire()) {
            waiter self(wants::healthy);
            check(self.lock(*mutex, i + 1) == ending::granted, "a healthy lock is granted");
        }
        left = left - 1;
        const bool last = left == 0;
        mutex->release();
        if (last) mutex.reset();
    }
    void after() { check(!mutex, "the last one destroys it"); }

    std::unique_ptr<mutex_core> mutex = std::make_unique<mutex_core>("model");
    plain<int> left = 3;
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "mutex",
         .promises =
             {
                 {"mutex: one owner at a time, who sees what the last one did",
                  explore<three_owners>},
                 {"mutex: poison and hand-over are one step, and nobody is stranded",
                  explore<poison_and_repair>},
                 {"mutex: poison is seen by whoever comes after it, in any order",
                  explore<poison_in_any_order>},
                 {"mutex: a waiter that withdraws leaves, or gives the lock on",
                  explore<withdrawing>},
                 {"mutex: a waiter that withdraws from a lock being poisoned is not stranded",
                  explore<withdrawing_from_poison>},
                 {"mutex: who waits for the end of the poison sees it", explore<patience>},
                 {"mutex: patience lasts until the repair", explore<patience_until_repair>},
                 {"mutex: waiters fail at once when the owner declares the poison",
                  explore<declared>},
                 {"mutex: a repair that fails strands nobody", explore<failed_repair>},
                 {"mutex: who sees the poison finds its cause", explore<looking>},
                 {"mutex: the last owner may destroy it", explore<destroyed_by_the_last>},
                 {"mutex: of a batched lock, one owner at a time", explore<batched_owners>},
                 {"mutex: a batched lock serves who comes again, and the others",
                  explore<batched_twice>},
                 {"mutex: two of a worker wait in a batched lock, and lose nobody",
                  explore<batched_lanes>},
                 {"mutex: a waiter of a batched lock that withdraws leaves, or gives it on",
                  explore<batched_withdrawing>},
                 {"mutex: a batched lock that is poisoned strands nobody",
                  explore<batched_poison>},
             },
         .files = {"sync/", "runtime/detail/locked_word", "runtime/detail/wait_queue"},
         .spares = {}});
}
