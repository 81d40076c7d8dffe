// read_exactly: everything, or unexpected_end or another error that names how much came, and
// poison where it was cut.
#include <toadstone/io/unexpected_end.hpp>

#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <string>
#include <system_error>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<std::string> exactly(io::tcp_stream& from, std::size_t bytes) {
    std::string text(bytes, '.');
    co_await from.read_exactly(text);
    co_return text;
}
task<std::string> read_text(io::tcp_stream& from) {
    std::array<char, 64> buffer{};
    const std::size_t count = co_await from.read_some(buffer);
    co_return std::string(buffer.data(), count);
}
template <class Error, class T>
Error error_of(stepped& world, task<T> body) {
    try {
        static_cast<void>(world.run(std::move(body)));
    } catch (const Error& error) {
        return error;
    }
    throw std::runtime_error("it did not fail");
}

} // namespace

TEST_CASE("read_exactly: gives everything, however it comes, and no more") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto reader = world.spawn(exactly(pair.stream, 8));
    for (const char* part : {"ab", "c", "defg"}) {
        pair.peer.send(part);
        world.settle();
        REQUIRE_FALSE(reader.done());
    }
    pair.peer.send("hij");
    CHECK(world.end_of(reader).value() == "abcdefgh");
    CHECK(world.run(read_text(pair.stream)) == "ij");
    CHECK_FALSE(pair.stream.read_poisoned());
}

TEST_CASE("read_exactly: an end in between is an error that says how much came, and poisons") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.send("abc");
    pair.peer.close();
    const auto error = error_of<io::unexpected_end>(world, exactly(pair.stream, 8));
    CHECK(error.received() == 3);
    CHECK(error.code().value() == ENODATA);
    const std::string peer = pair.stream.peer().to_string();
    CHECK(error.what() == "read 8 bytes from " + peer +
                              ", of which 3 bytes came before the end: No data available");
    CHECK(pair.stream.read_poisoned());
    CHECK_FALSE(pair.stream.poisoned());
    CHECK(pair.stream.read_cause().kind() == poison_kind::exception);
    CHECK_THROWS_AS(world.run(read_text(pair.stream)), poison_error);
}

TEST_CASE("read_exactly: an end at its beginning is an error that poisons nothing") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.close();
    CHECK(error_of<io::unexpected_end>(world, exactly(pair.stream, 8)).received() == 0);
    CHECK_FALSE(pair.stream.read_poisoned());
    CHECK(world.run(read_text(pair.stream)).empty());
}

TEST_CASE("read_exactly: a failure says how much had come") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto reader = world.spawn(exactly(pair.stream, 8));
    pair.peer.send("abc");
    world.settle();
    pair.peer.reset();
    const auto end = world.end_of(reader);
    REQUIRE(end.has_exception());
    const std::string peer = pair.stream.peer().to_string();
    try {
        static_cast<void>(end.value());
    } catch (const std::system_error& error) {
        CHECK(error.code().value() == ECONNRESET);
        CHECK(error.what() == "read 8 bytes from " + peer +
                                  ", of which 3 bytes came: Connection reset by peer");
    }
    CHECK(pair.stream.read_poisoned());
}

TEST_CASE("promise 15: a cut read_exactly poisons the reading half, with the cause") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto reader = world.spawn(exactly(pair.stream, 8), {.name = "reader"});
    pair.peer.send("abc");
    world.settle();
    reader.cancel(cancel_reason::timeout);
    CHECK(world.end_of(reader).is_cancelled());
    REQUIRE(pair.stream.read_poisoned());
    const poison_cause cause = pair.stream.read_cause();
    CHECK(cause.kind() == poison_kind::cancelled);
    CHECK(cause.reason() == cancel_reason::timeout);
    CHECK(cause.task_name() == "reader");
    CHECK_THAT(cause.to_string(), Catch::Contains("reading half of tcp stream '" +
                                                  pair.stream.peer().to_string() + "'"));
    CHECK_THAT(cause.to_string(),
               Catch::Contains(" in the read begun at unexpected_end_test.cpp:"));
    pair.peer.send("defgh");
    CHECK_THROWS_AS(world.run(read_text(pair.stream)), poison_error);
    CHECK_THROWS_AS(world.run(exactly(pair.stream, 2)), poison_error);
    // The other half is whole, and ends in order.
    CHECK_FALSE(pair.stream.poisoned());
    world.run(pair.stream.write_all("408 too slow"));
    pair.stream.shutdown_write();
    CHECK(pair.peer.receive_all() == "408 too slow");
}

TEST_CASE("read_exactly: cancelled before the first byte nothing has happened") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto reader = world.spawn(exactly(pair.stream, 8));
    world.settle();
    reader.cancel();
    CHECK(world.end_of(reader).is_cancelled());
    CHECK_FALSE(pair.stream.read_poisoned());
    pair.peer.send("abcdefgh");
    CHECK(world.run(exactly(pair.stream, 8)) == "abcdefgh");
}

TEST_CASE("read_exactly: all bytes that came although it was cancelled are delivered") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.send("abcdefgh");
    auto reader = world.spawn(exactly(pair.stream, 8));
    world.step(); // submitted and completed; the task has not gone on yet
    reader.cancel();
    CHECK(world.end_of(reader).value() == "abcdefgh");
    CHECK_FALSE(pair.stream.read_poisoned());
}
