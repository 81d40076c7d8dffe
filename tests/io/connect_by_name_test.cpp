// Connecting by name: whose turn it is, who wins, and what is left of the others.
#include <toadstone/io/tcp_stream.hpp>

#include <toadstone/io/connect_options.hpp>
#include <toadstone/io/dns/happy_eyeballs.hpp>
#include <toadstone/io/resolver.hpp>
#include <toadstone/runtime.hpp>

#include <support/counted_awaits.hpp>
#include <support/dns_server.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

using answers = std::vector<dns_answer>;
using family = io::endpoint::family;
using io::tcp_stream;

/// A socket that listens, on one of this machine's addresses. `full`: it takes no connection
/// any more, and so whoever connects hears nothing.
class listening {
public:
    explicit listening(const char* host, std::uint16_t port = 0, bool full = false)
        : v6_(std::string(host).find(':') != std::string::npos) {
        fd_ = socket_of(0);
        const int on = 1;
        ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
        sockaddr_in6 name6{};
        sockaddr_in name4{};
        name6.sin6_family = AF_INET6;
        name6.sin6_port = name4.sin_port = htons(port);
        name4.sin_family = AF_INET;
        ::inet_pton(v6_ ? AF_INET6 : AF_INET, host,
                    v6_ ? static_cast<void*>(&name6.sin6_addr) : &name4.sin_addr);
        auto* const name =
            v6_ ? reinterpret_cast<sockaddr*>(&name6) : reinterpret_cast<sockaddr*>(&name4);
        socklen_t length = v6_ ? sizeof name6 : sizeof name4;
        if (::bind(fd_, name, length) != 0 || ::listen(fd_, full ? 0 : 64) != 0 ||
            ::getsockname(fd_, name, &length) != 0) {
            throw std::system_error(errno, std::generic_category(), host);
        }
        port_ = ntohs(v6_ ? name6.sin6_port : name4.sin_port);
        for (bool more = full; more;) {
            const int filler = socket_of(SOCK_NONBLOCK);
            ::connect(filler, name, length);
            pollfd it{filler, POLLOUT, 0};
            more = ::poll(&it, 1, 20) == 1;
            if (more)
                fillers_.push_back(filler);
            else
                ::close(filler); // or it would go on trying
        }
    }
    listening(const listening&) = delete;
    listening& operator=(const listening&) = delete;
    ~listening() {
        ::close(fd_);
        for (const int each : fillers_) ::close(each);
    }
    [[nodiscard]] std::uint16_t port() const noexcept { return port_; }
    /// A connection that nobody has taken.
    [[nodiscard]] bool has_one() const noexcept {
        pollfd it{fd_, POLLIN, 0};
        return ::poll(&it, 1, 0) == 1;
    }

    void take_one() const noexcept { ::close(::accept(fd_, nullptr, nullptr)); }

private:
    [[nodiscard]] int socket_of(int flags) const {
        const int fd =
            ::socket(v6_ ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
        if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
        return fd;
    }
    bool v6_;
    int fd_ = -1;
    std::uint16_t port_ = 0;
    std::vector<int> fillers_;
};

bool has_v6() {
    try {
        const listening tried("::1");
        return true;
    } catch (const std::system_error&) {
        WARN("there is no IPv6 here");
        return false;
    }
}

/// A resolver that knows `hosts`, and asks `servers`.
class known_hosts {
public:
    explicit known_hosts(const std::string& hosts, std::vector<io::endpoint> servers = {},
                         std::chrono::milliseconds timeout = 10s)
        : names(options(hosts, std::move(servers), timeout)) {}
    [[nodiscard]] io::connect_options use() const {
        io::connect_options how;
        how.names = &names;
        return how;
    }

private:
    io::resolver_options options(const std::string& hosts, std::vector<io::endpoint> servers,
                                 std::chrono::milliseconds timeout) {
        io::resolver_options made;
        made.servers = std::move(servers);
        made.search.emplace();
        made.timeout = timeout;
        made.tries = 8;
        made.resolv_conf = "/nowhere/resolv.conf";
        made.hosts = folder_.file("hosts");
        std::FILE* const file = std::fopen(made.hosts.c_str(), "w");
        REQUIRE(file);
        std::fputs(hosts.c_str(), file);
        std::fclose(file);
        return made;
    }
    temporary_folder folder_;

public:
    const io::resolver names;
};

const char* const three_hosts = "127.0.0.2 three.test\n"
                                "127.0.0.3 three.test\n"
                                "127.0.0.4 three.test\n";

io::endpoint at(const char* text) {
    return io::endpoint::parse(text);
}

} // namespace

