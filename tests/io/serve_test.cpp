// A whole server: bounded, drained, exact.
#include <toadstone/io/serve.hpp>

#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <future>
#include <memory>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<> echo(io::tcp_stream stream) {
    std::array<char, 4096> buffer;
    for (;;) {
        const std::size_t count = co_await stream.read_some(buffer);
        if (count == 0) co_return;
        co_await stream.write_all(std::string_view(buffer.data(), count));
    }
}

/// Tells another thread, or another task that polls, where a server listens.
class announced {
public:
    void operator()(const io::endpoint& at) { where_.set_value(at); }
    [[nodiscard]] io::endpoint wait() { return future_.get(); }

private:
    std::promise<io::endpoint> where_;
    std::shared_future<io::endpoint> future_{where_.get_future()};
};

task<io::serve_report> report_of(join_handle<io::serve_report> from) {
    const io::serve_report result = co_await from;
    co_return result;
}

/// A server in a runtime of its own, with a handler; clients are plain sockets of the test.
template <class Handler>
class running {
public:
    running(Handler handler, io::listener_options options = {}, io::serve_limits limits = {},
            unsigned workers = 1)
        : rt_({.workers = workers}) {
        auto listening = [this](const io::endpoint& at) { announced_(at); };
        auto failed = [this](const io::endpoint& peer, const std::exception_ptr& error) {
            const std::lock_guard hold(lock_);
            failures_.push_back(peer.to_string() + ": " + detail::describe_exception(error));
        };
        handle_ =
            rt_.spawn(io::serve(options, handler, limits, stop_.token(), listening, failed));
        at_ = announced_.wait();
    }
    [[nodiscard]] raw_socket connect() const { return raw_socket::connected_to(at_); }
    [[nodiscard]] const io::endpoint& at() const noexcept { return at_; }
    void ask_to_stop() { stop_.cancel(); }
    io::serve_report stop() {
        ask_to_stop();
        return report();
    }
    io::serve_report report() { return rt_.block_on(report_of(std::move(handle_))); }
    void cancel() { handle_.cancel(); }
    [[nodiscard]] std::vector<std::string> failures() {
        const std::lock_guard hold(lock_);
        return failures_;
    }
    [[nodiscard]] runtime& rt() noexcept { return rt_; }

private:
    cancellation_source stop_;
    announced announced_;
    std::mutex lock_;
    std::vector<std::string> failures_; // guarded by lock_
    io::endpoint at_;
    join_handle<io::serve_report> handle_;
    runtime rt_; // ends first
};

std::string ask(const raw_socket& server, const std::string& text) {
    server.send(text);
    std::string answer;
    while (answer.size() < text.size()) {
        const std::string part = server.receive();
        if (part.empty()) break;
        answer += part;
    }
    return answer;
}

/// False, after a long time, instead of hanging.
template <class Condition>
[[nodiscard]] bool becomes(Condition reached) {
    const auto until = std::chrono::steady_clock::now() + 30s;
    while (!reached()) {
        if (std::chrono::steady_clock::now() > until) return false;
        std::this_thread::yield();
    }
    return true;
}

} // namespace

