// Connections: what arrives is delivered, what is cut is poisoned, what is closed is closed.
#include <toadstone/io/tcp_stream.hpp>

#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <future>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <vector>

#include <netinet/tcp.h>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<std::string> read_text(io::tcp_stream& from) {
    std::array<char, 65536> buffer;
    const std::size_t count = co_await from.read_some(buffer);
    co_return std::string(buffer.data(), count);
}

task<> write_text(io::tcp_stream& to, std::string text) {
    co_await to.write_all(text);
}

template <class Error, class A>
task<std::string> message_of(A body) {
    std::string text = "it did not fail";
    try {
        co_await std::move(body);
    } catch (const Error& error) {
        text = error.what();
    }
    co_return text;
}

/// Fills the kernel's buffers, so that the next write has to wait.
std::size_t fill(const io::tcp_stream& stream) {
    const std::string block(65536, 'f');
    std::size_t sum = 0;
    for (;;) {
        const ssize_t count = ::send(stream.native_handle(), block.data(), block.size(),
                                     MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0) return sum;
        sum += static_cast<std::size_t>(count);
    }
}

constexpr std::size_t too_much = 64 << 20; // bytes; no kernel buffers that many

} // namespace

TEST_CASE("tcp_stream: bytes go both ways, the end is 0, and every descriptor is closed") {
    runtime rt({.workers = 1});
    const auto before = open_descriptors();
    auto body = []() -> task<> {
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        auto ours = co_await io::tcp_stream::connect(listener.local_endpoint());
        auto theirs = co_await listener.accept();
        CHECK(ours.peer() == listener.local_endpoint());
        CHECK(ours.local().to_string() == theirs.peer().to_string());
        CHECK(theirs.local().to_string() == ours.peer().to_string());
        co_await ours.write_all("ping");
        const std::string ping = co_await read_text(theirs);
        CHECK(ping == "ping");
        const std::size_t some = co_await theirs.write_some("pong");
        CHECK(some == 4);
        const std::string pong = co_await read_text(ours);
        CHECK(pong == "pong");
        ours.shutdown_write();
        const std::string end = co_await read_text(theirs);
        CHECK(end.empty());
        co_await theirs.write_all("still open");
        const std::string rest = co_await read_text(ours);
        CHECK(rest == "still open");
        co_await theirs.close();
        const std::string closed = co_await read_text(ours);
        CHECK(closed.empty());
    };
    rt.block_on(body());
    CHECK(open_descriptors() == before);
    CHECK(rt.operations_in_flight() == 0);
}

TEST_CASE("tcp_stream: write_all sends everything, in order, however slowly the peer reads") {
    runtime rt({.workers = 2});
    auto body = []() -> task<> {
        auto pair = co_await connect_pair();
        std::string sent(16 << 20, '\0');
        for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 / 5);
        std::string received;
        std::thread reader([&] { received = pair.peer.receive_all(); });
        co_await pair.stream.write_all(sent);
        co_await pair.stream.close();
        reader.join();
        CHECK((received == sent));
    };
    rt.block_on(body());
}

TEST_CASE("tcp_stream: an empty write writes nothing and waits for nobody") {
    stepped world;
    auto pair = world.run(connect_pair());
    fill(pair.stream);
    world.run(pair.stream.write_all(std::string_view()));
    CHECK_FALSE(pair.stream.poisoned());
}

TEST_CASE("tcp_stream: errors name the operation, the peer and the reason") {
    stepped world;
    raw_socket unused; // bound, but not listening: nobody else gets the port
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    ::bind(unused.fd(), reinterpret_cast<sockaddr*>(&address), length);
    ::getsockname(unused.fd(), reinterpret_cast<sockaddr*>(&address), &length);
    const auto nobody = io::endpoint::loopback(ntohs(address.sin_port));
    CHECK(world.run(message_of<std::system_error>(io::tcp_stream::connect(nobody))) ==
          "connect to " + nobody.to_string() + ": Connection refused");

    auto pair = world.run(connect_pair());
    const std::string peer = pair.stream.peer().to_string();
    pair.peer.reset();
    CHECK(world.run(message_of<std::system_error>(read_text(pair.stream))) ==
          "read from " + peer + ": Connection reset by peer");
    CHECK(world.run(message_of<std::system_error>(pair.stream.write_all("x"))) ==
          "write to " + peer + ": Broken pipe");
    CHECK_FALSE(pair.stream.poisoned());
}

