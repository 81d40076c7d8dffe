// Listening: what comes in is delivered or closed, and shortages are waited out.
#include <toadstone/io/tcp_listener.hpp>

#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/forwarding_kernel.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <liburing.h>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

std::string complaint(const io::endpoint& at, io::listen_options options = {}) {
    try {
        const auto listener = io::tcp_listener::bind(at, options);
    } catch (const std::system_error& error) {
        return error.what();
    }
    return "none";
}

/// The limit at which the next descriptor is one too many.
rlim_t just_full() {
    const int next = ::dup(0);
    ::close(next);
    return static_cast<rlim_t>(next);
}

} // namespace

TEST_CASE("tcp_listener: port 0 becomes a real port, and peers are named") {
    stepped world;
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    CHECK(listener.local_endpoint().port() != 0);
    CHECK(listener.local_endpoint().host() == "127.0.0.1");
    auto ours = world.run(io::tcp_stream::connect(listener.local_endpoint()));
    auto theirs = world.run(listener.accept());
    CHECK(theirs.peer().to_string() == ours.local().to_string());
    CHECK(theirs.local() == listener.local_endpoint());
    CHECK(listener.accept_stats().accepted == 1);
}

TEST_CASE("tcp_listener: descriptors do not leak into other programs") {
    stepped world;
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto ours = world.run(io::tcp_stream::connect(listener.local_endpoint()));
    auto theirs = world.run(listener.accept());
    for (const int fd :
         {listener.native_handle(), ours.native_handle(), theirs.native_handle()}) {
        CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    }
}

TEST_CASE("tcp_listener: IPv6 works where the machine has it") {
    stepped world;
    std::optional<io::tcp_listener> listener;
    try {
        listener = io::tcp_listener::bind(io::endpoint::parse("[::1]:0"));
    } catch (const std::system_error& error) {
        WARN("no IPv6 on this machine: " << error.what());
        return;
    }
    auto ours = world.run(io::tcp_stream::connect(listener->local_endpoint()));
    auto theirs = world.run(listener->accept());
    CHECK(theirs.peer().host() == "::1");
    CHECK(theirs.peer().to_string() == ours.local().to_string());
}

TEST_CASE("tcp_listener: an address in use is an error that names it") {
    const auto first = io::tcp_listener::bind(io::endpoint::loopback(0));
    const auto at = first.local_endpoint();
    CHECK(complaint(at) == "listen on " + at.to_string() + ": Address already in use");
}

TEST_CASE("tcp_listener: several share a port, but the first of a server takes it alone") {
    io::listen_options first{.reuse_port = true, .first_of_port = true};
    const io::listen_options later{.reuse_port = true};
    const auto one = io::tcp_listener::bind(io::endpoint::loopback(0), first);
    const auto two = io::tcp_listener::bind(one.local_endpoint(), later);
    CHECK(two.local_endpoint() == one.local_endpoint());
    CHECK(complaint(one.local_endpoint(), first).find("already in use") != std::string::npos);
}

TEST_CASE(
    "S58: a cancelled accept that produced a descriptor anyway delivers it or closes it") {
    runtime rt({.workers = 1});
    const auto before = open_descriptors();
    constexpr unsigned rounds = 3000;
    unsigned delivered = 0;
    std::uint64_t accepted = 0;
    std::atomic<unsigned> asked{0};
    std::optional<io::endpoint> where;
    std::atomic<bool> ready{false};
    auto body = [&](unsigned& count, std::uint64_t& by_kernel) -> task<> {
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        where = listener.local_endpoint();
        ready = true;
        for (unsigned round = 0; round < rounds; ++round) {
            auto handle = spawn(listener.accept());
            co_await yield_now();
            asked = round + 1; // the other thread connects about now
            for (unsigned i = 0; i < round % 16; ++i) co_await yield_now();
            handle.cancel();
            auto end = co_await handle.outcome();
            if (end.has_value()) ++count;
        }
        by_kernel = listener.accept_stats().accepted;
    };
    std::thread peers([&] {
        while (!ready) std::this_thread::yield();
        for (unsigned done = 0; done < rounds; ++done) {
            while (asked <= done) std::this_thread::yield();
            try {
                const auto peer = raw_socket::connected_to(*where);
            } catch (const std::system_error&) {
                return; // the listener is closed: the last rounds are over
            }
        }
    });
    rt.block_on(body(delivered, accepted));
    peers.join();
    INFO(delivered << " of " << rounds << " cancelled accepts delivered");
    CHECK(delivered > 0);
    CHECK(delivered == accepted); // what the kernel accepted was delivered, not lost
    CHECK(open_descriptors() == before);
    CHECK(rt.operations_in_flight() == 0);
}

