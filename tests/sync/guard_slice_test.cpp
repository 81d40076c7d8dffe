// Guards and destructors: locks taken and released, and whole workers stepped, while an
// exception is in flight or a task is being torn down.
#include <toadstone/runtime/scope_guard.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using int_guard = sync::guard<int>;

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

/// Throws and catches; `fn` runs while the exception is in flight.
template <class Fn>
void while_unwinding(Fn fn) {
    try {
        const at_end<Fn> runs(fn);
        throw std::runtime_error("somebody else's");
    } catch (const std::runtime_error&) {
    }
}

/// A task whose frame runs `fn` at its end.
template <class Fn>
task<> run_at_end(gate& until, Fn& fn, bool throws) {
    const at_end<Fn> runs(fn);
    co_await until.pass();
    if (throws) throw std::runtime_error("the task's own");
}

/// Ends such a task by an exception or by a cancellation.
template <class Fn>
void while_a_task_ends(stepped& w, Fn fn, bool throws) {
    gate until;
    auto ends = w.spawn(run_at_end(until, fn, throws));
    w.settle();
    if (throws) {
        until.open();
    } else {
        ends.cancel();
    }
    w.settle();
    CHECK_FALSE(w.end_of(ends).has_value());
}

} // namespace

TEST_CASE("S34: a destructor that locks and unlocks another mutex while something unwinds does "
          "not poison it") {
    mutex<int> other;
    stepped w;
    const int how = GENERATE(0, 1, 2);
    auto visit = [&other] {
        auto held = other.try_lock();
        if (held) **held += 1;
    };
    if (how == 0) {
        while_unwinding(visit);
    } else {
        while_a_task_ends(w, visit, how == 1);
    }
    CHECK_FALSE(other.is_poisoned());
    CHECK(other.get_mut() == 1);
}

TEST_CASE("S34: a section inside such a destructor that throws by itself does poison") {
    mutex<int> other;
    stepped w;
    const int how = GENERATE(0, 1, 2);
    auto fail = [&other] {
        try {
            auto held = other.try_lock();
            throw std::runtime_error("inside the destructor");
        } catch (const std::runtime_error&) {
        }
    };
    if (how == 0) {
        while_unwinding(fail);
    } else {
        while_a_task_ends(w, fail, how == 1);
    }
    REQUIRE(other.is_poisoned());
    CHECK(other.cause().kind() == poison_kind::exception);
}

TEST_CASE("S34: with_lock and blocking_lock in such a destructor are judged alike") {
    mutex<int> other;
    while_unwinding([&other] {
        other.blocking_with_lock([](int& value) { value += 1; });
        auto held = other.blocking_lock();
        *held += 1;
    });
    CHECK_FALSE(other.is_poisoned());
    CHECK(other.get_mut() == 2);
}

TEST_CASE("S35: a section that begins while another exception is in flight on this thread, and "
          "throws later, poisons") {
    mutex<int> m;
    gate until;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock();
        co_await at.pass();
        throw std::runtime_error("later, elsewhere");
    };
    auto holder = w.spawn(body(m, until));
    while_unwinding([&w] { w.settle(); }); // locks in here
    REQUIRE_FALSE(m.try_lock());
    until.open();
    w.settle();
    CHECK(w.end_of(holder).has_exception());
    REQUIRE(m.is_poisoned());
    REQUIRE(m.cause().exception());
    CHECK_THROWS_WITH(std::rethrow_exception(m.cause().exception()), "later, elsewhere");
}

TEST_CASE("S35: a section that begins while another exception is in flight, and is cancelled "
          "later, poisons") {
    mutex<int> m;
    gate until;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    while_unwinding([&w] { w.settle(); });
    holder.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
}

TEST_CASE(
    "S35: a section that throws while another exception is in flight poisons with its own "
    "exception") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        throw std::runtime_error("its own");
    };
    auto holder = w.spawn(body(m));
    while_unwinding([&w] { w.settle(); });
    CHECK(w.end_of(holder).has_exception());
    REQUIRE(m.is_poisoned());
    REQUIRE(m.cause().exception());
    CHECK_THROWS_WITH(std::rethrow_exception(m.cause().exception()), "its own");
}

TEST_CASE("S36: a section that began cleanly and ends while somebody else's exception is in "
          "flight is not poisoned") {
    mutex<int> m;
    gate until;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    until.open();
    while_unwinding([&w] { w.settle(); });
    CHECK(holder.done());
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
}

