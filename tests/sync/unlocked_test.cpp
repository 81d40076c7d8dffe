// guard::unlocked() and guard::try_map(): a section that is open for a while, or narrower.
#include <toadstone/sync/local_mutex.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;

/// Its frame's last destructor uses the guard: an int of its own says what it found.
template <class Guard>
class uses_guard {
public:
    uses_guard(Guard& held, int& found) : held_(held), found_(found) {}
    uses_guard(const uses_guard&) = delete;
    uses_guard& operator=(const uses_guard&) = delete;
    ~uses_guard() { found_ = held_.held() ? held_.view() : -1; }

private:
    Guard& held_;
    int& found_;
};

template <class Mutex>
task<> opens(Mutex& m, gate& until, int& found) {
    auto held = co_await m.lock();
    uses_guard last(held, found);
    *held = 1;
    auto wait = [&] { return until.pass(); };
    co_await held.unlocked(wait);
    *held = 2;
}
template <class Mutex>
task<> poisons(Mutex& m, gate& until) {
    auto held = co_await m.lock();
    co_await until.pass();
    held.poison("broken");
}

} // namespace

#define TOADSTONE_MUTEXES sync::mutex<int>, sync::local_mutex<int>

TEMPLATE_TEST_CASE(
    "S364, S392: the lock is open while something else runs, and held again after it, behind "
    "those who came first",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m;
    gate until;
    gate holder;
    order entered;
    int found = 0;
    stepped w;
    auto one = w.spawn(opens(m, until, found));
    w.settle();
    CHECK(is_free(w, m));
    auto two = w.spawn(hold(m, holder, entered, 2));
    w.settle();
    CHECK(entered == order{2});
    until.open();
    w.settle();
    CHECK_FALSE(one.done());
    auto three = w.spawn(pass(m, entered, 3));
    w.settle();
    holder.open();
    w.settle();
    CHECK(w.end_of(one).has_value());
    CHECK(found == 2);
    CHECK(entered == order{2, 3});
}

TEMPLATE_TEST_CASE(
    "S364: results and exceptions come out, with the lock held; an exception that leaves "
    "the section poisons only if the guard is used after it",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    stepped w;
    lock m;
    auto gives = [](lock& of) -> task<int> {
        auto held = co_await of.lock();
        auto answer = [&]() -> task<int> {
            CHECK_FALSE(held.held());
            CHECK(of.try_lock().has_value());
            co_return 42;
        };
        const int got = co_await held.unlocked(answer);
        CHECK(held.held());
        CHECK_FALSE(of.try_lock().has_value());
        co_return got;
    };
    CHECK(w.run(gives(m)) == 42);

    for (const bool uses : {false, true}) {
        lock other;
        auto fails = [](lock& of, bool use) -> task<> {
            auto held = co_await of.lock();
            ++*held;
            auto thrower = []() -> task<> {
                co_await yield_now();
                throw std::runtime_error("boom");
            };
            try {
                co_await held.unlocked(thrower);
            } catch (const std::runtime_error&) {
                CHECK(held.held());
                if (use) ++*held;
                throw;
            }
        };
        CHECK_THROWS_AS(w.run(fails(other, uses)), std::runtime_error);
        CHECK(other.is_poisoned() == uses);
    }
    auto throws_at_once = [](lock& of) -> task<> {
        auto held = co_await of.lock();
        auto thrower = []() -> task<> { throw std::runtime_error("boom"); };
        co_await held.unlocked(thrower);
    };
    CHECK_THROWS_AS(w.run(throws_at_once(m)), std::runtime_error);
    CHECK_FALSE(m.is_poisoned());
}

TEMPLATE_TEST_CASE(
    "S43: an open section that is cancelled has the lock again before any destructor, and "
    "is not poisoned",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    for (const bool waits_for_lock : {false, true}) {
        lock m(7);
        gate until;
        gate holder;
        int found = 0;
        order entered;
        stepped w;
        auto one = w.spawn(opens(m, until, found));
        w.settle();
        auto two = w.spawn(hold(m, holder, entered, 2));
        w.settle();
        one.cancel();
        w.settle();
        CHECK_FALSE(one.done()); // it waits for the lock
        if (waits_for_lock) {
            one.cancel();
            w.settle();
            CHECK_FALSE(one.done());
        }
        holder.open();
        w.settle();
        CHECK(w.end_of(one).is_cancelled());
        CHECK(found == 1);
        CHECK_FALSE(m.is_poisoned());
        CHECK(is_free(w, m));
    }
}

