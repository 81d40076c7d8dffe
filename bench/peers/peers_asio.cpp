// The same on Boost.Asio: peers_asio SUBJECT COUNT prints the ns per operation.
#include "../measure.hpp"

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
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

/// To a thread of a pool, and back.
asio::awaitable<void> post(std::uint64_t n) {
    asio::thread_pool other(1);
    for (; n; --n) co_await asio::post(other, asio::use_awaitable);
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
    using body = asio::awaitable<void> (*)(std::uint64_t);
    body subject = nullptr;
    for (const auto& [known, what] : std::initializer_list<std::pair<std::string_view, body>>{
             {"child", call_child},
             {"spawn", spawn},
             {"yield", yield},
             {"yield-100", yield_among_100},
             {"timer", timer},
             {"post", post},
         }) {
        if (known == name) subject = what;
    }
    if (!subject) {
        std::fprintf(stderr, "there is no subject %s\n", argv[1]);
        return 2;
    }
    run(subject(count / 10 + 1000));
    const bench::stopwatch used;
    const bench::wall_stopwatch passed;
    run(subject(count));
    const double ns = subject == post ? passed.ns() : used.ns();
    std::printf("%.3f\n", ns / static_cast<double>(count));
}