TEST_CASE("serve: serves, stops when asked, and accounts for everything") {
    const auto before = open_descriptors();
    {
        running server(echo);
        for (int i = 0; i < 5; ++i) {
            const auto client = server.connect();
            CHECK(ask(client, "hello") == "hello");
        }
        const io::serve_report report = server.stop();
        CHECK(report.accepted == 5);
        CHECK(report.refused == 0);
        CHECK(report.failed == 0);
        CHECK(report.cut == 0);
        CHECK(report.peak >= 1);
        CHECK(becomes([&] { return server.rt().live_tasks() == 0; }));
        CHECK(server.rt().operations_in_flight() == 0);
        CHECK_THROWS_AS(server.connect(), std::system_error);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("serve: each worker accepts, and handlers run where their connection was accepted") {
    std::mutex lock;
    std::set<std::thread::id> threads;
    auto handler = [&](io::tcp_stream stream) -> task<> {
        {
            const std::lock_guard hold(lock);
            threads.insert(std::this_thread::get_id());
        }
        co_await echo(std::move(stream));
    };
    running server(handler, {}, {}, 2);
    std::vector<raw_socket> clients;
    for (int i = 0; i < 64; ++i) clients.push_back(server.connect());
    for (const auto& each : clients) CHECK(ask(each, "x") == "x");
    clients.clear();
    const io::serve_report report = server.stop();
    CHECK(report.accepted == 64);
    CHECK(threads.size() == 2); // by chance one of them only: once in 2^63
}

TEST_CASE("serve: no more handlers run at the same time than allowed, and all are served") {
    for (const unsigned workers : {1u, 2u}) {
        std::atomic<unsigned> now{0};
        std::atomic<unsigned> most{0};
        auto handler = [&](io::tcp_stream stream) -> task<> {
            const unsigned here = ++now;
            unsigned seen = most;
            while (here > seen && !most.compare_exchange_weak(seen, here)) {
            }
            co_await echo(std::move(stream));
            --now;
        };
        running server(handler, {}, {.max_connections = 2}, workers);
        {
            // Both are connected until both have been answered.
            const auto first = server.connect();
            const auto second = server.connect();
            CHECK(ask(first, "first") == "first");
            CHECK(ask(second, "second") == "second");
        }
        std::vector<std::thread> clients;
        std::atomic<unsigned> served{0};
        for (int i = 0; i < 12; ++i) {
            clients.emplace_back([&] {
                const auto client = server.connect();
                if (ask(client, "turn") == "turn") ++served;
            });
        }
        for (auto& each : clients) each.join();
        CHECK(served == 12);
        const io::serve_report report = server.stop();
        CHECK(report.accepted == 14);
        CHECK(report.peak == 2);
        CHECK(most <= 2);
    }
}

TEST_CASE("serve: at the limit of one, with several workers, nobody starves") {
    running server(echo, {}, {.max_connections = 1}, 2);
    for (int i = 0; i < 50; ++i) {
        const auto client = server.connect();
        CHECK(ask(client, "one at a time") == "one at a time");
    }
    CHECK(server.stop().peak == 1);
}

TEST_CASE("serve: stop lets running handlers finish, and they see it coming") {
    std::atomic<bool> told{false};
    std::atomic<bool> started{false};
    auto handler = [&](io::tcp_stream stream, cancellation_token draining) -> task<> {
        started = true;
        char byte = 0;
        const std::size_t count = co_await stream.read_some(std::span(&byte, 1));
        told = draining.cancelled();
        if (count == 1) co_await stream.write_all("finished");
    };
    running server(handler);
    const auto client = server.connect();
    REQUIRE(becomes([&] { return started.load(); }));
    server.ask_to_stop();
    // It has stopped listening when nobody can connect any more; the handler still waits.
    REQUIRE(becomes([&] {
        try {
            const auto extra = server.connect();
            return false;
        } catch (const std::system_error&) {
            return true;
        }
    }));
    client.send("x");
    CHECK(client.receive_all() == "finished");
    const io::serve_report report = server.report();
    CHECK(told);
    CHECK(report.cut == 0);
    CHECK(report.failed == 0);
}

TEST_CASE("serve: handlers that outlast the drain are cancelled with shutdown and joined") {
    stepped world;
    const auto before = open_descriptors();
    cancellation_source stop;
    io::endpoint at;
    std::vector<cancel_reason> reasons;
    class witness {
    public:
        explicit witness(std::vector<cancel_reason>& seen) noexcept : seen_(seen) {}
        ~witness() {
            if (const auto reason = this_task::token().reason()) seen_.push_back(*reason);
        }

    private:
        std::vector<cancel_reason>& seen_;
    };
    auto handler = [&](io::tcp_stream stream) -> task<> {
        const witness here(reasons);
        co_await stream.wait_closed();
    };
    auto listening = [&](const io::endpoint& where) { at = where; };
    auto server = world.spawn(
        io::serve({}, handler, {.max_connections = 10, .drain = 3s}, stop.token(), listening));
    world.settle();
    auto one = raw_socket::connected_to(at);
    auto two = raw_socket::connected_to(at);
    world.settle();
    stop.cancel();
    world.settle();
    world.advance(2999ms);
    CHECK_FALSE(server.done());
    world.advance(2ms);
    REQUIRE(server.done());
    auto join = [](join_handle<io::serve_report> from) -> task<io::serve_report> {
        const io::serve_report result = co_await from;
        co_return result;
    };
    const io::serve_report report = world.run(join(std::move(server)));
    CHECK(report.accepted == 2);
    CHECK(report.cut == 2);
    CHECK(report.peak == 2);
    CHECK(reasons == std::vector(2, cancel_reason::shutdown));
    CHECK(one.receive_all().empty());
    one.close();
    two.close();
    CHECK(open_descriptors() == before);
}

TEST_CASE("serve: the drain ends with the last connection, not with the time") {
    stepped world;
    cancellation_source stop;
    io::endpoint at;
    auto listening = [&](const io::endpoint& where) { at = where; };
    auto server = world.spawn(
        io::serve({}, echo, {.max_connections = 10, .drain = 1h}, stop.token(), listening));
    world.settle();
    auto client = raw_socket::connected_to(at);
    world.settle();
    stop.cancel();
    world.settle();
    CHECK_FALSE(server.done());
    client.close();
    world.settle();
    CHECK(server.done());
}

TEST_CASE(
    "serve: a connection that waits for its turn when stop comes is refused, and closed") {
    stepped world(2);
    cancellation_source stop;
    io::endpoint at;
    auto listening = [&](const io::endpoint& where) { at = where; };
    const auto with_world = open_descriptors();
    {
        auto server = world.spawn(
            io::serve({}, echo, {.max_connections = 1, .drain = 0ms}, stop.token(), listening));
        world.settle();
        // Both workers were waiting in accept() when the only place was taken.
        std::vector<raw_socket> clients;
        for (int i = 0; i < 16; ++i) clients.push_back(raw_socket::connected_to(at));
        world.settle();
        stop.cancel();
        world.settle();
        world.advance(1ms);
        REQUIRE(server.done());
        auto join = [](join_handle<io::serve_report> from) -> task<io::serve_report> {
            const io::serve_report result = co_await from;
            co_return result;
        };
        const io::serve_report report = world.run(join(std::move(server)));
        CHECK(report.peak == 1);
        CHECK(report.cut == 1);
        CHECK(report.accepted == 2);
        CHECK(report.refused == 1);
    }
    CHECK(open_descriptors() == with_world);
}

TEST_CASE(
    "serve: a handler that throws is reported once with its peer, and the server goes on") {
    auto handler = [](io::tcp_stream stream) -> task<> {
        char byte = 0;
        co_await stream.read_some(std::span(&byte, 1));
        if (byte == 'b') throw std::runtime_error("bad byte");
        co_await stream.write_all("fine");
    };
    running server(handler);
    {
        const auto bad = server.connect();
        bad.send("b");
        CHECK(bad.receive_all().empty());
    }
    const auto good = server.connect();
    good.send("g");
    CHECK(good.receive_all() == "fine");
    const io::serve_report report = server.stop();
    CHECK(report.failed == 1);
    REQUIRE(server.failures().size() == 1);
    CHECK(server.failures().front().find("127.0.0.1:") == 0);
    CHECK(server.failures().front().find("std::runtime_error: bad byte") != std::string::npos);
}

TEST_CASE(
    "S137: serve: a peer's reset is counted and not logged; other failures are one line") {
    const stderr_capture err;
    const io::log_to_stderr log;
    const io::endpoint peer = io::endpoint::parse("127.0.0.1:50412");
    for (const int each : {ECONNRESET, EPIPE, ECONNABORTED}) {
        log(peer, std::make_exception_ptr(
                      std::system_error(each, std::generic_category(), "read from a peer")));
    }
    CHECK(err.text().empty());
    log(peer, std::make_exception_ptr(
                  std::system_error(EIO, std::generic_category(), "write to a disk")));
    const std::string before = err.text();
    CHECK(before.find("toadstone: the connection from 127.0.0.1:50412 failed with ") == 0);
    CHECK(count_of(before, "write to a disk") == 1);
    const std::string hostile = std::string("quotes \x1b[2J\n").append(10'000, 'x');
    log(peer, std::make_exception_ptr(std::runtime_error(hostile)));
    const std::string quoted = err.text().substr(before.size());
    CHECK(count_of(quoted, "\n") == 1);
    CHECK(count_of(quoted, "quotes ?[2J xxx") == 1);
    CHECK(quoted.size() < 400);
}

TEST_CASE("serve: a handler that throws before its first co_await is reported as well") {
    auto handler = [](io::tcp_stream) -> task<> { throw std::runtime_error("no coroutine"); };
    running server(handler);
    CHECK(server.connect().receive_all().empty());
    CHECK(server.stop().failed == 1);
    CHECK(server.failures().size() == 1);
}

TEST_CASE("serve: connections are tasks that carry their peer's name") {
    std::promise<std::string> name;
    auto handler = [&](io::tcp_stream stream) -> task<> {
        name.set_value(std::string(this_task::name()));
        co_await echo(std::move(stream));
    };
    running server(handler);
    const auto client = server.connect();
    sockaddr_in address{};
    socklen_t length = sizeof address;
    ::getsockname(client.fd(), reinterpret_cast<sockaddr*>(&address), &length);
    CHECK(name.get_future().get() ==
          "conn 127.0.0.1:" + std::to_string(ntohs(address.sin_port)));
}

TEST_CASE("serve: cancelling the task that serves joins every connection") {
    const auto before = open_descriptors();
    {
        running server(echo, {}, {}, 2);
        std::vector<raw_socket> clients;
        for (int i = 0; i < 20; ++i) {
            clients.push_back(server.connect());
            CHECK(ask(clients.back(), "x") == "x");
        }
        server.cancel();
        CHECK_THROWS_AS(server.report(), task_cancelled);
        CHECK(becomes([&] { return server.rt().live_tasks() == 0; }));
        for (const auto& each : clients) CHECK(each.receive_all().empty());
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("serve: what cannot work is an error before anybody is served") {
    stepped world;
    io::endpoint at;
    cancellation_source stop;
    CHECK_THROWS_AS(world.run(io::serve({}, echo, {.max_connections = 0})),
                    std::invalid_argument);
    auto listening = [&](const io::endpoint& where) { at = where; };
    auto first = world.spawn(io::serve({}, echo, {}, stop.token(), listening));
    world.settle();
    CHECK_THROWS_AS(world.run(io::serve({.at = at}, echo)), std::system_error);
    stop.cancel();
    world.settle();
    CHECK(first.done());
}

TEST_CASE("serve: a second server on the same port is refused although workers share it") {
    running server(echo, {}, {}, 2);
    runtime other({.workers = 2});
    CHECK_THROWS_AS(other.block_on(io::serve({.at = server.at()}, echo)), std::system_error);
    const auto client = server.connect();
    CHECK(ask(client, "undisturbed") == "undisturbed");
}

TEST_CASE("serve: connections that drop at random points leave nothing behind") {
    const auto before = open_descriptors();
    {
        auto quiet = [](io::tcp_stream stream) -> task<> {
            try {
                co_await echo(std::move(stream));
            } catch (const std::system_error&) {
                // Resets are what this test is about.
            }
        };
        running server(quiet, {}, {.max_connections = 50}, 2);
        std::vector<std::thread> clients;
        for (unsigned thread = 0; thread < 4; ++thread) {
            clients.emplace_back([&server, thread] {
                for (unsigned i = 0; i < 500; ++i) {
                    auto client = server.connect();
                    const unsigned how = (i * 7 + thread) % 5;
                    if (how > 0) client.send(std::string(i * 13 % 5000 + 1, 'd'));
                    if (how > 1) static_cast<void>(client.receive());
                    if (how % 2) client.reset();
                }
            });
        }
        for (auto& each : clients) each.join();
        const io::serve_report report = server.stop();
        CHECK(report.accepted <= 2000);
        CHECK(report.failed == 0);
        CHECK(report.peak <= 50);
        CHECK(becomes([&] { return server.rt().live_tasks() == 0; }));
        CHECK(server.rt().operations_in_flight() == 0);
    }
    CHECK(open_descriptors() == before);
}

namespace {

/// One byte is a request, and answered with itself; between them the connection is idle.
task<> patient(io::tcp_stream stream, cancellation_token, io::connection_place& mine) {
    for (;;) {
        char byte = 0;
        mine.idle();
        auto reading = with_token(mine.asked_to_leave(), stream.read_some(std::span(&byte, 1)));
        const outcome<std::size_t> count = co_await as_outcome(std::move(reading));
        mine.busy();
        if (count.is_cancelled() || count.value() == 0) co_return;
        co_await stream.write_all(std::string_view(&byte, 1));
    }
}

} // namespace

TEST_CASE("serve: at the limit the connection that has been idle for longest makes room") {
    running server(patient, {}, {.max_connections = 2});
    const auto first = server.connect();
    const auto second = server.connect();
    CHECK(ask(first, "1") == "1");
    CHECK(ask(second, "2") == "2");
    CHECK(ask(first, "3") == "3"); // now the second has been idle for longer
    const auto third = server.connect();
    CHECK(ask(third, "4") == "4");
    CHECK(second.receive_all().empty());
    CHECK(ask(first, "5") == "5");
    const io::serve_report report = server.stop();
    CHECK(report.accepted == 3);
    CHECK(report.refused == 0);
    CHECK(report.peak == 2);
}

TEST_CASE("serve: with nobody idle at the limit, the next to be idle makes room") {
    std::promise<void> go_on;
    auto answered = go_on.get_future().share();
    const auto slow = [answered](io::tcp_stream stream, cancellation_token,
                                 io::connection_place& mine) -> task<> {
        char byte = 0;
        std::size_t count = co_await stream.read_some(std::span(&byte, 1));
        while (answered.wait_for(0s) != std::future_status::ready) co_await sleep_for(1ms);
        co_await stream.write_all(std::string_view(&byte, count));
        mine.idle();
        auto reading = with_token(mine.asked_to_leave(), stream.read_some(std::span(&byte, 1)));
        static_cast<void>(co_await as_outcome(std::move(reading)));
    };
    running server(slow, {}, {.max_connections = 1});
    const auto first = server.connect();
    first.send("1");
    const auto second = server.connect();
    second.send("2");
    go_on.set_value();
    CHECK(first.receive_all() == "1");
    CHECK(second.receive() == "2");
    CHECK(server.stop().accepted == 2);
}

TEST_CASE("serve: nobody is asked to leave while there is room") {
    running server(patient, {}, {.max_connections = 24});
    const auto first = server.connect();
    CHECK(ask(first, "1") == "1");
    for (int i = 0; i < 20; ++i) {
        const auto other = server.connect();
        CHECK(ask(other, "2") == "2");
    }
    const auto second = server.connect();
    const auto third = server.connect();
    CHECK(ask(second, "3") == "3");
    CHECK(ask(third, "4") == "4");
    CHECK(ask(first, "5") == "5");
    CHECK(server.stop().refused == 0);
}

TEST_CASE("serve: an address that has its share is turned away, others are not") {
    running server(echo, {.at = io::endpoint::any(0)}, {.max_per_address = 2});
    const auto at = io::endpoint::loopback(server.at().port());
    auto first = raw_socket::connected_to(at);
    const auto second = raw_socket::connected_to(at);
    CHECK(ask(first, "1") == "1");
    CHECK(ask(second, "2") == "2");
    const auto third = raw_socket::connected_to(at);
    CHECK(third.receive_all().empty());
    const auto other = raw_socket::connected_to(at, "127.0.0.9");
    CHECK(ask(other, "4") == "4");
    first.close(); // its place is free as soon as the server has noticed
    const auto served = [&at] {
        const auto again = raw_socket::connected_to(at);
        try {
            return ask(again, "5") == "5";
        } catch (const std::system_error&) {
            return false; // closed before it had asked
        }
    };
    CHECK(becomes(served));
    const io::serve_report report = server.stop();
    CHECK(report.refused >= 1);
    CHECK(report.failed == 0);
}

TEST_CASE("serve: nobody is served before the work of on_listening is done") {
    runtime rt({.workers = 2});
    cancellation_source stop;
    announced where;
    std::promise<void> ready;
    auto done = ready.get_future().share();
    const auto handler = [](io::tcp_stream stream) { return echo(std::move(stream)); };
    const auto prepare = [&where, done](const io::endpoint& at) -> task<> {
        where(at);
        while (done.wait_for(0s) != std::future_status::ready) co_await sleep_for(1ms);
    };
    auto serving = rt.spawn(io::serve({}, handler, {}, stop.token(), prepare));
    const auto client = raw_socket::connected_to(where.wait()); // the port is taken
    client.send("hello");
    char byte = 0;
    CHECK(::recv(client.fd(), &byte, 1, MSG_DONTWAIT) < 0);
    ready.set_value();
    CHECK(client.receive() == "hello");
    stop.cancel();
    CHECK(rt.block_on(report_of(std::move(serving))).accepted == 1);
}

TEST_CASE("serve: stop ends the work of on_listening, and its failure is that of serve") {
    const auto before = open_descriptors();
    {
        runtime rt({.workers = 2});
        const auto handler = [](io::tcp_stream stream) { return echo(std::move(stream)); };
        cancellation_source stop;
        announced where;
        const auto for_ever = [&where](const io::endpoint& at) -> task<> {
            where(at);
            co_await sleep_for(24h);
        };
        auto serving = rt.spawn(io::serve({}, handler, {}, stop.token(), for_ever));
        static_cast<void>(where.wait());
        stop.cancel();
        CHECK(rt.block_on(report_of(std::move(serving))).accepted == 0);
        const auto fails = [](const io::endpoint&) -> task<> {
            co_await yield_now();
            throw std::runtime_error("no journal");
        };
        auto failing = rt.spawn(io::serve({}, handler, {}, {}, fails));
        CHECK_THROWS_WITH(rt.block_on(report_of(std::move(failing))), "no journal");
    }
    CHECK(open_descriptors() == before);
}
