// recv(): bytes in buffers that are lent, received ahead, and never lost.
#include <toadstone/io/received.hpp>

#include <toadstone/io/buffered_reader.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

static_assert(!std::is_copy_constructible_v<io::received>);
static_assert(std::is_nothrow_move_assignable_v<io::received>);

detail::receive_options small(unsigned buffers, unsigned size = 16, unsigned most_unread = 4) {
    detail::receive_options options;
    options.buffers = buffers;
    options.buffer_size = size;
    options.most_unread = most_unread;
    return options;
}

task<io::received> receive(io::tcp_stream& from) {
    io::received bytes = co_await from.recv();
    co_return bytes;
}
task<std::string> receive_text(io::tcp_stream& from) {
    const io::received bytes = co_await from.recv();
    co_return std::string(bytes.text());
}
task<std::string> receive_to_end(io::tcp_stream& from) {
    std::string all;
    for (;;) {
        const io::received bytes = co_await from.recv();
        if (bytes.empty()) co_return all;
        all += bytes.text();
    }
}
task<std::string> read_text(io::tcp_stream& from, std::size_t most = 65536) {
    std::string text(most, '\0');
    const std::size_t count = co_await from.read_some(text);
    text.resize(count);
    co_return text;
}
/// Steps until the kernel has brought everything that is on its way over loopback.
void settle(stepped& world) {
    world.settle();
    std::this_thread::sleep_for(1ms);
    world.settle();
}

} // namespace

TEST_CASE("S155: recv() gives what has come, piece by piece, and nothing at the end") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.send("ping");
    const io::received first = world.run(receive(pair.stream));
    CHECK(first.text() == "ping");
    CHECK(std::string(reinterpret_cast<const char*>(first.data()), first.size()) == "ping");
    CHECK(first.bytes().size() == 4);
    pair.peer.send("pong");
    CHECK(world.run(receive_text(pair.stream)) == "pong");
    CHECK(first.text() == "ping"); // while it is held, nothing is received into it
    pair.peer.close();
    const io::received end = world.run(receive(pair.stream));
    CHECK(end.empty());
    CHECK(end.size() == 0);
    CHECK_FALSE(end);
    CHECK(world.run(receive(pair.stream)).empty());
}

TEST_CASE("recv: a message of 16 KiB comes in one piece, and is written back as it is") {
    stepped world;
    auto pair = world.run(connect_pair());
    const std::string message(16 * 1024, 'm');
    pair.peer.send(message);
    settle(world);
    const io::received bytes = world.run(receive(pair.stream));
    CHECK(bytes.size() == message.size());
    world.run(pair.stream.write_all(bytes));
    CHECK(pair.peer.receive() == message);
}

TEST_CASE("recv: one receive is armed for as many messages as come") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.send("0");
    CHECK(world.run(receive_text(pair.stream)) == "0");
    for (int i = 1; i < 5; ++i) {
        pair.peer.send(std::to_string(i));
        const unsigned submitted = world.worker().queue().last_position();
        CHECK(world.run(receive_text(pair.stream)) == std::to_string(i));
        CHECK(world.worker().queue().last_position() == submitted);
        CHECK(world.worker().in_flight() == 1);
    }
}

TEST_CASE("S156: a recv() that is cancelled leaves what comes to the next read, of any kind") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto waiting = world.spawn(receive(pair.stream));
    world.settle();
    waiting.cancel();
    world.settle();
    CHECK(world.end_of(waiting).is_cancelled());
    pair.peer.send("abcdefgh");
    settle(world);
    CHECK(world.run(read_text(pair.stream, 2)) == "ab");
    char three[3];
    world.run(pair.stream.read_exactly(three));
    CHECK(std::string_view(three, 3) == "cde");
    CHECK(world.run(receive_text(pair.stream)) == "fgh");
    pair.peer.send("line\n");
    settle(world);
    io::buffered_reader reader(pair.stream);
    CHECK(world.run(reader.read_line()) == "line");
}

TEST_CASE("recv: a read beside an armed receive waits for what that brings") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.send("a");
    CHECK(world.run(receive_text(pair.stream)) == "a");
    auto reading = world.spawn(read_text(pair.stream));
    world.settle();
    CHECK(world.worker().in_flight() == 1);
    SECTION("delivered") {
        pair.peer.send("b");
        settle(world);
        CHECK(world.end_of(reading).value() == "b");
    }
    SECTION("cancelled") {
        reading.cancel();
        world.settle();
        CHECK(world.end_of(reading).is_cancelled());
        pair.peer.send("b");
        CHECK(world.run(receive_text(pair.stream)) == "b");
    }
    SECTION("exactly") {
        reading.cancel();
        world.settle();
        std::array<char, 4> four{};
        auto exact = world.spawn(pair.stream.read_exactly(four));
        pair.peer.send("bc");
        settle(world);
        CHECK_FALSE(exact.done());
        pair.peer.send("de");
        settle(world);
        world.end_of(exact).value();
        CHECK(std::string_view(four.data(), 4) == "bcde");
    }
}

