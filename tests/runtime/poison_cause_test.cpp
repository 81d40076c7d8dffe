// poison_cause and poison_error: the record, its text, its chains, when its exception is known.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<> leaves(poison<int>& data, std::string text) {
    auto access = data.access();
    *access = 1;
    throw std::runtime_error(text);
    co_return;
}
task<> leaves_a_number(poison<int>& data) {
    auto access = data.access();
    throw 5;
    co_return;
}
task<> uses_both(poison<int>& broken, poison<int>& own) {
    auto access = own.access();
    *access = *broken.access();
    co_return;
}
task<> catches_and_fails_later(poison<int>& data, bool looks, event_log& log) {
    try {
        auto access = data.access();
        *access = 1;
        throw std::runtime_error("first");
    } catch (const std::runtime_error&) {
        log.push_back("caught");
        if (looks) *data.access_anyway() = 2;
    }
    co_await yield_now();
    throw std::runtime_error("second");
}
template <class... A>
task<> swallows(task<> (*body)(A...), std::type_identity_t<A>... arguments) {
    try {
        co_await body(std::forward<A>(arguments)...);
    } catch (...) {
        co_return;
    }
}

} // namespace

TEST_CASE("poison_cause: an empty one says that nothing is poisoned") {
    const poison_cause none;
    CHECK_FALSE(none);
    CHECK(none.to_string() == "not poisoned");
    CHECK(none == poison_cause());
    CHECK_FALSE(none.first());
}

TEST_CASE("poison_cause: the exception is known as soon as it has left the coroutine") {
    poison<int> data(0, "ledger");
    stepped w;
    w.run(swallows(leaves, data, std::string("broken on line 3")));
    REQUIRE(data.is_poisoned());
    const poison_cause cause = data.cause();
    REQUIRE(cause.exception());
    CHECK_THROWS_WITH(std::rethrow_exception(cause.exception()), "broken on line 3");
    CHECK_THAT(cause.to_string(), Catch::Contains("data 'ledger' poisoned") &&
                                      Catch::Contains("std::runtime_error: broken on line 3"));
    CHECK_FALSE(cause.cancel_pending());
    CHECK(cause.interrupted_at().line() == 0);
}

TEST_CASE("poison_cause: caught by the user before the runtime saw it, it stays unnamed") {
    poison<int> data(0);
    try {
        auto access = data.access();
        throw std::runtime_error("caught at once");
    } catch (const std::runtime_error&) {
        CHECK_FALSE(data.cause().exception());
        CHECK_THAT(data.cause().to_string(), Catch::Contains("an exception"));
    }
}

TEST_CASE("poison_cause: a later exception of the same task is not taken for the one that was "
          "caught") {
    const bool looks = GENERATE(false, true);
    event_log log;
    poison<int> data(0);
    stepped w;
    auto handle = w.spawn(catches_and_fails_later(data, looks, log));
    CHECK(w.end_of(handle).has_exception());
    REQUIRE(data.is_poisoned());
    // It is unknown, or, where the handler looked at the data, the handler's.
    if (const auto error = data.cause().exception()) {
        CHECK_THROWS_WITH(std::rethrow_exception(error), "first");
    }
    CHECK_THAT(data.cause().to_string(), !Catch::Contains("second"));
}

TEST_CASE("poison_cause: an exception of a task is not taken for one caught on the thread") {
    poison<int> data(0);
    stepped w;
    try {
        auto access = data.access();
        throw std::runtime_error("caught on the thread");
    } catch (const std::runtime_error&) {
        CHECK(data.is_poisoned());
    }
    poison<int> other(0);
    w.run(swallows(leaves, other, std::string("elsewhere")));
    CHECK(other.cause().exception());
    CHECK_THAT(data.cause().to_string(), !Catch::Contains("elsewhere"));
}

TEST_CASE("poison_cause: what is no std::exception is named by its type") {
    poison<int> data(0);
    stepped w;
    w.run(swallows(leaves_a_number, data));
    CHECK_THAT(data.cause().to_string(), Catch::Contains("failed with int"));
}

TEST_CASE("poison_cause: the text has one line, whatever the exception says") {
    poison<int> data(0);
    stepped w;
    w.run(swallows(leaves, data, std::string("two\nlines\r\n")));
    CHECK(data.cause().to_string().find_first_of("\r\n") == std::string::npos);
}

TEST_CASE(
    "S56: a poison_error that ends another access poisons that one, linked to the first") {
    poison<int> first(0, "first");
    poison<int> second(0, "second");
    poison<int> third(0, "third");
    stepped w;
    w.run(swallows(leaves, first, std::string("the root of it")));
    w.run(swallows(uses_both, first, second));
    w.run(swallows(uses_both, second, third));
    REQUIRE(third.is_poisoned());
    CHECK(third.cause().linked() == second.cause());
    CHECK(second.cause().linked() == first.cause());
    CHECK_FALSE(first.cause().linked());
    CHECK(third.cause().first() == first.cause());
    CHECK_THAT(third.cause().to_string(), Catch::Contains("the root of it"));
}

TEST_CASE("poison_error: what() tells the whole story, and its address stays good") {
    poison<int> data(0, "ledger");
    stepped w;
    w.run(swallows(leaves, data, std::string("gone wrong")));
    std::string seen;
    try {
        static_cast<void>(data.access());
    } catch (const poison_error& error) {
        const char* const text = error.what();
        seen = text;
        CHECK(error.cause() == data.cause());
        CHECK(text == error.what());
    }
    CHECK(seen == data.cause().to_string());
    CHECK_THAT(poison_error(poison_cause()).what(), Catch::Contains("poisoned"));
}

TEST_CASE("poison_cause: may be read by many threads at once") {
    poison<int> data(0, "ledger");
    stepped w;
    w.run(swallows(leaves, data, std::string("gone wrong")));
    const poison_error error(data.cause());
    std::vector<std::string> texts(4);
    std::vector<std::thread> threads;
    for (auto& each : texts) {
        threads.emplace_back([&each, &error] {
            for (int i = 0; i < 100; ++i) each = error.what();
        });
    }
    for (auto& each : threads) each.join();
    CHECK(std::all_of(texts.begin(), texts.end(),
                      [&](const auto& each) { return each == texts.front(); }));
}

TEST_CASE("contract: asking an empty cause is an error, since data may have been mended") {
    const poison_cause empty;
    CHECK_THROWS_AS(empty.kind(), std::logic_error);
    CHECK_THROWS_AS(empty.reason(), std::logic_error);
    CHECK_THROWS_AS(empty.exception(), std::logic_error);
    CHECK_THROWS_AS(empty.cancel_pending(), std::logic_error);
    CHECK_THROWS_AS(empty.task_id(), std::logic_error);
    CHECK_THROWS_AS(empty.task_name(), std::logic_error);
    CHECK_THROWS_AS(empty.locked_at(), std::logic_error);
    CHECK_THROWS_AS(empty.interrupted_at(), std::logic_error);
    CHECK_THROWS_AS(empty.when(), std::logic_error);
    CHECK_THROWS_AS(empty.why(), std::logic_error);
    CHECK_THROWS_AS(empty.attempts(), std::logic_error);
    CHECK_THROWS_AS(empty.previous(), std::logic_error);
    CHECK_FALSE(empty.linked());
    CHECK_FALSE(empty.first());
    CHECK(empty.to_string() == "not poisoned");
}
