// local_mutex: the queue, the poison, recovery and cancellation, as of mutex, on one worker;
// and what a second worker gets.
#include <toadstone/sync/local_mutex.hpp>

#include "support/dies.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;
using sync::local_mutex;

constinit local_mutex<int> static_mutex(7, "static");

task<> set(local_mutex<int>& m, int value) {
    auto held = co_await m.lock();
    *held = value;
}

/// Takes the lock whatever its state is, and notes what it came to.
task<> looks(local_mutex<int>& m, order& entered, int who) {
    auto both = co_await m.lock_or_poison();
    entered.push_back(both ? who : -who);
    CHECK(both.guard().is_poisoned() == !both);
}

task<> repairs(local_mutex<int>& m, int value) {
    auto right = co_await m.recover();
    CHECK(right.needed());
    *right = value;
    auto held = right.complete();
    CHECK_FALSE(held.is_poisoned());
}

} // namespace

TEST_CASE("local_mutex: what one holder wrote the next one reads, and nobody else comes in") {
    local_mutex<int> m(1, "m");
    stepped w;
    CHECK(m.name() == "m");
    w.run(set(m, 4));
    CHECK(m.get_mut() == 4);
    auto inside = [](local_mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        CHECK(held);
        CHECK_FALSE(lock.try_lock());
        CHECK_THROWS_AS(lock.get_mut(), std::logic_error);
        ++*held;
        held.unlock();
        CHECK_FALSE(held);
        CHECK_THROWS_AS(*held, std::logic_error);
        auto again = lock.try_lock();
        CHECK(**again == 5);
    };
    w.run(inside(m));
    CHECK(m.get_mut() == 5);
}

TEST_CASE("local_mutex: a static one is constant-initialised and usable at once") {
    stepped w;
    w.run(set(static_mutex, 8));
    CHECK(static_mutex.get_mut() == 8);
}