TEST_CASE("tcp_stream: small writes are not delayed") {
    runtime rt({.workers = 1});
    auto body = []() -> task<> {
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        auto ours = co_await io::tcp_stream::connect(listener.local_endpoint());
        auto theirs = co_await listener.accept();
        for (const io::tcp_stream* each : {&ours, &theirs}) {
            int on = 0;
            socklen_t length = sizeof on;
            ::getsockopt(each->native_handle(), IPPROTO_TCP, TCP_NODELAY, &on, &length);
            CHECK(on == 1);
        }
        ours.set_no_delay(false);
    };
    rt.block_on(body());
}

namespace {

/// Notes, when it dies, whether the kernel still has something.
class witness {
public:
    witness(stepped& world, std::optional<std::size_t>& in_flight) noexcept
        : world_(world), in_flight_(in_flight) {}
    witness(const witness&) = delete;
    witness& operator=(const witness&) = delete;
    ~witness() { in_flight_ = world_.worker().in_flight(); }

private:
    stepped& world_;
    std::optional<std::size_t>& in_flight_;
};

} // namespace

TEST_CASE("S57: a frame with a recv in flight into it is freed after the recv's completion") {
    stepped world;
    auto pair = world.run(connect_pair());
    std::optional<std::size_t> seen;
    auto body = [](io::tcp_stream& from, stepped& w,
                   std::optional<std::size_t>& in_flight) -> task<> {
        const witness here(w, in_flight);
        std::array<char, 4096> buffer{};
        co_await from.read_some(buffer);
    };
    auto reader = world.spawn(body(pair.stream, world, seen));
    world.settle();
    REQUIRE(world.worker().in_flight() == 1);
    reader.cancel();
    CHECK_FALSE(seen.has_value()); // nothing is destroyed inside cancel()
    world.settle();
    REQUIRE(seen.has_value());
    CHECK(*seen == 0);
    pair.peer.send("later"); // nobody's memory is written any more
    CHECK(world.run(read_text(pair.stream)) == "later");
}

TEST_CASE("S57: a scope that fails waits for a child's recv into its owner's buffer") {
    stepped world;
    auto pair = world.run(connect_pair());
    std::optional<std::size_t> seen;
    auto body = [](io::tcp_stream& from, stepped& w,
                   std::optional<std::size_t>& in_flight) -> task<> {
        const witness here(w, in_flight);
        std::array<char, 4096> buffer{};
        auto inside = [&](task_scope& scope) -> task<> {
            scope.spawn(from.read_some(buffer)).detach();
            co_await yield_now();
            throw std::runtime_error("the body fails");
        };
        co_await with_scope(inside);
    };
    auto failed = world.run(message_of<std::runtime_error>(body(pair.stream, world, seen)));
    CHECK(failed == "the body fails");
    REQUIRE(seen.has_value());
    CHECK(*seen == 0);
}

TEST_CASE("S59: no byte is lost between a read and its cancellation") {
    runtime rt({.workers = 1});
    unsigned won = 0;
    auto body = [](unsigned& delivered_late) -> task<> {
        auto pair = co_await connect_pair();
        std::size_t sent = 0;
        std::size_t received = 0;
        for (unsigned round = 0; round < 2000; ++round) {
            auto reader = spawn(read_text(pair.stream));
            co_await yield_now();
            if (round % 2) reader.cancel(); // the request first, or the bytes first
            pair.peer.send("12345");
            sent += 5;
            if (round % 2 == 0) reader.cancel();
            auto end = co_await reader.outcome();
            if (end.has_value()) {
                received += std::move(end).value().size();
                ++delivered_late;
            }
            while (received < sent) {
                const std::string rest = co_await read_text(pair.stream);
                received += rest.size();
            }
        }
        CHECK(received == sent);
    };
    rt.block_on(body(won));
    INFO(won << " of 2000 cancelled reads delivered");
}

