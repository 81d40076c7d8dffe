// Sections with an await in their middle, and what holds when all who were in them have ended.
#ifndef TOADSTONE_TESTS_SUPPORT_MOVERS_HPP
#define TOADSTONE_TESTS_SUPPORT_MOVERS_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "explored.hpp"

namespace toadstone::tests {

/// Two numbers that are equal outside a section.
struct pair_of {
    int first = 0;
    int second = 0;
    [[nodiscard]] bool sound() const noexcept { return first == second; }
};

/// Every task counts its begin and its end, in whatever way it ends.
struct census {
    int begun = 0;
    int ended = 0;
};
class counted {
public:
    explicit counted(census& in) noexcept : in_(in) { ++in_.begun; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    ~counted() { ++in_.ended; }

private:
    census& in_;
};

/// A section with an await in its middle; of a lock that releases, at its end.
template <class Mutex>
task<> moves(Mutex& m, census& in, bool at_once = false) {
    const counted here(in);
    try {
        auto held = co_await m.lock();
        expect(held->sound(), "a plain lock() has given half-done data");
        ++held->first;
        if (at_once) ++held->second;
        co_await yield_now();
        if (!at_once) ++held->second;
    } catch (const poison_error&) {
    }
    co_await yield_now();
}

/// What holds when everybody has ended: the lock is free, and its data sound or reported.
template <class Mutex>
void expect_sound(Mutex& m) {
    const bool sound = m.get_mut(sync::ignore_poison).sound();
    expect(sound || m.is_poisoned(), "half-done data, and the lock does not say so");
    try {
        auto held = m.try_lock();
        expect(held.has_value(), "the lock is not free although nobody is left");
        expect((*held)->sound(), "half-done data was handed out as healthy");
    } catch (const poison_error& error) {
        expect(m.is_poisoned(), "a healthy lock has thrown");
        expect(static_cast<bool>(error.cause()), "a poison without a cause");
    }
}
inline void expect_all_ended(const census& in) {
    expect(in.begun == in.ended, "a task did not end exactly once");
}

} // namespace toadstone::tests

#endif
