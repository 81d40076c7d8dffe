// throw_if_cancelled: code that computes leaves by an exception, and counts as cancelled.
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// A function that is no coroutine; `request` is what comes in the middle of it.
template <class Fn>
int computes(Fn&& request) {
    this_task::throw_if_cancelled();
    request();
    this_task::throw_if_cancelled();
    return 7;
}
template <class Fn>
task<int> computing(Fn request) {
    co_await yield_now();
    const int value = computes(request);
    co_return value;
}

/// How the end looks to a joiner.
std::string told(const outcome<int>& end) {
    if (end.has_value()) return std::to_string(end.value());
    if (end.is_cancelled()) return "cancelled " + std::string(to_string(end.reason()));
    try {
        std::rethrow_exception(end.exception());
    } catch (const std::exception& error) {
        return error.what();
    }
}

} // namespace

TEST_CASE("S190: throw_if_cancelled leaves a computation, and the task counts as cancelled") {
    stepped w;
    join_handle<int> handle;
    handle = w.spawn(computing([&] { handle.cancel(cancel_reason::timeout); }));
    CHECK(told(w.end_of(handle)) == "cancelled timeout");
}

TEST_CASE("throw_if_cancelled: without a request, and on a plain thread, it does nothing") {
    stepped w;
    auto handle = w.spawn(computing([] {}));
    CHECK(told(w.end_of(handle)) == "7");
    CHECK_NOTHROW(this_task::throw_if_cancelled());
}

TEST_CASE("throw_if_cancelled: with_timeout throws timeout_error, and its caller goes on") {
    stepped w;
    bool threw = false;
    w.run([](stepped& in, bool& caught) -> task<> {
        // The clock stands still for who computes, so the limit is one that is past.
        auto inside = computing([] { FAIL("a second look is too late"); });
        static_cast<void>(in);
        try {
            static_cast<void>(co_await with_timeout(0ms, std::move(inside)));
        } catch (const timeout_error&) {
            caught = true;
        }
        co_await checkpoint(); // the caller was not asked
    }(w, threw));
    CHECK(threw);
}

TEST_CASE("throw_if_cancelled: a token ends the inside that it belongs to, as_outcome tells") {
    stepped w;
    cancellation_source source;
    const auto end = w.run([](cancellation_source& from) -> task<std::string> {
        const auto ask = [&from] { from.cancel(cancel_reason::shutdown); };
        auto inside = with_token(from.token(), computing(ask));
        const auto how = co_await as_outcome(std::move(inside));
        co_return told(how);
    }(source));
    CHECK(end == "cancelled shutdown");
}

TEST_CASE("throw_if_cancelled: a guard that it passes poisons, by an exception") {
    stepped w;
    sync::mutex<int> m(0, "data");
    join_handle<int> handle;
    auto body = [&]() -> task<int> {
        auto held = co_await m.lock();
        *held = 1;
        const int value = computes([&] { handle.cancel(); });
        co_return value;
    };
    handle = w.spawn(body);
    CHECK(told(w.end_of(handle)) == "cancelled requested");
    REQUIRE(m.is_poisoned());
    CHECK(m.cause().kind() == poison_kind::exception);
}

TEST_CASE("throw_if_cancelled: a shield, and a guard that defers, keep it from throwing") {
    stepped w;
    sync::mutex<int, sync::on_cancel::defer> m(0, "data");
    join_handle<int> handle;
    int seen = 0;
    auto body = [&]() -> task<int> {
        seen = co_await shield(computing([&] { handle.cancel(); }));
        co_return 1;
    };
    handle = w.spawn(body);
    w.settle();
    CHECK(seen == 7);

    join_handle<int> other;
    bool after = false;
    auto holds = [&]() -> task<int> {
        {
            auto held = co_await m.lock();
            // Also inside a boundary: what is deferred outside is not the inside's business.
            seen = co_await with_timeout(1s, computing([&] { other.cancel(); }));
            seen += computes([] {});
        }
        after = true;
        const int value = computes([] {}); // the guard is gone
        co_return value;
    };
    other = w.spawn(holds);
    CHECK(told(w.end_of(other)) == "cancelled requested");
    CHECK(seen == 14);
    CHECK(after);
}

