// Asio's operations awaited in tasks while the io_context runs on a thread of its own:
// requests, ends of the context and of the runtime from yet other threads, many at once.
#include <asio_guest/use_toadstone.hpp>

#include <toadstone/runtime.hpp>

#include "support/probe.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <optional>
#include <random>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using asio_guest::use_toadstone;
using socket_of_asio = asio::local::stream_protocol::socket;

namespace {

/// An io_context and its thread.
class guest_thread {
public:
    guest_thread() : thread_([this] { context_.run(); }) {}
    guest_thread(const guest_thread&) = delete;
    guest_thread& operator=(const guest_thread&) = delete;
    ~guest_thread() { end(); }
    /// Ends the thread, whatever is still waited for.
    void end() {
        context_.stop();
        if (thread_.joinable()) thread_.join();
    }
    [[nodiscard]] asio::io_context& context() noexcept { return context_; }

private:
    asio::io_context context_;
    asio::executor_work_guard<asio::io_context::executor_type> work_ =
        asio::make_work_guard(context_);
    std::thread thread_;
};

runtime_options few(unsigned workers) {
    runtime_options options;
    options.workers = workers;
    options.max_operations = 64;
    options.report_every = 1ms;
    return options;
}

/// A wait of an hour that tells when it has begun, and may ignore its slot.
struct long_wait {
    long_wait(asio::io_context& at, bool looks)
        : executor(at.get_executor()), timer(at), looks_at_slot(looks) {}
    struct begins {
        using executor_type = asio::any_io_executor;
        [[nodiscard]] executor_type get_executor() const noexcept { return of->executor; }
        template <class Handler>
        void operator()(Handler&& handler) const {
            auto slot = asio::get_associated_cancellation_slot(handler);
            if (!of->looks_at_slot) slot = {};
            of->timer.expires_after(1h);
            const bool looks = of->looks_at_slot;
            auto called = [looks,
                           h = std::forward<Handler>(handler)](std::error_code e) mutable {
                std::move(h)(looks ? e : std::error_code());
            };
            of->timer.async_wait(asio::bind_cancellation_slot(slot, std::move(called)));
            of->begun = true;
            of->begun.notify_all();
        }
        long_wait* of;
    };
    template <class Token>
    auto async_end(Token&& token) {
        return asio::async_initiate<Token, void(std::error_code)>(begins{this}, token);
    }
    void answer() {
        asio::post(executor, [this] { timer.cancel(); });
    }
    asio::any_io_executor executor;
    asio::steady_timer timer;
    const bool looks_at_slot;
    std::atomic<bool> begun{false};
};

struct counts {
    std::atomic<int> ended{0};
    std::atomic<int> broken{0};
    std::atomic<int> fired{0};
};

} // namespace

TEST_CASE("asio guest: S507: a shutdown names the operation that it waits for") {
    guest_thread guest;
    long_wait on(guest.context(), false);
    scope_end end;
    runtime here(few(1));
    unsigned line = 0;
    auto body = [&]() -> task<> {
        const scope_probe probe(end);
        line = __LINE__ + 1;
        co_await on.async_end(use_toadstone);
        co_await checkpoint();
    };
    auto handle = here.spawn(body(), {.name = "guest"});
    on.begun.wait(false);
    shutdown_report report;
    do {
        report = here.shutdown(1ms);
    } while (report.unstoppable.empty());
    CHECK(report.unstoppable[0].task_name == "guest");
    CHECK(report.unstoppable[0].what == "the answer of a completion");
    CHECK(report.unstoppable[0].where == "asio_guest_thread_test.cpp:" + std::to_string(line));
    CHECK(end.times == 0);
    on.answer();
    CHECK(here.shutdown(1min).clean());
    CHECK(end.times == 1);
    CHECK(end.reason == cancel_reason::shutdown);
}