TEST_CASE("recv: a read_exactly() that is cut after bytes that were received ahead poisons") {
    stepped world;
    auto pair = world.run(connect_pair());
    pair.peer.send("a");
    CHECK(world.run(receive_text(pair.stream)) == "a");
    pair.peer.send("bc");
    settle(world);
    std::array<char, 4> four{};
    auto exact = world.spawn(pair.stream.read_exactly(four));
    world.settle();
    exact.cancel();
    world.settle();
    CHECK(world.end_of(exact).is_cancelled());
    CHECK(pair.stream.read_poisoned());
    auto refused = world.spawn(receive(pair.stream));
    CHECK_THROWS_AS(world.end_of(refused).value(), poison_error);
}

TEST_CASE("recv: errors name the operation and the peer; who reads beside it is refused") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto waiting = world.spawn(receive(pair.stream));
    world.settle();
    auto second = world.spawn(receive(pair.stream));
    CHECK_THROWS_AS(world.end_of(second).value(), std::logic_error);
    auto third = world.spawn(read_text(pair.stream));
    CHECK_THROWS_AS(world.end_of(third).value(), std::logic_error);
    pair.peer.reset();
    settle(world);
    const auto end = world.end_of(waiting);
    CHECK_THROWS_WITH(std::move(end).value(), "read from " + pair.stream.peer().to_string() +
                                                  ": Connection reset by peer");
    world.run(pair.stream.close());
    auto late = world.spawn(receive(pair.stream));
    CHECK_THROWS_WITH(world.end_of(late).value(),
                      "read from " + pair.stream.peer().to_string() + ": Bad file descriptor");
}

TEST_CASE("S157: what nobody reads is received ahead up to the bound, and again once taken") {
    stepped world(1, 512, small(64, 16, 4));
    auto pair = world.run(connect_pair());
    pair.peer.send("0");
    CHECK(world.run(receive_text(pair.stream)) == "0");
    std::string sent;
    for (int i = 1; i <= 10; ++i) {
        const std::string text(16, static_cast<char>('a' + i));
        pair.peer.send(text);
        sent += text;
        settle(world);
        CHECK(world.worker().in_flight() == (i < 4 ? 1 : 0));
    }
    std::string got;
    while (got.size() < sent.size()) got += world.run(receive_text(pair.stream));
    CHECK(got == sent);
    CHECK(world.worker().in_flight() == 1);
}

TEST_CASE("S158: streams that nobody reads do not keep others from receiving") {
    stepped world(1, 512, small(32, 16, 4));
    std::vector<connection> flooded;
    for (int i = 0; i < 50; ++i) {
        flooded.push_back(world.run(connect_pair()));
        flooded.back().peer.send("0");
        CHECK(world.run(receive_text(flooded.back().stream)) == "0");
    }
    for (auto& each : flooded) each.peer.send(std::string(4096, 'f'));
    settle(world);
    auto pair = world.run(connect_pair());
    for (int i = 0; i < 20; ++i) {
        auto waiting = world.spawn(receive_text(pair.stream));
        pair.peer.send(std::to_string(i));
        settle(world);
        world.advance(1ms);
        REQUIRE(waiting.done());
        CHECK(world.end_of(waiting).value() == std::to_string(i));
    }
    for (auto& each : flooded) { // and nothing of the flood is lost
        each.peer.close();
        CHECK(world.run(receive_to_end(each.stream)) == std::string(4096, 'f'));
    }
}

TEST_CASE("S158: a thousand floods that nobody reads, and an echo beside them") {
    const limit_scope descriptors(RLIMIT_NOFILE, 4096);
    runtime rt({.workers = 1});
    auto body = []() -> task<> {
        std::vector<connection> flooded;
        for (int i = 0; i < 1000; ++i) {
            flooded.push_back(co_await connect_pair());
            flooded.back().peer.send("0");
            static_cast<void>(co_await flooded.back().stream.recv());
        }
        const std::string flood(64 * 1024, 'f');
        for (auto& each : flooded) {
            // As much as the kernel takes.
            static_cast<void>(::send(each.peer.fd(), flood.data(), flood.size(),
                                     MSG_DONTWAIT | MSG_NOSIGNAL));
        }
        auto pair = co_await connect_pair();
        for (int i = 0; i < 200; ++i) {
            pair.peer.send("ping");
            const io::received bytes = co_await pair.stream.recv();
            CHECK(bytes.text() == "ping");
            co_await pair.stream.write_all(bytes);
            CHECK(pair.peer.receive() == "ping");
        }
    };
    rt.block_on(body());
    const auto report = rt.shutdown(10s);
    CHECK(report.clean());
}

