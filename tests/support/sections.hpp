// Data that tells whether a section was left half-way, and visitors that look at it.
#ifndef TOADSTONE_TESTS_SUPPORT_SECTIONS_HPP
#define TOADSTONE_TESTS_SUPPORT_SECTIONS_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "explored.hpp"

#include <source_location>
#include <string_view>

namespace toadstone::tests {

/// The states of an int that a lock guards: before a section, in its middle, after it.
inline constexpr int before = 0;
inline constexpr int half = -1;
inline constexpr int whole = 1;

/// The line of the caller; the awaits under test stand on the next one.
inline unsigned line_here(std::source_location where = std::source_location::current()) {
    return where.line();
}

/// Runs a function at its end, whatever ended it.
template <class Fn>
class at_end {
public:
    explicit at_end(Fn& fn) : fn_(fn) {}
    at_end(const at_end&) = delete;
    at_end& operator=(const at_end&) = delete;
    ~at_end() { fn_(); }

private:
    Fn& fn_;
};

/// What somebody found who came by.
struct visit {
    bool entered = false;
    int value = before;
    poison_cause told; ///< by a poison_error
};

/// Locks once, at some time. Half-done data without a word is what must never be seen.
template <class Mutex>
task<> visits(Mutex& m, visit& found, bool stays = true) {
    co_await yield_now();
    try {
        auto held = co_await m.lock();
        found.entered = true;
        found.value = *held;
        expect(*held != half, "a plain lock() has let somebody see half-done data");
        if (stays) co_await yield_now();
        expect(*held == found.value, "the data has changed under somebody's lock");
    } catch (const poison_error& error) {
        found.told = error.cause();
    }
}

/// Whoever comes after everybody else: the lock is free, and healthy or not.
template <class Mutex>
void expect_end(Mutex& m, bool poisoned, int value) {
    expect(m.is_poisoned() == poisoned,
           poisoned ? "a section was left half-way and the lock does not say so"
                    : "the lock is poisoned although no section was left half-way");
    expect(m.get_mut(sync::ignore_poison) == value, "the data is in another state");
    bool told = false;
    try {
        auto held = m.try_lock();
        expect(held.has_value(), "the lock is not free although nobody is left");
    } catch (const poison_error&) {
        told = true;
    }
    expect(told == poisoned, "try_lock() and is_poisoned() contradict each other");
}

/// A visitor was first, or was told what the lock tells.
template <class Mutex>
void expect_told(const Mutex& m, const visit& who) {
    expect(who.entered != static_cast<bool>(who.told),
           "a visitor has neither entered nor heard");
    if (who.told) expect(who.told == m.cause(), "a visitor was told another cause");
}

/// Two who come by at some time, on workers of their own.
struct visitors {
    void come(task_scope& scope, sync::mutex<int>& m) {
        scope.spawn(visits(m, first), on(1, "visitor")).detach();
        scope.spawn(visits(m, second), on(2, "visitor")).detach();
    }
    void check(const sync::mutex<int>& m, sightings& seen) const {
        for (const visit* each : {&first, &second}) {
            expect_told(m, *each);
            if (each->told) seen.note("a visitor was told");
            if (each->entered) {
                seen.note(each->value == before ? "a visitor was first"
                                                : "a visitor came later");
            }
        }
    }
    visit first;
    visit second;
};

/// The cause of somebody who was cancelled.
inline void expect_cancelled(const poison_cause& cause, cancel_reason reason,
                             std::string_view name) {
    expect(static_cast<bool>(cause), "there is no cause");
    expect(cause.kind() == poison_kind::cancelled, "the cause is of another kind");
    expect(cause.reason() == reason, "the cause has another reason");
    expect(cause.task_name() == name, "the cause names another task");
    expect(cause.interrupted_at().line() != 0, "the cause does not know where");
}

/// The cause of somebody whom boom has stopped.
inline void expect_boom(const poison_cause& cause, std::string_view name) {
    expect(static_cast<bool>(cause), "there is no cause");
    expect(cause.kind() == poison_kind::exception, "the cause is of another kind");
    expect(cause.task_name() == name, "the cause names another task");
    bool is_boom = false;
    try {
        if (cause.exception()) std::rethrow_exception(cause.exception());
    } catch (const boom&) {
        is_boom = true;
    }
    expect(is_boom, "the cause has another exception");
}

} // namespace toadstone::tests

#endif
