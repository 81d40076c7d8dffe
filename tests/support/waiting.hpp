// All that can be waited for: for the tests of what all waiting promises.
#ifndef TOADSTONE_TESTS_SUPPORT_WAITING_HPP
#define TOADSTONE_TESTS_SUPPORT_WAITING_HPP

#include <toadstone/sync.hpp>

#include "channel_tasks.hpp"
#include "waiting_locks.hpp"

#include <chrono>
#include <memory>
#include <thread>
#include <type_traits>
#include <utility>

namespace toadstone::tests {

class semaphore_waits final : public waited_for {
public:
    task<> wait(order& got, int who) override {
        auto held = co_await it_.acquire();
        held.forget();
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto held = co_await it_.try_acquire_for(limit);
        if (held) held->forget();
        got.push_back(held ? who : -who);
    }
    void blocking_wait() override { it_.blocking_acquire().forget(); }
    void serve() override { it_.add_permits(1); }
    bool may_pass() override {
        auto held = it_.try_acquire();
        if (held) held->forget();
        return held.has_value();
    }

private:
    sync::semaphore it_{0};
};

/// Both events, and the latch.
template <class Event>
class event_waits final : public waited_for {
    static constexpr bool counts = std::is_same_v<Event, sync::latch>;

public:
    task<> wait(order& got, int who) override {
        co_await it_.wait();
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        const bool in_time = co_await it_.wait_for(limit);
        got.push_back(in_time ? who : -who);
    }
    void blocking_wait() override { it_.blocking_wait(); }
    void serve() override {
        if constexpr (!counts) {
            it_.set();
        } else if (!it_.try_wait()) {
            it_.count_down();
        }
    }
    bool may_pass() override {
        if constexpr (std::is_same_v<Event, sync::manual_reset_event>) {
            return it_.is_set();
        } else {
            return it_.try_wait();
        }
    }

private:
    Event it_{counts};
};

/// With one party more than wait.
class barrier_waits final : public waited_for {
public:
    explicit barrier_waits(unsigned waiters) : it_(waiters + 1) {}
    task<> wait(order& got, int who) override {
        int what = who;
        try {
            static_cast<void>(co_await it_.arrive_and_wait());
        } catch (const sync::barrier_broken&) {
            what = broken + who;
        }
        got.push_back(what);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        int what = who;
        try {
            static_cast<void>(co_await it_.arrive_and_wait_for(limit));
        } catch (const sync::barrier_broken&) {
            what = broken + who;
        }
        got.push_back(what);
    }
    void blocking_wait() override { it_.blocking_arrive_and_wait(); }
    /// The last comes, if all others are there. Not on a worker.
    void serve() override {
        if (it_.waiting() + 1 < it_.parties()) return;
        std::thread([this] { it_.blocking_arrive_and_wait(); }).join();
    }
    bool may_pass() override { return !it_.is_broken() && it_.waiting() == 0; }

private:
    sync::barrier it_;
};

/// Waits to be notified; what nobody waits for is not kept.
class condition_waits final : public waited_for {
public:
    task<> wait(order& got, int who) override {
        auto held = co_await lock_.lock();
        co_await it_.wait(held);
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto held = co_await lock_.lock();
        const bool in_time = co_await it_.wait_for(held, limit);
        got.push_back(in_time ? who : -who);
    }
    void blocking_wait() override {
        auto held = lock_.blocking_lock();
        it_.blocking_wait(held);
    }
    void serve() override { it_.notify_one(); }
    bool may_pass() override { return lock_.try_lock().has_value(); }

private:
    sync::mutex<int> lock_;
    sync::condition_variable it_;
};

/// Waits for somebody else's initialiser.
class cell_waits final : public waited_for {
public:
    void begin(stepped& w) override {
        w.spawn(makes()).detach();
        w.settle();
    }
    task<> wait(order& got, int who) override {
        auto make = [] { return 2; };
        const int value = co_await it_.get_or_init(make);
        got.push_back(value == 1 ? who : broken + who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        return limited(got, who, limit);
    }
    void blocking_wait() override {
        static_cast<void>(it_.blocking_get_or_init([] { return 2; }));
    }
    void serve() override { let_go_.open(); }
    bool may_pass() override { return it_.get() != nullptr || it_.try_set(1); }

private:
    task<> makes() {
        auto make = [this]() -> task<int> {
            co_await let_go_.pass();
            co_return 1;
        };
        static_cast<void>(co_await it_.get_or_init(make));
    }
    sync::once_cell<int> it_;
    gate let_go_;
};

/// Waits for messages.
class message_waits final : public waited_for {
public:
    task<> wait(order& got, int who) override {
        auto message = co_await channel_.rx.recv();
        if (message) got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto message = co_await channel_.rx.recv_for(limit);
        got.push_back(message ? who : -who);
    }
    void blocking_wait() override { static_cast<void>(channel_.rx.blocking_recv()); }
    void serve() override { static_cast<void>(channel_.tx.try_send(parcel(1))); }
    bool may_pass() override { return channel_.rx.try_recv().has_value(); }

private:
    sync::mpsc::halves<parcel> channel_ = sync::mpsc::channel<parcel>(200);
};

/// Waits for room, to send or to keep.
template <bool Reserves>
class room_waits final : public waited_for {
public:
    room_waits() { static_cast<void>(channel_.tx.try_send(parcel(0))); }
    task<> wait(order& got, int who) override {
        if constexpr (Reserves) {
            auto room = co_await channel_.tx.reserve();
            room.send(parcel(who));
        } else {
            parcel message(who);
            co_await channel_.tx.send(std::move(message));
        }
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        return limited(got, who, limit);
    }
    void blocking_wait() override { channel_.tx.blocking_send(parcel(1)); }
    void serve() override { static_cast<void>(channel_.rx.try_recv()); }
    bool may_pass() override { return channel_.tx.try_send(parcel(9)); }

private:
    sync::mpsc::halves<parcel> channel_ = sync::mpsc::channel<parcel>(1);
};

/// Waits for a message that all get, by a receiver of its own.
class broadcast_waits final : public waited_for {
public:
    task<> wait(order& got, int who) override {
        auto own = channel_.tx.subscribe();
        auto message = co_await own.recv();
        if (message) got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto own = channel_.tx.subscribe();
        auto message = co_await own.recv_for(limit);
        got.push_back(message ? who : -who);
    }
    void blocking_wait() override {
        auto own = channel_.tx.subscribe();
        try {
            static_cast<void>(own.blocking_recv());
        } catch (const sync::broadcast::lagged&) { // served, more than once, before it waited
        }
    }
    void serve() override { static_cast<void>(channel_.tx.send(1)); }
    /// For nobody but the first receiver.
    bool may_pass() override { return channel_.tx.send(1) == 1; }

private:
    sync::broadcast::halves<int> channel_ = sync::broadcast::channel<int>(1);
};

/// Waits for the first change, by a receiver of its own.
class watch_waits final : public waited_for {
public:
    task<> wait(order& got, int who) override {
        auto own = channel_.rx;
        const bool changed = co_await own.changed();
        if (changed) got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto own = channel_.rx;
        const bool changed = co_await own.changed_for(limit);
        got.push_back(changed ? who : -who);
    }
    void blocking_wait() override {
        auto own = channel_.rx;
        static_cast<void>(own.blocking_changed());
    }
    void serve() override { channel_.tx.send(1); }
    bool may_pass() override { return channel_.rx.has_changed(); }

private:
    sync::watch::halves<int> channel_ = sync::watch::channel(0);
};

struct waiting_kind {
    const char* name;
    std::unique_ptr<waited_for> (*make)(unsigned waiters);
    bool for_all = false;      ///< one serve() is for everybody
    bool breaks = false;       ///< whoever leaves has the others fail
    bool one_worker = false;   ///< its order, or itself, is one worker's
    bool plain_threads = true; ///< have a place in the same line
    bool for_good = false;     ///< once served it is no cancellation point any more
    bool forgets = false;      ///< what is served when not all have come is not kept
};

template <class W>
std::unique_ptr<waited_for> make_waits(unsigned waiters) {
    if constexpr (std::is_constructible_v<W, unsigned>) {
        return std::make_unique<W>(waiters);
    } else {
        return std::make_unique<W>();
    }
}

/// A primitive joins by a line here.
inline constexpr waiting_kind waiting_kinds[] = {
    {.name = "mutex", .make = make_waits<mutex_waits>},
    {.name = "batched mutex", .make = make_waits<batched_mutex_waits>, .one_worker = true},
    {.name = "repair", .make = make_waits<repair_waits>, .plain_threads = false},
    {.name = "local_mutex",
     .make = make_waits<local_mutex_waits>,
     .one_worker = true,
     .plain_threads = false},
    {.name = "shared_mutex, reading", .make = make_waits<read_waits>, .for_all = true},
    {.name = "shared_mutex, writing", .make = make_waits<shared_waits<false>>},
    {.name = "shared_mutex, repair",
     .make = make_waits<shared_waits<true>>,
     .plain_threads = false},
    {.name = "semaphore", .make = make_waits<semaphore_waits>},
    {.name = "manual_reset_event",
     .make = make_waits<event_waits<sync::manual_reset_event>>,
     .for_all = true},
    {.name = "auto_reset_event", .make = make_waits<event_waits<sync::auto_reset_event>>},
    {.name = "latch", .make = make_waits<event_waits<sync::latch>>, .for_all = true},
    {.name = "barrier",
     .make = make_waits<barrier_waits>,
     .for_all = true,
     .breaks = true,
     .forgets = true},
    {.name = "condition_variable", .make = make_waits<condition_waits>, .forgets = true},
    {.name = "once_cell", .make = make_waits<cell_waits>, .for_all = true, .for_good = true},
    {.name = "mpsc, receiving", .make = make_waits<message_waits>},
    // A thread that was given room has not sent yet: there is nothing to receive for the next.
    {.name = "mpsc, sending", .make = make_waits<room_waits<false>>, .forgets = true},
    {.name = "mpsc, reserving", .make = make_waits<room_waits<true>>, .forgets = true},
    {.name = "broadcast",
     .make = make_waits<broadcast_waits>,
     .for_all = true,
     .forgets = true},
    {.name = "watch", .make = make_waits<watch_waits>, .for_all = true},
};

} // namespace toadstone::tests

#endif