TEST_CASE("S159: without a buffer it waits without spinning, and goes on when one comes back") {
    stepped world(1, 512, small(4, 16));
    auto first = world.run(connect_pair());
    std::vector<io::received> held;
    for (int i = 0; i < 4; ++i) {
        first.peer.send(std::string(16, 'h'));
        held.push_back(world.run(receive(first.stream)));
    }
    auto second = world.run(connect_pair());
    auto waiting = world.spawn(receive_text(second.stream));
    second.peer.send("late");
    settle(world);
    CHECK_FALSE(waiting.done());
    const unsigned submitted = world.worker().queue().last_position();
    for (int i = 0; i < 50; ++i) world.step();
    CHECK(world.worker().queue().last_position() == submitted);
    SECTION("from here") {
        auto give = [](std::vector<io::received>& from) -> task<> {
            from.pop_back();
            co_return;
        };
        world.run(give(held));
    }
    SECTION("from another thread") {
        std::thread([&] { held.pop_back(); }).join();
    }
    settle(world);
    REQUIRE(waiting.done());
    CHECK(world.end_of(waiting).value() == "late");
}

TEST_CASE("S159: where all buffers are held, who waits for bytes gets a block of its own") {
    stepped world(1, 512, small(2, 16));
    auto first = world.run(connect_pair());
    first.peer.send(std::string(32, 'h'));
    std::vector<io::received> held;
    for (int i = 0; i < 2; ++i) held.push_back(world.run(receive(first.stream)));
    auto second = world.run(connect_pair());
    for (int i = 0; i < 3; ++i) {
        auto waiting = world.spawn(receive(second.stream));
        second.peer.send("x");
        settle(world);
        world.advance(1ms);
        REQUIRE(waiting.done());
        held.push_back(world.end_of(waiting).value());
        CHECK(held.back().text() == "x");
    }
}

TEST_CASE("recv: it works without provided buffers, and without memory for them") {
    const bool no_ring = GENERATE(true, false);
    stepped world(1, 512, small(no_ring ? 8 : 0, 16));
    world.kernel().no_buffer_rings = no_ring;
    auto pair = world.run(connect_pair());
    auto cancelled = world.spawn(receive(pair.stream));
    world.settle();
    cancelled.cancel();
    world.settle();
    CHECK(world.end_of(cancelled).is_cancelled());
    pair.peer.send("0123456789abcdef0123");
    settle(world);
    CHECK(world.run(receive_text(pair.stream)) == "0123456789abcdef");
    CHECK(world.run(receive_text(pair.stream)) == "0123");
    pair.peer.close();
    CHECK(world.run(receive(pair.stream)).empty());
}

TEST_CASE("recv: streams that receive ahead leave room for operations that end by themselves") {
    stepped world(1, 8);
    std::vector<connection> pairs;
    for (int i = 0; i < 12; ++i) {
        pairs.push_back(world.run(connect_pair()));
        pairs.back().peer.send("0");
        CHECK(world.run(receive_text(pairs.back().stream)) == "0");
    }
    CHECK(world.worker().in_flight() == 4);
    for (auto& each : pairs) {
        world.run(each.stream.write_all("answer"));
        each.peer.send("1");
        CHECK(world.run(receive_text(each.stream)) == "1");
    }
}

TEST_CASE("S160: a lease may end on any thread, and after stream and runtime") {
    std::vector<io::received> held;
    {
        runtime rt({.workers = 2, .receive_buffers = 4});
        auto body = [](std::vector<io::received>& into) -> task<> {
            auto pair = co_await connect_pair();
            for (int i = 0; i < 40; ++i) {
                pair.peer.send(std::to_string(i));
                io::received bytes = co_await pair.stream.recv();
                CHECK(bytes.text() == std::to_string(i));
                if (i % 4 == 0) {
                    std::thread([&] { bytes.reset(); }).join();
                } else if (i % 4 == 1) {
                    auto ends = [](io::received) -> task<> { co_return; };
                    co_await spawn(ends(std::move(bytes)), {.where = placement::worker(1)});
                } else if (i > 36) {
                    into.push_back(std::move(bytes));
                }
            }
        };
        rt.block_on(body(held));
    }
    CHECK(held.size() == 2);
    CHECK(held.front().text() == "38");
    std::thread([&] { held.pop_back(); }).join();
    held.clear();
}

