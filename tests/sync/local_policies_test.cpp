// The policies of a local_mutex, as its type and for one section: release, if_touched, defer,
// rollback.
#include <toadstone/sync/local_mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::local_mutex;
using sync::on_cancel;
using sync::on_exception;

using deferring = local_mutex<int, on_cancel::defer>;
using releasing = local_mutex<int, on_cancel::release, on_exception::release>;

struct pair_of {
    int left = 0;
    int right = 0;
    [[nodiscard]] bool whole() const { return left == right; }
};
using rolling = local_mutex<pair_of, on_cancel::rollback, on_exception::rollback>;

/// Cancels the holder in the middle of its section. Returns: whether that has poisoned.
template <class Mutex>
bool poisoned_by_cancel(Mutex& m) {
    gate never;
    stepped w;
    auto holder = w.spawn(hold(m, never));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    return m.is_poisoned();
}
template <class Mutex>
bool poisoned_by_exception(Mutex& m) {
    stepped w;
    w.run(break_by_exception(m));
    return m.is_poisoned();
}

} // namespace

TEST_CASE("S380: a local mutex that releases stays usable when its holder is cancelled or "
          "fails, and the waiter behind is served") {
    releasing m;
    gate never;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, never));
    w.settle();
    auto waiter = w.spawn(pass(m, entered, 1));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    CHECK(entered == order{1});
    CHECK_FALSE(m.is_poisoned());
    w.run(break_by_exception(m));
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S380: the two events have a policy each, with and without a waiter behind") {
    local_mutex<int, on_cancel::release> forgives_cancellation;
    CHECK_FALSE(poisoned_by_cancel(forgives_cancellation));
    local_mutex<int, on_cancel::release> and_nothing_else;
    CHECK(poisoned_by_exception(and_nothing_else));
    local_mutex<int, on_cancel::poison, on_exception::release> forgives_exceptions;
    CHECK_FALSE(poisoned_by_exception(forgives_exceptions));
    local_mutex<int, on_cancel::poison, on_exception::release> nor_more;
    CHECK(poisoned_by_cancel(nor_more));
    local_mutex<int> neither;
    CHECK(poisoned_by_cancel(neither));
}

TEST_CASE("S380: what the holder declares poisons whatever the policy is") {
    releasing m;
    stepped w;
    auto says = [](releasing& lock) -> task<> {
        auto held = co_await lock.lock();
        held.poison("broken on purpose");
    };
    w.run(says(m));
    CHECK(m.cause().why() == "broken on purpose");
}

TEST_CASE("S381: if_touched: a section that never dereferenced its guard poisons nothing; one "
          "that did does; view() does not count") {
    using touched = local_mutex<pair_of, on_cancel::if_touched, on_exception::if_touched>;
    enum class access { none, views, star, arrow, maps, moves, moves_touched, unlocks };
    auto section = [](touched& m, gate& middle, access how, bool throws) -> task<> {
        auto held = co_await m.lock();
        CHECK(held.held());
        CHECK_FALSE(m.try_lock());
        if (how == access::views) CHECK(held.view().left == 0);
        if (how == access::star || how == access::moves_touched) static_cast<void>(*held);
        if (how == access::arrow) static_cast<void>(held->left);
        std::optional<sync::local_part_guard<int>> part;
        std::optional<touched::guard> moved;
        if (how == access::maps) part.emplace(held.map(&pair_of::left));
        if (how == access::moves || how == access::moves_touched)
            moved.emplace(std::move(held));
        if (how == access::unlocks) held.unlock();
        co_await middle.pass();
        if (throws) throw std::runtime_error("boom");
    };
    for (const access how :
         {access::none, access::views, access::star, access::arrow, access::maps, access::moves,
          access::moves_touched, access::unlocks}) {
        for (const bool throws : {false, true}) {
            touched m;
            gate middle;
            stepped w;
            auto one = w.spawn(section(m, middle, how, throws));
            w.settle();
            throws ? middle.open() : one.cancel();
            w.settle();
            CHECK(one.done());
            const bool counts = how == access::star || how == access::arrow ||
                                how == access::maps || how == access::moves_touched;
            INFO(static_cast<int>(how) << throws);
            CHECK(m.is_poisoned() == counts);
            if (!counts) CHECK(is_free(w, m));
        }
    }
}

