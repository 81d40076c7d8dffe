// hiredis by readiness: cancelled at each await, and thousands of commands against a real
// server that is killed in the middle; every answer is that of its own command.
#include <redis_client/connection.hpp>

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <support/client_storm.hpp>
#include <support/counted_awaits.hpp>
#include <support/io.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// A plain socket that listens, on a port that the kernel chooses.
struct listening {
    listening() : fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof name;
        auto* const address = reinterpret_cast<sockaddr*>(&name);
        if (::bind(fd, address, length) != 0 || ::listen(fd, 64) != 0 ||
            ::getsockname(fd, address, &length) != 0) {
            throw std::system_error(errno, std::generic_category(), "listen");
        }
        port = ntohs(name.sin_port);
    }
    listening(const listening&) = delete;
    listening& operator=(const listening&) = delete;
    ~listening() { ::close(fd); }
    int fd;
    int port = 0;
};

/// Knows ECHO alone, and answers a byte each time that it is told to: never sooner than the
/// client waits.
class echoing_server {
public:
    echoing_server() {
        thread_ = std::thread([this] { serve(); });
    }
    ~echoing_server() {
        ends_ = true;
        ::shutdown(at_.fd, SHUT_RDWR);
        thread_.join();
    }
    void next_byte() noexcept { may_send_ = true; }
    [[nodiscard]] int port() const noexcept { return at_.port; }

private:
    void serve() {
        std::vector<std::thread> clients;
        for (;;) {
            const int client = ::accept4(at_.fd, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) break;
            const int on = 1;
            ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            clients.emplace_back([this, client] { answer(client); });
        }
        for (auto& each : clients) each.join();
    }
    static std::optional<std::string> line(int client) {
        std::string text;
        char byte = 0;
        while (::recv(client, &byte, 1, 0) == 1) {
            if (byte == '\n') return text;
            if (byte != '\r') text += byte;
        }
        return std::nullopt;
    }
    [[nodiscard]] bool told_to() {
        while (!may_send_.exchange(false)) {
            if (ends_) return false;
            std::this_thread::yield();
        }
        return true;
    }
    void answer(int client) {
        for (;;) {
            // *2 $4 ECHO $n text
            std::optional<std::string> text;
            for (int i = 0; i < 5; ++i) {
                text = line(client);
                if (!text) break;
            }
            if (!text) break;
            const std::string whole =
                "$" + std::to_string(text->size()) + "\r\n" + *text + "\r\n";
            for (const char byte : whole) {
                if (!told_to() || ::send(client, &byte, 1, MSG_NOSIGNAL) != 1) break;
            }
        }
        ::close(client);
    }

    listening at_;
    std::atomic<bool> may_send_ = false;
    std::atomic<bool> ends_ = false;
    std::thread thread_;
};

class client {
public:
    explicit client(int port) : port_(port) {}
    task<std::string> echo(std::string text) {
        auto connect = [this](inside& broken, const poison_cause&) -> task<> {
            broken.emplace(co_await redis::connection::connect("127.0.0.1", port_));
            ++repairs;
        };
        auto held = co_await connection_.lock_or_recover(connect);
        if (!held->has_value()) {
            held->emplace(co_await redis::connection::connect("127.0.0.1", port_));
        }
        std::vector<std::string> words{"ECHO", std::move(text)};
        const redis::reply said = co_await (*held)->command(std::move(words));
        co_return said.text;
    }
    [[nodiscard]] bool is_poisoned() const { return connection_.is_poisoned(); }
    unsigned repairs = 0;

private:
    using inside = std::optional<redis::connection>;
    int port_;
    sync::mutex<inside> connection_;
};

} // namespace

TEST_CASE("redis client: S468: cancelled at each await, the next command gets its own answer") {
    echoing_server server;
    const auto waits = [&server] { server.next_byte(); };
    stepped world;
    const std::size_t before = open_descriptors();
    {
        counted_awaits awaits(world);
        bool stopped = true;
        unsigned poisoned = 0;
        for (unsigned n = 1; stopped; ++n) {
            REQUIRE(n < 1000);
            client redis(server.port());
            const auto first = "first " + std::to_string(n);
            auto end = awaits.run(redis.echo(first), n, waits);
            stopped = end.is_cancelled();
            if (!stopped) CHECK(end.value() == first);
            poisoned += redis.is_poisoned();
            const auto second = "second " + std::to_string(n);
            CHECK(awaits.run(redis.echo(second), 0, waits).value() == second);
            CHECK_FALSE(redis.is_poisoned());
        }
        CHECK(poisoned >= 2); // to connect, to receive
    }
    for (int i = 0; i < 1000 && open_descriptors() > before; ++i) {
        std::this_thread::sleep_for(10ms); // the server's threads
    }
    CHECK(open_descriptors() == before);
    CHECK(world.worker().in_flight() == 0);
}

namespace {

/// The real server, as often as it is killed.
struct real_server {
    explicit real_server(int at) : port(std::to_string(at)) {}
    void start() {
        io::command what("redis-server", {"--port", port, "--bind", "127.0.0.1", "--save", "",
                                          "--appendonly", "no", "--dir", folder.path()});
        what.output(io::child_stream::null);
        process.emplace(io::child_process::spawn(what));
    }
    temporary_folder folder;
    std::string port;
    std::optional<io::child_process> process;
};

task<> storms(real_server& server, unsigned queries, tally& all) {
    server.start();
    clients_of<client> clients;
    for (int i = 0; i < 4; ++i) {
        clients.push_back(std::make_unique<client>(std::atoi(server.port.c_str())));
    }
    auto restart = [&server]() -> task<> {
        server.process->kill(SIGKILL);
        co_await server.process->wait();
        server.start();
    };
    co_await until_it_answers(*clients.front());
    co_await storm(clients, restart, queries, all);
    server.process->kill(SIGKILL);
    co_await server.process->wait();
}

bool has_server() {
    return std::system("command -v redis-server >/dev/null 2>&1") == 0;
}

} // namespace

TEST_CASE("redis client: S468: no command gets another's answer from a real server, killed") {
    if (!has_server()) {
        WARN("there is no redis-server here");
        return;
    }
    const unsigned queries = how_many_queries();
    const std::size_t before = open_descriptors();
    tally all;
    {
        int port = 0;
        {
            const listening chosen;
            port = chosen.port;
        }
        real_server server(port);
        runtime rt({.workers = 1});
        rt.block_on(storms(server, queries, all));
    }
    check(all, queries);
    CHECK(open_descriptors() == before);
}
