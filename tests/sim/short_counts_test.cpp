// Files on a kernel that writes and reads less than it was asked to.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <set>
#include <span>
#include <string>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

// No two places of it look alike, so that a piece in the wrong place is seen.
std::string numbers(int from, int to) {
    std::string text;
    for (int i = from; i < to; ++i) text += std::to_string(i) + " ";
    return text;
}

task<> appends(sim::world& world) {
    const std::string one = numbers(0, 300);
    const std::string other = numbers(300, 400);
    auto file = co_await io::file::open("log", {.create = true, .append = true});
    co_await file.append(one);
    co_await file.append(other);
    co_await file.close();
    expect(world.file("log") == one + other, "what was appended is not what is there");
}

task<> writes_at(sim::world& world) {
    const std::string one = numbers(0, 300);
    const std::string other = numbers(300, 400);
    auto file = co_await io::file::open("table", {.write = true, .create = true});
    co_await file.write_all_at(other, one.size());
    co_await file.write_all_at(one, 0);
    co_await file.close();
    expect(world.file("table") == one + other, "what was written is not what is there");
}

task<> reads_on(sim::world& world) {
    const std::string content = numbers(0, 300);
    world.put_file("table", content);
    auto file = co_await io::file::open("table");
    std::string text;
    char buffer[200];
    for (;;) {
        const std::size_t count = co_await file.read_some(std::span(buffer));
        if (count == 0) break;
        text.append(buffer, count);
    }
    co_await file.close();
    expect(text == content, "what was read is not what is there");
}

using counts = std::set<std::size_t>;

task<> moves_five(sim::world& world, counts& read, counts& sent, counts& received) {
    world.put_file("five", "12345");
    auto file = co_await io::file::open("five");
    char buffer[5];
    read.insert(co_await file.read_some(std::span(buffer)));
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto here = co_await io::tcp_stream::connect(listener.local_endpoint());
    auto there = co_await listener.accept();
    const std::size_t count = co_await here.write_some("12345");
    sent.insert(count);
    here.shutdown_write();
    co_await there.wait_closed(); // everything that was sent is there
    if (count == 5) received.insert(co_await there.read_some(std::span(buffer)));
}

} // namespace

TEST_CASE("short counts: a file or a stream moves all, one byte, half, or all but one byte") {
    counts read;
    counts sent;
    counts received;
    const auto body = [&](sim::world& world) -> task<> {
        co_await moves_five(world, read, sent, received);
    };
    const auto found = sim::explore(seeds(300), body);
    INFO(found.to_string());
    CHECK(found);
    const counts all{1, 3, 4, 5};
    CHECK(read == all);
    CHECK(sent == all);
    CHECK(received == all);
}

TEST_CASE("file: append writes all, in order, however little the kernel takes at a time") {
    const auto found = sim::explore(seeds(100), appends);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("file: write_all_at writes all, in its place, however little the kernel takes") {
    const auto found = sim::explore(seeds(100), writes_at);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("file: read_some goes on where it stopped, however little the kernel gives") {
    const auto found = sim::explore(seeds(100), reads_on);
    INFO(found.to_string());
    CHECK(found);
}
