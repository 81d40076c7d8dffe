// buffered_reader: whole pieces, within limits, and nothing lost when a read is cut.
#include <toadstone/io/buffered_reader.hpp>

#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <optional>
#include <string>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

/// A connection, and a reader at our end of it.
struct reading {
    explicit reading(std::size_t most = io::buffered_reader::usual_most)
        : pair(world.run(connect_pair())), reader(pair.stream, most) {}

    std::optional<std::string> line(std::size_t limit = io::buffered_reader::as_buffered) {
        return world.run(reader.read_line(limit));
    }
    /// Starts a call, sends `text` to it, and cancels it when it has read that.
    template <class T>
    void cut(task<T> call, const std::string& text) {
        auto running = world.spawn(std::move(call));
        world.settle();
        pair.peer.send(text);
        world.settle();
        REQUIRE_FALSE(running.done());
        running.cancel();
        CHECK(world.end_of(running).is_cancelled());
    }

    stepped world{};
    connection pair;
    io::buffered_reader reader;
};

template <class Error, class Fn>
Error error_of(Fn fn) {
    try {
        static_cast<void>(fn());
    } catch (const Error& error) {
        return error;
    }
    throw std::runtime_error("it did not fail");
}

} // namespace

TEST_CASE("buffered_reader: gives lines, however they come, and nothing at the end") {
    reading in;
    in.pair.peer.send("one\r\ntw");
    CHECK(in.line() == "one");
    auto second = in.world.spawn(in.reader.read_line());
    in.world.settle();
    REQUIRE_FALSE(second.done());
    in.pair.peer.send("o\n\n\r\nlast\n");
    CHECK(in.world.end_of(second).value() == "two");
    CHECK(in.line() == "");
    CHECK(in.line() == "");
    CHECK(in.line() == "last");
    in.pair.peer.close();
    CHECK_FALSE(in.line().has_value());
    CHECK_FALSE(in.line().has_value());
}

TEST_CASE("buffered_reader: a line that the end cuts is an error, and its bytes are there") {
    reading in;
    in.pair.peer.send("whole\nhalf");
    in.pair.peer.close();
    CHECK(in.line() == "whole");
    const auto error = error_of<io::unexpected_end>([&] { return in.line(); });
    CHECK(error.received() == 4);
    CHECK_THAT(error.what(),
               Catch::Contains("read a line from " + in.pair.stream.peer().to_string() +
                               ", of which 4 bytes came before the end"));
    CHECK(in.reader.buffered() == "half");
    in.reader.consume(4);
    CHECK_FALSE(in.line().has_value());
}

TEST_CASE("buffered_reader: a delimiter is found wherever reads have split it") {
    reading in;
    const std::string head = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    auto call = in.world.spawn(in.reader.read_until("\r\n\r\n"));
    for (const char each : head + "b") {
        in.world.settle();
        REQUIRE_FALSE(call.done());
        in.pair.peer.send(std::string(1, each));
        if (call.done()) break;
        in.world.settle();
        if (call.done()) break;
    }
    CHECK(in.world.end_of(call).value() == head);
    CHECK_THROWS_AS(in.world.run(in.reader.read_until("")), std::invalid_argument);
}

TEST_CASE("buffered_reader: what exceeds the limit is an error, and nothing is consumed") {
    reading in;
    in.pair.peer.send("12345678\nnext\n");
    const auto error = error_of<io::limit_exceeded>([&] { return in.line(8); });
    CHECK(error.limit() == 8);
    CHECK(error.what() == "read a line from " + in.pair.stream.peer().to_string() +
                              ": it does not end within 8 bytes");
    CHECK(in.line(9) == "12345678");
    CHECK(in.line(5) == "next");
}

TEST_CASE("buffered_reader: it never holds more than it may, whatever the peer sends") {
    reading in(16);
    in.pair.peer.send(std::string(1000, 'x'));
    CHECK(error_of<io::limit_exceeded>([&] { return in.line(); }).limit() == 16);
    CHECK(in.reader.buffered() == std::string(16, 'x'));
    CHECK(error_of<io::limit_exceeded>([&] { return in.line(500); }).limit() == 16);
    CHECK(in.world.run(in.reader.peek(16)).size() == 16);
    CHECK_THROWS_AS(in.world.run(in.reader.peek(17)), std::invalid_argument);
    CHECK_THROWS_AS(io::buffered_reader(in.pair.stream, 0), std::invalid_argument);
}

