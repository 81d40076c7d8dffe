// A coroutine that has suspended without the library's knowledge, as g++ 12 makes some do: the
// process ends with a sentence instead of waiting for ever.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <coroutine>
#include <csignal>
#include <source_location>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Suspends and tells nobody.
class silent {
public:
    silent() noexcept {}
    void bind(detail::context&, std::source_location) const noexcept {}
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    void await_resume() const noexcept {}
};

task<> stops_silently(bool waits_before) {
    if (waits_before) co_await sleep_for(1ms);
    co_await silent();
}

} // namespace

TEST_CASE("S89: a suspension that the library does not know of ends the process with "
          "the task, the last co_await and tools/lint") {
    const bool waits_before = GENERATE(false, true);
    const child_end end = in_child([&] {
        stepped w;
        auto handle = w.spawn(stops_silently(waits_before), {.name = "lost"});
        w.settle();
        w.advance(1ms);
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK(count_of(end.err, "a coroutine has suspended without the library's knowledge") == 1);
    CHECK(count_of(end.err, "tools/lint") == 1);
    CHECK(count_of(end.err, "'lost'") == 1);
    CHECK(count_of(end.err, "unknown_suspension_test.cpp:") == (waits_before ? 1U : 0U));
}
