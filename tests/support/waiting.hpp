// What can be waited for, behind one face: for the tests of what all waiting promises.
#ifndef TOADSTONE_TESTS_SUPPORT_WAITING_HPP
#define TOADSTONE_TESTS_SUPPORT_WAITING_HPP

#include <toadstone/sync.hpp>

#include "channel_tasks.hpp"

#include <chrono>
#include <concepts>
#include <optional>
#include <utility>

namespace toadstone::tests {

/// A thing that is waited for. When it is made there is nothing to be had, so that whoever
/// waits is queued; serve() lets one more through, and none if nobody waits and it was called
/// as often as somebody got through. idle() is true when nobody waits and nothing is lost: as
/// many got through, or may still, as were served.
template <class S>
concept waiting_subject = requires(S s, order& got, int who, std::chrono::nanoseconds limit) {
    { s.wait(got, who) } -> std::same_as<task<>>;            // notes `who` when it got through
    { s.wait_for(got, who, limit) } -> std::same_as<task<>>; // or -who when the time was up
    { s.blocking_wait() };                                   // of a plain thread
    { s.serve() };
    { s.may_pass() } -> std::same_as<bool>; // one more would get through at once; it does
};

class mutex_subject {
public:
    task<> wait(order& got, int who) {
        auto held = co_await lock_.lock();
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) {
        auto held = co_await lock_.try_lock_for(limit);
        got.push_back(held ? who : -who);
    }
    void blocking_wait() { static_cast<void>(lock_.blocking_lock()); }
    void serve() { held_.reset(); }
    [[nodiscard]] bool may_pass() { return lock_.try_lock().has_value(); }

private:
    sync::mutex<int> lock_;
    std::optional<sync::mutex<int>::guard> held_ = lock_.try_lock();
};

/// Waits for messages.
class recv_subject {
public:
    task<> wait(order& got, int who) {
        auto message = co_await channel_.rx.recv();
        if (message) got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) {
        auto message = co_await channel_.rx.recv_for(limit);
        got.push_back(message ? who : -who);
    }
    void blocking_wait() { static_cast<void>(channel_.rx.blocking_recv()); }
    void serve() { static_cast<void>(channel_.tx.try_send(parcel(1))); }
    [[nodiscard]] bool may_pass() { return channel_.rx.try_recv().has_value(); }

private:
    sync::mpsc::halves<parcel> channel_ = sync::mpsc::channel<parcel>(10);
};

/// Waits for room, to send or to keep.
template <bool Reserves>
class room_subject {
public:
    room_subject() { static_cast<void>(channel_.tx.try_send(parcel(0))); }
    task<> wait(order& got, int who) {
        if constexpr (Reserves) {
            auto room = co_await channel_.tx.reserve();
            room.send(parcel(who));
        } else {
            parcel message(who);
            co_await channel_.tx.send(std::move(message));
        }
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) {
        bool sent = true;
        try {
            co_await with_timeout(limit, wait(got, who));
        } catch (const timeout_error&) {
            sent = false;
        }
        if (!sent) got.push_back(-who);
    }
    void blocking_wait() { channel_.tx.blocking_send(parcel(1)); }
    void serve() { static_cast<void>(channel_.rx.try_recv()); }
    [[nodiscard]] bool may_pass() { return channel_.tx.try_send(parcel(9)); }

private:
    sync::mpsc::halves<parcel> channel_ = sync::mpsc::channel<parcel>(1);
};
using send_subject = room_subject<false>;
using reserve_subject = room_subject<true>;

static_assert(waiting_subject<mutex_subject> && waiting_subject<recv_subject> &&
              waiting_subject<send_subject> && waiting_subject<reserve_subject>);

} // namespace toadstone::tests

#endif
