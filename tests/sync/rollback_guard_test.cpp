// Mutexes whose type rolls back: sections on a copy, which take the data's place if they end
// well.
#include <toadstone/sync/local_mutex.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using sync::mutex;
using sync::on_cancel;
using sync::on_exception;

struct pair_of {
    int left = 0;
    int right = 0;
    [[nodiscard]] bool whole() const { return left == right; }
};

/// How a section of a mutex that rolls back ends.
enum class way { unlocks, dies, throws, is_cancelled, reset_in_handler, poisons, rolls_back };

template <class Mutex>
task<> change(Mutex& m, gate& middle, way how) {
    std::optional<typename Mutex::guard> held;
    held.emplace(co_await m.lock());
    ++(*held)->left;
    co_await middle.pass();
    if (how == way::throws) throw std::runtime_error("boom");
    try {
        if (how == way::reset_in_handler) throw std::runtime_error("caught");
    } catch (const std::runtime_error&) {
        held.reset();
        co_return;
    }
    if (how == way::poisons) held->poison("broken");
    if (how == way::rolls_back) held->rollback();
    if (how == way::poisons || how == way::rolls_back) co_return;
    ++(*held)->right;
    if (how == way::unlocks) held->unlock();
}

struct result_of_change {
    int left;
    bool poisoned;
    friend bool operator==(const result_of_change&, const result_of_change&) = default;
};

template <class Mutex>
result_of_change after(way how) {
    Mutex m;
    gate middle;
    stepped w;
    auto one = w.spawn(change(m, middle, how));
    w.settle();
    if (how == way::is_cancelled) {
        one.cancel();
    } else {
        middle.open();
    }
    w.settle();
    CHECK(one.done());
    CHECK(m.get_mut(sync::ignore_poison).whole()); // whatever happened
    CHECK_FALSE(m.is_locked());
    if (m.is_poisoned()) CHECK_FALSE(m.cause().to_string().empty());
    if (how == way::reset_in_handler && m.is_poisoned()) {
        CHECK_THAT(m.cause().to_string(), Catch::Contains("caught"));
    }
    return {m.get_mut(sync::ignore_poison).left, m.is_poisoned()};
}

/// The mutexes with those policies, of each kind.
struct of_any_worker {
    template <on_cancel C, on_exception E>
    using mutex = sync::mutex<pair_of, C, E>;
};
struct of_one_worker {
    template <on_cancel C, on_exception E>
    using mutex = sync::local_mutex<pair_of, C, E>;
};
#define TOADSTONE_KINDS of_any_worker, of_one_worker

} // namespace

TEMPLATE_TEST_CASE(
    "S251, S384: rollback for both kinds of end: unlock() and death in normal control flow "
    "commit, everything else drops the copy and leaves the lock healthy",
    "", TOADSTONE_KINDS) {
    using both = typename TestType::template mutex<on_cancel::rollback, on_exception::rollback>;
    CHECK(after<both>(way::unlocks) == result_of_change{1, false});
    CHECK(after<both>(way::dies) == result_of_change{1, false});
    CHECK(after<both>(way::throws) == result_of_change{0, false});
    CHECK(after<both>(way::is_cancelled) == result_of_change{0, false});
    CHECK(after<both>(way::reset_in_handler) == result_of_change{0, false});
    CHECK(after<both>(way::rolls_back) == result_of_change{0, false});
    CHECK(after<both>(way::poisons) == result_of_change{0, true});
}

TEMPLATE_TEST_CASE(
    "S252, S384: rollback mixed with the other kind's policy: the copy is dropped, and that "
    "policy decides whether it poisons besides",
    "", TOADSTONE_KINDS) {
    using by_cancel =
        typename TestType::template mutex<on_cancel::rollback, on_exception::poison>;
    CHECK(after<by_cancel>(way::is_cancelled) == result_of_change{0, false});
    CHECK(after<by_cancel>(way::throws) == result_of_change{0, true});
    CHECK(after<by_cancel>(way::reset_in_handler) == result_of_change{0, true});
    CHECK(after<by_cancel>(way::dies) == result_of_change{1, false});

    using by_exception =
        typename TestType::template mutex<on_cancel::poison, on_exception::rollback>;
    CHECK(after<by_exception>(way::is_cancelled) == result_of_change{0, true});
    CHECK(after<by_exception>(way::throws) == result_of_change{0, false});
    CHECK(after<by_exception>(way::reset_in_handler) == result_of_change{0, false});

    using releasing =
        typename TestType::template mutex<on_cancel::release, on_exception::rollback>;
    CHECK(after<releasing>(way::is_cancelled) == result_of_change{0, false});
    CHECK(after<releasing>(way::throws) == result_of_change{0, false});

    using touched =
        typename TestType::template mutex<on_cancel::if_touched, on_exception::rollback>;
    CHECK(after<touched>(way::is_cancelled) == result_of_change{0, true});
}