TEST_CASE("throw_if_cancelled: who catches it goes on, up to the next cancellation point") {
    stepped w;
    event_log log;
    join_handle<int> handle;
    auto body = [&]() -> task<int> {
        try {
            static_cast<void>(computes([&] { handle.cancel(); }));
        } catch (const task_cancelled& error) {
            log.push_back(std::string(to_string(error.reason())));
        }
        co_await checkpoint();
        log.push_back("not reached");
        co_return 1;
    };
    handle = w.spawn(body);
    CHECK(told(w.end_of(handle)) == "cancelled requested");
    CHECK(log == event_log{"requested"});
}

TEST_CASE("throw_if_cancelled: another exception on the way out is the task's failure") {
    stepped w;
    join_handle<int> handle;
    auto body = [&]() -> task<int> {
        try {
            const int value = computes([&] { handle.cancel(); });
            co_return value;
        } catch (const task_cancelled&) {
            throw std::runtime_error("broken");
        }
    };
    handle = w.spawn(body);
    CHECK(told(w.end_of(handle)) == "broken");
}

TEST_CASE("throw_if_cancelled: a task_cancelled of somebody else's is a failure like any") {
    stepped w;
    auto other = w.spawn([]() -> task<int> {
        co_await sleep_for(1h);
        co_return 1;
    });
    auto handle = w.spawn([](join_handle<int>& joined) -> task<int> {
        const int value = co_await joined;
        co_return value;
    }(other));
    w.settle();
    other.cancel(cancel_reason::lost_race);
    CHECK(told(w.end_of(handle)) == "the task was cancelled (lost_race)");
}

TEST_CASE("throw_if_cancelled: a cancelled task that nobody joins is not reported as failed") {
    stderr_capture caught;
    {
        stepped w;
        join_handle<int> handle;
        auto body = [&]() -> task<int> {
            const int value = computes([&] {
                handle.cancel();
                handle.detach();
            });
            co_return value;
        };
        handle = w.spawn(body);
        w.settle();
    }
    CHECK(caught.text().empty());
}

TEST_CASE("throw_if_cancelled: a child hears at once of its scope's owner on another worker") {
    stepped w(2);
    event_log log;
    join_handle<int> owner;
    auto body = [&](task_scope& scope) -> task<int> {
        const auto ask = [&] { owner.cancel(cancel_reason::timeout); }; // not carried in yet
        auto child = scope.spawn(computing(ask), {.where = placement::worker(1)});
        const auto end = co_await child.outcome();
        log.push_back(told(end));
        co_return 1;
    };
    auto owns = [&]() -> task<int> {
        const int value = co_await with_scope(body);
        co_return value;
    };
    owner = w.spawn(owns);
    w.settle();
    // It was not the child that was asked, so that it has failed, and its scope with it. The
    // owner was.
    CHECK(told(w.end_of(owner)) == "cancelled timeout");
    CHECK(log == event_log{"the task was cancelled (timeout)"});
}

TEST_CASE("throw_if_cancelled: seen as soon as another thread's cancel() has returned") {
    runtime rt({.workers = 1});
    std::atomic<bool> computing_now{false};
    std::atomic<bool> asked{false};
    auto body = [&]() -> task<int> {
        computing_now = true;
        while (!asked) std::this_thread::yield();
        this_task::throw_if_cancelled();
        co_return 7;
    };
    auto handle = rt.spawn(body);
    while (!computing_now) std::this_thread::yield();
    handle.cancel(cancel_reason::timeout);
    asked = true;
    const auto end = rt.block_on([](join_handle<int>& from) -> task<std::string> {
        const auto how = co_await from.outcome();
        co_return told(how);
    }(handle));
    CHECK(end == "cancelled timeout");
}