TEST_CASE("S150: first come, first served; who leaves the queue is missed by nobody, from "
          "whatever place") {
    const int leaves = GENERATE(0, 1, 2, 3);
    local_mutex<int> m;
    gate release;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    std::vector<join_handle<void>> waiters;
    for (int i = 0; i < 3; ++i) {
        waiters.push_back(w.spawn(pass(m, entered, i)));
        w.settle();
    }
    if (leaves < 3) waiters[static_cast<std::size_t>(leaves)].cancel();
    w.settle();
    CHECK(entered.empty());
    release.open();
    w.settle();
    order expected{0, 1, 2};
    if (leaves < 3) expected.erase(expected.begin() + leaves);
    CHECK(entered == expected);
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S150: who is granted the lock and cancelled in one turn hands it on, clean") {
    local_mutex<int> m;
    gate release;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto first = w.spawn(pass(m, entered, 1));
    w.settle();
    auto second = w.spawn(pass(m, entered, 2));
    w.settle();
    release.open();
    w.step(); // the holder releases: the lock is the first one's, which has not run
    first.cancel();
    w.settle();
    CHECK(w.end_of(first).is_cancelled());
    CHECK(entered == order{2});
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("local_mutex: a release between hand-over and resumption lets nobody overtake") {
    local_mutex<int> m;
    gate release;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto waiter = w.spawn(pass(m, entered, 1));
    w.settle();
    auto intrudes = [](local_mutex<int>& lock, gate& at, order& in) -> task<> {
        co_await at.pass();
        auto held = lock.try_lock();
        if (held) in.push_back(9);
    };
    gate go;
    auto intruder = w.spawn(intrudes(m, go, entered));
    w.settle();
    release.open();
    go.open(); // the intruder runs after the holder and before the waiter
    w.settle();
    CHECK(entered == order{1});
}

TEST_CASE("S151: a section that is left by an exception or by a cancellation poisons; caught "
          "inside, released or consistent it does not") {
    local_mutex<int> m(0, "data");
    gate never;
    stepped w;
    SECTION("exception") {
        w.run(break_by_exception(m));
        CHECK(m.cause().kind() == poison_kind::exception);
        CHECK_THAT(m.cause().to_string(), Catch::StartsWith("local_mutex 'data' poisoned: "));
    }
    SECTION("cancellation") {
        auto holder = w.spawn(hold(m, never), {.name = "holder"});
        w.settle();
        holder.cancel();
        w.settle();
        CHECK(m.cause().kind() == poison_kind::cancelled);
        CHECK(m.cause().task_name() == "holder");
    }
    SECTION("said so") {
        auto says = [](local_mutex<int>& lock) -> task<> {
            auto held = co_await lock.lock();
            held.poison("half a record");
        };
        w.run(says(m));
        CHECK(m.cause().why() == "half a record");
    }
    REQUIRE(m.is_poisoned());
    CHECK_THAT(w.run(why_not(m)), Catch::StartsWith("local_mutex 'data' poisoned: "));
    CHECK_THAT(w.run(why_not(m)), Catch::StartsWith("local_mutex 'data' poisoned: "));
    CHECK_THROWS_AS(m.get_mut(), poison_error);
    auto tries = [](local_mutex<int>& lock) -> task<bool> {
        bool refused = false;
        try {
            static_cast<void>(lock.try_lock());
        } catch (const poison_error&) {
            refused = true;
        }
        co_return refused;
    };
    CHECK(w.run(tries(m)));
}

TEST_CASE("S151: what ends well does not poison") {
    local_mutex<int> m;
    gate never;
    stepped w;
    auto catches = [](local_mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        try {
            throw std::runtime_error("inside");
        } catch (const std::runtime_error&) {
        }
    };
    w.run(catches(m));
    CHECK_FALSE(m.is_poisoned());
    auto consistent = [](local_mutex<int>& lock, gate& at) -> task<> {
        auto held = co_await lock.lock();
        held.mark_consistent();
        co_await at.pass();
    };
    auto holder = w.spawn(consistent(m, never));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(m.is_poisoned());
    auto unlocked = [](local_mutex<int>& lock) -> task<> {
        try {
            auto held = co_await lock.lock();
            held.unlock();
            throw std::runtime_error("outside");
        } catch (const std::runtime_error&) {
        }
    };
    w.run(unlocked(m));
    CHECK_FALSE(m.is_poisoned());
    CHECK(is_free(w, m));
}

TEST_CASE("S151: what one section said of itself does not count for the next") {
    local_mutex<int> m;
    gate never;
    order entered;
    stepped w;
    auto consistent = [](local_mutex<int>& lock) -> task<> {
        auto held = co_await lock.lock();
        held.mark_consistent();
    };
    w.run(consistent(m));
    auto holder = w.spawn(hold(m, never));
    w.settle();
    auto behind = w.spawn(why_not(m));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK(m.is_poisoned());
    CHECK_FALSE(w.end_of(behind).value().empty());
}

TEST_CASE(
    "S151: a section that a destructor begins and ends during unwinding does not poison") {
    local_mutex<int> m;
    stepped w;
    class locks_at_end {
    public:
        explicit locks_at_end(local_mutex<int>& m) noexcept : m_(m) {}
        locks_at_end(const locks_at_end&) = delete;
        locks_at_end& operator=(const locks_at_end&) = delete;
        ~locks_at_end() {
            auto held = m_.try_lock();
            ++**held;
        }

    private:
        local_mutex<int>& m_;
    };
    auto throws = [](local_mutex<int>& lock) -> task<> {
        try {
            const locks_at_end last(lock);
            throw std::runtime_error("boom");
        } catch (const std::runtime_error&) {
        }
        co_return;
    };
    w.run(throws(m));
    CHECK(m.get_mut() == 1);
}

TEST_CASE("S152: all that wait for healthy data fail at once when it is poisoned; who takes "
          "anything gets it") {
    local_mutex<int> m;
    gate never;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, never));
    w.settle();
    auto plain = w.spawn(why_not(m));
    w.settle();
    auto looker = w.spawn(looks(m, entered, 1));
    w.settle();
    auto last = w.spawn(why_not(m));
    w.settle();
    holder.cancel();
    w.settle();
    CHECK_FALSE(w.end_of(plain).value().empty());
    CHECK_FALSE(w.end_of(last).value().empty());
    CHECK(entered == order{-1});
    CHECK(m.is_poisoned());
}

TEST_CASE("S152: a recovery that is completed heals; one that is dropped chains its cause, and "
          "the next may try") {
    local_mutex<int> m(0, "data");
    stepped w;
    w.run(break_by_exception(m));
    auto gives_up = [](local_mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        *right = 1;
    };
    w.run(gives_up(m));
    CHECK(m.cause().why() == "the repair was not completed");
    CHECK(m.cause().attempts() == 1);
    CHECK(m.cause().previous().kind() == poison_kind::exception);
    w.run(repairs(m, 5));
    CHECK_FALSE(m.is_poisoned());
    CHECK(m.get_mut() == 5);
    auto complete_twice = [](local_mutex<int>& lock) -> task<> {
        auto right = co_await lock.recover();
        CHECK_FALSE(right.needed());
        right.complete().unlock();
        CHECK_THROWS_AS(right.complete(), std::logic_error);
        CHECK_THROWS_AS(*right, std::logic_error);
    };
    w.run(complete_twice(m));
    CHECK(is_free(w, m));
}

TEST_CASE("local_mutex: a guard that moves keeps the verdict, and only the last one releases") {
    local_mutex<int> m;
    gate never;
    stepped w;
    auto passes_on = [](local_mutex<int>& lock, gate& at) -> task<> {
        auto first = co_await lock.lock();
        std::optional<sync::local_guard<int>> slot(std::move(first));
        CHECK_FALSE(first.held());
        auto last = std::move(*slot);
        slot.reset();
        CHECK(last.held());
        co_await at.pass();
    };
    auto holder = w.spawn(passes_on(m, never));
    w.settle();
    CHECK_FALSE(holder.done());
    CHECK_FALSE(is_free(w, m));
    holder.cancel();
    w.settle();
    CHECK(m.cause().kind() == poison_kind::cancelled);
}

