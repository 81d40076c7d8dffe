// aggregate_error: what it says, and that its copies share what it holds.
#include <toadstone/runtime/aggregate_error.hpp>

#include <catch2/catch.hpp>

#include <exception>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

using namespace toadstone;

TEST_CASE("aggregate_error: tells of the first few, and counts the rest") {
    std::vector<std::exception_ptr> all;
    for (int i = 0; i < 6; ++i) {
        all.push_back(std::make_exception_ptr(std::out_of_range(std::to_string(i))));
    }
    const aggregate_error error(all);
    CHECK(std::string(error.what()) ==
          "6 tasks failed: std::out_of_range: 0; std::out_of_range: 1; std::out_of_range: 2; "
          "std::out_of_range: 3; and 2 more");
    CHECK(error.failures() == all);
    all.resize(1);
    CHECK(std::string(aggregate_error(all).what()) == "1 task failed: std::out_of_range: 0");
}

TEST_CASE("aggregate_error: a copy throws nothing, and holds the same failures") {
    static_assert(std::is_nothrow_copy_constructible_v<aggregate_error>);
    const aggregate_error error({std::make_exception_ptr(1)});
    const aggregate_error copy(error);
    CHECK(&copy.failures() == &error.failures());
}
