// Guards that end somewhere else than where they began: in another task, on another thread, in
// a task that never starts, in a destructor that rescues them.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using int_guard = sync::guard<int>;

/// Keeps the guard as a parameter.
task<> keep_in_parameter(int_guard held, gate& until) {
    *held += 1;
    co_await until.pass();
    *held += 1;
}
/// Takes the guard into a local variable.
task<> keep_in_local(int_guard given, gate& until) {
    const int_guard held = std::move(given);
    *held += 1;
    co_await until.pass();
    *held += 1;
}
task<> fail_with_parameter(int_guard held) {
    *held += 1;
    throw std::runtime_error("in the child");
    co_return;
}

task<> give_away(mutex<int>& m, gate& child_until, gate& parent_until, bool in_parameter,
                 std::optional<join_handle<void>>& child) {
    auto held = co_await m.lock();
    child.emplace(in_parameter ? spawn(keep_in_parameter(std::move(held), child_until))
                               : spawn(keep_in_local(std::move(held), child_until)));
    co_await parent_until.pass();
}

/// A parent that has moved its guard into a child.
struct family {
    explicit family(bool in_parameter)
        : parent(w.spawn(give_away(m, child_until, parent_until, in_parameter, child))) {
        w.settle();
    }
    mutex<int> m;
    gate child_until;
    gate parent_until;
    std::optional<join_handle<void>> child;
    stepped w;
    join_handle<void> parent;
};

} // namespace

TEST_CASE("S30: a guard that was moved into a child ends cleanly with the child") {
    family f(GENERATE(true, false));
    f.child_until.open();
    f.w.settle();
    CHECK(f.child->done());
    CHECK_FALSE(f.m.is_poisoned());
    f.parent.cancel(); // it holds nothing any more
    f.w.settle();
    CHECK(f.m.get_mut() == 2);
}

TEST_CASE(
    "S30: a guard that was moved into a child poisons, once, when the child is torn down; "
    "the parent's later end adds nothing") {
    family f(GENERATE(true, false));
    f.child->cancel(cancel_reason::timeout);
    f.w.settle();
    REQUIRE(f.m.is_poisoned());
    const poison_cause cause = f.m.cause();
    CHECK(cause.reason() == cancel_reason::timeout);
    CHECK(cause.task_id() == f.child->id());
    CHECK(cause.attempts() == 0);
    f.parent.cancel();
    f.w.settle();
    CHECK(f.m.cause() == cause);
}

TEST_CASE("S30: the cancellation of the parent does not touch the guard that it gave away") {
    family f(GENERATE(true, false));
    f.parent.cancel();
    f.w.settle();
    CHECK(f.parent.done());
    CHECK_FALSE(f.m.is_poisoned());
    CHECK_FALSE(f.m.try_lock()); // the child has it
    f.child_until.open();
    f.w.settle();
    CHECK(f.m.get_mut() == 2);
}

TEST_CASE("S30: an exception in the child poisons through the guard in its parameter, and the "
          "parent that catches it holds nothing") {
    mutex<int> m;
    stepped w;
    auto body = [](mutex<int>& lock) -> task<std::string> {
        auto held = co_await lock.lock();
        std::string caught;
        try {
            co_await fail_with_parameter(std::move(held));
        } catch (const std::runtime_error& error) {
            caught = error.what();
        }
        co_return caught;
    };
    CHECK(w.run(body(m)) == "in the child");
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
    REQUIRE(m.cause().exception());
    CHECK_THROWS_WITH(std::rethrow_exception(m.cause().exception()), "in the child");
}

TEST_CASE("S30: a guard that an outer frame holds is poisoned by an exception that passes it, "
          "though the inner frame threw it") {
    mutex<int> m;
    stepped w;
    auto thrower = [](int_guard& held) -> task<> {
        *held = 1;
        throw std::runtime_error("inner");
        co_return;
    };
    auto catches_inside = [](mutex<int>& lock, task<> (*inner)(int_guard&)) -> task<> {
        auto held = co_await lock.lock();
        try {
            co_await inner(held);
        } catch (const std::runtime_error&) {
        }
    };
    auto lets_it_pass = [](mutex<int>& lock, task<> (*inner)(int_guard&)) -> task<> {
        auto held = co_await lock.lock();
        co_await inner(held);
    };
    w.run(catches_inside(m, thrower));
    CHECK_FALSE(m.is_poisoned());
    CHECK_THROWS_WITH(w.run(lets_it_pass(m, thrower)), "inner");
    CHECK(m.is_poisoned());
}

