// What the tests of channels send, and the tasks that most of them need.
#ifndef TOADSTONE_TESTS_SUPPORT_CHANNEL_TASKS_HPP
#define TOADSTONE_TESTS_SUPPORT_CHANNEL_TASKS_HPP

#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/mpsc.hpp>

#include "lock_tasks.hpp"

#include <atomic>
#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {

/// Cannot be copied, and knows whether it was moved from; its move throws when it is told to.
class parcel {
public:
    parcel(int what) noexcept : what_(what) { ++alive; }
    parcel(parcel&& other) : what_(other.what_) {
        if (moves_that_throw > 0) {
            --moves_that_throw;
            throw std::runtime_error("it cannot be moved");
        }
        other.what_ = taken;
        ++alive;
    }
    parcel& operator=(parcel&&) = delete;
    ~parcel() { --alive; }

    [[nodiscard]] int what() const noexcept { return what_; }

    static constexpr int taken = -1;
    static inline std::atomic<int> alive = 0; // plain threads have parcels, too
    static inline std::atomic<int> moves_that_throw = 0;

private:
    int what_;
};

/// Sends one message; notes its number when that is done, the negative if it was refused, and
/// -1000 less if then the message was not whole any more.
template <class Sender>
task<> sends(const Sender& tx, int what, order& log) {
    parcel message(what);
    int end = what;
    try {
        co_await tx.send(std::move(message));
    } catch (const std::exception&) {
        end = message.what() == what ? -what : -what - 1000;
    }
    log.push_back(end);
}

constexpr int at_end = 0;
constexpr int failed = -999;

/// Receives one message and notes it; at_end, or failed.
template <class Receiver>
task<> receives(const Receiver& rx, order& log) {
    int end = failed;
    try {
        auto message = co_await rx.recv();
        end = message ? message->what() : at_end;
    } catch (const std::exception&) {
    }
    log.push_back(end);
}

/// Receives up to the end.
template <class Receiver>
task<> receives_all(const Receiver& rx, order& log) {
    for (;;) {
        auto message = co_await rx.recv();
        if (!message) break;
        log.push_back(message->what());
    }
    log.push_back(at_end);
}

} // namespace toadstone::tests

#endif
