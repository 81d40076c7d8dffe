// resolver: the addresses of a name, from the hosts file or from name servers.
#ifndef TOADSTONE_IO_RESOLVER_HPP
#define TOADSTONE_IO_RESOLVER_HPP

#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/resolve_error.hpp>
#include <toadstone/runtime/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

#ifdef TOADSTONE_NO_DNS
#error "this toadstone was built with -Ddns=disabled: it has no resolver"
#endif

namespace toadstone::io {

class resolver;
namespace detail {
class resolver_core;
const std::shared_ptr<resolver_core>& core_of(const resolver& names) noexcept;
} // namespace detail

/// As the system is configured, unless something else is said here.
struct resolver_options {
    /// Name servers, in the order in which they are asked; port 0 is 53. None: those of
    /// resolv_conf.
    std::vector<endpoint> servers = {};
    /// How long the first try waits for a server; each later round of tries waits twice as
    /// long, up to what c-ares takes for sensible.
    std::chrono::milliseconds timeout{2000};
    /// How often each server is asked, at least once.
    unsigned tries = 3;
    /// Domains to look for a name in that has fewer dots than `dots`. Absent: those of
    /// resolv_conf, or of the machine's own name. An empty list: none.
    std::optional<std::vector<std::string>> search = std::nullopt;
    /// How many dots make a name one that is asked for as it is, first. Absent: what
    /// resolv_conf says, else 1.
    std::optional<unsigned> dots = std::nullopt;
    /// So many names are asked for at the same time; others wait, in line. Each has a socket
    /// and, with c-ares 1.18, 100 kB.
    std::size_t at_once = 64;
    /// Read anew when it has changed.
    std::string resolv_conf = "/etc/resolv.conf";
    /// Read anew when it has changed; empty: none. One that cannot be read counts as empty.
    std::string hosts = "/etc/hosts";
    /// Where services have their ports. A few are known without it.
    std::string services = "/etc/services";
};

/// Finds addresses, without a thread: c-ares (which does not look at /etc/nsswitch.conf here)
/// asks the servers, the ring waits for its sockets. In this order:
///
///     addresses              "192.0.2.1", "2001:db8::1", "[::1]", "fe80::1%eth0"
///     the hosts file         by the whole name, in the order of the file
///     "localhost"            and what ends with ".localhost": ::1 and 127.0.0.1
///     the servers            by UDP, by TCP where the answer is too long; search domains
///
/// Answers are not kept: a name that is asked for twice is asked for twice. That is the work of
/// a server on this machine (systemd-resolved, unbound, dnsmasq).
///
/// Threads: any number of tasks on any workers, of any runtimes, use one. They share the hosts
///     file, c-ares's channels that are not in use, and the line for `at_once`.
/// Shape: a handle, which is copied like a pointer.
/// Lifetime: what has begun goes on without this object.
class resolver {
public:
    /// Reads nothing yet.
    ///
    /// Errors: std::invalid_argument for options that make no sense: no tries, no time, no
    ///     place for a single name, a server that is an empty endpoint.
    explicit resolver(resolver_options options = {});

    /// One for all who have no options of their own.
    [[nodiscard]] static const resolver& system();

    /// The addresses of a host, with that port, the best first: what servers have told is in
    /// the order of RFC 6724, as c-ares sorts it.
    ///
    /// `of`: v4 or v6 alone; none is both.
    ///
    /// Returns: at least one endpoint.
    /// Errors: resolve_error, which says what happened to which name; std::system_error if the
    ///     ring cannot wait for a socket; std::bad_alloc.
    /// Cancellation: a cancellation point, also where the answer is known at once, and at each
    ///     wait for a server. The query has a channel of its own, so that giving it up disturbs
    ///     no other: its sockets are closed, and its memory is free or kept for the next query,
    ///     when the task is torn down. There is no time limit but that of the tries: use
    ///     with_timeout().
    /// Fairness: where `at_once` are on their way, first come, first served.
    /// Source: ares_getaddrinfo(3), RFC 6724, RFC 6761.
    [[nodiscard]] toadstone::task<std::vector<endpoint>>
    resolve(std::string host, std::uint16_t port, endpoint::family of = endpoint::family::none,
            std::source_location where = std::source_location::current()) const;
    /// The same with the name of a service, "https", or a port as text.
    ///
    /// Errors also: resolve_error (bad_name) for a service that is not known here.
    /// Cancellation: as above.
    [[nodiscard]] toadstone::task<std::vector<endpoint>>
    resolve(std::string host, std::string service, endpoint::family of = endpoint::family::none,
            std::source_location where = std::source_location::current()) const;

private:
    friend const std::shared_ptr<detail::resolver_core>&
    detail::core_of(const resolver& names) noexcept;

    std::shared_ptr<detail::resolver_core> core_;
};

} // namespace toadstone::io

#endif
