// What a mutex says of itself: hints, and a line for logs.
#include <toadstone/sync/format.hpp>
#include <toadstone/sync/mutex.hpp>
#include <toadstone/sync/shared_mutex.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <cstdint>
#include <sstream>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

template <class Mutex>
std::string printed(const Mutex& m) {
    std::ostringstream out;
    out << m;
    CHECK(out.str() == to_string(m));
    return out.str();
}

} // namespace

TEST_CASE("S375: a mutex says whether it is held, by which task, how many wait, and why it is "
          "poisoned") {
    for (const auto order_of_waiters : {sync::fairness::strict, sync::fairness::batched}) {
        sync::mutex<int> m(0, "accounts", order_of_waiters);
        gate until;
        order entered;
        std::uint64_t holder = 0;
        stepped w;
        CHECK(printed(m) == "mutex 'accounts', free");
        CHECK_FALSE(m.is_locked());
        CHECK(m.owner() == 0);
        auto one = w.spawn([](auto& of, gate& at, std::uint64_t& id) -> task<> {
            id = this_task::id();
            auto held = co_await of.lock();
            co_await at.pass();
            auto moved = std::move(held);
            CHECK(of.owner() == 0);
            CHECK(of.is_locked());
        }(m, until, holder));
        w.settle();
        CHECK(m.is_locked());
        CHECK(m.owner() == holder);
        CHECK(printed(m) == "mutex 'accounts', held by task " + std::to_string(holder));
        auto two = w.spawn(pass(m, entered, 2));
        w.settle();
        CHECK(m.waiters() == 1);
        CHECK(printed(m) ==
              "mutex 'accounts', held by task " + std::to_string(holder) + ", 1 waits");
        auto three = w.spawn(pass(m, entered, 3));
        w.settle();
        CHECK(m.waiters() == 2);
        CHECK(printed(m).find(", 2 wait") != std::string::npos);
        until.open();
        w.settle();
        CHECK(m.waiters() == 0);
        w.run(break_by_exception(m));
        CHECK(printed(m).find("mutex 'accounts', free, poisoned: task ") == 0);
    }
    sync::mutex<int> nameless;
    CHECK(printed(nameless) == "mutex, free");
#ifdef __cpp_lib_format
    CHECK(std::format("[{:>12}]", nameless) == "[ mutex, free]");
#endif
    auto held = nameless.try_lock();
    CHECK(printed(nameless) == "mutex, held");
    CHECK(nameless.owner() == 0);
}

TEST_CASE("S375: a shared mutex says how many read") {
    sync::shared_mutex<int> m(0, "prices");
    stepped w;
    auto looks = [](auto& of) -> task<> {
        auto one = co_await of.read();
        auto two = co_await of.read();
        CHECK(of.is_locked());
        CHECK(of.owner() == 0);
        CHECK(printed(of) == "shared_mutex 'prices', read by 2");
        two.unlock();
        one.unlock();
        auto three = co_await of.upgradable();
        CHECK(of.owner() == this_task::id());
        auto held = co_await three.upgrade();
        CHECK(printed(of) ==
              "shared_mutex 'prices', held by task " + std::to_string(this_task::id()));
    };
    w.run(looks(m));
    CHECK(printed(m) == "shared_mutex 'prices', free");
    CHECK(m.waiters() == 0);
}

} // namespace toadstone::tests
