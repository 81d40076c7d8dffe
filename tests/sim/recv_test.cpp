// recv() against a hostile kernel, and cancelled at each await: no byte is lost or comes twice.
#include "support/hostile.hpp"

#include "support/failing_new.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

std::string alphabet(std::size_t size) {
    std::string text;
    for (std::size_t i = 0; i < size; ++i) text += static_cast<char>('a' + i % 23);
    return text;
}
task<> says(sim::world& world, io::tcp_stream& to, std::string text) {
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t count =
            std::min<std::size_t>(text.size() - at, 1 + pick_timing(world, 200));
        co_await to.write_all(std::string_view(text).substr(at, count));
        at += count;
        if (pick_timing(world, 3) == 0) co_await a_while(world);
    }
}

/// Now with recv(), now with one of the other reads.
task<> reads_on(sim::world& world, io::tcp_stream& from, std::string& got) {
    for (;;) {
        if (pick_timing(world, 4) != 3) {
            const io::received bytes = co_await from.recv();
            if (bytes.empty()) co_return;
            got += bytes.text();
            if (pick_timing(world, 4) == 3) co_await a_while(world);
        } else {
            std::array<char, 7> buffer{};
            const std::size_t count = co_await from.read_some(std::span(buffer));
            if (count == 0) co_return;
            got.append(buffer.data(), count);
        }
    }
}
/// Readers come, on both workers, and are cancelled.
task<> loses_no_byte(sim::world& world) {
    connection_pair between;
    co_await between.open();
    const std::string sent = alphabet(1500);
    auto writing = spawn(says(world, *between.here, sent));
    std::string got;
    got.reserve(sent.size()); // what the readers have got must not be lost for want of memory
    for (int i = 0; i < 6; ++i) {
        auto reader =
            spawn(reads_on(world, *between.there, got),
                  {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
        co_await a_while(world);
        reader.cancel();
        static_cast<void>(co_await reader.outcome());
    }
    co_await writing;
    between.here->shutdown_write();
    co_await reads_on(world, *between.there, got);
    expect(got == sent, "bytes were lost or came twice between a read and its cancellation");
}

/// Streams that nobody reads, and leases that are kept, have all the buffers that there are.
task<> keeps_many(sim::world& world, io::tcp_stream& from, std::vector<io::received>& kept) {
    for (unsigned i = 0; i < 5; ++i) {
        io::received bytes = co_await from.recv();
        if (bytes.empty()) co_return;
        kept.push_back(std::move(bytes));
        if (pick_timing(world, 3) == 0) kept.erase(kept.begin());
    }
}
task<> answers(io::tcp_stream& stream) {
    for (;;) {
        const io::received bytes = co_await stream.recv();
        if (bytes.empty()) co_return;
        co_await stream.write_all(bytes);
    }
}
task<> goes_on_beside_floods(sim::world& world) {
    std::vector<connection_pair> flooded(2);
    std::vector<io::received> kept;
    std::vector<join_handle<void>> others;
    for (connection_pair& each : flooded) {
        co_await each.open();
        others.push_back(spawn(says(world, *each.here, alphabet(600)), {.name = "flood"}));
        others.push_back(spawn(keeps_many(world, *each.there, kept), {.name = "victim"}));
    }
    connection_pair good;
    co_await good.open();
    auto server = spawn(answers(*good.there), {.name = "server"});
    const std::string text = alphabet(150);
    std::string got(text.size(), '\0');
    for (int i = 0; i < 2; ++i) {
        co_await good.here->write_all(text);
        co_await good.here->read_exactly(got);
        expect(got == text, "the echo is another one");
    }
    good.here->shutdown_write();
    co_await server;
    for (auto& each : others) {
        each.cancel(); // the flood may have no room
        static_cast<void>(co_await each.outcome());
    }
}

/// Closed or dropped at any moment, on any worker, whatever is armed or unread.
task<> reads_what_comes(sim::world& world, io::tcp_stream& from) {
    for (;;) {
        const io::received bytes = co_await from.recv();
        if (bytes.empty()) co_return;
        if (pick_timing(world, 3) == 0) co_await a_while(world);
    }
}
task<> closes(io::tcp_stream& stream) {
    co_await stream.close();
}
task<> drops(std::unique_ptr<io::tcp_stream> stream) {
    stream.reset();
    co_return;
}
task<> goes_at_any_moment(sim::world& world) {
    connection_pair between;
    co_await between.open();
    auto stream = std::make_unique<io::tcp_stream>(std::move(*between.there));
    auto writing = spawn(as_outcome(says(world, *between.here, alphabet(1000))));
    auto reader = spawn(reads_what_comes(world, *stream),
                        {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
    co_await a_while(world);
    const spawn_options anywhere{.name = "victim",
                                 .where = placement::worker(pick_timing(world, 2))};
    if (pick_timing(world, 2) == 0) {
        auto closing = spawn(closes(*stream), anywhere);
        const auto end = co_await closing.outcome();
        if (!end.has_value()) reader.cancel();
    } else {
        reader.cancel();
    }
    static_cast<void>(co_await reader.outcome());
    auto dropping = spawn(drops(std::move(stream)), anywhere);
    static_cast<void>(co_await dropping.outcome());
    static_cast<void>(co_await writing);
}

/// A server that receives ahead.
task<> echoes(io::tcp_stream stream) {
    co_await answers(stream);
}
task<> asks(io::endpoint at, unsigned& served) {
    auto stream = co_await connect_in_time(at);
    if (!stream) co_return;
    const std::string text = alphabet(200);
    std::string got(text.size(), '\0');
    try {
        for (int i = 0; i < 2; ++i) {
            co_await stream->write_all(text);
            co_await stream->read_exactly(got);
            expect(got == text, "the echo is another one");
        }
        ++served;
    } catch (const std::system_error&) {
        // a fault of the network
    }
}
task<> serves(sim::world& world) {
    cancellation_source stop;
    address at;
    auto handler = [](io::tcp_stream peer) { return echoes(std::move(peer)); };
    auto listening = [&](const io::endpoint& found) { at.set(found); };
    auto failed = [](const auto&...) {};
    auto serving = spawn(io::serve({}, handler, {}, stop.token(), listening, failed));
    const io::endpoint known = co_await at.known();
    unsigned served = 0;
    std::vector<join_handle<void>> clients;
    for (int i = 0; i < 3; ++i) {
        clients.push_back(
            spawn(asks(known, served), {.name = "victim", .where = placement::any()}));
    }
    for (auto& each : clients) static_cast<void>(co_await each.outcome());
    stop.cancel();
    static_cast<void>(co_await serving);
    static_cast<void>(world);
}

} // namespace

TEST_CASE("S158: under a hostile kernel, too, streams go on beside those that nobody reads") {
    check_all(goes_on_beside_floods, {.runs = 30, .worlds = 0});
}

TEST_CASE("S161: a stream that receives ahead goes at any moment and leaves nothing behind") {
    check_all(goes_at_any_moment, {.runs = 200, .worlds = 3});
}

TEST_CASE("recv: a server under a hostile kernel and network answers whole messages") {
    check_all(serves, {.runs = 40, .worlds = 0, .faults = true});
}

TEST_CASE("S162: recv() and the other reads, cancelled at any moment, lose no byte") {
    check_all(loses_no_byte, {.runs = 200});
}