TEST_CASE("buffered_reader: peek leaves what it shows, consume takes it") {
    reading in;
    in.pair.peer.send("header");
    CHECK(in.world.run(in.reader.peek(4)) == "header");
    CHECK(in.world.run(in.reader.peek()) == "header");
    in.reader.consume(4);
    CHECK(in.reader.buffered() == "er");
    CHECK_THROWS_AS(in.reader.consume(3), std::out_of_range);
    in.pair.peer.close();
    CHECK(in.world.run(in.reader.peek(4)) == "er"); // all that there will be
    in.reader.consume(2);
    CHECK(in.world.run(in.reader.peek()).empty());
}

TEST_CASE("buffered_reader: read_some and read_exactly take the buffer first") {
    reading in;
    in.pair.peer.send("line\nabcdefgh");
    CHECK(in.line() == "line");
    std::string some(3, '.');
    CHECK(in.world.run(in.reader.read_some(some)) == 3);
    CHECK(some == "abc");
    std::string rest(5, '.');
    in.world.run(in.reader.read_exactly(rest));
    CHECK(rest == "defgh");
    in.pair.peer.send("direct");
    std::string direct(64, '.');
    CHECK(in.world.run(in.reader.read_some(direct)) == 6);
    CHECK(in.world.run(in.reader.read_some(std::span<char>())) == 0);
    in.pair.peer.send("xy");
    in.pair.peer.close();
    CHECK(error_of<io::unexpected_end>([&] {
              in.world.run(in.reader.read_exactly(rest));
              return 0;
          }).received() == 2);
    CHECK(in.reader.buffered() == "xy");
    CHECK_FALSE(in.pair.stream.read_poisoned());
}

TEST_CASE("buffered_reader: more than it buffers goes past the buffer, in order") {
    reading in(8);
    in.pair.peer.send("l\n0123456789abcdef");
    CHECK(in.line() == "l");
    std::string large(14, '.');
    in.world.run(in.reader.read_exactly(large));
    CHECK(large == "0123456789abcd");
    CHECK(in.world.run(in.reader.peek(2)) == "ef");
}

TEST_CASE("buffered_reader: what a cut call had read is there for the next, of any kind") {
    reading in;
    in.cut(in.reader.read_line(), "he");
    in.cut(in.reader.read_until("zz"), "ll");
    std::string buffer(100, '.');
    in.cut(in.reader.read_exactly(buffer), "o");
    in.cut(in.reader.peek(50), " wor");
    in.pair.peer.send("ld\n");
    CHECK(in.line() == "hello world");
    CHECK_FALSE(in.pair.stream.read_poisoned());
}

TEST_CASE("buffered_reader: a read_exactly beyond the buffer that is cut poisons") {
    reading in(8);
    in.pair.peer.send("l\nab");
    CHECK(in.line() == "l");
    REQUIRE(in.reader.buffered() == "ab");
    std::string large(20, '.');
    auto untouched = in.world.spawn(in.reader.read_exactly(large));
    in.world.settle();
    untouched.cancel();
    CHECK(in.world.end_of(untouched).is_cancelled());
    CHECK_FALSE(in.pair.stream.read_poisoned()); // it had taken nothing
    CHECK(in.reader.buffered() == "ab");
    in.cut(in.reader.read_exactly(large), "cd");
    CHECK(in.pair.stream.read_poisoned());
    CHECK_THROWS_AS(in.line(), poison_error);
}

TEST_CASE("buffered_reader: a second reader gets an error, the first goes on") {
    reading in;
    auto first = in.world.spawn(in.reader.read_line());
    in.world.settle();
    CHECK_THROWS_AS(in.line(), std::logic_error);
    CHECK_THROWS_AS(in.world.run(in.reader.peek()), std::logic_error);
    std::string room(4, '.');
    CHECK_THROWS_AS(in.world.run(in.reader.read_some(room)), std::logic_error);
    CHECK_THROWS_AS(in.world.run(in.reader.read_exactly(room)), std::logic_error);
    in.pair.peer.send("mine\n");
    CHECK(in.world.end_of(first).value() == "mine");
}

TEST_CASE("buffered_reader: a pending request ends each call, also where all is there") {
    reading in;
    in.pair.peer.send("one\ntwo\n");
    static_cast<void>(in.world.run(in.reader.peek(8)));
    auto calls = [](io::buffered_reader& from) -> task<> { co_await from.read_line(); };
    auto call = in.world.spawn(calls(in.reader));
    call.cancel();
    CHECK(in.world.end_of(call).is_cancelled());
    CHECK(in.reader.buffered() == "one\ntwo\n");
}