TEST_CASE("S36: a section that ends while another task of the same thread is torn down is not "
          "poisoned") {
    mutex<int> m;
    gate until;
    stepped outer;
    stepped inner;
    const bool throws = GENERATE(false, true);
    auto holder = inner.spawn(hold(m, until));
    inner.settle();
    until.open();
    while_a_task_ends(outer, [&inner] { inner.settle(); }, throws);
    CHECK(holder.done());
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE(
    "S36: a task that is cancelled and stepped inside somebody's unwinding poisons with its "
    "own cause") {
    mutex<int> m;
    gate until;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    holder.cancel(cancel_reason::timeout);
    while_unwinding([&w] { w.settle(); });
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
    CHECK(m.cause().reason() == cancel_reason::timeout);
    CHECK_FALSE(m.cause().cancel_pending());
}

namespace {

task<> note_level(mutex<int>& m, std::optional<int>& uncaught) {
    try {
        auto held = co_await m.lock();
        uncaught = std::uncaught_exceptions();
        throw std::runtime_error("in the next section");
    } catch (const std::runtime_error&) {
    }
}

} // namespace

TEST_CASE(
    "S37: a guard that ends during unwinding hands the lock over without running the next "
    "owner") {
    mutex<int> m;
    std::optional<int> uncaught;
    stepped w;
    auto held = std::optional<int_guard>(m.blocking_lock());
    held->mark_consistent(); // ends cleanly in spite of the exception
    auto waiter = w.spawn(note_level(m, uncaught));
    w.settle();
    while_unwinding([&] {
        held.reset();
        CHECK_FALSE(uncaught);
    });
    CHECK_FALSE(uncaught);
    w.settle();
    CHECK(uncaught == 0);
    CHECK(m.is_poisoned()); // and so its own exception was seen
}

TEST_CASE("S37: a guard that ends in a teardown hands the lock over without running the next "
          "owner") {
    mutex<int> m;
    std::optional<int> uncaught;
    gate until;
    bool ran_inside = true;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at, std::optional<int>& seen,
                   bool& inside) -> task<> {
        auto look = [&seen, &inside] { inside = seen.has_value(); };
        const at_end<decltype(look)> last(look);
        auto held = co_await lock.lock(sync::on_cancel::release);
        co_await at.pass();
    };
    auto holder = w.spawn(body(m, until, uncaught, ran_inside));
    w.settle();
    auto waiter = w.spawn(note_level(m, uncaught));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(ran_inside);
    CHECK(uncaught == 0);
    CHECK(m.is_poisoned());
}

TEST_CASE("S35: a lock taken by try_lock while an exception is in flight, and kept, poisons if "
          "its section throws after that exception is gone") {
    mutex<int> m;
    std::optional<int_guard> kept;
    while_unwinding([&] { kept = m.try_lock(); });
    try {
        const int_guard held = std::move(*kept);
        throw std::runtime_error("later, elsewhere");
    } catch (const std::runtime_error&) {
    }
    CHECK(m.is_poisoned());
}

namespace {

/// What a library that knows only std::uncaught_exceptions() would do, beside what ours do.
class naive_guard {
public:
    explicit naive_guard(std::string& to) : to_(to), born_(std::uncaught_exceptions()) {}
    naive_guard(const naive_guard&) = delete;
    naive_guard& operator=(const naive_guard&) = delete;
    ~naive_guard() { to_ = std::uncaught_exceptions() > born_ ? "failure" : "success"; }

private:
    std::string& to_;
    int born_;
};

struct verdicts {
    std::string naive;
    std::string ours;
};

task<> judge(gate& until, verdicts& to) {
    const naive_guard naive(to.naive);
    const scope_success success([&to] { to.ours += "success"; });
    const scope_fail failure([&to] { to.ours += "failure"; });
    co_await until.pass();
}

} // namespace

TEST_CASE(
    "S24: in a cancelled frame a guard by std::uncaught_exceptions() misfires as success, "
    "ours is a failure") {
    gate until;
    verdicts seen;
    stepped w;
    auto cancelled = w.spawn(judge(until, seen));
    w.settle();
    cancelled.cancel();
    w.settle();
    CHECK(seen.naive == "success"); // measured, and the reason why ours exist
    CHECK(seen.ours == "failure");
}

TEST_CASE(
    "S24: in a frame that ends well while somebody else's exception is in flight the naive "
    "guard misfires as failure, ours is a success") {
    gate until;
    verdicts seen;
    stepped w;
    auto ends = w.spawn(judge(until, seen));
    w.settle();
    until.open();
    while_unwinding([&w] { w.settle(); });
    CHECK(seen.naive == "failure");
    CHECK(seen.ours == "success");
}

} // namespace toadstone::tests
