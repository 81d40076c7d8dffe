// libcurl by readiness: cancelled at each await, beside a server that is slow, that answers in
// chunks, that hangs up in the middle; every body is that of its own address.
#include <curl_client/client.hpp>

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/counted_awaits.hpp"
#include "support/io.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <random>
#include <stdexcept>
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

std::string body_of(const std::string& path) {
    std::string text;
    for (int i = 0; i < 20; ++i) text += path + "\n";
    return text;
}

/// Answers 200 with the body of the path: /chunked... in chunks, /cut... up to the middle, when
/// it hangs up, /never not at all. Piece by piece: if it is paced, when it is told to, which is
/// never sooner than the client waits.
class http_server {
public:
    explicit http_server(bool is_paced)
        : paced_(is_paced), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof name;
        auto* const address = reinterpret_cast<sockaddr*>(&name);
        if (::bind(fd_, address, length) != 0 || ::listen(fd_, 64) != 0 ||
            ::getsockname(fd_, address, &length) != 0) {
            throw std::system_error(errno, std::generic_category(), "listen");
        }
        at_ = "http://127.0.0.1:" + std::to_string(ntohs(name.sin_port));
        thread_ = std::thread([this] { serve(); });
    }
    http_server(const http_server&) = delete;
    http_server& operator=(const http_server&) = delete;
    ~http_server() {
        ends_ = true;
        ::shutdown(fd_, SHUT_RDWR);
        thread_.join();
        ::close(fd_);
    }
    /// If one is held back: it has been sent then.
    void next_piece() noexcept {
        if (held_ == 0) return;
        may_send_ = true;
        while (may_send_ && held_ > 0) std::this_thread::yield();
        may_send_ = false;
    }
    [[nodiscard]] std::string at(const std::string& path) const { return at_ + path; }

    std::atomic<unsigned> connections = 0;
    std::atomic<unsigned> requests = 0;

private:
    void serve() {
        std::vector<std::thread> clients;
        for (;;) {
            const int client = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC);
            if (client < 0) break;
            ++connections;
            const int on = 1;
            ::setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            clients.emplace_back([this, client] {
                std::string path = request(client);
                while (!path.empty() && answers(client, path)) path = request(client);
                ::close(client);
            });
        }
        for (auto& each : clients) each.join();
    }
    std::string request(int client) {
        std::string text;
        char byte = 0;
        while (!text.ends_with("\r\n\r\n")) {
            if (::recv(client, &byte, 1, 0) != 1) return {};
            text += byte;
        }
        ++requests;
        const auto begin = text.find(' ') + 1;
        return text.substr(begin, text.find(' ', begin) - begin);
    }
    static std::vector<std::string> pieces(const std::string& path) {
        const std::string body = body_of(path);
        const auto half = body.size() / 2;
        std::vector<std::string> all{"HTTP/1.1 200 OK\r\nContent-"};
        if (path.starts_with("/chunked")) {
            char size[16];
            std::snprintf(size, sizeof size, "%zx\r\n", body.size());
            all.insert(all.end(),
                       {"Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n", size,
                        body.substr(0, half), body.substr(half) + "\r\n0", "\r\n\r\n"});
        } else {
            all.push_back("Length: " + std::to_string(body.size()) + "\r\n\r\n");
            all.push_back(body.substr(0, half));
            if (!path.starts_with("/cut")) all.push_back(body.substr(half));
        }
        return all;
    }
    /// False: nobody is there to be told it.
    [[nodiscard]] bool told_to(int client) {
        char byte = 0;
        while (paced_ && !may_send_) {
            if (ends_ || ::recv(client, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0) return false;
            std::this_thread::yield();
        }
        return true;
    }
    /// False: this connection has ended.
    bool answers(int client, const std::string& path) {
        if (path == "/never") return true; // and waits for another request
        for (const std::string& each : pieces(path)) {
            const auto size = static_cast<ssize_t>(each.size());
            ++held_;
            const bool sent = told_to(client) &&
                              ::send(client, each.data(), each.size(), MSG_NOSIGNAL) == size;
            if (sent) may_send_ = false;
            --held_;
            if (!sent) return false;
        }
        return !path.starts_with("/cut");
    }

    const bool paced_;
    const int fd_;
    std::string at_;
    std::atomic<int> held_ = 0; ///< pieces that are held back
    std::atomic<bool> may_send_ = false;
    std::atomic<bool> ends_ = false;
    std::thread thread_;
};

/// No proxy of this machine's; and what libcurl keeps for good is there before it is counted.
struct ready {
    ready() {
        ::setenv("no_proxy", "*", 1);
        curl_global_init(CURL_GLOBAL_DEFAULT);
    }
} const before_all;

