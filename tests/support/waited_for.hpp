// What can be waited for, behind one face: virtual, so that a test of all is compiled once.
#ifndef TOADSTONE_TESTS_SUPPORT_WAITED_FOR_HPP
#define TOADSTONE_TESTS_SUPPORT_WAITED_FOR_HPP

#include <toadstone/runtime.hpp>

#include "lock_tasks.hpp"

#include <chrono>

namespace toadstone::tests {

/// A thing that is waited for. When it has begun there is nothing to be had, so that whoever
/// waits is queued; serve() lets one more through, or all (`waiting_kind::for_all`). Nothing is
/// lost if as many got through, or may still, as were served.
class waited_for {
public:
    virtual ~waited_for() = default;
    /// For those that a task has to keep from the others.
    virtual void begin(stepped&) {}
    /// Notes `who` when it got through, or `broken + who` when the wait failed.
    virtual task<> wait(order& got, int who) = 0;
    /// Notes -who when the time was up.
    virtual task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) = 0;
    /// Of a plain thread.
    virtual void blocking_wait() {}
    virtual void serve() = 0;
    /// One more would get through at once; it does. Or, of what is never there for one who
    /// comes later: it is as if nobody had waited.
    virtual bool may_pass() = 0;

    static constexpr int broken = 1'000'000'000;

protected:
    /// wait_for() of those that have none of their own.
    task<> limited(order& got, int who, std::chrono::nanoseconds limit) {
        bool in_time = true;
        try {
            co_await with_timeout(limit, wait(got, who));
        } catch (const timeout_error&) {
            in_time = false;
        }
        if (!in_time) got.push_back(-who);
    }
};

} // namespace toadstone::tests

#endif
