// channel_closed, and the cause of a channel that was failed by an exception.
#include <toadstone/sync/channel_closed.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>

namespace toadstone::tests {

TEST_CASE("channel_closed: says so") {
    CHECK(std::string(sync::channel_closed().what()) == "the channel is closed");
}

TEST_CASE("channel_closed: a channel that was failed throws the cause instead") {
    const auto here = std::source_location::current();
    const auto error = std::make_exception_ptr(std::runtime_error("disk full"));
    const poison_cause cause = sync::detail::failure_by(error, here);
    CHECK(cause.kind() == poison_kind::exception);
    CHECK(cause.exception() == error);
    CHECK(cause.task_id() == 0);
    CHECK_THROWS_AS(sync::detail::throw_closed(cause), poison_error);
    CHECK_THROWS_AS(sync::detail::throw_closed({}), sync::channel_closed);
    CHECK(cause.to_string() == "channel poisoned: a plain thread failed with "
                               "std::runtime_error: disk full and said so at "
                               "channel_closed_test.cpp:" +
                                   std::to_string(here.line()));
}

TEST_CASE("channel_closed: the cause names the task that failed the channel") {
    stepped w;
    auto body = []() -> task<std::string> {
        const auto error = std::make_exception_ptr(std::runtime_error("boom"));
        const auto cause = sync::detail::failure_by(error, std::source_location::current());
        co_return std::string(cause.task_name());
    };
    auto failing = w.spawn(body(), {.name = "reader"});
    CHECK(w.end_of(failing).value() == "reader");
}

} // namespace toadstone::tests
