// The policies: what a mutex does when its holder is cancelled or fails, as its type, and for
// one section.
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <optional>
#include <stdexcept>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::mutex;
using sync::on_cancel;
using sync::on_exception;

using deferring_mutex = mutex<int, on_cancel::defer>;
using releasing_mutex = mutex<int, on_cancel::release, on_exception::release>;

struct counts {
    int left = 0;
};

/// A section with two cancellation points, and one after it.
template <class Mutex>
task<> change_twice(Mutex& m, gate& first, gate& second, gate& after) {
    auto held = co_await m.lock();
    *held += 1;
    co_await first.pass();
    *held += 10;
    co_await second.pass();
    *held += 100;
    held.unlock();
    co_await after.pass();
}

} // namespace

TEST_CASE(
    "S22: with defer, a cancellation inside the section waits for the guard's release and "
    "is taken at the next co_await") {
    deferring_mutex m;
    gate first;
    gate second;
    gate after;
    stepped w;
    auto holder = w.spawn(change_twice(m, first, second, after));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(holder.done());
    first.open();
    w.settle();
    CHECK_FALSE(holder.done()); // the second co_await is inside too
    second.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled()); // it never passed the third
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 111);
}

TEST_CASE("S22: lock(on_cancel::defer) defers in that section only") {
    mutex<int> m;
    gate until;
    gate second;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at, gate& later) -> task<> {
        {
            auto held = co_await lock.lock(on_cancel::defer);
            co_await at.pass();
            *held += 1;
        }
        auto held = co_await lock.lock();
        co_await later.pass();
    };
    const bool in_the_second = GENERATE(false, true);
    auto holder = w.spawn(body(m, until, second));
    w.settle();
    if (in_the_second) until.open();
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(holder.done() == in_the_second);
    until.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(m.is_poisoned() == in_the_second);
    CHECK(m.get_mut(sync::ignore_poison) == 1);
}

TEST_CASE("S22: defer does not keep a waiter in the queue") {
    deferring_mutex m;
    gate until;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, until));
    w.settle();
    auto waiter = w.spawn(pass(m, entered, 1));
    w.settle();
    waiter.cancel();
    w.settle();
    CHECK(w.end_of(waiter).is_cancelled());
    until.open();
    w.settle();
    CHECK(entered.empty());
    CHECK(is_free(w, m));
}

TEST_CASE("S22: two deferring guards defer until both are released") {
    deferring_mutex a;
    deferring_mutex b;
    gate both;
    gate one;
    gate none;
    bool too_far = false;
    stepped w;
    auto body = [](deferring_mutex& first, deferring_mutex& second, gate& in_both, gate& in_one,
                   gate& in_none, bool& past) -> task<> {
        auto outer = co_await first.lock();
        {
            auto inner = co_await second.lock();
            co_await in_both.pass();
        }
        co_await in_one.pass();
        outer.unlock();
        co_await in_none.pass();
        past = true;
    };
    auto holder = w.spawn(body(a, b, both, one, none, too_far));
    w.settle();
    holder.cancel();
    w.settle();
    both.open();
    w.settle();
    CHECK_FALSE(holder.done());
    none.open();
    one.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK_FALSE(too_far);
    CHECK_FALSE(a.is_poisoned());
    CHECK_FALSE(b.is_poisoned());
}

TEST_CASE("S22: a try_lock and a timed lock on a deferring mutex defer too") {
    deferring_mutex m;
    gate until;
    stepped w;
    auto body = [](deferring_mutex& lock, gate& at, bool timed) -> task<> {
        auto held = lock.try_lock();
        if (timed) {
            held->unlock();
            held.reset();
            held = co_await lock.try_lock_for(1h);
        }
        co_await at.pass();
        **held = 5;
        held->unlock();
        co_await checkpoint();
        **held = 6;
    };
    const bool timed = GENERATE(false, true);
    auto holder = w.spawn(body(m, until, timed));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(holder.done());
    until.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(m.get_mut() == 5);
}

TEST_CASE("S22: an exception in a deferring section poisons as ever, and the cancellation is "
          "taken after it") {
    deferring_mutex m;
    gate until;
    stepped w;
    auto body = [](deferring_mutex& lock, gate& at) -> task<> {
        try {
            auto held = co_await lock.lock();
            co_await at.pass();
            throw std::runtime_error("boom");
        } catch (const std::runtime_error&) {
        }
        co_await checkpoint();
    };
    auto holder = w.spawn(body(m, until));
    w.settle();
    holder.cancel();
    w.settle();
    until.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
    CHECK(m.cause().cancel_pending());
}