TEST_CASE(
    "S381: if_touched of an acquired waiter, of a try_lock, a time limit and a recovery") {
    using touched = local_mutex<int, on_cancel::if_touched>;
    auto section = [](touched& m, gate& middle, int how, bool touches) -> task<> {
        std::optional<touched::guard> held;
        std::optional<touched::recovery> right;
        if (how == 0) held = m.try_lock();
        if (how == 1) held = co_await m.try_lock_for(1h);
        if (how == 2) right.emplace(co_await m.recover());
        if (how == 3) {
            auto both = co_await m.lock_or_poison();
            held.emplace(both.into_guard());
        }
        if (touches) ++(held ? **held : **right);
        co_await middle.pass();
    };
    for (const int how : {0, 1, 2, 3}) {
        for (const bool touches : {false, true}) {
            touched m;
            gate until;
            gate never;
            stepped w;
            auto holder = w.spawn(hold(m, until));
            w.settle();
            if (how == 0) until.open();
            if (how == 0) w.settle();
            auto one = w.spawn(section(m, never, how, touches));
            w.settle();
            until.open();
            w.settle();
            one.cancel();
            w.settle();
            CHECK(one.done());
            CHECK(m.is_poisoned() == touches);
        }
    }
}

TEST_CASE("S381: a task that asks again for a lock that it has not touched is refused, too") {
    local_mutex<int, on_cancel::if_touched> m(0, "m");
    stepped w;
    auto twice = [](auto& lock) -> task<std::string> {
        auto held = co_await lock.lock();
        co_return co_await why_not(lock);
    };
    CHECK_THAT(w.run(twice(m)), Catch::Contains("'m'"));
}