TEST_CASE("S58: an accept in flight in a lost race is joined, and what it got is closed") {
    stepped world;
    const auto before = open_descriptors();
    {
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        const auto peer = raw_socket::connected_to(listener.local_endpoint());
        auto race = [](io::tcp_listener& from) -> task<std::size_t> {
            // The accept finds its connection at once, but the other branch is first.
            auto won = co_await when_any(from.accept(), yield_now());
            co_return won.index;
        };
        CHECK(world.run(race(listener)) == 1);
        CHECK(world.worker().in_flight() == 0);
        CHECK(open_descriptors() == before + 2);
    }
    CHECK(open_descriptors() == before);
}

namespace {

/// The real ring, with a clock that the test moves, on which descriptors can run out: for the
/// kernel alone, because sanitizers need descriptors themselves.
class scarce_kernel final : public forwarding_kernel {
public:
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        std::optional<limit_scope> limit;
        if (scarce) limit.emplace(RLIMIT_NOFILE, just_full());
        return detail::real_kernel().enter(ring, to_submit, min_complete, flags, wait);
    }
    std::chrono::steady_clock::time_point now() noexcept override { return time; }

    std::chrono::steady_clock::time_point time{1h};
    bool scarce = false;
};

/// A listener with one connection in its backlog, and a task that accepts.
class scarce_world {
public:
    scarce_world() {
        worker_.attach();
        kernel_.scarce = true;
        accepting = accept();
        settle();
    }
    ~scarce_world() {
        kernel_.scarce = false;
        worker_.stop_roots(cancel_reason::shutdown, true);
        settle();
        worker_.detach();
    }
    scarce_world(const scarce_world&) = delete;
    scarce_world& operator=(const scarce_world&) = delete;

    join_handle<io::tcp_stream> accept() {
        return detail::spawn_on(worker_, {}, listener.accept());
    }
    join_handle<void> close() { return detail::spawn_on(worker_, {}, listener.close()); }
    void settle() {
        for (int idle = 0; idle < 3;) idle = worker_.step(false) ? 0 : idle + 1;
    }
    void advance(std::chrono::nanoseconds by) {
        kernel_.time += by;
        settle();
    }
    void relieve() { kernel_.scarce = false; }
    void exhaust() { kernel_.scarce = true; }

    io::tcp_listener listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    raw_socket peer = raw_socket::connected_to(listener.local_endpoint());
    join_handle<io::tcp_stream> accepting;

private:
    scarce_kernel kernel_;
    detail::worker worker_{kernel_, {.entries = 64, .completions = 1024}, 512, nullptr, 0};
};

} // namespace

TEST_CASE("tcp_listener: without free descriptors accept backs off, and then goes on") {
    scarce_world world;
    const auto& stats = world.listener.accept_stats();
    CHECK(stats.back_offs == 1);
    world.advance(49ms);
    CHECK(stats.back_offs == 1);
    world.advance(1ms);
    CHECK(stats.back_offs == 2);
    for (int i = 0; i < 100; ++i) world.advance(100ms);
    // 50, 100, 200, 400 and 800 ms, then once a second: no spinning.
    CHECK(stats.back_offs >= 10);
    CHECK(stats.back_offs <= 16);
    CHECK_FALSE(world.accepting.done());
    world.relieve();
    world.advance(1s);
    CHECK(world.accepting.done());
    CHECK(stats.accepted == 1);
}

TEST_CASE("tcp_listener: an accept that backs off can be cancelled") {
    scarce_world world;
    CHECK(world.listener.accept_stats().back_offs == 1);
    world.accepting.cancel();
    world.settle();
    CHECK(world.accepting.done());
    CHECK(world.listener.accept_stats().accepted == 0);
}

// S171.
TEST_CASE("tcp_listener: close ends an accept that backs off, and waits for it") {
    scarce_world world;
    auto beside = world.accept(); // has its turn after that one
    world.settle();
    CHECK(world.listener.accept_stats().back_offs == 1);
    auto closing = world.close();
    world.settle();
    CHECK(world.accepting.done());
    CHECK(beside.done());
    CHECK(closing.done());
    CHECK_FALSE(world.listener.is_open());
    CHECK(world.listener.accept_stats().accepted == 0);
    world.advance(10s);
}