void wait_for_threads(std::size_t descriptors) {
    for (int i = 0; i < 1000 && open_descriptors() > descriptors; ++i) {
        std::this_thread::sleep_for(10ms); // the server's
    }
    CHECK(open_descriptors() == descriptors);
}

struct tally {
    unsigned right = 0;
    unsigned wrong = 0;
    unsigned failed = 0;
    unsigned given_up = 0;
    std::string error;
};

task<> fetches(curl::client& http, const http_server& server, std::string path, tally& all) {
    try {
        const curl::response got = co_await http.fetch(server.at(path));
        got.status == 200 && got.body == body_of(path) ? ++all.right : ++all.wrong;
    } catch (const std::runtime_error& error) {
        ++all.failed;
        all.error = error.what();
    }
}
task<> fetches_each(curl::client& http, const http_server& server,
                    std::vector<std::string> paths, tally& all) {
    for (std::string& each : paths) co_await fetches(http, server, std::move(each), all);
}

/// A client that stays in a stepped world, with its tasks.
class resident {
public:
    explicit resident(stepped& world) : world_(world) {
        auto stays = [this](curl::client& made) -> task<> {
            http = &made;
            co_await sleep_for(1'000'000h);
        };
        handle_ = world.spawn(curl::client::with(std::move(stays)));
        world.settle();
    }
    resident(const resident&) = delete;
    resident& operator=(const resident&) = delete;
    ~resident() {
        handle_.cancel();
        world_.settle();
    }
    curl::client* http = nullptr;

private:
    stepped& world_;
    join_handle<> handle_;
};

/// Lets the server go on, and the time of the timers, which libcurl's own clock outruns.
auto paces(stepped& world, http_server& server) {
    return [&world, &server] {
        server.next_piece();
        world.kernel().time += 2us;
    };
}

} // namespace

TEST_CASE("curl client: S510: cancelled at each await, the next fetch of the same client gets "
          "its own answer") {
    const std::size_t before = open_descriptors();
    stepped world;
    const std::size_t with_world = open_descriptors();
    {
        http_server server(true);
        resident client(world);
        counted_awaits awaits(world);
        const auto waits = paces(world, server);
        bool stopped = true;
        unsigned n = 1;
        for (; stopped; ++n) {
            REQUIRE(n < 1000);
            tally all;
            const auto id = std::to_string(n);
            const std::vector<std::string> first{"/one" + id, "/chunked" + id};
            auto end = awaits.run(fetches_each(*client.http, server, first, all), n, waits);
            stopped = end.is_cancelled();
            if (!stopped) CHECK(all.right == 2);
            const std::vector<std::string> second{"/two" + id, "/chunked/two" + id};
            auto next = awaits.run(fetches_each(*client.http, server, second, all), 0, waits);
            CHECK(next.has_value());
            CHECK(all.right >= 2);
            CHECK(all.wrong + all.failed == 0);
        }
        CHECK(n > 10);
        CHECK(server.connections > 3);
    }
    wait_for_threads(with_world);
    CHECK(with_world > before);
}

TEST_CASE("curl client: S510: the client itself is cancelled at each await: nothing is left") {
    stepped world;
    http_server server(true);
    const std::size_t before = open_descriptors();
    counted_awaits awaits(world);
    const auto waits = paces(world, server);
    bool stopped = true;
    for (unsigned n = 1; stopped; ++n) {
        REQUIRE(n < 1000);
        tally all;
        auto body = [&](curl::client& http) -> task<> {
            const std::vector<std::string> paths{"/one", "/chunked"};
            co_await fetches_each(http, server, paths, all);
        };
        auto end = awaits.run(curl::client::with(body), n, waits);
        stopped = end.is_cancelled();
        CHECK(all.wrong + all.failed == 0);
        CHECK(world.worker().in_flight() == 0);
        if (!stopped) CHECK(all.right == 2);
    }
    wait_for_threads(before);
}