TEST_CASE("S31: a guard in a task that never starts is released cleanly when the task is "
          "dropped") {
    mutex<int> m;
    gate never;
    {
        auto dropped = keep_in_parameter(m.blocking_lock(), never);
        CHECK_FALSE(m.try_lock());
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
}

TEST_CASE("S31: a guard in a task that never starts poisons when an exception drops the task") {
    mutex<int> m;
    gate never;
    try {
        auto dropped = keep_in_parameter(m.blocking_lock(), never);
        throw std::runtime_error("boom");
    } catch (const std::runtime_error&) {
    }
    CHECK(m.is_poisoned());
}

TEST_CASE(
    "S31: a guard in a task that never starts poisons when a cancellation drops the task") {
    mutex<int> m;
    gate never;
    gate until;
    stepped w;
    auto body = [](mutex<int>& lock, gate& child, gate& at) -> task<> {
        auto held = co_await lock.lock();
        auto not_started = keep_in_parameter(std::move(held), child);
        co_await at.pass();
        co_await std::move(not_started);
    };
    auto parent = w.spawn(body(m, never, until));
    w.settle();
    parent.cancel();
    w.settle();
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
}

TEST_CASE("S40: a task that is destroyed before it started locks nothing, poisons nothing, and "
          "destroys its parameters once") {
    mutex<int> m;
    event_log log;
    auto body = [](mutex<int>& lock, traced parameter) -> task<> {
        const traced local = std::move(parameter);
        auto held = co_await lock.lock();
    };
    const auto frames = detail::live_frames();
    {
        auto dropped = body(m, traced(log, "parameter"));
        CHECK(log.empty());
    }
    CHECK(log == event_log{"parameter"});
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S40: a spawned task that is cancelled before its first step does not lock") {
    mutex<int> m;
    event_log log;
    stepped w;
    auto body = [](mutex<int>& lock, [[maybe_unused]] traced parameter) -> task<> {
        auto held = co_await lock.lock();
        *held = 1;
    };
    auto cancelled = w.spawn(body(m, traced(log, "parameter")));
    cancelled.cancel();
    w.settle();
    CHECK(w.end_of(cancelled).is_cancelled());
    CHECK(log == event_log{"parameter!"});
    CHECK(m.get_mut() == 0);
}

TEST_CASE("S32: a guard that ends on another worker obeys the same rule") {
    mutex<int> m;
    gate until;
    stepped w(2);
    auto body = [](mutex<int>& lock, gate& at, std::optional<join_handle<void>>& to) -> task<> {
        auto held = co_await lock.lock();
        to.emplace(
            spawn(keep_in_parameter(std::move(held), at), {.where = placement::worker(1)}));
    };
    std::optional<join_handle<void>> child;
    const bool finishes = GENERATE(true, false);
    auto parent = w.spawn(body(m, until, child));
    w.settle();
    REQUIRE(parent.done());
    if (finishes) {
        until.open();
    } else {
        child->cancel();
    }
    w.settle();
    CHECK(child->done());
    CHECK(m.is_poisoned() == !finishes);
    CHECK(m.get_mut(sync::ignore_poison) == (finishes ? 2 : 1));
}

TEST_CASE("S32: a guard that a task took and a plain thread ends is judged by what that thread "
          "does") {
    mutex<int> m;
    std::optional<int_guard> given;
    stepped w;
    auto take = [](mutex<int>& lock, std::optional<int_guard>& to) -> task<> {
        auto held = co_await lock.lock();
        to.emplace(std::move(held));
    };
    const bool throws = GENERATE(false, true);
    w.run(take(m, given));
    std::thread([held = std::move(*given), throws]() mutable {
        try {
            const int_guard mine = std::move(held);
            if (throws) throw std::runtime_error("on a thread");
        } catch (const std::runtime_error&) {
        }
    }).join();
    CHECK(m.is_poisoned() == throws);
    if (throws) CHECK(m.cause().task_id() == 0);
}

TEST_CASE("S32: a guard that a plain thread took and a task ends is judged by what the task "
          "does") {
    mutex<int> m;
    std::optional<int_guard> given;
    std::thread([&] { given.emplace(m.blocking_lock()); }).join();
    gate until;
    stepped w;
    const bool cancelled = GENERATE(false, true);
    auto child = w.spawn(keep_in_parameter(std::move(*given), until));
    w.settle();
    if (cancelled) {
        child.cancel();
    } else {
        until.open();
    }
    w.settle();
    CHECK(child.done());
    CHECK(m.is_poisoned() == cancelled);
}

namespace {

/// Moves a guard out of a scope that unwinds.
class rescuer {
public:
    rescuer(int_guard& from, std::optional<int_guard>& to) : from_(from), to_(to) {}
    rescuer(const rescuer&) = delete;
    rescuer& operator=(const rescuer&) = delete;
    ~rescuer() { to_.emplace(std::move(from_)); }

private:
    int_guard& from_;
    std::optional<int_guard>& to_;
};

task<> hold_with_rescuer(mutex<int>& m, std::optional<int_guard>& to, gate& until,
                         bool throws) {
    auto held = co_await m.lock();
    const rescuer saves(held, to);
    if (throws) throw std::runtime_error("boom");
    co_await until.pass();
}

} // namespace

TEST_CASE("S33: a guard that a destructor rescues during unwinding stays held and unpoisoned") {
    mutex<int> m;
    gate until;
    std::optional<int_guard> saved;
    stepped w;
    const bool throws = GENERATE(false, true);
    auto holder = w.spawn(hold_with_rescuer(m, saved, until, throws));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(w.end_of(holder).has_value());
    REQUIRE(saved);
    CHECK(saved->held());
    CHECK_FALSE(m.is_poisoned());
    CHECK_FALSE(m.try_lock());
    saved.reset(); // its later life ends well
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.try_lock());
}