TEST_CASE("S22: a deferring guard does not keep its own children from being cancelled by their "
          "own time limit") {
    deferring_mutex m;
    gate never;
    bool timed_out = false;
    stepped w;
    auto body = [](deferring_mutex& lock, gate& at, bool& late) -> task<> {
        auto held = co_await lock.lock();
        try {
            co_await with_timeout(1ms, at.pass());
        } catch (const timeout_error&) {
            late = true;
        }
        *held = 3;
    };
    auto holder = w.spawn(body(m, never, timed_out));
    w.settle();
    w.advance(1ms);
    CHECK(timed_out);
    CHECK(m.get_mut() == 3);
}

namespace {

task<> let_go_later(sync::guard<int> held, gate& until) {
    co_await until.pass();
    held.unlock();
}

} // namespace

TEST_CASE(
    "S22: a deferred request takes effect as soon as the guard ends, also when it was given "
    "to another task and the owner waits elsewhere") {
    deferring_mutex m;
    gate child_until;
    gate never;
    stepped w;
    auto body = [](deferring_mutex& lock, gate& child, gate& at) -> task<> {
        auto held = co_await lock.lock();
        spawn(let_go_later(std::move(held), child)).detach();
        co_await at.pass();
    };
    auto owner = w.spawn(body(m, child_until, never));
    w.settle();
    owner.cancel();
    w.settle();
    CHECK_FALSE(owner.done()); // its guard lives
    child_until.open();
    w.settle();
    CHECK(owner.done());
    CHECK_FALSE(m.is_poisoned());
}

namespace {

task<deferring_mutex::guard> take(deferring_mutex& m) {
    auto held = co_await m.lock();
    co_return std::move(held);
}

} // namespace

// The guard comes out of a boundary, so that its deferral has a state of its own, and is kept
// by the test. The request is still pending when the task ends; the handle keeps its record.
TEST_CASE("S22: a deferring guard that outlives its task and worker reaches for neither") {
    deferring_mutex m;
    std::optional<deferring_mutex::guard> kept;
    const auto frames = detail::live_frames();
    {
        std::optional<join_handle<void>> handle;
        gate until;
        {
            stepped w;
            auto body = [](deferring_mutex& lock, std::optional<deferring_mutex::guard>& out,
                           gate& at) -> task<> {
                auto inside = co_await as_outcome(take(lock));
                out.emplace(std::move(inside).value());
                co_await at.pass();
            };
            handle.emplace(w.spawn(body(m, kept, until)));
            w.settle();
            handle->cancel();
            w.settle();
            CHECK_FALSE(handle->done()); // its guard lives
            until.open();
            w.settle();
            CHECK(handle->done());
        }
        kept.reset();
    }
    CHECK_FALSE(m.is_poisoned());
    CHECK(detail::live_frames() == frames); // an errand to the worker would be left
}

TEST_CASE(
    "S22: a deferral stays with the task that locked: who was given the guard is cancelled "
    "as in any section") {
    deferring_mutex m;
    gate never;
    gate at;
    std::optional<join_handle<void>> receiver;
    stepped w;
    auto body = [](deferring_mutex& lock, gate& child, gate& until,
                   std::optional<join_handle<void>>& to) -> task<> {
        auto held = co_await lock.lock();
        to.emplace(spawn(let_go_later(std::move(held), child)));
        co_await until.pass();
    };
    auto giver = w.spawn(body(m, never, at, receiver));
    w.settle();
    receiver->cancel();
    w.settle();
    CHECK(w.end_of(*receiver).is_cancelled());
    CHECK(m.is_poisoned());
    at.open();
    w.settle();
    CHECK(giver.done());
}

TEST_CASE("S22: a deferring guard that becomes a recovery which gives up defers no longer") {
    deferring_mutex m;
    gate never;
    stepped w;
    w.run(break_by_exception(m));
    auto body = [](deferring_mutex& lock, gate& at) -> task<> {
        {
            auto right = co_await lock.recover();
        }
        co_await at.pass();
    };
    auto repairer = w.spawn(body(m, never));
    w.settle();
    repairer.cancel();
    w.settle();
    CHECK(repairer.done());
    CHECK(m.cause().attempts() == 1);
}

TEST_CASE(
    "S22: defer ends where the runtime does: a shutdown by force tears the section down and "
    "poisons") {
    deferring_mutex m;
    gate never;
    {
        stepped w;
        auto holder = w.spawn(hold(m, never));
        w.settle();
    }
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::cancelled);
    CHECK(m.cause().reason() == cancel_reason::shutdown);
}

TEST_CASE("S77: with release, a mutex stays usable when its holder is cancelled or fails") {
    releasing_mutex m;
    gate first;
    gate never;
    stepped w;
    auto body = [](releasing_mutex& counter, gate& at, bool fails) -> task<> {
        auto held = co_await counter.lock();
        *held += 1;
        co_await at.pass();
        if (fails) throw std::runtime_error("boom");
    };
    auto cancelled = w.spawn(body(m, never, false));
    w.settle();
    cancelled.cancel();
    w.settle();
    CHECK(w.end_of(cancelled).is_cancelled());
    first.open();
    auto failed = w.spawn(body(m, first, true));
    w.settle();
    CHECK(w.end_of(failed).has_exception());
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 2);
}