TEST_CASE("S161: a stream with an armed receive moves, closes and goes like any other") {
    const std::size_t before = open_descriptors();
    {
        stepped world;
        auto pair = world.run(connect_pair());
        pair.peer.send("a");
        CHECK(world.run(receive_text(pair.stream)) == "a");
        CHECK(world.worker().in_flight() == 1);
        SECTION("moved") {
            io::tcp_stream moved = std::move(pair.stream);
            pair.peer.send("b");
            CHECK(world.run(receive_text(moved)) == "b");
            auto other = world.run(connect_pair());
            other.stream = std::move(moved);
            pair.peer.send("c");
            CHECK(world.run(receive_text(other.stream)) == "c");
        }
        SECTION("closed, with something unread") {
            pair.peer.send("b");
            settle(world);
            world.run(pair.stream.close());
            CHECK(world.worker().in_flight() == 0);
            CHECK(pair.peer.receive().empty());
        }
        SECTION("closed under a reader") {
            auto waiting = world.spawn(receive(pair.stream));
            world.settle();
            world.run(pair.stream.close());
            CHECK(world.end_of(waiting).value().empty());
            CHECK(world.worker().in_flight() == 0);
        }
        SECTION("destroyed") {
            auto ends = [](io::tcp_stream) -> task<> { co_return; };
            world.run(ends(std::move(pair.stream)));
            settle(world);
            CHECK(world.worker().in_flight() == 0);
            CHECK(pair.peer.receive().empty());
        }
        SECTION("destroyed on a plain thread") {
            std::optional<io::tcp_stream> last(std::move(pair.stream));
            std::thread([&] { last.reset(); }).join();
            settle(world);
            CHECK(world.worker().in_flight() == 0);
            CHECK(pair.peer.receive().empty());
        }
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("S161: a stream outlives the worker that has received ahead for it") {
    std::optional<connection> pair;
    {
        stepped world;
        pair.emplace(world.run(connect_pair()));
        pair->peer.send("a");
        CHECK(world.run(receive_text(pair->stream)) == "a");
        pair->peer.send("b");
        settle(world);
    }
    stepped world;
    CHECK(world.run(receive_text(pair->stream)) == "b");
    pair->peer.send("c");
    CHECK(world.run(receive_text(pair->stream)) == "c");
}

TEST_CASE("recv: a reader on another worker goes on where the last one stopped") {
    stepped world(2);
    auto pair = world.run(connect_pair());
    pair.peer.send("a");
    CHECK(world.run(receive_text(pair.stream)) == "a");
    pair.peer.send("b");
    settle(world);
    const spawn_options elsewhere{.where = placement::worker(1)};
    SECTION("with bytes that are there") {
        auto there = world.spawn(receive_text(pair.stream), elsewhere);
        settle(world);
        CHECK(world.end_of(there).value() == "b");
    }
    SECTION("and waits there") {
        CHECK(world.run(receive_text(pair.stream)) == "b");
        auto there = world.spawn(receive_text(pair.stream), elsewhere);
        settle(world);
        CHECK_FALSE(there.done());
        CHECK(world.worker(0).in_flight() == 0);
        CHECK(world.worker(1).in_flight() == 1);
        pair.peer.send("c");
        settle(world);
        CHECK(world.end_of(there).value() == "c");
    }
    SECTION("or is cancelled on the way") {
        CHECK(world.run(receive_text(pair.stream)) == "b");
        auto there = world.spawn(receive_text(pair.stream), elsewhere);
        world.step(1);
        there.cancel();
        settle(world);
        CHECK(world.end_of(there).is_cancelled());
        pair.peer.send("c");
        CHECK(world.run(receive_text(pair.stream)) == "c");
    }
    SECTION("destroyed there") {
        auto ends = [](io::tcp_stream) -> task<> { co_return; };
        auto there = world.spawn(ends(std::move(pair.stream)), elsewhere);
        settle(world);
        CHECK(there.done());
        CHECK(world.worker(0).in_flight() == 0);
        CHECK(pair.peer.receive().empty());
    }
}

TEST_CASE("recv: nothing is in flight when a runtime has ended, whatever was armed") {
    const std::size_t before = open_descriptors();
    {
        std::vector<connection> kept;
        {
            runtime rt({.workers = 2});
            auto body = [](std::vector<connection>& into) -> task<> {
                for (int i = 0; i < 10; ++i) {
                    into.push_back(co_await connect_pair());
                    into.back().peer.send("0");
                    static_cast<void>(co_await into.back().stream.recv());
                }
            };
            rt.block_on(body(kept));
            CHECK(rt.operations_in_flight() == 10);
        }
        for (auto& each : kept) each.peer.send("unread");
    }
    CHECK(open_descriptors() == before);
}