// S171: the kernel looks for a descriptor before it looks at the socket.
TEST_CASE("tcp_listener: an accept that close ends does not wait for a descriptor") {
    scarce_world world;
    world.relieve();
    world.advance(1s);
    REQUIRE(world.accepting.done());
    const auto before = world.listener.accept_stats().back_offs;
    world.exhaust();
    auto next = world.accept(); // submitted together, behind the shutdown(2) of close()
    auto closing = world.close();
    world.settle();
    CHECK(next.done());
    CHECK(closing.done());
    CHECK(world.listener.accept_stats().back_offs == before);
}

// S172.
TEST_CASE("tcp_listener: the process ends when a listener goes while an accept backs off") {
    const auto end = in_child([] {
        scarce_world world;
        const io::tcp_listener elsewhere = std::move(world.listener);
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    CHECK_THAT(end.err, Catch::Contains("stays where it is while an operation uses it: "
                                        "listener on 127.0.0.1:"));
}

// S185.
TEST_CASE("tcp_listener: a connection that came to an accept that backs off is another's") {
    scarce_world world;
    world.relieve();
    world.advance(1s);
    REQUIRE(world.accepting.done());
    world.exhaust();
    auto leaves = world.accept();
    world.settle();
    auto stays = world.accept();
    world.settle();
    const auto peer = raw_socket::connected_to(world.listener.local_endpoint());
    world.settle();
    REQUIRE(world.listener.accept_stats().back_offs > 1);
    world.relieve();
    leaves.cancel();
    world.settle();
    CHECK(leaves.done());
    world.advance(50ms); // the pause of the other one, if it has one
    CHECK(stays.done());
    CHECK(world.listener.accept_stats().accepted == 2);
}

TEST_CASE("tcp_listener: a connection that is gone before it is accepted does no harm") {
    stepped world;
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    raw_socket::connected_to(listener.local_endpoint()).reset();
    const auto healthy = raw_socket::connected_to(listener.local_endpoint());
    // Linux hands over the dead one as well; reading from it says so.
    auto first = world.run(listener.accept());
    auto second = world.run(listener.accept());
    healthy.send("alive");
    auto read = [](io::tcp_stream& from) -> task<std::string> {
        char buffer[16];
        const std::size_t count = co_await from.read_some(buffer);
        co_return std::string(buffer, count);
    };
    CHECK_THROWS_AS(world.run(read(first)), std::system_error);
    CHECK(world.run(read(second)) == "alive");
}

TEST_CASE("tcp_listener: several tasks may accept at the same time") {
    stepped world;
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto one = world.spawn(listener.accept());
    auto two = world.spawn(listener.accept());
    world.settle();
    const auto first = raw_socket::connected_to(listener.local_endpoint());
    world.settle();
    CHECK(one.done() != two.done());
    const auto second = raw_socket::connected_to(listener.local_endpoint());
    world.settle();
    CHECK((one.done() && two.done()));
}

TEST_CASE("tcp_listener: close ends an accept under way and waits for it") {
    stepped world;
    const auto before = open_descriptors();
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto fetch = [](io::tcp_listener& from) -> task<std::string> {
        std::string text = "a stream";
        try {
            const io::tcp_stream stream = co_await from.accept();
        } catch (const std::system_error& error) {
            text = error.what();
        }
        co_return text;
    };
    auto accepting = world.spawn(fetch(listener));
    world.settle();
    REQUIRE_FALSE(accepting.done());
    world.run(listener.close());
    CHECK(accepting.done());
    CHECK_FALSE(listener.is_open());
    auto join = [](join_handle<std::string> from) -> task<std::string> {
        std::string text = co_await from;
        co_return text;
    };
    CHECK(world.run(join(std::move(accepting))).find("accept on 127.0.0.1:") == 0);
    CHECK(open_descriptors() == before);
}

// --- several tasks that accept from one listener ---

namespace {

/// Two tasks that accept, the second behind the first.
struct two_accepts {
    two_accepts() { world.settle(); }

    raw_socket connect() { return raw_socket::connected_to(listener.local_endpoint()); }

    io::tcp_listener listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    stepped world;
    join_handle<io::tcp_stream> first = world.spawn(listener.accept());
    join_handle<io::tcp_stream> second = world.spawn(listener.accept());
};

} // namespace

TEST_CASE("S184: a connection that comes while one accept is cancelled is another's") {
    // The kernel wakes one accept for each connection, here one that is asked to end.
    for (const bool connected_first : {true, false}) {
        for (const bool cancels_first : {true, false}) {
            for (int attempt = 0; attempt < 20; ++attempt) {
                CAPTURE(connected_first, cancels_first, attempt);
                two_accepts of;
                auto& leaves = cancels_first ? of.first : of.second;
                auto& stays = cancels_first ? of.second : of.first;
                if (!connected_first) leaves.cancel();
                const auto peer = of.connect();
                if (connected_first) leaves.cancel();
                of.world.settle();
                REQUIRE(leaves.done());
                const bool delivered = of.world.end_of(leaves).has_value();
                REQUIRE(stays.done() != delivered); // not both: there is one connection
                CHECK(of.listener.accept_stats().accepted == 1);
            }
        }
    }
}

TEST_CASE("S184: a connection that comes as one accept is out of time is another's") {
    const auto timed = [](io::tcp_listener& from) -> task<bool> {
        auto got = co_await try_with_timeout(10ms, from.accept());
        co_return got.has_value();
    };
    const auto by_token = [](io::tcp_listener& from, cancellation_token stop) -> task<bool> {
        auto got = co_await as_outcome(with_token(std::move(stop), from.accept()));
        co_return got.has_value();
    };
    for (const bool out_of_time : {true, false}) {
        CAPTURE(out_of_time);
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        stepped world;
        cancellation_source stop;
        auto leaves =
            world.spawn(out_of_time ? timed(listener) : by_token(listener, stop.token()));
        world.settle();
        auto stays = world.spawn(listener.accept());
        world.settle();
        const auto peer = raw_socket::connected_to(listener.local_endpoint());
        if (out_of_time) {
            world.advance(10ms);
        } else {
            stop.cancel();
        }
        world.settle();
        REQUIRE(leaves.done());
        REQUIRE(stays.done() != world.end_of(leaves).value());
    }
}

TEST_CASE(
    "S184: of those who wait to accept, any may leave, and the others are served in turn") {
    // The front, the middle and the back of four; 4: nobody.
    for (unsigned leaves = 0; leaves <= 4; ++leaves) {
        CAPTURE(leaves);
        auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
        stepped world;
        std::vector<join_handle<io::tcp_stream>> waiting;
        for (int i = 0; i < 4; ++i) waiting.push_back(world.spawn(listener.accept()));
        world.settle();
        if (leaves < 4) {
            waiting[leaves].cancel();
            world.settle();
            REQUIRE(waiting[leaves].done());
            waiting.erase(waiting.begin() + leaves);
        }
        waiting.push_back(world.spawn(listener.accept()));
        world.settle();
        std::vector<raw_socket> peers;
        for (std::size_t served = 0; served < waiting.size(); ++served) {
            peers.push_back(raw_socket::connected_to(listener.local_endpoint()));
            world.settle();
            for (std::size_t i = 0; i < waiting.size(); ++i) {
                CAPTURE(served, i);
                CHECK(waiting[i].done() == (i <= served));
            }
        }
    }
}

TEST_CASE("S184: connections that lie there already are accepted by all that wait") {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    stepped world;
    std::vector<raw_socket> peers;
    for (int i = 0; i < 3; ++i) {
        peers.push_back(raw_socket::connected_to(listener.local_endpoint()));
    }
    std::vector<join_handle<io::tcp_stream>> waiting;
    for (int i = 0; i < 3; ++i) waiting.push_back(world.spawn(listener.accept()));
    world.settle();
    for (const auto& each : waiting) CHECK(each.done());
}

TEST_CASE("S184: an accept whose turn comes as it is cancelled passes the turn on") {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    stepped world;
    std::vector<join_handle<io::tcp_stream>> waiting;
    for (int i = 0; i < 3; ++i) waiting.push_back(world.spawn(listener.accept()));
    world.settle();
    const auto one = raw_socket::connected_to(listener.local_endpoint());
    for (int turns = 0; !waiting[0].done(); ++turns) {
        REQUIRE(turns < 100);
        world.step();
    }
    waiting[1].cancel(); // its accept is prepared
    const auto two = raw_socket::connected_to(listener.local_endpoint());
    world.settle();
    CHECK(waiting[1].done());
    CHECK_FALSE(world.end_of(waiting[1]).has_value());
    CHECK(waiting[2].done());
}

TEST_CASE(
    "S188: a task of another worker accepts when those of the first have done, not beside") {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    stepped world(2);
    const spawn_options elsewhere{.where = placement::worker(1)};
    auto first = world.spawn(listener.accept());
    auto second = world.spawn(listener.accept());
    world.settle();
    auto beside = world.spawn(listener.accept(), elsewhere);
    world.settle();
    REQUIRE(beside.done());
    CHECK_THROWS_AS(world.end_of(beside).value(), std::logic_error);
    const auto one = raw_socket::connected_to(listener.local_endpoint());
    const auto two = raw_socket::connected_to(listener.local_endpoint());
    world.settle();
    CHECK(first.done());
    CHECK(second.done());
    auto later = world.spawn(listener.accept(), elsewhere);
    world.settle();
    const auto three = raw_socket::connected_to(listener.local_endpoint());
    world.settle();
    CHECK(later.done());
}

TEST_CASE("tcp_listener: close ends all accepts under way, in whatever order they wait") {
    two_accepts of;
    of.world.run(of.listener.close());
    CHECK(of.first.done());
    CHECK(of.second.done());
    CHECK(of.world.end_of(of.first).has_exception());
    CHECK(of.world.end_of(of.second).has_exception());
}

TEST_CASE("tcp_listener: [::] takes IPv4 too unless v6_only is said, and text is an endpoint") {
    stepped world;
    std::optional<io::tcp_listener> both;
    try {
        both = io::tcp_listener::bind("[::]:0");
    } catch (const std::system_error& error) {
        WARN("no IPv6 on this machine: " << error.what());
        return;
    }
    const auto over_v4 = io::endpoint::loopback(both->local_endpoint().port());
    auto ours = world.run(io::tcp_stream::connect(over_v4));
    auto theirs = world.run(both->accept());
    CHECK(theirs.peer().host() == "::ffff:127.0.0.1");
    CHECK(complaint(over_v4.with_port(over_v4.port())).find("in use") != std::string::npos);

    const auto only = io::tcp_listener::bind("[::]:0", {.v6_only = true});
    const auto port = only.local_endpoint().port();
    CHECK_THROWS_AS(world.run(io::tcp_stream::connect(io::endpoint::loopback(port))),
                    std::system_error);
    auto six = world.run(io::tcp_stream::connect("[::1]:" + std::to_string(port)));
    const auto beside = io::tcp_listener::bind(io::endpoint::any(port)); // nobody's rival
    CHECK(beside.local_endpoint().port() == port);
}

TEST_CASE("tcp_listener: options that contradict each other are refused") {
    CHECK_THROWS_AS(io::tcp_listener::bind("127.0.0.1:0", {.v6_only = true}),
                    std::invalid_argument);
    CHECK_THROWS_AS(io::tcp_listener::bind("127.0.0.1:0", {.backlog = -1}),
                    std::invalid_argument);
    CHECK_THROWS_AS(io::tcp_listener::bind("127.0.0.1"), std::invalid_argument);
    CHECK_THROWS_AS(io::tcp_listener::bind(io::endpoint()), std::invalid_argument);
    stepped world;
    auto nowhere = io::tcp_stream::connect(io::endpoint()); // the call itself says nothing
    CHECK_THROWS_AS(world.run(std::move(nowhere)), std::invalid_argument);
}

TEST_CASE("contract: a listener destroyed under an accept() ends the process, and is named") {
    const auto end = in_child([] {
        stepped world;
        std::optional<io::tcp_listener> listener(io::tcp_listener::bind("127.0.0.1:0"));
        std::fprintf(stderr, "[%s]", listener->local_endpoint().to_string().c_str());
        auto accepting = world.spawn(listener->accept());
        world.settle();
        listener.reset();
        return 0;
    });
    CHECK(end.signal == SIGABRT);
    const auto from = end.err.find('[') + 1;
    CHECK_THAT(end.err, Catch::Contains("while an operation uses it: listener on " +
                                        end.err.substr(from, end.err.find(']') - from)));
}