TEMPLATE_TEST_CASE(
    "S365: what has run inside to its end is delivered, though a request came while the "
    "lock was waited for",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m;
    gate until;
    gate holder;
    order entered;
    int found = 0;
    stepped w;
    auto one = w.spawn(opens(m, until, found));
    w.settle();
    auto two = w.spawn(hold(m, holder, entered, 2));
    w.settle();
    until.open();
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(one.done());
    holder.open();
    w.settle();
    CHECK(one.done());
    CHECK(found == 2); // it went on, to its end
    CHECK_FALSE(m.is_poisoned());
}

TEMPLATE_TEST_CASE(
    "S45: poisoned while it was open: the await throws, holding nothing; a cancelled one "
    "has the lock all the same, and poisons nothing more",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m(7, "m");
    gate first;
    gate until;
    gate breaks;
    int found = 0;
    stepped w;
    auto one = w.spawn(opens(m, first, found));
    w.settle();
    auto two = w.spawn(opens(m, until, found));
    w.settle();
    auto three = w.spawn(poisons(m, breaks));
    w.settle();
    one.cancel();
    breaks.open();
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    CHECK(found == 1);
    until.open();
    w.settle();
    CHECK_THROWS_AS(w.end_of(two).value(), poison_error);
    CHECK(found == -1);
    CHECK(m.cause().kind() == poison_kind::declared);
    CHECK(m.cause().attempts() == 0);
}

TEMPLATE_TEST_CASE(
    "S365: what ends inside by a token of its own ends the task, with the lock held again; "
    "where another guard defers that, the await throws",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    const bool before =
        GENERATE(false, true); // the token is cancelled before the section opens
    for (const bool deferred : {false, true}) {
        lock m(7);
        lock other;
        gate until;
        cancellation_source source;
        int found = 0;
        bool thrown = false;
        stepped w;
        if (before) source.cancel();
        auto one = w.spawn([](lock& of, lock& around, gate& inside, cancellation_source& from,
                              bool defers, int& seen, bool& threw) -> task<> {
            auto outer = co_await around.lock(sync::section_policy::of(
                defers ? sync::on_cancel::defer : sync::on_cancel::release));
            auto held = co_await of.lock();
            uses_guard last(held, seen);
            *held = 1;
            auto wait = [&] { return with_token(from.token(), inside.pass()); };
            try {
                co_await held.unlocked(wait);
            } catch (const task_cancelled&) {
                threw = held.held();
            }
        }(m, other, until, source, deferred, found, thrown));
        w.settle();
        if (!before) CHECK(is_free(w, m));
        source.cancel();
        w.settle();
        CHECK(one.done());
        CHECK(w.end_of(one).is_cancelled() != deferred);
        CHECK(thrown == deferred);
        CHECK(found == 1);
        CHECK_FALSE(m.is_poisoned());
        CHECK(is_free(w, m));
    }
}

