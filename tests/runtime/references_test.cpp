// task<T&>: every combinator gives the reference, not a copy.
#include <toadstone/runtime.hpp>

#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Not to be copied: a copy would not compile.
struct place {
    place() = default;
    place(const place&) = delete;
    place& operator=(const place&) = delete;
};

task<place&> finds(place& it) {
    co_await yield_now();
    co_return it;
}
task<const place&> finds_const(const place& it) {
    co_return it;
}
task<int> slow() {
    co_await sleep_for(1h);
    co_return 1;
}

task<int> through_boundaries(place& it) {
    int found = 0;
    place& limited = co_await with_timeout(1s, finds(it));
    found += &limited == &it;
    place& dated = co_await with_deadline(this_task::now() + 1s, finds(it));
    found += &dated == &it;
    place& shielded = co_await shield(finds(it));
    found += &shielded == &it;
    place& tied = co_await with_token({}, finds(it));
    found += &tied == &it;
    place& cleaned = co_await finally(finds(it), yield_now());
    found += &cleaned == &it;
    const auto body = [&it](task_scope&) -> task<place&> { co_return it; };
    place& scoped = co_await with_scope(body);
    found += &scoped == &it;
    auto handle = spawn(finds, std::ref(it));
    place& joined = co_await handle;
    found += &joined == &it;
    const place& constant = co_await with_timeout(1s, finds_const(it));
    found += &constant == &it;
    co_return found;
}
task<int> as_values(place& it) {
    int found = 0;
    auto limited = co_await try_with_timeout(1s, finds(it));
    found += &limited.value() == &it;
    const auto kept = co_await as_outcome(finds(it));
    found += &kept.value() == &it;
    auto handle = spawn(finds(it));
    auto joined = co_await handle.outcome();
    found += &std::move(joined).value() == &it;
    auto late = co_await try_with_timeout(1ms, [](place& never) -> task<place&> {
        co_await sleep_for(1h);
        co_return never;
    }(it));
    found += late.is_cancelled();
    co_return found;
}
task<int> in_groups(place& it, place& other) {
    int found = 0;
    auto both = co_await when_all(finds(it), finds_const(other), yield_now());
    found += &std::get<0>(both) == &it && &std::get<1>(both) == &other;
    auto same = co_await when_any(finds(it), finds(it));
    found += &same.value == &it;
    auto mixed = co_await when_any(slow(), finds(it));
    found += mixed.index == 1 && std::get<1>(mixed.value) == &it;
    std::vector<task<place&>> many;
    many.push_back(finds(it));
    many.push_back(finds(other));
    auto all = co_await when_all(std::move(many));
    found += all[0] == &it && all[1] == &other;
    std::vector<task<place&>> race;
    race.push_back(finds(it));
    auto first = co_await when_any(std::move(race));
    found += &first.value == &it;
    co_return found;
}

} // namespace

TEST_CASE("references: boundaries, scopes and joins give what the task returned") {
    place it;
    stepped w;
    CHECK(w.run(through_boundaries(it)) == 8);
    runtime here({.workers = 1});
    CHECK(&here.block_on(finds(it)) == &it);
}

TEST_CASE("references: an outcome refers, too") {
    place it;
    stepped w;
    CHECK(w.run(as_values(it)) == 4);
}

TEST_CASE("references: when_all and when_any, of branches and of vectors") {
    place it;
    place other;
    stepped w;
    CHECK(w.run(in_groups(it, other)) == 5);
}
