// Slices and the level: what counts, what does not, and what is saved and restored.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/detail/level.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

struct at_end {
    std::function<void()> action;
    ~at_end() { action(); }
};
/// Runs `action` in a destructor while an exception unwinds this thread.
void while_unwinding(std::function<void()> action) {
    try {
        const at_end local{std::move(action)};
        throw std::runtime_error("unwinding");
    } catch (const std::runtime_error&) {
        return;
    }
}

task<> section(poison<int>& data, gate& at, bool fail) {
    auto access = data.access();
    *access += 1;
    co_await at.pass();
    *access += 1;
    if (fail) throw std::runtime_error("later, elsewhere");
}
task<> asks_level(std::vector<unsigned>& seen, gate& at) {
    seen.push_back(detail::level());
    co_await at.pass();
    seen.push_back(detail::level());
}
task<> throws_and_catches(std::vector<unsigned>& seen) {
    try {
        const at_end local{[&] { seen.push_back(detail::level()); }};
        throw std::runtime_error("inside");
    } catch (const std::runtime_error&) {
        seen.push_back(detail::level());
    }
    co_return;
}

} // namespace

TEST_CASE("level: counts the exceptions thrown and not yet caught") {
    CHECK(detail::level() == 0);
    unsigned inside = 99;
    unsigned nested = 99;
    while_unwinding([&] {
        inside = detail::level();
        while_unwinding([&] { nested = detail::level(); });
    });
    CHECK(inside == 1);
    CHECK(nested == 2);
    CHECK(detail::level() == 0);
}

TEST_CASE("level: an exception being handled does not count") {
    try {
        throw std::runtime_error("x");
    } catch (const std::runtime_error&) {
        CHECK(detail::level() == 0);
    }
}

TEST_CASE("level: a slice starts at 0, a teardown at 1, and both give back what was before") {
    unsigned seen[4] = {};
    while_unwinding([&] {
        {
            const detail::slice_scope slice(nullptr);
            seen[0] = detail::level();
            const detail::teardown_record record;
            const detail::slice_scope teardown(nullptr, &record);
            seen[1] = detail::level();
            while_unwinding([&] { seen[2] = detail::level(); });
            CHECK(detail::current_slice().record == &record);
        }
        seen[3] = detail::level();
    });
    CHECK(seen[0] == 0);
    CHECK(seen[1] == 1);
    CHECK(seen[2] == 2);
    CHECK(seen[3] == 1);
    CHECK(detail::current_slice().record == nullptr);
}

TEST_CASE("level: belongs to its thread") {
    while_unwinding([] {
        unsigned other = 99;
        std::thread([&] { other = detail::level(); }).join();
        CHECK(other == 0);
        CHECK(detail::level() == 1);
    });
}

TEST_CASE("level: a task that runs during somebody's unwinding sees 0") {
    std::vector<unsigned> seen;
    gate at;
    stepped w;
    auto handle = w.spawn(asks_level(seen, at));
    while_unwinding([&] { w.settle(); });
    at.open();
    w.settle();
    CHECK(seen == std::vector{0U, 0U});
    auto other = w.spawn(throws_and_catches(seen));
    while_unwinding([&] { w.settle(); });
    CHECK(seen == std::vector{0U, 0U, 1U, 0U});
    CHECK(other.done());
    CHECK(handle.done());
}

TEST_CASE("S35: an access begun while another exception unwinds is poisoned when its own "
          "exception leaves it later") {
    poison<int> data(0);
    gate at;
    stepped w;
    auto handle = w.spawn(section(data, at, true));
    while_unwinding([&] { w.settle(); });
    REQUIRE(at.waited_for());
    at.open();
    w.settle();
    CHECK(data.is_poisoned());
    CHECK(w.end_of(handle).has_exception());
}

TEST_CASE("S36: an access begun cleanly and ended during somebody's unwinding is clean") {
    poison<int> data(0);
    gate at;
    stepped w;
    auto handle = w.spawn(section(data, at, false));
    w.settle();
    at.open();
    while_unwinding([&] { w.settle(); });
    CHECK(handle.done());
    CHECK_FALSE(data.is_poisoned());
    CHECK(*data.access() == 2);
}

TEST_CASE("S33: an access that a destructor saves from unwinding goes by its later life") {
    const bool later_fails = GENERATE(false, true);
    poison<int> data(0);
    struct holder {
        poison_access<int> access;
        std::vector<poison_access<int>>& shelter;
        ~holder() { shelter.push_back(std::move(access)); }
    };
    try {
        std::vector<poison_access<int>> shelter;
        try {
            const holder local{data.access(), shelter};
            throw std::runtime_error("x");
        } catch (const std::runtime_error&) {
            CHECK(shelter.size() == 1);
        }
        CHECK_FALSE(data.is_poisoned());
        if (later_fails) throw std::runtime_error("later");
    } catch (const std::runtime_error&) {
        CHECK(later_fails);
    }
    CHECK(data.is_poisoned() == later_fails);
}
