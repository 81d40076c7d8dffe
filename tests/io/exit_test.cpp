// exit() while operations are in flight on global files, streams and listeners: the exit code
// comes through.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

std::optional<io::tcp_listener> listener;
std::optional<io::tcp_stream> stream;
std::unique_ptr<io::tcp_stream> on_the_heap;
// Never destroyed, so that nothing arrives at the streams while they are.
std::vector<io::tcp_stream>* peers;

task<> accepts() {
    const auto unused = co_await listener->accept();
}
task<> reads(io::tcp_stream& from) {
    std::array<std::byte, 16> buffer{};
    static_cast<void>(co_await from.read_some(buffer));
}
task<int> exits_beside_them(int code) {
    listener.emplace(io::tcp_listener::bind(io::endpoint::loopback(0)));
    peers = new std::vector<io::tcp_stream>;
    auto first = co_await io::tcp_stream::connect(listener->local_endpoint());
    auto first_peer = co_await listener->accept();
    auto second = co_await io::tcp_stream::connect(listener->local_endpoint());
    auto second_peer = co_await listener->accept();
    stream.emplace(std::move(first));
    on_the_heap = std::make_unique<io::tcp_stream>(std::move(second));
    peers->push_back(std::move(first_peer));
    peers->push_back(std::move(second_peer));
    spawn(reads(*stream)).detach();
    spawn(reads(*on_the_heap)).detach();
    spawn(accepts()).detach();
    co_await sleep_for(std::chrono::milliseconds(1));
    std::exit(code);
    co_return 0;
}

} // namespace

TEST_CASE("S104: exit() while global streams and listeners are in use keeps its code") {
    const unsigned workers = GENERATE(1U, 2U);
    const auto end = in_child([workers] {
        runtime here({.workers = workers});
        return here.block_on(exits_beside_them(7));
    });
    INFO(end.err);
    CHECK(end.exited);
    CHECK(end.code == 7);
    CHECK(end.err.empty());
}