TEST_CASE("curl client: S511: a server that hangs up in the middle, or is not there, is an "
          "error with the address") {
    tally all;
    std::string refused;
    http_server server(false);
    auto body = [&](curl::client& http) -> task<> {
        for (const char* path : {"/cut", "/one", "/cut/again", "/chunked"}) {
            co_await fetches(http, server, path, all);
        }
        for (const char* address :
             {"http://127.0.0.1:1/", "file:///etc/passwd", "nonsense://"}) {
            try {
                static_cast<void>(co_await http.fetch(address));
            } catch (const std::runtime_error& error) {
                refused += error.what();
                refused += '\n';
            }
        }
    };
    run(curl::client::with(body), {.workers = 1});
    CHECK(all.right == 2);
    CHECK(all.failed == 2);
    CHECK_THAT(all.error, Catch::StartsWith("fetch " + server.at("/cut/again: ")) &&
                              Catch::Contains("partial"));
    CHECK_THAT(refused, Catch::Contains("fetch http://127.0.0.1:1/: Could") &&
                            Catch::Contains("fetch file:///etc/passwd: Unsupported protocol") &&
                            Catch::Contains("fetch nonsense://: "));
}

TEST_CASE("curl client: S512: connections that are whole are used again, others are closed") {
    tally all;
    http_server server(true);
    stepped world;
    resident client(world);
    counted_awaits awaits(world);
    const auto waits = paces(world, server);
    const auto fetch = [&](std::string path) {
        auto end = awaits.run(fetches(*client.http, server, std::move(path), all), 0, waits);
        CHECK(end.has_value());
    };
    fetch("/one");
    fetch("/chunked");
    fetch("/two");
    CHECK(server.connections == 1);
    // Half of the answer is there, and no more comes until the client waits for it.
    auto given_up = world.spawn(fetches(*client.http, server, "/chunked/not", all));
    while (server.requests < 4) world.advance(1ms);
    given_up.cancel();
    world.settle();
    CHECK(given_up.done());
    fetch("/three");
    CHECK(server.connections == 2);
    fetch("/cut");
    fetch("/four");
    CHECK(server.connections == 3);
    CHECK(all.right == 5);
    CHECK(all.failed == 1);
    CHECK(all.wrong == 0);
}

namespace {

task<> asks(curl::client& http, const http_server& server, unsigned seed, tally& all) {
    std::minstd_rand dice(seed);
    for (unsigned i = 0; i < 100; ++i) {
        const char* const kinds[] = {"/one/", "/chunked/", "/cut/"};
        const auto path = kinds[dice() % 3] + std::to_string(seed) + "/" + std::to_string(i);
        const bool in_haste = dice() % 3 == 0;
        const auto limit = std::chrono::microseconds(in_haste ? dice() % 600 : 60'000'000);
        const auto end = co_await try_with_timeout(limit, fetches(http, server, path, all));
        all.given_up += end.is_cancelled();
    }
}

} // namespace

TEST_CASE("curl client: S513: many at once, some given up, some cut: every body is its own") {
    const std::size_t before = open_descriptors();
    {
        tally all;
        http_server server(false);
        auto body = [&](curl::client& http) -> task<> {
            std::vector<task<>> tasks;
            for (unsigned i = 1; i <= 8; ++i) tasks.push_back(asks(http, server, i, all));
            co_await when_all(std::move(tasks));
        };
        run(curl::client::with(body), {.workers = 1});
        CHECK(all.wrong == 0);
        CHECK(all.right + all.failed + all.given_up == 800);
        CHECK(all.right > 100);
        CHECK(all.failed > 10);
    }
    wait_for_threads(before);
}

TEST_CASE(
    "curl client: S514: a runtime that ends takes its transfers back; a shield fetches on "
    "while its client is asked to stop") {
    const std::size_t before = open_descriptors();
    {
        tally all;
        http_server server(false);
        {
            runtime here({.workers = 1});
            auto body = [&](curl::client& http) -> task<> {
                co_await when_all(fetches(http, server, "/never", all),
                                  fetches(http, server, "/never", all));
            };
            here.spawn(curl::client::with(body)).detach();
            while (server.requests < 2) std::this_thread::yield();
            CHECK(here.shutdown(1min).clean());
        }
        CHECK(all.right + all.wrong + all.failed == 0);

        runtime here({.workers = 1});
        std::atomic<bool> begun = false;
        std::atomic<bool> asked = false;
        auto inside = [&](curl::client& http) -> task<> {
            begun = true;
            begun.notify_all();
            while (!asked) co_await yield_now();
            co_await fetches(http, server, "/one", all);
        };
        auto body = [&](curl::client& http) -> task<> {
            co_await shield(inside(http));
            co_await checkpoint();
        };
        auto handle = here.spawn(curl::client::with(body));
        begun.wait(false);
        handle.cancel();
        asked = true;
        auto fetch = [](join_handle<>& from) -> task<bool> {
            const outcome<> end = co_await from.outcome();
            co_return end.is_cancelled();
        };
        CHECK(here.block_on(fetch(handle)));
        CHECK(all.right == 1);
    }
    wait_for_threads(before);
}