TEMPLATE_TEST_CASE(
    "S252: rollback for exceptions, deferred for cancellations: the section ends first", "",
    TOADSTONE_KINDS) {
    using deferring =
        typename TestType::template mutex<on_cancel::defer, on_exception::rollback>;
    deferring m;
    gate middle;
    stepped w;
    auto one = w.spawn(change(m, middle, way::unlocks));
    w.settle();
    one.cancel();
    w.settle();
    CHECK_FALSE(one.done());
    middle.open();
    w.settle();
    CHECK(m.get_mut().left == 1);
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S252: a reset in a handler tells what that handler caught, if it poisons") {
    using by_cancel = mutex<pair_of, on_cancel::rollback, on_exception::poison>;
    by_cancel m;
    gate open;
    open.open();
    stepped w;
    w.run(change(m, open, way::reset_in_handler));
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
    CHECK(m.cause().to_string().find("caught") != std::string::npos);
}

TEST_CASE("S253: a handler that was entered before the section began does not matter to it") {
    mutex<pair_of, on_cancel::rollback, on_exception::rollback> m;
    try {
        throw 1;
    } catch (int) {
        {
            auto held = m.blocking_lock(); // in the handler itself
            ++held->left;
            ++held->right;
        }
        stepped w; // its tasks run inside the handler
        gate open;
        open.open();
        w.run(change(m, open, way::dies));
    }
    CHECK(m.get_mut().left == 2);
    std::optional<decltype(m)::guard> outlives;
    try {
        throw 1;
    } catch (int) {
        outlives.emplace(m.blocking_lock());
        ++(*outlives)->left;
        ++(*outlives)->right;
    }
    outlives.reset();
    CHECK(m.get_mut().left == 3);
}

TEST_CASE("S251: a guard that rolls back moves: one copy, one commit") {
    using both = mutex<pair_of, on_cancel::rollback, on_exception::rollback>;
    both m;
    stepped w;
    auto story = [](both& lock) -> task<> {
        auto one = co_await lock.lock();
        one->left = 1;
        one->right = 1;
        auto two = std::move(one);
        CHECK_FALSE(one.held());
        CHECK(two->left == 1);
        two.unlock();
        CHECK(lock.get_mut().left == 1);
        auto three = co_await lock.lock();
        three->left = 2;
        three->right = 2;
        two = std::move(three);
        CHECK(two.held());
    };
    w.run(story(m));
    CHECK(m.get_mut().left == 2);
}

TEST_CASE(
    "S251: with_lock() of a mutex that rolls back: the copy of a strict section is dropped "
    "unless the function returned, and that poisons") {
    using both = mutex<pair_of, on_cancel::rollback, on_exception::rollback>;
    both m;
    stepped w;
    auto good = [](both& lock) -> task<> {
        auto fn = [](pair_of& data) {
            data.left = 1;
            data.right = 1;
        };
        co_await lock.with_lock(fn);
    };
    auto bad = [](both& lock) -> task<> {
        auto fn = [](pair_of& data) {
            data.left = 2;
            throw std::runtime_error("boom");
        };
        co_await lock.with_lock(fn);
    };
    w.run(good(m));
    CHECK_THROWS_AS(w.run(bad(m)), std::runtime_error);
    CHECK(m.is_poisoned());
    CHECK(m.get_mut(sync::ignore_poison).left == 1);
}

TEST_CASE(
    "S251: recover(), lock_or_poison() and lock_or_recover() of a mutex that rolls back") {
    using both = mutex<pair_of, on_cancel::rollback, on_exception::rollback>;
    both m;
    stepped w;
    auto story = [](both& lock) -> task<> {
        auto held = co_await lock.lock();
        held.poison("broken");
        auto looked = co_await lock.lock_or_poison();
        CHECK_FALSE(static_cast<bool>(looked));
        looked.guard()->left = 4; // dropped
        looked.guard().rollback();
        auto right = co_await lock.recover();
        right->left = 3;
        right->right = 3;
        auto repaired = right.complete();
        CHECK(repaired->left == 3);
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
}

TEST_CASE("S251: a recovery of healthy data works on the data itself, and poisons if it is "
          "interrupted, although the type rolls back") {
    using both = mutex<pair_of, on_cancel::rollback, on_exception::rollback>;
    both m;
    stepped w;
    auto fails = [](both& lock) -> task<> {
        auto right = co_await lock.recover();
        ++right->left;
        throw std::runtime_error("boom");
    };
    CHECK_THROWS_AS(w.run(fails(m)), std::runtime_error);
    CHECK(m.is_poisoned());
}

} // namespace toadstone::tests