TEST_CASE("S59: a write cut by a cancellation poisons the stream, with the cause") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto writer =
        world.spawn(write_text(pair.stream, std::string(too_much, 'x')), {.name = "writer"});
    world.settle();
    REQUIRE_FALSE(writer.done());
    writer.cancel(cancel_reason::timeout);
    world.settle();
    REQUIRE(writer.done());
    REQUIRE(pair.stream.poisoned());
    const poison_cause cause = pair.stream.cause();
    CHECK(cause.kind() == poison_kind::cancelled);
    CHECK(cause.reason() == cancel_reason::timeout);
    CHECK(cause.task_name() == "writer");
    CHECK(std::string(cause.locked_at().file_name()).find("tcp_stream_test.cpp") !=
          std::string::npos);
    // The place is the user's, not one inside the library.
    CHECK(cause.interrupted_at().file_name() == cause.locked_at().file_name());
    CHECK(cause.interrupted_at().line() == cause.locked_at().line());
    CHECK_THAT(cause.to_string(),
               Catch::Contains(" in the write begun at tcp_stream_test.cpp:"));
    const std::string told = "tcp stream '" + pair.stream.peer().to_string() + "' poisoned";
    CHECK(world.run(message_of<poison_error>(write_text(pair.stream, "more"))).find(told) == 0);
    CHECK(world.run(message_of<poison_error>(detail::as_task(pair.stream.write_some("m"))))
              .find(told) == 0);
    CHECK_THROWS_AS(pair.stream.shutdown_write(), poison_error); // it would be a lie
    pair.peer.send("reading stays possible");
    CHECK(world.run(read_text(pair.stream)) == "reading stays possible");
}

TEST_CASE("tcp_stream: a write that fails in the middle poisons with the exception") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto writer = world.spawn(
        message_of<std::system_error>(write_text(pair.stream, std::string(too_much, 'x'))));
    world.settle();
    REQUIRE_FALSE(writer.done());
    pair.peer.reset();
    world.settle();
    REQUIRE(writer.done());
    REQUIRE(pair.stream.poisoned());
    CHECK(pair.stream.cause().kind() == poison_kind::exception);
    CHECK(pair.stream.cause().to_string().find("write to") != std::string::npos);
}

TEST_CASE("tcp_stream: a write that finished although it was cancelled is delivered") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto writer = world.spawn(write_text(pair.stream, "whole"));
    world.step(); // prepared, submitted and completed; the task has not gone on yet
    writer.cancel();
    world.settle();
    auto end = [](join_handle<void> from) -> task<bool> {
        auto how = co_await from.outcome();
        co_return how.has_value();
    };
    CHECK(world.run(end(std::move(writer))));
    CHECK_FALSE(pair.stream.poisoned());
    CHECK(pair.peer.receive() == "whole");
}

TEST_CASE("tcp_stream: a write cancelled before its first byte does not poison") {
    stepped world;
    auto pair = world.run(connect_pair());
    const std::size_t filled = fill(pair.stream);
    auto writer = world.spawn(write_text(pair.stream, "message"));
    world.settle();
    REQUIRE_FALSE(writer.done());
    writer.cancel();
    world.settle();
    REQUIRE(writer.done());
    CHECK_FALSE(pair.stream.poisoned());
    std::thread reader([&] { CHECK(pair.peer.receive_all().size() == filled + 5); });
    world.run(write_text(pair.stream, "whole"));
    pair.stream.shutdown_write();
    reader.join();
}

TEST_CASE("S66: a write cancelled between preparation and submission sends nothing") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto race = [](io::tcp_stream& to) -> task<std::size_t> {
        // Both run in one turn, before it submits; the second wins at once.
        auto won = co_await when_any(write_text(to, "BAD"), checkpoint());
        co_return won.index;
    };
    CHECK(world.run(race(pair.stream)) == 1);
    CHECK_FALSE(pair.stream.poisoned());
    world.run(write_text(pair.stream, "good"));
    pair.stream.shutdown_write();
    CHECK(pair.peer.receive_all() == "good");
}

TEST_CASE("tcp_stream: one task reads while another writes, on two workers") {
    runtime rt({.workers = 2});
    auto write_loop = [](io::tcp_stream& to) -> task<> {
        for (int i = 0; i < 1000; ++i) co_await to.write_all("0123456789");
    };
    auto body = [](auto& writing) -> task<> {
        auto pair = co_await connect_pair();
        auto writer = spawn(writing(pair.stream), {.where = placement::worker(1)});
        std::thread echo([&] {
            for (std::size_t sum = 0; sum < 10000;) {
                const std::string part = pair.peer.receive();
                pair.peer.send(part);
                sum += part.size();
            }
        });
        std::size_t sum = 0;
        while (sum < 10000) {
            const std::string part = co_await read_text(pair.stream);
            sum += part.size();
        }
        co_await writer;
        echo.join();
        CHECK(sum == 10000);
    };
    rt.block_on(body(write_loop));
}

