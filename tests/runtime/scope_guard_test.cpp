// scope_exit, scope_success and scope_fail: by the level, so that a cancellation is a failure.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <stdexcept>
#include <string>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

void with_guards(event_log& log, bool fail) {
    const scope_exit always([&] { log.push_back("exit"); });
    const scope_success success([&] { log.push_back("success"); });
    const scope_fail failure([&] { log.push_back("fail"); });
    if (fail) throw std::runtime_error("x");
}
task<> suspended_with_guards(event_log& log, gate& at, bool fail) {
    const scope_exit always([&] { log.push_back("exit"); });
    const scope_success success([&] { log.push_back("success"); });
    const scope_fail failure([&] { log.push_back("fail"); });
    co_await at.pass();
    if (fail) throw std::runtime_error("x");
}

const event_log ended_well{"success", "exit"};
const event_log ended_badly{"fail", "exit"};

} // namespace

TEST_CASE("scope guards: in ordinary code they tell a return from an exception") {
    event_log log;
    with_guards(log, false);
    CHECK(log == ended_well);
    log.clear();
    CHECK_THROWS(with_guards(log, true));
    CHECK(log == ended_badly);
}

TEST_CASE("S24: in a coroutine a cancellation counts as failure, not as success") {
    const int how = GENERATE(0, 1, 2);
    event_log log;
    gate at;
    stepped w;
    auto handle = w.spawn(suspended_with_guards(log, at, how == 1));
    w.settle();
    if (how == 2) {
        handle.cancel();
    } else {
        at.open();
    }
    w.settle();
    CHECK(log == (how == 0 ? ended_well : ended_badly));
    CHECK(w.end_of(handle).has_exception() == (how == 1));
}

TEST_CASE("scope guards: an exception caught inside the scope is no failure") {
    event_log log;
    {
        const scope_fail failure([&] { log.push_back("fail"); });
        const scope_success success([&] { log.push_back("success"); });
        try {
            throw std::runtime_error("handled");
        } catch (const std::runtime_error&) {
            log.push_back("caught");
        }
    }
    CHECK(log == event_log{"caught", "success"});
}

TEST_CASE(
    "scope guards: inside a destructor that unwinding calls, a clean scope is a success") {
    event_log log;
    struct cleans_up {
        event_log& log;
        ~cleans_up() { with_guards(log, false); }
    };
    try {
        const cleans_up local{log};
        throw std::runtime_error("x");
    } catch (const std::runtime_error&) {
        log.push_back("caught");
    }
    CHECK(log == event_log{"success", "exit", "caught"});
}

TEST_CASE("scope guards: release() disarms each of them") {
    event_log log;
    {
        scope_exit always([&] { log.push_back("exit"); });
        scope_success success([&] { log.push_back("success"); });
        always.release();
        success.release();
    }
    try {
        scope_fail failure([&] { log.push_back("fail"); });
        failure.release();
        throw std::runtime_error("x");
    } catch (const std::runtime_error&) {
        log.push_back("caught");
    }
    CHECK(log == event_log{"caught"});
}

TEST_CASE("scope guards: the action of a success may throw") {
    const auto run = [] {
        const scope_success success([] { throw std::runtime_error("commit failed"); });
    };
    CHECK_THROWS_WITH(run(), "commit failed");
}