TEST_CASE(
    "S77: with release, the waiter behind is served when the holder leaves in the middle") {
    releasing_mutex m;
    gate never;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, never));
    w.settle();
    auto waiter = w.spawn(pass(m, entered, 1));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(entered == order{1});
}

TEST_CASE("policy: the two events have a policy each") {
    mutex<int, on_cancel::release> forgives_cancellation;
    mutex<int, on_cancel::poison, on_exception::release> forgives_exceptions;
    gate never;
    stepped w;
    w.run(break_by_exception(forgives_cancellation));
    CHECK(forgives_cancellation.is_poisoned());
    w.run(break_by_exception(forgives_exceptions));
    CHECK_FALSE(forgives_exceptions.is_poisoned());
    mutex<int, on_cancel::release> other;
    auto one = w.spawn(hold(other, never));
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(other.is_poisoned());
    gate also_never;
    auto two = w.spawn(hold(forgives_exceptions, also_never));
    w.settle();
    two.cancel();
    w.settle();
    CHECK(forgives_exceptions.is_poisoned());
}

TEST_CASE("policy: lock(on_cancel::release) releases in that section only") {
    mutex<int> m;
    gate never;
    stepped w;
    auto body = [](mutex<int>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock(on_cancel::release);
        co_await at.pass();
    };
    auto holder = w.spawn(body(m, never));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    w.run(break_by_exception(m)); // exceptions are another matter
    CHECK(m.is_poisoned());
}

TEST_CASE("policy: what the holder declares poisons whatever the policy is") {
    releasing_mutex m;
    auto held = m.blocking_lock();
    held.poison("broken on purpose");
    held.unlock();
    CHECK(m.is_poisoned());
    CHECK_THROWS_AS(m.try_lock(), poison_error);
}

TEST_CASE("S254: if_touched: a section that never dereferenced its guard poisons nothing; one "
          "that did does; view() does not count") {
    using touched = mutex<counts, on_cancel::if_touched, on_exception::if_touched>;
    enum class access { none, views, star, arrow, maps, moves_and_touches, touches_and_moves };
    auto section = [](touched& m, gate& middle, access how) -> task<> {
        auto held = co_await m.lock();
        if (how == access::views) CHECK(held.view().left == 0);
        if (how == access::star) static_cast<void>(*held);
        if (how == access::arrow) static_cast<void>(held->left);
        std::optional<sync::guard<int>> part;
        std::optional<sync::guard<counts>> moved;
        if (how == access::maps) part.emplace(held.map(&counts::left));
        if (how == access::touches_and_moves) static_cast<void>(*held);
        if (how == access::moves_and_touches || how == access::touches_and_moves) {
            moved.emplace(std::move(held));
        }
        if (how == access::moves_and_touches) static_cast<void>(**moved);
        co_await middle.pass();
        throw std::runtime_error("boom");
    };
    for (const access how :
         {access::none, access::views, access::star, access::arrow, access::maps,
          access::moves_and_touches, access::touches_and_moves}) {
        for (const bool cancelled : {true, false}) {
            touched m;
            gate middle;
            stepped w;
            auto one = w.spawn(section(m, middle, how));
            w.settle();
            if (cancelled) {
                one.cancel();
            } else {
                middle.open();
            }
            w.settle();
            CHECK(one.done());
            CHECK(m.is_poisoned() == (how != access::none && how != access::views));
        }
    }
}

TEST_CASE("S254: lock(on_cancel::if_touched) is for one section; the default stays poison") {
    mutex<int> m;
    gate never;
    stepped w;
    auto waits = [](mutex<int>& lock, gate& at, bool with_policy) -> task<> {
        if (with_policy) {
            auto held = co_await lock.lock(on_cancel::if_touched);
            co_await at.pass();
        } else {
            auto held = co_await lock.lock();
            co_await at.pass();
        }
    };
    auto one = w.spawn(waits(m, never, true));
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    auto two = w.spawn(waits(m, never, false));
    w.settle();
    two.cancel();
    w.settle();
    CHECK(m.is_poisoned());
}

TEST_CASE("S254: a section's policy that is known when the program runs: any but rollback") {
    CHECK_THROWS_AS(sync::section_policy::of(on_cancel::rollback), std::logic_error);
    for (const on_cancel policy : {on_cancel::poison, on_cancel::release}) {
        mutex<int> m;
        gate never;
        stepped w;
        auto holds = [](mutex<int>& lock, gate& at, on_cancel how) -> task<> {
            auto held = co_await lock.lock(sync::section_policy::of(how));
            *held = 1;
            co_await at.pass();
        };
        auto one = w.spawn(holds(m, never, policy));
        w.settle();
        one.cancel();
        w.settle();
        CHECK(m.is_poisoned() == (policy == on_cancel::poison));
    }
}

} // namespace toadstone::tests
