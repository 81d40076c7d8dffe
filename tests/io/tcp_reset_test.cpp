// A stream that was cut in the middle of a message never ends as if the message were whole.
#include <toadstone/io/tcp_stream.hpp>

#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <string>
#include <system_error>

#include <poll.h>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr std::size_t too_much = 64 << 20; // bytes; no kernel buffers that many

/// What the peer sees: everything that comes, and the errno of the end, 0 for an orderly one.
struct seen {
    std::string bytes;
    int end = 0;
};
seen what_arrives(const raw_socket& at) {
    seen all;
    char buffer[65536];
    for (;;) {
        const ssize_t count = ::recv(at.fd(), buffer, sizeof buffer, 0);
        if (count < 0) all.end = errno;
        if (count <= 0) return all;
        all.bytes.append(buffer, static_cast<std::size_t>(count));
    }
}

/// Until nothing more seems to come.
void read_until_quiet(const raw_socket& at) {
    std::array<char, 65536> buffer;
    pollfd there = {at.fd(), POLLIN, 0};
    while (::poll(&there, 1, 200) > 0) {
        if (::recv(at.fd(), buffer.data(), buffer.size(), MSG_DONTWAIT) <= 0) return;
    }
}

task<> write_text(io::tcp_stream& to, std::string text) {
    co_await to.write_all(text);
}
task<std::size_t> read_some(io::tcp_stream& from) {
    std::array<char, 64> buffer{};
    const std::size_t count = co_await from.read_some(buffer);
    co_return count;
}

/// A connection whose stream is poisoned, because a write was cut.
connection poisoned_pair(stepped& world) {
    auto pair = world.run(connect_pair());
    auto writer = world.spawn(write_text(pair.stream, std::string(too_much, 'x')));
    world.settle();
    writer.cancel();
    world.settle();
    REQUIRE(writer.done());
    REQUIRE(pair.stream.poisoned());
    return pair;
}

} // namespace

TEST_CASE("promise 15: a stream whose write was cut is reset when it is dropped") {
    stepped world;
    std::optional<connection> pair(poisoned_pair(world));
    raw_socket peer = std::move(pair->peer);
    pair.reset();
    const seen all = what_arrives(peer);
    CHECK(all.bytes.size() < too_much);
    CHECK(all.end == ECONNRESET);
}

TEST_CASE("promise 15: a stream whose write was cut is reset by close()") {
    stepped world;
    auto pair = poisoned_pair(world);
    world.run(pair.stream.close());
    CHECK(what_arrives(pair.peer).end == ECONNRESET);
}

TEST_CASE("promise 15: a stream whose write was cut is reset when another is moved onto it") {
    stepped world;
    auto pair = poisoned_pair(world);
    auto other = world.run(connect_pair());
    pair.stream = std::move(other.stream);
    CHECK(what_arrives(pair.peer).end == ECONNRESET);
    world.run(write_text(pair.stream, "healthy"));
    CHECK(other.peer.receive() == "healthy");
    CHECK_FALSE(pair.stream.poisoned());
}

TEST_CASE("promise 15: closing a poisoned stream under a reader resets it, and the read ends") {
    stepped world;
    auto pair = poisoned_pair(world);
    auto reader = world.spawn(read_some(pair.stream));
    auto watcher = world.spawn(pair.stream.wait_closed());
    world.settle();
    REQUIRE_FALSE(reader.done());
    world.run(pair.stream.close());
    CHECK(world.end_of(reader).value() == 0);
    CHECK(watcher.done());
    CHECK(what_arrives(pair.peer).end == ECONNRESET);
    CHECK(world.worker().in_flight() == 0);
}

// With nothing in between, the peer would see an orderly end first, and no reset behind it.
TEST_CASE("promise 15: so it is for a peer that has read all that there was") {
    stepped world;
    auto pair = poisoned_pair(world);
    read_until_quiet(pair.peer);
    auto reader = world.spawn(read_some(pair.stream));
    world.settle();
    REQUIRE_FALSE(reader.done());
    world.run(pair.stream.close());
    CHECK(world.end_of(reader).value() == 0);
    CHECK(what_arrives(pair.peer).end == ECONNRESET);
}

TEST_CASE("promise 15: closing a stream under a write resets it: the peer sees no end") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto writer = world.spawn(write_text(pair.stream, std::string(too_much, 'x')));
    auto reader = world.spawn(read_some(pair.stream));
    world.settle();
    REQUIRE_FALSE(writer.done());
    world.run(pair.stream.close());
    const auto end = world.end_of(writer);
    CHECK(end.has_exception());
    CHECK(world.end_of(reader).value() == 0);
    const seen all = what_arrives(pair.peer);
    CHECK(all.bytes.size() < too_much);
    CHECK(all.end == ECONNRESET);
}

TEST_CASE("promise 15: what was cut by the end of the task is reset, with the task's stream") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto serves = [](io::tcp_stream stream) -> task<> {
        co_await write_text(stream, std::string(too_much, 'x'));
    };
    auto server = world.spawn(serves(std::move(pair.stream)));
    world.settle();
    server.cancel();
    world.settle();
    REQUIRE(server.done());
    CHECK(what_arrives(pair.peer).end == ECONNRESET);
}

TEST_CASE("promise 15: the end of the process resets a poisoned stream, too") {
    const auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    const auto end = in_child([&listener] {
        stepped world;
        auto stream = world.run(io::tcp_stream::connect(listener.local_endpoint()));
        auto writer = world.spawn(write_text(stream, std::string(too_much, 'x')));
        world.settle();
        writer.cancel();
        world.settle();
        ::_exit(stream.poisoned() ? 0 : 1);
        return 1;
    });
    CHECK(end.code == 0);
    const raw_socket peer(::accept(listener.native_handle(), nullptr, nullptr));
    CHECK(what_arrives(peer).end == ECONNRESET);
}

TEST_CASE("tcp_stream: one that is healthy ends in order, also under a reader") {
    stepped world;
    auto pair = world.run(connect_pair());
    world.run(write_text(pair.stream, "whole"));
    auto reader = world.spawn(read_some(pair.stream));
    world.settle();
    world.run(pair.stream.close());
    CHECK(world.end_of(reader).value() == 0);
    const seen all = what_arrives(pair.peer);
    CHECK(all.bytes == "whole");
    CHECK(all.end == 0);
}

TEST_CASE("tcp_stream: shutdown_write says nothing of a connection that the peer has reset") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.reset();
    world.run(detail::as_task(pair.stream.wait_closed()));
    CHECK_NOTHROW(pair.stream.shutdown_write());
    CHECK_THROWS_AS(world.run(read_some(pair.stream)), std::system_error); // which tells it
    CHECK_NOTHROW(pair.stream.shutdown_write());
    world.run(pair.stream.close());
    try {
        pair.stream.shutdown_write();
        FAIL("a closed stream was shut down");
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == EBADF);
    }
}