TEST_CASE("S382: with defer, a cancellation inside the section waits for the guard's release "
          "and is taken at the next co_await") {
    enum class by { lock, try_lock, time_limit, hand_over, recovery };
    auto body = [](deferring& lock, gate& first, gate& second, gate& after, by how) -> task<> {
        std::optional<deferring::guard> held;
        if (how == by::lock || how == by::hand_over) held.emplace(co_await lock.lock());
        if (how == by::try_lock) held = lock.try_lock();
        if (how == by::time_limit) held = co_await lock.try_lock_for(1h);
        if (how == by::recovery) {
            auto right = co_await lock.recover();
            held.emplace(right.complete());
        }
        **held += 1;
        co_await first.pass();
        **held += 10;
        co_await second.pass();
        **held += 100;
        held->unlock();
        co_await after.pass();
        lock.get_mut() = -1;
    };
    for (const by how : {by::lock, by::try_lock, by::time_limit, by::hand_over, by::recovery}) {
        deferring m;
        gate until;
        gate first;
        gate second;
        gate after;
        stepped w;
        after.open();
        auto before = w.spawn(hold(m, until));
        w.settle();
        if (how != by::hand_over) until.open();
        w.settle();
        auto holder = w.spawn(body(m, first, second, after, how));
        w.settle();
        until.open();
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
}

TEST_CASE("S382: defer does not keep a waiter in the queue") {
    deferring m;
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

TEST_CASE("S382: an exception in a deferring section poisons as ever, and the cancellation is "
          "taken after it") {
    deferring m;
    gate until;
    stepped w;
    auto body = [](deferring& lock, gate& at) -> task<> {
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
    CHECK_FALSE(holder.done());
    until.open();
    w.settle();
    CHECK(w.end_of(holder).is_cancelled());
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
}

TEST_CASE(
    "S382: a deferral stays with the task that locked, and ends with the guard, also when "
    "that was given to another task and the owner waits for the same lock") {
    using guard = deferring::guard;
    auto lets_go_later = [](guard held, gate& until) -> task<> {
        co_await until.pass();
        held.unlock();
    };
    auto gives = [&](deferring& lock, gate& child,
                     std::optional<join_handle<void>>& to) -> task<> {
        auto held = co_await lock.lock();
        to.emplace(spawn(lets_go_later(std::move(held), child)));
        co_await yield_now();
        auto again = co_await lock.lock();
    };
    for (const bool receiver_stops : {false, true}) {
        deferring m;
        gate until;
        std::optional<join_handle<void>> receiver;
        stepped w;
        auto owner = w.spawn(gives(m, until, receiver));
        w.settle();
        owner.cancel();
        w.settle();
        CHECK_FALSE(owner.done()); // its guard lives
        receiver_stops ? receiver->cancel() : until.open();
        w.settle();
        CHECK(w.end_of(owner).is_cancelled());
        CHECK(m.is_poisoned() == receiver_stops);
        CHECK(m.waiters() == 0);
        CHECK_FALSE(m.is_locked());
    }
}

TEST_CASE("S382: a deferring guard that becomes a recovery which gives up defers no longer") {
    deferring m;
    gate never;
    stepped w;
    w.run(break_by_exception(m));
    auto body = [](deferring& lock, gate& at) -> task<> {
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

TEST_CASE("S382: defer ends where the runtime does: a shutdown by force poisons") {
    deferring m;
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

TEST_CASE("S383: lock(policy): that section, and no other, has it; exceptions are another "
          "matter") {
    auto holds = [](local_mutex<int>& lock, gate& at, on_cancel how, bool touches,
                    bool throws) -> task<> {
        auto held = co_await lock.lock(sync::section_policy::of(how));
        if (touches) ++*held;
        co_await at.pass();
        if (throws) throw std::runtime_error("boom");
    };
    for (const on_cancel how :
         {on_cancel::poison, on_cancel::release, on_cancel::if_touched, on_cancel::defer}) {
        for (const bool touches : {false, true}) {
            local_mutex<int> m;
            gate never;
            gate also_never;
            stepped w;
            auto one = w.spawn(holds(m, never, how, touches, false));
            w.settle();
            one.cancel();
            w.settle();
            CHECK(one.done() == (how != on_cancel::defer));
            never.open();
            w.settle();
            REQUIRE(one.done());
            const bool poisons =
                how == on_cancel::poison || (how == on_cancel::if_touched && touches);
            CHECK(m.is_poisoned() == poisons);
            if (poisons) continue;
            auto two = w.spawn(hold(m, also_never));
            w.settle();
            two.cancel();
            w.settle();
            CHECK(two.done());
            CHECK(m.is_poisoned());
        }
        local_mutex<int> other;
        gate open;
        open.open();
        stepped w;
        auto three = w.spawn(holds(other, open, how, true, true));
        w.settle();
        CHECK(w.end_of(three).has_exception());
        CHECK(other.is_poisoned());
    }
}

TEST_CASE("S384: a guard that rolls back moves: one copy, one commit; the waiter behind is "
          "served") {
    rolling m;
    order entered;
    stepped w;
    auto story = [](rolling& lock) -> task<> {
        auto one = co_await lock.lock();
        co_await yield_now();
        *one = {1, 1};
        auto two = std::move(one);
        CHECK_FALSE(one.held());
        CHECK(two.view().left == 1);
        two.unlock();
        CHECK_THROWS_AS(*two, std::logic_error);
    };
    auto first = w.spawn(story(m));
    auto behind = w.spawn(pass(m, entered, 1));
    w.settle();
    CHECK(w.end_of(first).has_value());
    CHECK(entered == order{1});
    CHECK(m.get_mut().left == 1);
    auto again = [](rolling& lock) -> task<> {
        auto two = co_await lock.lock();
        two.unlock();
        auto three = co_await lock.lock();
        *three = {2, 2};
        two = std::move(three);
        CHECK(two.held());
    };
    w.run(again(m));
    CHECK(m.get_mut().left == 2);
}

TEST_CASE("S384: recover(), lock_or_poison() and lock_or_recover() of one that rolls back") {
    rolling m;
    stepped w;
    auto story = [](rolling& lock) -> task<> {
        auto held = co_await lock.lock();
        held.poison("broken");
        auto looked = co_await lock.lock_or_poison();
        CHECK_FALSE(static_cast<bool>(looked));
        looked.guard()->left = 4;
        looked.guard().rollback();
        auto right = co_await lock.recover();
        *right = {3, 3};
        auto repaired = right.complete();
        repaired->left = 5;
        repaired.rollback();
        CHECK(lock.get_mut().left == 3);
        held = co_await lock.lock();
        held.poison("broken again");
        auto repair = [](pair_of& data, const poison_cause&) { data = {6, 6}; };
        auto again = co_await lock.lock_or_recover(repair);
        CHECK(again->left == 6);
    };
    w.run(story(m));
    CHECK(m.get_mut().left == 6);
    auto fails = [](rolling& lock) -> task<> {
        auto right = co_await lock.recover(); // of healthy data: on the data itself
        ++right->left;
        throw std::runtime_error("boom");
    };
    CHECK_THROWS_AS(w.run(fails(m)), std::runtime_error);
    CHECK(m.is_poisoned());
}

namespace {

/// A T whose copies throw when they are told to.
struct copied {
    explicit copied(int n) : value(n) {}
    copied(const copied& other) : value(other.value) {
        if (fails) throw std::bad_alloc();
    }
    copied(copied&&) noexcept = default;
    copied& operator=(copied&&) noexcept = default;
    int value;
    static inline bool fails = false;
};

} // namespace

TEST_CASE(
    "S385: a copy that throws releases clean, for a transaction and for a lock that rolls "
    "back") {
    copied::fails = true;
    local_mutex<copied> plain(copied(1));
    local_mutex<copied, on_cancel::rollback, on_exception::poison> rolls(copied(2));
    stepped w;
    auto begin = [](local_mutex<copied>& m) -> task<> { auto tx = co_await m.transaction(); };
    auto lock = [](auto& m) -> task<> { auto held = co_await m.lock(); };
    auto tries = [](auto& m) -> task<> {
        auto held = m.try_lock();
        co_return;
    };
    CHECK_THROWS_AS(w.run(begin(plain)), std::bad_alloc);
    CHECK_THROWS_AS(w.run(lock(rolls)), std::bad_alloc);
    CHECK_THROWS_AS(w.run(tries(rolls)), std::bad_alloc);
    copied::fails = false;
    CHECK_FALSE(plain.is_poisoned());
    CHECK_FALSE(rolls.is_poisoned());
    CHECK(is_free(w, plain));
    CHECK(is_free(w, rolls));
}

} // namespace toadstone::tests
