// The same on Boost.Asio: peers_asio SUBJECT COUNT prints the ns per operation.
#include "../measure.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <utility>

#include <boost/asio.hpp>

namespace {

namespace asio = boost::asio;

asio::awaitable<void> nothing() {
    co_return;
}

asio::awaitable<void> call_child(std::uint64_t n) {
    for (; n; --n) co_await nothing();
}

asio::awaitable<void> spawn(std::uint64_t n) {
    const auto here = co_await asio::this_coro::executor;
    for (; n; --n) co_await asio::co_spawn(here, nothing(), asio::use_awaitable);
}

asio::awaitable<void> yield(std::uint64_t n) {
    for (; n; --n) co_await asio::post(asio::use_awaitable);
}

asio::awaitable<void> yield_among_100(std::uint64_t n) {
    const auto here = co_await asio::this_coro::executor;
    for (int i = 0; i < 99; ++i) asio::co_spawn(here, yield(n / 100), asio::detached);
    co_await yield(n / 100);
}

asio::awaitable<void> timer(std::uint64_t n) {
    const auto here = co_await asio::this_coro::executor;
    // Or each would be the next to expire, and the kernel be told.
    asio::steady_timer earlier(here, std::chrono::minutes(1));
    earlier.async_wait(asio::detached);
    asio::steady_timer one(here);
    for (; n; --n) {
        one.expires_after(std::chrono::hours(1));
        one.async_wait(asio::detached);
        one.cancel();
        co_await asio::post(asio::use_awaitable); // its handler runs
    }
}

void run(asio::awaitable<void> body) {
    asio::io_context loop(1);
    asio::co_spawn(loop, std::move(body), asio::detached);
    loop.run();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "peers_asio SUBJECT COUNT\n");
        return 2;
    }
    const std::string_view name = argv[1];
    const std::uint64_t count = std::strtoull(argv[2], nullptr, 10);
    asio::awaitable<void> (*const subject)(std::uint64_t) = name == "child"   ? call_child
                                                            : name == "spawn" ? spawn
                                                            : name == "yield" ? yield
                                                            : name == "yield-100"
                                                                ? yield_among_100
                                                            : name == "timer" ? timer
                                                                              : nullptr;
    if (!subject) {
        std::fprintf(stderr, "there is no subject %s\n", argv[1]);
        return 2;
    }
    run(subject(count / 10 + 1000));
    const bench::stopwatch clock;
    run(subject(count));
    std::printf("%.3f\n", clock.ns() / static_cast<double>(count));
}
