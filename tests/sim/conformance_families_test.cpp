// What the simulated kernel answers is what the real one answers: IPv4, IPv6, and both at once.
#include "support/two_kernels.hpp"

#include <catch2/catch.hpp>

#include <iterator>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

/// A name for a socket, in memory that outlives the body.
struct name {
    sockaddr* at;
    socklen_t length;
};
name made(lab& in, int family, const char* host, std::uint16_t port) {
    void* const memory = in.buffer(sizeof(sockaddr_in6));
    if (family == AF_INET) {
        auto* const v4 = new (memory) sockaddr_in{};
        v4->sin_family = AF_INET;
        v4->sin_port = htons(port);
        ::inet_pton(AF_INET, host, &v4->sin_addr);
        return {static_cast<sockaddr*>(memory), sizeof *v4};
    }
    auto* const v6 = new (memory) sockaddr_in6{};
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    ::inet_pton(AF_INET6, host, &v6->sin6_addr);
    return {static_cast<sockaddr*>(memory), sizeof *v6};
}
std::string host_of(const void* name, socklen_t length) {
    char text[INET6_ADDRSTRLEN] = "nowhere";
    const auto family = static_cast<const sockaddr*>(name)->sa_family;
    if (family == AF_INET) {
        ::inet_ntop(family, &static_cast<const sockaddr_in*>(name)->sin_addr, text,
                    sizeof text);
    } else if (family == AF_INET6) {
        ::inet_ntop(family, &static_cast<const sockaddr_in6*>(name)->sin6_addr, text,
                    sizeof text);
    }
    return text + (" in " + std::to_string(length));
}
std::string own_host(int fd) {
    sockaddr_storage name{};
    socklen_t length = sizeof name;
    const int result = lab::error(
        detail::system().getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length));
    return result < 0 ? name_of(result) : host_of(&name, length);
}
int socket_of(int family) {
    return lab::error(detail::system().socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
}
int bound(int fd, const name& to) {
    return lab::error(detail::system().bind(fd, to.at, to.length));
}
entry connects(int fd, const name& to) {
    return entry([&](io_uring_sqe* e) { io_uring_prep_connect(e, fd, to.at, to.length); });
}

struct place {
    int family;
    const char* host;
    bool only_v6 = false;
};
constexpr place places[] = {
    {AF_INET, "127.0.0.1"},
    {AF_INET, "0.0.0.0"},
    {AF_INET, "127.0.0.2"},
    {AF_INET6, "::1"},
    {AF_INET6, "::"},
    {AF_INET6, "::", true},
    {AF_INET6, "::ffff:127.0.0.1"},
};
// One that nobody has in either family: this test is not alone on its machine.
std::uint16_t free_port(lab& in) {
    const int fd = socket_of(AF_INET6);
    in.same("a port for both", bound(fd, made(in, AF_INET6, "::", 0)));
    const std::uint16_t port = in.port_of(fd);
    detail::system().close(fd);
    return port;
}
int socket_at(lab& in, const place& where, std::uint16_t port) {
    const int fd = socket_of(where.family);
    if (where.only_v6) {
        in.same("IPv6 only", in.option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    }
    in.same("bind", bound(fd, made(in, where.family, where.host, port)));
    return fd;
}

task<> connects_to(lab& in, int listener, const place& to) {
    const int client = socket_of(to.family);
    in.same("from", own_host(client));
    const int result =
        co_await in.run(connects(client, made(in, to.family, to.host, in.port_of(listener))));
    in.same(std::string("connect to ") + to.host, result);
    if (result == 0) {
        in.same("now from", own_host(client));
        char* const memory = in.buffer(sizeof(sockaddr_in6));
        auto& length = in.number(sizeof(sockaddr_in6));
        const int server =
            co_await in.run(in.accept(listener, reinterpret_cast<sockaddr*>(memory), &length));
        in.same("accepted from", host_of(memory, length));
        in.same("at", own_host(server));
        in.holds("at the same port", in.port_of(server) == in.port_of(listener));
        in.same("a byte", co_await in.send_all(client, "x", 1));
        in.same("arrives", co_await in.receive(server, 1));
        static_cast<void>(co_await in.run(in.close(server)));
    }
    static_cast<void>(co_await in.run(in.close(client)));
}
task<> who_reaches_whom(lab& in) {
    for (const place& where : places) {
        const int listener = socket_at(in, where, free_port(in));
        in.same("listen", in.listen(listener));
        in.same("listens at", own_host(listener));
        for (const place& to : places) {
            if (!to.only_v6) co_await connects_to(in, listener, to);
        }
        static_cast<void>(co_await in.run(in.close(listener)));
    }
}
task<> who_shares_with_whom(lab& in) {
    for (const place& first : places) {
        for (const place& second : places) {
            const int one = socket_at(in, first, free_port(in));
            in.same(std::string("beside it, at ") + second.host, second.only_v6);
            const int two = socket_at(in, second, in.port_of(one));
            for (const int fd : {one, two}) static_cast<void>(co_await in.run(in.close(fd)));
        }
    }
}
// Both at once: the more precise one gets it.
task<> who_comes_first(lab& in) {
    const int any = socket_at(in, {AF_INET6, "::", true}, free_port(in));
    const int one = socket_at(in, {AF_INET, "127.0.0.1"}, in.port_of(any));
    for (const int fd : {any, one}) in.same("listen", in.listen(fd));
    for (const int listener : {any, one}) {
        const bool v6 = listener == any;
        co_await connects_to(in, listener, {v6 ? AF_INET6 : AF_INET, v6 ? "::1" : "127.0.0.1"});
    }
    for (const int fd : {any, one}) co_await closes(in, fd);
}
task<> wrong_names(lab& in) {
    const int v4 = socket_of(AF_INET);
    const int v6 = socket_of(AF_INET6);
    const name of_v4 = made(in, AF_INET, "127.0.0.1", 9);
    const name of_v6 = made(in, AF_INET6, "::1", 9);
    in.same("IPv6 for IPv4", co_await in.run(connects(v4, of_v6)));
    in.same("IPv4 for IPv6", co_await in.run(connects(v6, of_v4)));
    in.same("bound, IPv6 for IPv4", bound(v4, of_v6));
    in.same("bound, IPv4 for IPv6", bound(v6, of_v4));
    for (const socklen_t length : {8U, 15U, 16U, 20U, 23U, 24U, 28U}) {
        const std::string size = std::to_string(length) + " bytes";
        const name port_0 = made(in, AF_INET6, "::1", 0);
        const int fd = socket_of(AF_INET6);
        in.same("bound, " + size, bound(fd, {port_0.at, length}));
        static_cast<void>(co_await in.run(in.close(fd)));
    }
    in.same("IPv6 only, for IPv4", in.option(v4, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    in.same("bound", bound(v6, made(in, AF_INET6, "::1", 0)));
    in.same("IPv6 only, too late", in.option(v6, IPPROTO_IPV6, IPV6_V6ONLY, 1));
    for (const int fd : {v4, v6}) co_await closes(in, fd);
}

/// Whether this machine has ::1, and :: is any of IPv4, too: both can be configured away.
bool has_ipv6() {
    lab in("");
    const int fd = socket_of(AF_INET6);
    if (fd < 0) return false;
    int only_v6 = 0;
    socklen_t length = sizeof only_v6;
    ::getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &only_v6, &length);
    const bool is_there = bound(fd, made(in, AF_INET6, "::1", 0)) == 0;
    detail::system().close(fd);
    return is_there && only_v6 == 0;
}
void same_with_ipv6(body what) {
    if (has_ipv6()) {
        same_on_both_kernels(what);
    } else {
        WARN("::1 is not configured here: the simulation is compared with nothing");
    }
}

} // namespace

TEST_CASE("conformance: sockets of both families reach each other as on Linux") {
    same_with_ipv6(who_reaches_whom);
}
TEST_CASE("conformance: IPv4 and IPv6 share a port unless one address could mean both") {
    same_with_ipv6(who_shares_with_whom);
    same_with_ipv6(who_comes_first);
}
TEST_CASE("conformance: a name of the other family, or half of one, is refused") {
    same_with_ipv6(wrong_names);
}
