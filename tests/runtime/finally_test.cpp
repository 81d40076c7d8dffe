// finally: the cleanup runs, shielded, however the body ended.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<int> gives(event_log& log) {
    traced local(log, "body");
    co_await sleep_for(10ms);
    co_return 5;
}
task<int> gives_at_once() {
    co_return 6;
}
task<int> fails(event_log& log) {
    traced local(log, "body");
    co_await sleep_for(10ms);
    throw std::runtime_error("body failed");
}
task<> cleans_up(event_log& log) {
    traced local(log, "cleanup gone");
    log.push_back("cleanup");
    co_await sleep_for(10ms);
    log.push_back(this_task::token().cancelled() ? "told" : "cleaned");
}
task<> cleanup_fails(event_log& log) {
    co_await cleans_up(log);
    throw std::runtime_error("mop broke");
}
task<std::string> catches(task<int> body, task<> cleanup, event_log& log) {
    traced local(log, "outside");
    std::string text;
    try {
        const int value = co_await finally(std::move(body), std::move(cleanup));
        text = std::to_string(value);
    } catch (const std::runtime_error& error) {
        text = error.what();
    }
    co_await checkpoint();
    log.push_back("after");
    co_return text;
}
task<> void_body(event_log& log) {
    co_await finally(sleep_for(10ms), cleans_up(log));
    log.push_back("went on");
}
task<> under_token(cancellation_token token, event_log& log) {
    const auto end =
        co_await as_outcome(finally(with_token(std::move(token), gives(log)), cleans_up(log)));
    log.push_back(end.is_cancelled() ? "cancelled" : "?");
}
task<> gate_then(gate& at, event_log& log) {
    co_await at.pass();
    const std::string text = co_await catches(gives(log), cleans_up(log), log);
    log.push_back(text);
}

const event_log whole_cleanup{"cleanup", "cleaned", "cleanup gone"};

event_log operator+(event_log first, const event_log& second) {
    first.insert(first.end(), second.begin(), second.end());
    return first;
}

} // namespace

TEST_CASE("finally: after a value, and the value is delivered") {
    event_log log;
    stepped w;
    CHECK(w.run(catches(gives(log), cleans_up(log), log)) == "5");
    CHECK(log == event_log{"body"} + whole_cleanup + event_log{"after", "outside"});
}

TEST_CASE("finally: after a body that never suspended") {
    event_log log;
    stepped w;
    CHECK(w.run(catches(gives_at_once(), cleans_up(log), log)) == "6");
    CHECK(log == whole_cleanup + event_log{"after", "outside"});
}

TEST_CASE("finally: around an awaitable, without a result") {
    event_log log;
    stepped w;
    w.run(void_body(log));
    CHECK(log == whole_cleanup + event_log{"went on"});
}

TEST_CASE("finally: after an exception, which is rethrown") {
    event_log log;
    stepped w;
    CHECK(w.run(catches(fails(log), cleans_up(log), log)) == "body failed");
    CHECK(log == event_log{"body!"} + whole_cleanup + event_log{"after", "outside"});
}

TEST_CASE("finally: after a cancellation, shielded, before any outer frame is torn down") {
    event_log log;
    stepped w;
    auto handle = w.spawn(catches(gives(log), cleans_up(log), log));
    w.settle();
    handle.cancel(cancel_reason::shutdown);
    w.settle();
    CHECK(log == event_log{"body!", "cleanup"});
    w.advance(10ms);
    CHECK(log == event_log{"body!"} + whole_cleanup + event_log{"outside!"});
    CHECK(w.end_of(handle).reason() == cancel_reason::shutdown);
}

TEST_CASE("finally: a request that is pending already reaches the body, not the cleanup") {
    event_log log;
    gate at;
    stepped w;
    auto handle = w.spawn(gate_then(at, log));
    w.settle();
    at.open();
    handle.cancel();
    w.settle();
    w.advance(10ms);
    CHECK(log == event_log{"body!"} + whole_cleanup + event_log{"outside!"});
}

TEST_CASE("finally: a request during the cleanup is not seen there; the result is delivered") {
    event_log log;
    stepped w;
    auto handle = w.spawn(catches(gives(log), cleans_up(log), log));
    w.settle();
    w.advance(10ms);
    CHECK(log == event_log{"body", "cleanup"});
    handle.cancel();
    w.settle();
    CHECK(log == event_log{"body", "cleanup"});
    w.advance(10ms);
    CHECK(log == event_log{"body"} + whole_cleanup + event_log{"outside!"});
    CHECK(w.end_of(handle).is_cancelled());
}

TEST_CASE("finally: a body that its own token stopped: cleanup, then up to the boundary") {
    event_log log;
    stepped w;
    cancellation_source source;
    auto handle = w.spawn(under_token(source.token(), log));
    w.settle();
    source.cancel();
    w.settle();
    w.advance(10ms);
    CHECK(log == event_log{"body!"} + whole_cleanup + event_log{"cancelled"});
    CHECK(w.end_of(handle).has_value());
}

TEST_CASE("finally: a cleanup that fails after a value is what is thrown") {
    event_log log;
    stepped w;
    const stderr_capture err;
    CHECK(w.run(catches(gives(log), cleanup_fails(log), log)) == "mop broke");
    CHECK(err.text().empty());
}

TEST_CASE(
    "finally: a cleanup that fails after an exception is reported, the body's is thrown") {
    event_log log;
    stepped w;
    const stderr_capture err;
    CHECK(w.run(catches(fails(log), cleanup_fails(log), log)) == "body failed");
    CHECK(count_of(err.text(), "mop broke") == 1);
    CHECK(count_of(err.text(), "body failed") == 0);
}

TEST_CASE("finally: a cleanup that fails after a cancellation is reported, with the task") {
    event_log log;
    stepped w;
    const stderr_capture err;
    auto handle =
        w.spawn(catches(gives(log), cleanup_fails(log), log), {.name = "with cleanup"});
    w.settle();
    handle.cancel();
    w.settle();
    w.advance(10ms);
    CHECK(w.end_of(handle).is_cancelled());
    CHECK(log.back() == "outside!");
    CHECK(count_of(err.text(), "mop broke") == 1);
    CHECK_THAT(err.text(), Catch::Contains("'with cleanup'"));
}

TEST_CASE("finally: force ends a cleanup that does not end by itself") {
    event_log log;
    stepped w;
    auto handle = w.spawn(catches(gives(log), cleans_up(log), log));
    w.settle();
    w.advance(10ms);
    w.worker().stop_roots(cancel_reason::shutdown, true);
    w.settle();
    CHECK(handle.done());
    CHECK(log == event_log{"body", "cleanup", "cleanup gone!", "outside!"});
}

TEST_CASE("finally: a cleanup that begins when the force has been used already ends as well") {
    event_log log;
    stepped w;
    auto handle = w.spawn(catches(gives(log), cleans_up(log), log));
    w.settle();
    w.worker().stop_roots(cancel_reason::shutdown, true);
    w.settle();
    CHECK(handle.done());
    CHECK(log == event_log{"body!", "cleanup", "cleanup gone!", "outside!"});
}