TEST_CASE("contract: a second reader or writer gets an error, and the first goes on") {
    stepped world;
    auto pair = world.run(connect_pair());
    const std::string peer = pair.stream.peer().to_string();
    auto reader = world.spawn(read_text(pair.stream));
    world.settle();
    CHECK(world.run(message_of<std::logic_error>(read_text(pair.stream))) ==
          "read from " + peer + ": another task reads from it, and one at a time may");
    char byte = 0;
    CHECK(world.run(
              message_of<std::logic_error>(pair.stream.read_exactly(std::span(&byte, 1)))) ==
          "read from " + peer + ": another task reads from it, and one at a time may");
    pair.peer.send("to the first");
    CHECK(world.end_of(reader).value() == "to the first");

    fill(pair.stream);
    auto writer = world.spawn(write_text(pair.stream, "x"));
    world.settle();
    const std::string refused =
        "write to " + peer + ": another task writes to it, and one at a time may";
    CHECK(world.run(message_of<std::logic_error>(write_text(pair.stream, "y"))) == refused);
    CHECK(world.run(message_of<std::logic_error>(
              detail::as_task(pair.stream.write_some("y")))) == refused);
    CHECK_THROWS_AS(pair.stream.shutdown_write(), std::logic_error);
    REQUIRE_FALSE(writer.done());
    CHECK_FALSE(pair.stream.poisoned());
    writer.cancel();
    world.settle();
}

TEST_CASE("contract: a refused reader that is asked to stop stops") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto reader = world.spawn(read_text(pair.stream));
    world.settle();
    auto second = world.spawn(read_text(pair.stream));
    second.cancel();
    CHECK(world.end_of(second).is_cancelled());
    CHECK_FALSE(reader.done());
    reader.cancel();
    world.settle();
}

TEST_CASE("contract: two tasks that close one stream: one does, the other gets an error") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto one = world.spawn(pair.stream.close());
    auto two = world.spawn(pair.stream.close());
    const auto first = world.end_of(one);
    const auto second = world.end_of(two);
    CHECK(first.has_value());
    REQUIRE(second.has_exception());
    CHECK_THROWS_AS(second.value(), std::logic_error);
    CHECK_FALSE(pair.stream.is_open());
    world.run(pair.stream.close()); // afterwards it does nothing
}

TEST_CASE("contract: a read into an empty buffer gives 0 at once, and takes nothing") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto nothing = [](io::tcp_stream& from) -> task<std::size_t> {
        std::size_t count = co_await from.read_some(std::span<char>());
        std::vector<std::byte> empty;
        count += co_await from.read_some(empty);
        co_await from.read_exactly(empty);
        co_return count;
    };
    CHECK(world.run(nothing(pair.stream)) == 0);
    auto reader = world.spawn(read_text(pair.stream));
    world.settle();
    REQUIRE_FALSE(reader.done()); // and is nobody's rival
    auto empty = [](io::tcp_stream& from) -> task<std::size_t> {
        const std::size_t count = co_await from.read_some(std::span<char>());
        co_return count;
    };
    CHECK(world.run(empty(pair.stream)) == 0);
    pair.peer.send("whole");
    CHECK(world.end_of(reader).value() == "whole");
}

TEST_CASE("contract: reads into empty buffers do not starve a neighbour") {
    stepped world;
    auto pair = world.run(connect_pair());
    bool there = false;
    auto spins = [](io::tcp_stream& from, const bool& end) -> task<> {
        while (!end) static_cast<void>(co_await from.read_some(std::span<char>()));
    };
    auto sets = [](bool& end) -> task<> {
        end = true;
        co_return;
    };
    auto spinner = world.spawn(spins(pair.stream, there));
    auto neighbour = world.spawn(sets(there));
    world.settle();
    CHECK(spinner.done());
}

TEST_CASE("contract: a stream destroyed under its reader ends the process, and is named") {
    for (const bool moved : {false, true}) {
        std::string peer;
        const auto end = in_child([&] {
            stepped world;
            std::optional<connection> pair(world.run(connect_pair()));
            std::fprintf(stderr, "[%s]\n", pair->stream.peer().to_string().c_str());
            auto one = world.spawn(read_text(pair->stream));
            world.settle();
            if (moved) {
                const io::tcp_stream away = std::move(pair->stream);
            } else {
                pair.reset();
            }
            return 0;
        });
        CHECK(end.signal == SIGABRT);
        const auto from = end.err.find('[') + 1;
        peer = end.err.substr(from, end.err.find(']') - from);
        CHECK_THAT(end.err,
                   Catch::Contains("a stream, listener or file stays where it is while "
                                   "an operation uses it: connection to " +
                                   peer));
    }
}