TEST_CASE("connect by name: S491: the families take turns, from the one that is said") {
    io::detail::address_turns turns;
    turns.add({at("[::1]:1"), at("[::2]:1"), at("127.0.0.1:1"), at("127.0.0.2:1"),
               at("127.0.0.3:1")});
    std::vector<std::string> order;
    while (!turns.empty()) order.push_back(turns.take().host());
    CHECK(order ==
          std::vector<std::string>{"::1", "127.0.0.1", "::2", "127.0.0.2", "127.0.0.3"});
    io::detail::address_turns others;
    others.begin_with(family::v4);
    others.add({at("127.0.0.1:1"), at("127.0.0.2:1")});
    CHECK(others.take().host() == "127.0.0.1");
    others.add({at("[::1]:1")});
    CHECK(others.take().host() == "::1");
    CHECK(others.take().host() == "127.0.0.2");
    CHECK(others.empty());
}

TEST_CASE("connect by name: S491: an address that keeps quiet holds up the next for 250 ms") {
    const known_hosts hosts(three_hosts);
    const listening third("127.0.0.4");
    const listening quiet("127.0.0.2", third.port(), true);
    const listening quieter("127.0.0.3", third.port(), true);
    stepped world;
    const std::size_t before = open_descriptors();
    {
        auto connects =
            world.spawn(tcp_stream::connect("three.test", third.port(), hosts.use()));
        world.settle();
        CHECK(open_descriptors() == before + 1);
        world.advance(249ms);
        CHECK(open_descriptors() == before + 1);
        world.advance(1ms);
        CHECK(open_descriptors() == before + 2);
        world.advance(249ms);
        CHECK(open_descriptors() == before + 2);
        CHECK_FALSE(third.has_one());
        world.advance(1ms);
        REQUIRE(connects.done());
        const tcp_stream made = world.end_of(connects).value();
        CHECK(made.peer().host() == "127.0.0.4");
        CHECK(third.has_one());
        CHECK(open_descriptors() == before + 1); // the others are closed
        CHECK(world.worker().in_flight() == 0);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("connect by name: S491: an address that is late may still win") {
    const known_hosts hosts(three_hosts);
    const listening late("127.0.0.2", 0, true);
    const listening quiet("127.0.0.3", late.port(), true);
    const listening quieter("127.0.0.4", late.port(), true);
    stepped world;
    auto options = hosts.use();
    options.attempt_delay = 10ms;
    const std::size_t before = open_descriptors();
    auto connects = world.spawn(tcp_stream::connect("three.test", late.port(), options));
    world.settle();
    world.advance(10ms);
    world.advance(10ms);
    CHECK(open_descriptors() == before + 3);
    late.take_one(); // the kernel asks again after a second
    while (!connects.done()) world.step();
    CHECK(world.end_of(connects).value().peer().host() == "127.0.0.2");
    CHECK(open_descriptors() == before);
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S492: where one refuses the next is tried at once") {
    const known_hosts hosts(three_hosts);
    const listening third("127.0.0.4");
    stepped world;
    const std::size_t before = open_descriptors();
    {
        auto connects =
            world.spawn(tcp_stream::connect("three.test", third.port(), hosts.use()));
        world.settle();
        REQUIRE(connects.done());
        CHECK(world.end_of(connects).value().peer().host() == "127.0.0.4");
    }
    CHECK(open_descriptors() == before);
    CHECK(world.worker().in_flight() == 0);
    CHECK(world.worker().next_timer() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE("connect by name: S492: IPv6 refuses and IPv4 connects; one family alone") {
    if (!has_v6()) return;
    const known_hosts hosts("::1 both.test\n127.0.0.1 both.test\n");
    const listening v4("127.0.0.1");
    stepped world;
    auto connects = world.spawn(tcp_stream::connect("both.test", v4.port(), hosts.use()));
    world.settle();
    REQUIRE(connects.done());
    CHECK(world.end_of(connects).value().peer().host() == "127.0.0.1");

    const listening v6("::1", v4.port());
    auto options = hosts.use();
    auto second = world.spawn(tcp_stream::connect("both.test", v4.port(), options));
    world.settle();
    CHECK(world.end_of(second).value().peer().host() == "::1");
    options.of = family::v4;
    auto third = world.spawn(tcp_stream::connect("both.test", v4.port(), options));
    world.settle();
    CHECK(world.end_of(third).value().peer().host() == "127.0.0.1");
}

TEST_CASE("connect by name: S493: where none connects the error names each and its reason") {
    const known_hosts hosts(three_hosts);
    std::uint16_t port = 0;
    {
        const listening gone("127.0.0.2");
        port = gone.port();
    }
    const std::string at_port = ":" + std::to_string(port);
    stepped world;
    const std::size_t before = open_descriptors();
    const auto text = [&](std::string host) {
        auto connects = world.spawn(tcp_stream::connect(std::move(host), port, hosts.use()));
        world.settle();
        try {
            static_cast<void>(world.end_of(connects).value());
        } catch (const std::system_error& error) {
            CHECK(error.code().value() == ECONNREFUSED);
            return std::string(error.what());
        }
        return std::string();
    };
    CHECK(text("three.test") == "connect to 'three.test' port " + std::to_string(port) +
                                    " by any of its 3 addresses, 127.0.0.2" + at_port +
                                    ": Connection refused; 127.0.0.3" + at_port +
                                    ": Connection refused; 127.0.0.4" + at_port +
                                    ": Connection refused");
    CHECK(text("127.0.0.9") == "connect to '127.0.0.9' port " + std::to_string(port) +
                                   " by its only address, 127.0.0.9" + at_port +
                                   ": Connection refused");
    CHECK(open_descriptors() == before);
    CHECK(world.worker().next_timer() == std::chrono::steady_clock::time_point::max());
}

TEST_CASE("connect by name: S493: without an address the error is the resolver's") {
    dns_server server([](const dns_question& asked) {
        if (asked.name == "none.test") return answers{dns_answer().code(3)};
        return answers{dns_answer()};
    });
    const known_hosts hosts("", {server.at()});
    stepped world;
    const auto fails = [&](std::string host, family of = family::none) {
        auto options = hosts.use();
        options.of = of;
        auto connects = world.spawn(tcp_stream::connect(std::move(host), 80, options));
        for (int i = 0; i < 3; ++i) {
            world.settle();
            server.turn();
        }
        world.settle();
        try {
            static_cast<void>(world.end_of(connects).value());
        } catch (const io::resolve_error& error) {
            return std::string(error.what());
        }
        return std::string("it has not failed");
    };
    CHECK(fails("none.test").find("there is no such name") != std::string::npos);
    CHECK(fails("empty.test") == "resolve 'empty.test': it has no address");
    CHECK(fails("empty.test", family::v6).find("it has no IPv6 address") != std::string::npos);
    CHECK(fails("no name").find("it is no name") != std::string::npos);
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S494: IPv4 waits 50 ms for a server that is silent about IPv6") {
    dns_server server([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers();
        return answers{dns_answer().address("127.0.0.1")};
    });
    const known_hosts hosts("", {server.at()});
    const listening v4("127.0.0.1");
    stepped world;
    const std::size_t before = open_descriptors();
    auto connects = world.spawn(tcp_stream::connect("a.test", v4.port(), hosts.use()));
    world.settle();
    CHECK(open_descriptors() == before + 2); // a query for each family
    server.turn();
    world.settle();
    CHECK(open_descriptors() == before + 1);
    world.advance(49ms);
    CHECK_FALSE(v4.has_one());
    world.advance(1ms);
    REQUIRE(connects.done());
    {
        const tcp_stream made = world.end_of(connects).value();
        CHECK(made.peer().host() == "127.0.0.1");
        CHECK(open_descriptors() == before + 1); // the other query is given up
    }
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S494: IPv6 that comes in time goes first, and late behind IPv4") {
    if (!has_v6()) return;
    bool tells = true;
    dns_server server([&tells](const dns_question& asked) {
        if (asked.type == dns_type::aaaa && !tells) return answers();
        if (asked.type == dns_type::aaaa) return answers{dns_answer().address("::1")};
        return answers{dns_answer().address("127.0.0.2")};
    });
    const known_hosts hosts("", {server.at()}, 50ms);
    const listening v6("::1");
    const listening v4("127.0.0.2", v6.port(), true); // takes no connection
    stepped world;
    auto connects = world.spawn(tcp_stream::connect("a.test", v6.port(), hosts.use()));
    world.settle();
    server.turn();
    world.settle();
    REQUIRE(connects.done());
    CHECK(world.end_of(connects).value().peer().host() == "::1");

    tells = false;
    auto second = world.spawn(tcp_stream::connect("a.test", v6.port(), hosts.use()));
    world.settle();
    server.turn();
    world.advance(50ms); // IPv4 is tried, in vain
    CHECK_FALSE(second.done());
    tells = true; // when it is asked again
    while (!second.done()) {
        server.turn();
        world.advance(1ms);
    }
    CHECK(world.end_of(second).value().peer().host() == "::1");
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S494: the 50 ms say nothing about the next address") {
    if (!has_v6()) return;
    dns_server server([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers{dns_answer().address("::1").held()};
        return answers{dns_answer().address("127.0.0.1")};
    });
    const known_hosts hosts("", {server.at()});
    const listening v4("127.0.0.1");
    const listening v6("::1", v4.port(), true); // takes no connection
    stepped world;
    const std::size_t before = open_descriptors();
    auto connects = world.spawn(tcp_stream::connect("a.test", v4.port(), hosts.use()));
    world.settle();
    server.turn();
    world.advance(30ms);
    server.release(); // what is known of IPv6 comes in time
    world.settle();
    CHECK(open_descriptors() == before + 1);
    world.advance(249ms);
    CHECK(open_descriptors() == before + 1);
    CHECK_FALSE(v4.has_one());
    world.advance(1ms);
    REQUIRE(connects.done());
    CHECK(world.end_of(connects).value().peer().host() == "127.0.0.1");
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S494: one family fails, the other connects, and says so if not") {
    dns_server server([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers{dns_answer().code(2)};
        return answers{dns_answer().address("127.0.0.1")};
    });
    const known_hosts hosts("", {server.at()});
    std::uint16_t port = 0;
    stepped world;
    const auto go = [&] {
        auto connects = world.spawn(tcp_stream::connect("a.test", port, hosts.use()));
        for (int i = 0; i < 100 && !connects.done(); ++i) {
            world.settle();
            server.turn();
            world.advance(1ms);
        }
        return world.end_of(connects);
    };
    {
        const listening v4("127.0.0.1");
        port = v4.port();
        CHECK(go().value().peer().host() == "127.0.0.1");
    }
    try {
        static_cast<void>(go().value());
        FAIL("nobody listens");
    } catch (const std::system_error& error) {
        CHECK(std::string(error.what()).find(", addresses of IPv6: ") != std::string::npos);
        CHECK(error.code().value() == ECONNREFUSED);
    }
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S495: cancelled at each await it leaves no query and no socket") {
    dns_server server([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers{dns_answer()};
        return answers{dns_answer().address("127.0.0.2").address("127.0.0.3")};
    });
    const known_hosts hosts("", {server.at()});
    stepped world;
    std::uint16_t port = 0;
    {
        const listening either("127.0.0.2");
        port = either.port();
    }
    // The first refuses, whichever it is, or it is the one.
    const listening third("127.0.0.3", port);
    const std::size_t before = open_descriptors();
    counted_awaits awaits(world);
    unsigned ends = 0;
    bool stopped = true;
    for (unsigned n = 1; stopped; ++n) {
        REQUIRE(n < 1000);
        {
            auto end = awaits.run(tcp_stream::connect("a.test", port, hosts.use()), n,
                                  [&server] { server.turn(); });
            stopped = end.is_cancelled();
            ends += stopped;
            if (!stopped) CHECK(end.value().peer().host() == "127.0.0.3");
        }
        world.settle();
        CHECK(open_descriptors() == before);
        CHECK(world.worker().in_flight() == 0);
        CHECK(world.worker().next_timer() == std::chrono::steady_clock::time_point::max());
    }
    CHECK(ends >= 4);
}

TEST_CASE("connect by name: S495: a time limit ends all of it; so does losing a race") {
    const known_hosts hosts(three_hosts);
    const listening quiet("127.0.0.2", 0, true);
    const listening quieter("127.0.0.3", quiet.port(), true);
    stepped world;
    const std::size_t before = open_descriptors();
    const auto connects = [&] {
        return tcp_stream::connect("three.test", quiet.port(), hosts.use());
    };
    auto limited = world.spawn(with_timeout(300ms, connects()));
    world.settle();
    world.advance(299ms);
    CHECK(open_descriptors() == before + 2);
    world.advance(1ms);
    REQUIRE(limited.done());
    CHECK_THROWS_AS(world.end_of(limited).value(), timeout_error);
    CHECK(open_descriptors() == before);
    auto race = world.spawn(when_any(connects(), sleep_for(10ms)));
    world.settle();
    CHECK(open_descriptors() == before + 1);
    world.advance(10ms);
    REQUIRE(race.done());
    CHECK(world.end_of(race).value().index == 1);
    CHECK(open_descriptors() == before);
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("connect by name: S496: a runtime that ends waits for no address") {
    const known_hosts hosts(three_hosts);
    const listening quiet("127.0.0.2", 0, true);
    const listening quieter("127.0.0.3", quiet.port(), true);
    const listening quietest("127.0.0.4", quiet.port(), true);
    auto options = hosts.use();
    options.attempt_delay = 1ms;
    const std::size_t before = open_descriptors();
    for (const auto grace : {10s, 0s}) {
        runtime rt({.workers = 2});
        const std::size_t idle = open_descriptors();
        for (int i = 0; i < 4; ++i) {
            rt.spawn({.where = placement::any()}, [&]() -> task<> {
                  static_cast<void>(
                      co_await tcp_stream::connect("three.test", quiet.port(), options));
              }).detach();
        }
        while (open_descriptors() < idle + 12) std::this_thread::yield();
        const auto report = rt.shutdown(std::chrono::milliseconds(grace));
        CHECK((grace == 0s || report.clean()));
    }
    CHECK(open_descriptors() == before);
}