TEMPLATE_TEST_CASE(
    "S365: what ends by a token of its own ends the task, whose guard defers, once it has "
    "its lock again; the next task is none the worse",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m(7);
    gate until;
    cancellation_source source;
    stepped w;
    auto one = w.spawn([](lock& of, gate& inside, cancellation_source& from) -> task<> {
        auto held = co_await of.lock(sync::on_cancel::defer);
        auto wait = [&] { return with_token(from.token(), inside.pass()); };
        co_await held.unlocked(wait);
    }(m, until, source));
    w.settle();
    source.cancel();
    w.settle();
    CHECK(w.end_of(one).is_cancelled());
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEMPLATE_TEST_CASE("S365: opened in a boundary that ends it, a section is the task's again: it "
                   "defers, and the "
                   "task that asks for the lock is told",
                   "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    enum class ended_by { outcome, exception, race, scope };
    for (const auto how :
         {ended_by::outcome, ended_by::exception, ended_by::race, ended_by::scope}) {
        lock m(7);
        gate until;
        stepped w;
        auto one = w.spawn([](lock& of, gate& after, ended_by what) -> task<> {
            auto held = co_await of.lock(sync::on_cancel::defer);
            auto nothing = []() -> task<> { co_await sleep_for(1h); };
            if (what == ended_by::outcome) {
                const auto late = co_await try_with_timeout(1ms, held.unlocked(nothing));
                CHECK_FALSE(late.has_value());
            } else if (what == ended_by::exception) {
                try {
                    co_await with_timeout(1ms, held.unlocked(nothing));
                } catch (const timeout_error&) {
                }
            } else if (what == ended_by::race) {
                static_cast<void>(co_await when_any(sleep_for(1ms), held.unlocked(nothing)));
            } else {
                auto opens_it = [&]() -> task<> { co_await held.unlocked(nothing); };
                auto body = [&](task_scope& scope) -> task<> {
                    scope.spawn(opens_it()).detach();
                    co_await shield(sleep_for(1ms));
                    scope.cancel();
                };
                co_await with_scope(body);
            }
            CHECK(held.held());
            try {
                auto again = co_await of.lock();
                CHECK(false);
            } catch (const sync::would_deadlock&) {
            }
            *held = 1;
            co_await after.pass();
            *held = 2;
        }(m, until, how));
        w.settle();
        w.advance(1ms);
        CHECK_FALSE(one.done());
        one.cancel();
        w.settle();
        CHECK_FALSE(one.done()); // it defers
        until.open();
        w.settle();
        CHECK(one.done());
        CHECK_FALSE(m.is_poisoned());
        CHECK(m.get_mut() == 2);
    }
}

TEMPLATE_TEST_CASE(
    "S364: poisoned meanwhile, and what runs inside fails: poison_error, with that nested", "",
    TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m(7);
    stepped w;
    auto fails = [](lock& of) -> task<std::string> {
        auto held = co_await of.lock();
        auto inside = [&]() -> task<> {
            auto other = of.try_lock();
            other->poison("broken");
            other->unlock();
            throw std::runtime_error("io");
            co_return;
        };
        std::string nested;
        try {
            co_await held.unlocked(inside);
        } catch (const poison_error& error) {
            CHECK_FALSE(held.held());
            try {
                std::rethrow_if_nested(error);
            } catch (const std::runtime_error& cause) {
                nested = cause.what();
            }
        }
        co_return nested;
    };
    CHECK(w.run(fails(m)) == "io");
    CHECK(m.cause().kind() == poison_kind::declared);
    CHECK_FALSE(m.is_locked());
}

TEMPLATE_TEST_CASE(
    "S366: what runs inside gives a guard of the same mutex: the wait would have no end", "",
    TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m(7);
    stepped w;
    auto asks = [](lock& of) -> task<> {
        auto held = co_await of.lock();
        auto locks = [&] { return of.lock(); };
        auto other = co_await held.unlocked(locks);
    };
    CHECK_THROWS_AS(w.run(asks(m)), sync::would_deadlock);
    CHECK_FALSE(m.is_locked());
    CHECK_FALSE(m.is_poisoned());
}

TEMPLATE_TEST_CASE("S366: misuse: a guard that holds nothing opens nothing", "",
                   TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m;
    stepped w;
    auto misuses = [](lock& of) -> task<> {
        auto held = co_await of.lock();
        held.unlock();
        auto nothing = []() -> task<> { co_return; };
        co_await held.unlocked(nothing);
    };
    CHECK_THROWS_AS(w.run(misuses(m)), std::logic_error);
}

TEMPLATE_TEST_CASE(
    "S366: an open section defers nothing, and does so again when it has the lock", "",
    TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m;
    gate until;
    gate last;
    stepped w;
    auto one = w.spawn([](lock& of, gate& inside, gate& after) -> task<> {
        auto held = co_await of.lock(sync::on_cancel::defer);
        auto wait = [&] { return inside.pass(); };
        co_await held.unlocked(wait);
        co_await after.pass();
        *held = 9;
    }(m, until, last));
    w.settle();
    until.open();
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(one.done());
    last.open();
    w.settle();
    CHECK(one.done());
    CHECK(m.get_mut() == 9);
    gate other;
    auto two = w.spawn([](lock& of, gate& inside) -> task<> {
        auto held = co_await of.lock(sync::on_cancel::defer);
        auto wait = [&] { return inside.pass(); };
        co_await held.unlocked(wait);
    }(m, other));
    w.settle();
    two.cancel();
    w.settle();
    CHECK(w.end_of(two).is_cancelled());
    CHECK_FALSE(m.is_poisoned());
}

TEMPLATE_TEST_CASE("S367: a forced end leaves the guard of an open section empty", "",
                   TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m;
    gate until;
    gate never;
    int found = 7;
    order entered;
    {
        stepped w;
        auto holder = w.spawn([](lock& of, gate& at, int& left) -> task<> {
            int inner = 0;
            co_await opens(of, at, inner);
            left = inner;
        }(m, until, found));
        auto direct = w.spawn(opens(m, never, found));
        w.settle();
    } // the worker takes its tasks down
    CHECK(found == -1);
    CHECK_FALSE(m.is_poisoned());
    CHECK_FALSE(m.is_locked());
}

TEMPLATE_TEST_CASE("S366: what was said of a section holds when it goes on", "",
                   TOADSTONE_MUTEXES) {
    using lock = TestType;
    lock m;
    gate inside;
    stepped w;
    auto one = w.spawn([](lock& of, gate& at) -> task<> {
        auto held = co_await of.lock();
        held.mark_consistent();
        auto wait = [&] { return at.pass(); };
        co_await held.unlocked(wait);
        ++*held;
        throw std::runtime_error("boom");
    }(m, inside));
    w.settle();
    CHECK(is_free(w, m)); // another section, of another kind
    inside.open();
    w.settle();
    CHECK(w.end_of(one).has_exception());
    CHECK_FALSE(m.is_poisoned());
}

TEMPLATE_TEST_CASE(
    "S365: a limit of time around an open section gives it back as it was: left then, it "
    "poisons",
    "", TOADSTONE_MUTEXES) {
    using lock = TestType;
    for (const bool catches : {false, true}) {
        lock m;
        stepped w;
        auto one = w.spawn([](lock& of, bool goes_on) -> task<> {
            auto held = co_await of.lock();
            ++*held;
            auto nothing = []() -> task<> { co_await sleep_for(1h); };
            try {
                co_await with_timeout(1ms, held.unlocked(nothing));
            } catch (const timeout_error&) {
                CHECK(held.held());
                if (!goes_on) throw;
            }
        }(m, catches));
        w.settle();
        CHECK(is_free(w, m));
        w.advance(1ms);
        CHECK(w.end_of(one).has_exception() != catches);
        CHECK(m.is_poisoned() != catches);
        CHECK_FALSE(m.is_locked());
    }
}

TEST_CASE("S368: try_map() narrows a guard to what is there, or leaves it as it was") {
    struct entry {
        int id = 0;
        int value = 0;
    };
    sync::mutex<std::vector<entry>> m({{1, 10}, {2, 20}}, "m");
    stepped w;
    auto changes = [](auto& of, int id) -> task<bool> {
        auto held = co_await of.lock();
        auto find = [&](std::vector<entry>& all) -> entry* {
            for (entry& each : all) {
                if (each.id == id) return &each;
            }
            return nullptr;
        };
        auto found = held.try_map(find);
        CHECK(held.held() == !found.has_value());
        CHECK_FALSE(of.try_lock().has_value());
        if (found) (*found)->value = 5;
        co_return found.has_value();
    };
    CHECK(w.run(changes(m, 2)));
    CHECK_FALSE(w.run(changes(m, 3)));
    CHECK(m.get_mut()[1].value == 5);
    auto breaks = [](auto& of) -> task<> {
        auto held = co_await of.lock();
        auto first = held.try_map([](std::vector<entry>& all) { return all.data(); });
        REQUIRE(first.has_value());
        throw std::runtime_error("boom");
    };
    CHECK_THROWS_AS(w.run(breaks(m)), std::runtime_error);
    CHECK(m.is_poisoned());
}

} // namespace toadstone::tests