TEST_CASE("tcp_stream: wait_closed ends when the peer closes, resets or stops writing") {
    stepped world;
    const auto with = [&world](auto how) {
        auto pair = world.run(connect_pair());
        auto waiter = world.spawn(pair.stream.wait_closed());
        pair.peer.send("unread bytes do not hide it");
        world.settle();
        CHECK_FALSE(waiter.done());
        how(pair.peer);
        world.settle();
        CHECK(waiter.done());
        waiter.detach();
        world.settle();
    };
    with([](raw_socket& peer) { peer.close(); });
    with([](raw_socket& peer) { peer.reset(); });
    with([](raw_socket& peer) { ::shutdown(peer.fd(), SHUT_WR); });
}

TEST_CASE("tcp_stream: wait_closed beside work cancels the work, and the other way round") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto race = [](io::tcp_stream& with) -> task<std::size_t> {
        auto won = co_await when_any(with.wait_closed(), sleep_for(1h));
        co_return won.index;
    };
    auto left = world.spawn(race(pair.stream));
    world.settle();
    CHECK_FALSE(left.done());
    pair.peer.close();
    world.settle();
    CHECK(left.done());
    auto quick = [](io::tcp_stream& with) -> task<std::size_t> {
        auto won = co_await when_any(with.wait_closed(), yield_now());
        co_return won.index;
    };
    auto second = world.run(connect_pair());
    CHECK(world.run(quick(second.stream)) == 1);
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("tcp_stream: close ends what other tasks have in flight, and waits for it") {
    const bool written = GENERATE(true, false); // if not, the peer sees an end in order
    stepped world;
    const auto before = open_descriptors();
    {
        auto pair = world.run(connect_pair());
        auto reader = world.spawn(read_text(pair.stream));
        auto watcher = world.spawn(pair.stream.wait_closed());
        std::optional<join_handle<std::string>> writer;
        if (written) {
            writer.emplace(world.spawn(message_of<std::system_error>(
                write_text(pair.stream, std::string(too_much, 'x')))));
        }
        world.settle();
        REQUIRE_FALSE(reader.done());
        REQUIRE_FALSE(watcher.done());
        if (written) REQUIRE_FALSE(writer->done());
        world.run(pair.stream.close());
        CHECK(reader.done());
        CHECK(watcher.done());
        if (written) CHECK(writer->done());
        CHECK_FALSE(pair.stream.is_open());
        world.run(pair.stream.close());
        CHECK(world.run(message_of<std::system_error>(read_text(pair.stream)))
                  .find("Bad file descriptor") != std::string::npos);
        world.settle();
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("tcp_stream: a connect that is cancelled, early or late, leaves nothing behind") {
    runtime rt({.workers = 1});
    const auto before = open_descriptors();
    auto body = []() -> task<> {
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        for (int round = 0; round < 300; ++round) {
            auto handle = spawn(io::tcp_stream::connect(listener.local_endpoint()));
            for (int i = 0; i < round % 4; ++i) co_await yield_now();
            handle.cancel();
            auto end = co_await handle.outcome();
            CHECK_FALSE(end.has_exception());
        }
    };
    rt.block_on(body());
    CHECK(open_descriptors() == before);
    CHECK(rt.operations_in_flight() == 0);
}

TEST_CASE("S68: a runtime that ends with operations in flight waits for each of them") {
    const auto before = open_descriptors();
    std::array<char, 4096> buffer{};
    std::promise<raw_socket> other_end;
    {
        runtime rt({.workers = 2});
        auto body = [](std::promise<raw_socket>& theirs,
                       std::array<char, 4096>& into) -> task<> {
            auto pair = co_await connect_pair();
            theirs.set_value(std::move(pair.peer));
            co_await pair.stream.read_some(into);
        };
        rt.spawn(body(other_end, buffer)).detach();
        while (rt.operations_in_flight() == 0) std::this_thread::yield();
    }
    raw_socket peer = other_end.get_future().get();
    buffer.fill('m');
    try {
        peer.send("late");
    } catch (const std::system_error&) {
        // The stream is closed already, as it should be.
    }
    std::array<char, 4096> marks;
    marks.fill('m');
    CHECK(buffer == marks);
    peer.close();
    CHECK(open_descriptors() == before);
}