TEST_CASE("S33: a rescued guard is judged by its later life: a section that throws poisons") {
    mutex<int> m;
    gate until;
    std::optional<int_guard> saved;
    stepped w;
    auto holder = w.spawn(hold_with_rescuer(m, saved, until, false));
    w.settle();
    holder.cancel();
    w.settle();
    REQUIRE(saved);
    try {
        const int_guard held = std::move(*saved);
        throw std::runtime_error("later");
    } catch (const std::runtime_error&) {
    }
    CHECK(m.is_poisoned());
}

TEST_CASE(
    "S33: a move during unwinding launders nothing: a guard that dies in the same unwinding "
    "poisons") {
    mutex<int> m;
    try {
        std::optional<int_guard> outer;
        auto held = m.blocking_lock();
        const rescuer saves(held, outer);
        throw std::runtime_error("boom");
    } catch (const std::runtime_error&) {
    }
    CHECK(m.is_poisoned());
}

namespace {

/// The first time it ends after its deferral has, on another thread; then it counts requests.
task<> ends_after_its_deferral(mutex<int>& m, gate& until) {
    auto held = co_await m.lock(sync::on_cancel::defer);
    co_await until.pass();
    std::thread([&held] { const int_guard last = std::move(held); }).join();
}
task<> counts_requests(int& told) {
    const auto count = [&told](cancel_reason) { ++told; };
    const cancellation_callback on_request(this_task::token(), count);
    for (int i = 0; i < 3; ++i) co_await yield_now();
}
task<> one_of(bool first, mutex<int>& m, gate& until, int& told) {
    if (first) {
        co_await ends_after_its_deferral(m, until);
    } else {
        co_await counts_requests(told);
    }
}
task<> in_the_same_place(mutex<int>& m, gate& until, cancellation_source& source, int& told) {
    cancellation_source quiet;
    for (int i = 0; i < 2; ++i) {
        const cancellation_token token = i == 0 ? source.token() : quiet.token();
        co_await with_token(token, one_of(i == 0, m, until, told));
    }
}

} // namespace

TEST_CASE("S183: a deferral that ends elsewhere, just before its boundary, asks nobody else") {
    mutex<int> m;
    gate until;
    cancellation_source source;
    int told = 0;
    stepped w;
    auto handle = w.spawn(in_the_same_place(m, until, source, told));
    w.settle();
    source.cancel();
    w.settle();
    CHECK_FALSE(handle.done());
    until.open();
    w.settle();
    CHECK(handle.done());
    CHECK(told == 0);
}

} // namespace toadstone::tests
