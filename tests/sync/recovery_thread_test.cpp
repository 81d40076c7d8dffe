// Repairs, transactions and sections that roll back, by tasks of two workers and a thread:
// who is let in finds whole data, and what was not committed has not happened. Catch2 checks
// on the main thread alone; all others count in atomics.
#include <toadstone/sync.hpp>

#include <toadstone/runtime.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

constexpr int tasks = 4;
constexpr int rounds = 300;

/// Whole when both are the same.
struct halves {
    int left = 0;
    int right = 0;
    [[nodiscard]] bool whole() const { return left == right; }
};
struct broken_off : std::runtime_error {
    broken_off() : std::runtime_error("broken off") {}
};
struct counts {
    std::atomic<int> torn{0}; ///< found by somebody who was let in
    std::atomic<int> repaired{0};
    std::atomic<int> committed{0};
};

/// Changes one half, is perhaps stopped, changes the other.
task<> changes(halves& data, int round) {
    ++data.left;
    if (round % 3 == 0) co_await yield_now();
    if (round % 7 == 0) throw broken_off();
    ++data.right;
}
/// Now and then a limit that ends it in the middle.
std::chrono::nanoseconds limit_of(int round) {
    return round % 5 == 0 ? std::chrono::nanoseconds(round % 50 * 200) : std::chrono::hours(1);
}

/// Runs `body(self)` for so many tasks, turn about on two workers, and `beside` on this thread.
template <class Body, class Beside>
void run_beside(Body body, Beside beside) {
    runtime here({.workers = 2});
    std::vector<join_handle<void>> all;
    for (int i = 0; i < tasks; ++i) {
        const auto where = placement::worker(static_cast<unsigned>(i));
        all.push_back(here.spawn(body(i), {.where = where}));
    }
    beside();
    auto join = [](std::vector<join_handle<void>>& each_of) -> task<> {
        for (auto& each : each_of) co_await each;
    };
    here.block_on(join(all));
}

task<> repairs_or_changes(sync::mutex<halves>& m, counts& seen, int round) {
    auto repair = [&seen, round](halves& data, const poison_cause&) {
        if (round % 4 == 0) throw broken_off();
        data.right = data.left;
        seen.repaired.fetch_add(1, std::memory_order_relaxed);
    };
    auto held = co_await m.lock_or_recover(repair);
    if (!held->whole()) seen.torn.fetch_add(1, std::memory_order_relaxed);
    co_await changes(*held, round);
}

} // namespace

TEST_CASE("S347: tasks of two workers repair what others have broken, now and then in vain: "
          "whoever is let in finds whole data") {
    sync::mutex<halves> m;
    counts seen;
    auto body = [&](int self) -> task<> {
        for (int i = 1; i <= rounds; ++i) {
            const int round = i + self;
            auto one = repairs_or_changes(m, seen, round);
            const auto limit = limit_of(round);
            static_cast<void>(co_await try_with_timeout(limit, std::move(one)));
        }
    };
    auto beside = [&] {
        for (int i = 0; i < rounds; ++i) {
            try {
                const auto held = m.blocking_lock();
                if (!held->whole()) seen.torn.fetch_add(1, std::memory_order_relaxed);
            } catch (const poison_error&) {
                std::this_thread::yield();
            }
        }
    };
    run_beside(body, beside);
    CHECK(seen.torn == 0);
    CHECK(seen.repaired > 0);
}

TEST_CASE("S348: transactions, and sections that roll back, of two workers and a plain thread: "
          "what was committed is there, whole, and nothing else") {
    using rolling =
        sync::mutex<halves, sync::on_cancel::rollback, sync::on_exception::rollback>;
    sync::mutex<halves> m;
    rolling r;
    counts by_transaction;
    counts by_section;
    auto transact = [&](int round) -> task<> {
        auto tx = co_await m.transaction();
        if (!tx->whole()) by_transaction.torn.fetch_add(1, std::memory_order_relaxed);
        co_await changes(*tx, round);
        tx.commit();
        by_transaction.committed.fetch_add(1, std::memory_order_relaxed);
    };
    auto section = [&](int round) -> task<> {
        auto held = co_await r.lock();
        if (!held->whole()) by_section.torn.fetch_add(1, std::memory_order_relaxed);
        co_await changes(*held, round);
        by_section.committed.fetch_add(1, std::memory_order_relaxed);
    };
    auto body = [&](int self) -> task<> {
        for (int i = 1; i <= rounds; ++i) {
            const int round = i + self;
            const auto limit = limit_of(round);
            auto one = transact(round);
            static_cast<void>(co_await try_with_timeout(limit, std::move(one)));
            auto two = section(round);
            static_cast<void>(co_await try_with_timeout(limit, std::move(two)));
        }
    };
    auto beside = [&] {
        for (int i = 0; i < rounds; ++i) {
            auto tx = m.blocking_transaction();
            ++tx->left;
            if (i % 3 == 0) continue; // and it has not happened
            ++tx->right;
            tx.commit();
            by_transaction.committed.fetch_add(1, std::memory_order_relaxed);
        }
    };
    run_beside(body, beside);
    CHECK(by_transaction.torn == 0);
    CHECK(by_section.torn == 0);
    CHECK(m.get_mut().whole());
    CHECK(m.get_mut().left == by_transaction.committed);
    CHECK(r.get_mut().whole());
    CHECK(r.get_mut().left == by_section.committed);
}

TEST_CASE("S349: readers of two workers beside writers that break and repair: none sees half") {
    sync::shared_mutex<halves> m;
    counts seen;
    auto repair = [&](halves& data, const poison_cause&) {
        data.right = data.left;
        seen.repaired.fetch_add(1, std::memory_order_relaxed);
    };
    auto writes = [&](int round) -> task<> {
        auto held = co_await m.write_or_recover(repair);
        if (!held->whole()) seen.torn.fetch_add(1, std::memory_order_relaxed);
        co_await changes(*held, round);
    };
    auto reads = [&]() -> task<> {
        auto held = co_await m.read(sync::wait_recovery);
        if (!held->whole()) seen.torn.fetch_add(1, std::memory_order_relaxed);
        co_await yield_now();
        if (!held->whole()) seen.torn.fetch_add(1, std::memory_order_relaxed);
    };
    auto body = [&](int self) -> task<> {
        for (int i = 1; i <= rounds; ++i) {
            const int round = i + self;
            // Whoever waits for a repair has the others to make it; the last have a limit.
            auto one = self % 2 == 0 ? writes(round) : reads();
            const auto limit = self % 2 == 0 ? limit_of(round) : std::chrono::milliseconds(1);
            static_cast<void>(co_await try_with_timeout(limit, std::move(one)));
        }
    };
    auto beside = [&] {
        for (int i = 0; i < rounds; ++i) {
            try {
                const auto held = m.blocking_read();
                if (!held->whole()) seen.torn.fetch_add(1, std::memory_order_relaxed);
            } catch (const poison_error&) {
                std::this_thread::yield();
            }
        }
    };
    run_beside(body, beside);
    CHECK(seen.torn == 0);
    CHECK(seen.repaired > 0);
}

} // namespace toadstone::tests