TEST_CASE("asio guest: S507: a shutdown, and its force, cancel what can be cancelled") {
    guest_thread guest;
    counts all;
    {
        std::optional<asio::steady_timer> timers[8];
        for (auto& each : timers) each.emplace(guest.context(), 1h);
        std::atomic<int> begun = 0;
        {
            runtime here(few(2));
            auto body = [&](asio::steady_timer& timer) -> task<> {
                const scope_exit ends([&all] { ++all.ended; });
                ++begun;
                begun.notify_all();
                co_await timer.async_wait(use_toadstone);
                ++all.fired;
            };
            for (auto& each : timers) {
                here.spawn(body(*each), {.where = placement::any()}).detach();
            }
            for (int seen = 0; seen < 8; seen = begun) begun.wait(seen);
        }
        CHECK(all.ended == 8);
        CHECK(all.fired == 0);
    }
}

TEST_CASE("asio guest: S508: the io_context goes while the task is asked to stop, on other "
          "threads") {
    counts all;
    runtime here(few(2));
    auto body = [&all](long_wait& on) -> task<> {
        const scope_exit ends([&all] { ++all.ended; });
        try {
            co_await on.async_end(use_toadstone);
        } catch (const broken_completion&) {
            ++all.broken;
        }
    };
    auto fetch = [](join_handle<>& from) -> task<bool> {
        const outcome<> end = co_await from.outcome();
        co_return end.is_cancelled();
    };
    int cancelled = 0;
    const int rounds = 300;
    for (int i = 0; i < rounds; ++i) {
        std::optional<guest_thread> guest(std::in_place);
        std::optional<long_wait> on(std::in_place, guest->context(), true);
        auto handle = here.spawn(body(*on));
        on->begun.wait(false);
        std::thread asks([&handle] { handle.cancel(); });
        guest->end(); // no handler is called from here on
        on.reset();
        guest.reset();
        asks.join();
        cancelled += here.block_on(fetch(handle));
    }
    CHECK(all.ended == rounds);
    CHECK(cancelled + all.broken == rounds);
}

namespace {

/// Sends `count` bytes in their order, a few at a time, and is interrupted now and then.
task<> sends(socket_of_asio& to, std::size_t count) {
    for (std::size_t at = 0; at < count;) {
        std::array<char, 7> some{};
        const std::size_t now = std::min(some.size(), count - at);
        for (std::size_t i = 0; i < now; ++i) some[i] = static_cast<char>((at + i) % 251);
        at += co_await to.async_write_some(asio::buffer(some.data(), now), use_toadstone);
    }
}
task<std::size_t> reads_some(socket_of_asio& from, std::array<char, 64>& into) {
    const std::size_t got = co_await from.async_read_some(asio::buffer(into), use_toadstone);
    co_return got;
}
/// Gives up each read after a moment, and begins another one.
task<std::size_t> receives(socket_of_asio& from, std::size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::size_t right = 0;
    std::size_t seen = 0;
    while (seen < count) {
        std::array<char, 64> into{};
        const auto limit = std::chrono::microseconds(random() % 60);
        const auto got = co_await try_with_timeout(limit, reads_some(from, into));
        if (!got.has_value()) continue;
        for (std::size_t i = 0; i < got.value(); ++i, ++seen) {
            right += into[i] == static_cast<char>(seen % 251);
        }
    }
    co_return right;
}

} // namespace

TEST_CASE(
    "asio guest: S509: reads that are given up lose no byte, while another task writes to "
    "the same socket") {
    const std::size_t bytes = 4000;
    guest_thread guest;
    std::vector<socket_of_asio> ends;
    for (int i = 0; i < 4; ++i) {
        socket_of_asio one(guest.context());
        socket_of_asio two(guest.context());
        asio::local::connect_pair(one, two);
        ends.push_back(std::move(one));
        ends.push_back(std::move(two));
    }
    runtime here(few(2));
    std::vector<join_handle<>> senders;
    std::vector<join_handle<std::size_t>> receivers;
    unsigned seed = 1;
    for (auto& each : ends) {
        senders.push_back(here.spawn(sends(each, bytes), {.where = placement::any()}));
        receivers.push_back(
            here.spawn(receives(each, bytes, seed++), {.where = placement::any()}));
    }
    auto fetch = [](join_handle<std::size_t>& from) -> task<std::size_t> {
        const std::size_t right = co_await from;
        co_return right;
    };
    for (auto& each : receivers) CHECK(here.block_on(fetch(each)) == bytes);
    CHECK(here.shutdown(1min).clean());
}
