// Scenarios about transfers that are cut in the middle: what the peer sees of them, what the
// next read is told, and what a buffered reader keeps.
#include "support/hostile.hpp"

#include "support/failing_new.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// What a peer sees: bytes, and the error that came instead of an orderly end.
struct seen {
    std::string bytes{};
    int error = 0;
};
task<> watches(io::tcp_stream& from, seen& all) {
    try {
        co_await read_to_end(from, all.bytes);
    } catch (const std::system_error& error) {
        all.error = error.code().value();
    }
}

// S110, S111: a message that was cut never ends as if it were whole.

constexpr std::size_t large = 90'000; // bytes; more than a connection holds

task<> sends_and_leaves(io::tcp_stream stream, const std::string& message, bool closes) {
    co_await stream.write_all(message);
    if (closes) co_await stream.close();
}
task<> half_a_message(sim::world& world) {
    connection_pair between;
    co_await between.open();
    const std::string message(large, 'm');
    auto writer =
        spawn(sends_and_leaves(std::move(*between.here), message, pick_timing(world, 2) == 1),
              {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
    auto cancelling = spawn(may_cancel(world, writer));
    seen all;
    co_await watches(*between.there, all);
    co_await cancelling;
    const auto end = co_await writer.outcome();
    expect(all.error != 0 || all.bytes.empty() || all.bytes.size() == large,
           "an orderly end after half a message: " + std::to_string(all.bytes.size()) +
               " bytes");
    if (end.has_value()) {
        expect(all.error == 0 && all.bytes.size() == large,
               "a message that was sent is not there");
    }
}

task<> writes(io::tcp_stream& to, const std::string& message) {
    co_await to.write_all(message);
}
task<> reads_some(io::tcp_stream& from) {
    std::array<char, 10> buffer{};
    static_cast<void>(co_await from.read_some(buffer));
}
/// close() under a write and a read, on another worker or the same.
task<> closes_under_it(sim::world& world) {
    connection_pair between;
    co_await between.open();
    const std::string message(large, 'm');
    io::tcp_stream& stream = *between.here;
    auto writer = spawn(writes(stream, message),
                        {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
    auto reader = spawn(reads_some(stream));
    seen all;
    auto watcher = spawn(watches(*between.there, all));
    co_await a_while(world);
    co_await stream.close();
    const auto end = co_await writer.outcome();
    static_cast<void>(co_await reader.outcome());
    co_await watcher;
    expect(all.error != 0 || all.bytes.empty() || all.bytes.size() == large,
           "an orderly end after half a message");
    expect(!end.has_value() || all.error != 0 || all.bytes.size() == large,
           "a message that was sent is not there, and nobody says so");
    expect(!stream.is_open(), "it is still open");
}

// S112: what follows a cut read is told the cause.

constexpr std::size_t wanted = 40; // bytes

task<> takes_a_record(io::tcp_stream& from, std::string& into) {
    co_await from.read_exactly(into);
}
task<> sends_slowly(sim::world& world, io::tcp_stream& to) {
    for (char each = 'a'; each < 'e'; ++each) {
        co_await a_while(world);
        co_await to.write_all(std::string(wanted / 4, each));
    }
    to.shutdown_write();
}
task<> half_a_record(sim::world& world) {
    connection_pair between;
    co_await between.open();
    io::tcp_stream& from = *between.there;
    std::string record(wanted, '.');
    auto sender = spawn(sends_slowly(world, *between.here));
    auto reader = spawn(takes_a_record(from, record),
                        {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
    co_await may_cancel(world, reader);
    const auto end = co_await reader.outcome();
    const std::string whole = "aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd";
    if (end.has_value()) expect(record == whole && !from.read_poisoned(), "it is not whole");
    std::string rest;
    bool told = false;
    try {
        co_await read_to_end(from, rest);
    } catch (const poison_error& error) {
        told = true;
        expect(error.cause() == from.read_cause(), "the cause is another one");
        expect(end.has_exception() == (error.cause().kind() == poison_kind::exception),
               "the kind is wrong: " + error.cause().to_string());
    }
    expect(told == from.read_poisoned(), "poisoned, and nobody is told");
    if (!told) {
        expect(rest == (end.has_value() ? "" : whole),
               "a read went on in the middle of a record: '" + rest + "'");
    }
    co_await sender;
}

// S113: a buffered reader loses nothing, wherever it is cut.

constexpr std::size_t group = 42; // bytes: a line, five, up to a mark, and three

/// Takes pieces of four kinds, each of them once; what was taken is in `got`.
task<> takes_pieces(io::buffered_reader& from, std::string& got, bool& ended) {
    std::array<char, 5> five{};
    for (;;) {
        auto piece = co_await from.read_line();
        if (!piece) break;
        got += *piece;
        got += '\n';
        co_await from.read_exactly(five);
        got.append(five.data(), five.size());
        auto marked = co_await from.read_until("<>");
        if (!marked) break;
        got += *marked;
        std::string_view ahead = co_await from.peek(3);
        ahead = ahead.substr(0, 3);
        got += ahead;
        from.consume(ahead.size());
    }
    ended = true;
}
task<> sends_in_parts(sim::world& world, io::tcp_stream& to, const std::string& text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t part =
            std::min<std::size_t>(1 + pick_timing(world, 30), text.size() - at);
        co_await to.write_all(text.substr(at, part));
        at += part;
        if (pick_timing(world, 2) == 1) co_await a_while(world);
    }
    to.shutdown_write();
}
/// Each reader goes on where the one before was cut: with the kind of piece that is next.
task<> loses_no_piece(sim::world& world) {
    connection_pair between;
    co_await between.open();
    std::string sent;
    for (char each = 'a'; each < 'g'; ++each) {
        sent += std::string(20, each) + "\n12345" + std::string(11, each) + "<>xyz";
    }
    auto sender = spawn(sends_in_parts(world, *between.here, sent));
    io::buffered_reader reader(*between.there, 64);
    std::string got;
    got.reserve(sent.size()); // what was taken must not be lost for want of memory
    for (int i = 0; i < 6; ++i) {
        bool ended = false;
        auto taking =
            spawn(takes_pieces(reader, got, ended),
                  {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
        co_await may_cancel(world, taking);
        const auto end = co_await taking.outcome();
        static_cast<void>(end);
        expect(sent.compare(0, got.size(), got) == 0, "pieces were lost or came twice");
        expect(sent.compare(got.size(), reader.buffered().size(), reader.buffered()) == 0,
               "the buffer does not go on where the last piece ended");
        if (ended) break;
        // Back to the beginning of a group of pieces, byte by byte.
        while (got.size() % group != 0) {
            char byte = 0;
            co_await reader.read_exactly(std::span(&byte, 1));
            got += byte;
        }
    }
    std::string rest(sent.size() - got.size(), '.');
    if (!rest.empty()) co_await reader.read_exactly(rest);
    expect(got + rest == sent, "bytes were lost");
    const auto end = co_await reader.read_line();
    expect(!end, "something came after the end");
    co_await sender;
}

} // namespace

TEST_CASE("S110: half a message never ends in order: the peer sees a reset (explored)") {
    check_all(half_a_message);
}

TEST_CASE("S111: a stream that is closed under a write is reset (explored)") {
    check_all(closes_under_it);
}

TEST_CASE("S112: after a read that was cut in the middle the next is told why (explored)") {
    check_all(half_a_record);
}

TEST_CASE("S113: a buffered reader that is cut anywhere loses no byte (explored)") {
    check_all(loses_no_piece);
}
