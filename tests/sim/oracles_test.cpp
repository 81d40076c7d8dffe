// What a run looks at when it is over, or on the way: buffers in flight, descriptors, frames.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace std::chrono_literals;

namespace {

struct ends {
    ends(io::tcp_stream&& a, io::tcp_stream&& b) : one(std::move(a)), other(std::move(b)) {}
    io::tcp_stream one;
    io::tcp_stream other;
};

task<ends> connected() {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto one = co_await io::tcp_stream::connect(listener.local_endpoint());
    auto other = co_await listener.accept();
    co_return ends(std::move(one), std::move(other));
}

task<> writes(io::tcp_stream& to, const std::vector<std::byte>& data) {
    co_await to.write_all(data);
}

task<> reads(io::tcp_stream& from, std::span<char> into) {
    static_cast<void>(co_await from.read_some(into));
}

// More than the connection holds, so the write is in flight until somebody reads.
task<> changes_what_is_being_written(sim::world&) {
    auto pair = co_await connected();
    std::vector<std::byte> data(100'000);
    auto writing = spawn(writes(pair.one, data));
    co_await sleep_for(1ms);
    data.back() = std::byte{1};
    std::vector<char> sink(data.size());
    for (std::size_t left = data.size(); left > 0;) {
        left -= co_await pair.other.read_some(std::span(sink));
    }
    co_await writing;
}

task<> writes_into_what_is_being_read(sim::world&) {
    auto pair = co_await connected();
    char buffer[16] = {};
    auto reading = spawn(reads(pair.one, std::span(buffer)));
    co_await sleep_for(1ms);
    buffer[8] = 'x';
    co_await pair.other.write_all("end");
    co_await reading;
}

task<> looks_into_what_is_being_read(sim::world&) {
    auto pair = co_await connected();
    std::string buffer = "what was there";
    const std::string before = buffer;
    auto reading = spawn(reads(pair.one, std::span(buffer)));
    co_await sleep_for(1ms);
    const std::string meanwhile = buffer;
    co_await pair.other.write_all("That");
    co_await reading;
    if (meanwhile.find("was") != meanwhile.npos) throw std::runtime_error("seen too early");
    if (buffer.substr(4) != before.substr(4)) throw std::runtime_error("the rest is gone");
}

task<> never_awaited() {
    co_return;
}

} // namespace

TEST_CASE("simulate: memory that is changed while the kernel reads it fails the run") {
    const auto end = sim::simulate(changes_what_is_being_written);
    CHECK_FALSE(end);
    CHECK(end.failure == "the memory of a SEND in flight was changed");
}

TEST_CASE("simulate: a buffer that is written to while the kernel fills it fails the run") {
    const auto end = sim::simulate(writes_into_what_is_being_read);
    CHECK_FALSE(end);
    CHECK(end.failure == "the buffer of a RECV in flight was written to");
}

TEST_CASE(
    "simulate: a buffer that the kernel fills shows nothing of use before its completion, "
    "and what was not filled is as before after it") {
    const auto end = sim::simulate(looks_into_what_is_being_read);
    INFO(end.failure);
    CHECK(end);
}

TEST_CASE("simulate: a descriptor that is left open fails the run") {
    std::optional<io::tcp_listener> kept;
    const auto body = [&kept](sim::world&) -> task<> {
        kept.emplace(io::tcp_listener::bind(io::endpoint::loopback(0)));
        co_return;
    };
    const auto end = sim::simulate(body);
    CHECK_FALSE(end);
    CHECK(end.failure == "1 descriptors are left open");
}

TEST_CASE("simulate: a frame that is left fails the run") {
    std::optional<task<>> kept;
    const auto body = [&kept](sim::world&) -> task<> {
        kept.emplace(never_awaited());
        co_return;
    };
    const auto end = sim::simulate(body);
    CHECK_FALSE(end);
    CHECK(end.failure == "1 frames are left");
}