TEST_CASE("S153: a lock that its holder asks for again is refused, behind boundaries and after "
          "a move; what only looks so is waited for") {
    local_mutex<int> m(0, "m");
    stepped w;
    auto twice = [](local_mutex<int>& lock) -> task<std::string> {
        auto held = co_await lock.lock();
        co_return co_await why_not(lock);
    };
    CHECK_THAT(w.run(twice(m)), Catch::Contains("'m'"));
    auto behind = [](local_mutex<int>& lock) -> task<std::string> {
        auto first = co_await lock.lock();
        auto held = std::move(first);
        co_return co_await with_timeout(1h, why_not(lock));
    };
    CHECK_THAT(w.run(behind(m)), Catch::Contains("'m'"));
    order entered;
    auto sibling = [](local_mutex<int>& lock, order& in) -> task<> {
        auto held = co_await lock.lock();
        co_await yield_now();
        in.push_back(1);
    };
    auto branches = [&sibling](local_mutex<int>& lock, order& in) -> task<> {
        co_await when_all(sibling(lock, in), sibling(lock, in));
    };
    w.run(branches(m, entered));
    CHECK(entered == order{1, 1});
    CHECK_FALSE(m.is_poisoned());
}

TEST_CASE("S153: a guard that a sibling has put into its parent's frame is the sibling's") {
    local_mutex<int> m;
    stepped w;
    using slot = std::optional<sync::local_guard<int>>;
    auto fills = [](local_mutex<int>& lock, slot& to) -> task<> {
        auto held = co_await lock.lock();
        to.emplace(std::move(held));
        co_await yield_now();
        to.reset();
    };
    auto waits = [](local_mutex<int>& lock) -> task<> {
        co_await yield_now();
        auto held = co_await lock.lock();
    };
    auto branches = [&](local_mutex<int>& lock) -> task<> {
        slot place;
        co_await when_all(fills(lock, place), waits(lock));
    };
    w.run(branches(m));
    CHECK(is_free(w, m));
}

TEST_CASE("local_mutex: a lock inside a time limit and in a race is handed back") {
    local_mutex<int> m;
    gate release;
    gate other;
    order entered;
    stepped w;
    auto holder = w.spawn(hold(m, release));
    w.settle();
    auto limited = [](local_mutex<int>& lock) -> task<bool> {
        const auto held = co_await try_with_timeout(1ms, lock.lock());
        co_return held.has_value();
    };
    auto timed = w.spawn(limited(m));
    w.settle();
    w.advance(2ms);
    CHECK(w.end_of(timed).value() == false);
    auto races = [](local_mutex<int>& lock, gate& at) -> task<std::size_t> {
        auto first = co_await when_any(lock.lock(), at.pass());
        co_return first.index;
    };
    auto racer = w.spawn(races(m, other));
    w.settle();
    auto behind = w.spawn(pass(m, entered, 1));
    w.settle();
    release.open();
    other.open(); // in one turn
    w.settle();
    CHECK(w.end_of(racer).value() == 1);
    CHECK(entered == order{1});
    CHECK(is_free(w, m));
}

TEST_CASE("local_mutex: many uncontended locks in a row let the neighbours run") {
    check_that_neighbours_run<local_mutex<int>>();
}

TEST_CASE("S154: a task of a second worker, or a plain thread, ends the process with a "
          "sentence, whether the lock is free, held or poisoned") {
    constexpr const char* sentence =
        "a local_mutex is used by the tasks of one worker only: local_mutex 'm'";
    dies_saying(sentence, [] {
        local_mutex<int> m(0, "m");
        stepped w(2);
        w.run(set(m, 1));
        auto other = w.spawn(set(m, 2), {.where = placement::worker(1)});
        w.settle();
    });
    dies_saying(sentence, [] {
        local_mutex<int> m(0, "m");
        gate never;
        stepped w(2);
        auto holder = w.spawn(hold(m, never));
        w.settle();
        auto other = w.spawn(set(m, 2), {.where = placement::worker(1)});
        w.settle();
    });
    dies_saying(sentence, [] {
        local_mutex<int> m(0, "m");
        stepped w(2);
        w.run(break_by_exception(m));
        auto other = w.spawn(repairs(m, 2), {.where = placement::worker(1)});
        w.settle();
    });
    dies_saying(sentence, [] {
        local_mutex<int> m(0, "m");
        static_cast<void>(m.try_lock());
    });
}

TEST_CASE(
    "S154: destroying one that is held, or waited for, ends the process with a sentence") {
    dies_saying("a mutex is destroyed only when nobody holds it or waits for it", [] {
        std::optional<local_mutex<int>> m(std::in_place);
        gate never;
        stepped w;
        auto holder = w.spawn(hold(*m, never));
        w.settle();
        m.reset();
    });
}

} // namespace toadstone::tests
