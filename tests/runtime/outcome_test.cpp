// outcome<T>, and the exceptions that stand for its two other arms.
#include <toadstone/runtime/outcome.hpp>

#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;

namespace {

template <class T>
int arms(const outcome<T>& end) {
    return int(end.has_value()) + int(end.has_exception()) + int(end.is_cancelled());
}
std::exception_ptr some_error() {
    return std::make_exception_ptr(std::runtime_error("broken"));
}

} // namespace

TEST_CASE("outcome: a value") {
    auto end = outcome<std::string>::of_value("five");
    CHECK(arms(end) == 1);
    REQUIRE(end.has_value());
    CHECK(end);
    CHECK(end.exception() == nullptr);
    end.value() += "!";
    const auto& same = end;
    CHECK(same.value() == "five!");
    const std::string taken = std::move(end).value();
    CHECK(taken == "five!");
}

TEST_CASE("outcome: values that can only be moved, and no value at all") {
    auto box = outcome<std::unique_ptr<int>>::of_value(std::make_unique<int>(3));
    CHECK(*box.value() == 3);
    const auto taken = std::move(box).value();
    CHECK(*taken == 3);
    auto nothing = outcome<>::of_value();
    CHECK(nothing.has_value());
    nothing.value();
    std::move(nothing).value();
}

TEST_CASE("outcome: an exception is kept, and rethrown by value(), as often as asked") {
    const auto end = outcome<int>::of_exception(some_error());
    CHECK(arms(end) == 1);
    REQUIRE(end.has_exception());
    CHECK_FALSE(end);
    CHECK(end.exception() != nullptr);
    CHECK_THROWS_WITH(end.value(), "broken");
    CHECK_THROWS_WITH(outcome<int>(end).value(), "broken");
    CHECK_THROWS_AS(outcome<>::of_exception(some_error()).value(), std::runtime_error);
}

TEST_CASE("outcome: a cancellation carries its reason, and value() throws it") {
    const auto end = outcome<int>::of_cancellation(cancel_reason::timeout);
    CHECK(arms(end) == 1);
    REQUIRE(end.is_cancelled());
    CHECK_FALSE(end);
    CHECK(end.reason() == cancel_reason::timeout);
    CHECK(end.exception() == nullptr);
    CHECK_THROWS_WITH(end.value(), "the task was cancelled (timeout)");
    try {
        outcome<>::of_cancellation(cancel_reason::lost_race).value();
        FAIL("value() of a cancelled outcome returned");
    } catch (const task_cancelled& error) {
        CHECK(error.reason() == cancel_reason::lost_race);
    }
}

TEST_CASE("outcome: an exception_ptr or a cancel_reason may be the value") {
    auto error = outcome<std::exception_ptr>::of_value(some_error());
    CHECK(error.has_value());
    CHECK_FALSE(error.has_exception());
    CHECK(error.value() != nullptr);
    auto reason = outcome<cancel_reason>::of_value(cancel_reason::shutdown);
    CHECK(reason.has_value());
    CHECK_FALSE(reason.is_cancelled());
}
