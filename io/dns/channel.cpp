// c-ares, as both Debian 12 (1.18) and Debian 13 (1.34) have it.
#include <toadstone/io/dns/channel.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/resolver.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <new>

#include <ares.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

namespace toadstone::io::detail {
namespace {

/// It has to be called once, before any other, by one thread.
int initialize() noexcept {
    static const int status = ares_library_init(ARES_LIB_INIT_ALL);
    return status;
}

/// "192.0.2.1:53,[2001:db8::1]:53"
std::string list_of(const std::vector<endpoint>& servers) {
    constexpr std::uint16_t usual_port = 53;
    std::string list;
    for (const endpoint& each : servers) {
        if (!list.empty()) list += ',';
        list += (each.port() == 0 ? each.with_port(usual_port) : each).to_string();
    }
    return list;
}

[[noreturn]] void fail(const char* doing, int status, int error) {
    if (status == ARES_ENOMEM) throw std::bad_alloc();
    throw_io_error(doing, ares_strerror(status), error);
}

template <class Address>
Address copied(const void* from) noexcept {
    Address address;
    std::memcpy(&address, from, sizeof address);
    return address;
}

std::optional<endpoint> endpoint_of(const ares_addrinfo_node& node, std::uint16_t port) {
    std::array<std::uint8_t, 16> bytes{};
    if (node.ai_family == AF_INET) {
        const auto address = copied<sockaddr_in>(node.ai_addr);
        std::memcpy(bytes.data(), &address.sin_addr, sizeof address.sin_addr);
        return endpoint(endpoint::family::v4, bytes, 0, port);
    }
    if (node.ai_family == AF_INET6) {
        const auto address = copied<sockaddr_in6>(node.ai_addr);
        std::memcpy(bytes.data(), &address.sin6_addr, sizeof address.sin6_addr);
        return endpoint(endpoint::family::v6, bytes, address.sin6_scope_id, port);
    }
    return std::nullopt;
}

} // namespace

channel::channel(const resolver_options& options) {
    if (const int status = initialize(); status != ARES_SUCCESS) {
        fail("start c-ares:", status, EIO);
    }
    ares_options what{};
    int given = ARES_OPT_SOCK_STATE_CB | ARES_OPT_LOOKUPS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES;
    what.sock_state_cb = on_socket;
    what.sock_state_cb_data = this;
    char servers_only[] = "b";
    what.lookups = servers_only;
    what.timeout = static_cast<int>(options.timeout.count());
    what.tries = static_cast<int>(options.tries);
    std::string resolv_conf = options.resolv_conf;
    if (!resolv_conf.empty()) {
        what.resolvconf_path = resolv_conf.data();
        given |= ARES_OPT_RESOLVCONF;
    }
    std::vector<std::string> search = options.search.value_or(std::vector<std::string>());
    std::vector<char*> domains;
    for (std::string& each : search) domains.push_back(each.data());
    char none[] = "";
    if (options.search) {
        if (domains.empty()) domains.push_back(none);
        what.domains = domains.data();
        what.ndomains = static_cast<int>(search.size());
        given |= ARES_OPT_DOMAINS;
    }
    if (options.dots) {
        what.ndots = static_cast<int>(*options.dots);
        given |= ARES_OPT_NDOTS;
    }
#ifdef ARES_OPT_QUERY_CACHE
    // A channel's own: what it has heard would depend on which channel is asked.
    what.qcache_max_ttl = 0;
    given |= ARES_OPT_QUERY_CACHE;
#endif
    int status = ares_init_options(&channel_, &what, given);
    if (status != ARES_SUCCESS) fail("prepare to ask name servers:", status, errno);
    if (options.servers.empty()) return;
    status = ares_set_servers_ports_csv(channel_, list_of(options.servers).c_str());
    if (status != ARES_SUCCESS) {
        ares_destroy(channel_);
        fail("name the servers to ask:", status, EINVAL);
    }
}

channel::~channel() {
    ares_destroy(channel_); // which answers what is under way
    if (found_) ares_freeaddrinfo(found_);
}

void channel::ask(const std::string& name, endpoint::family of) {
    ares_addrinfo_hints hints{};
    hints.ai_family = of == endpoint::family::v4   ? AF_INET
                      : of == endpoint::family::v6 ? AF_INET6
                                                   : AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, on_answer, this);
    check_memory();
}

std::chrono::milliseconds channel::time_left() const noexcept {
    using namespace std::chrono;
    timeval room{};
    const timeval* const left = ares_timeout(channel_, nullptr, &room);
    if (!left) return milliseconds(100);
    // One more: c-ares takes what is less than a millisecond for nothing.
    return duration_cast<milliseconds>(seconds(left->tv_sec) + microseconds(left->tv_usec)) +
           milliseconds(1);
}

void channel::go_on(int fd, events came) {
    const bool failed = (came & (events::error | events::hang_up)) != events::none;
    const bool reads = failed || contains(came, events::readable);
    const bool writes = contains(came, events::writable);
    ares_process_fd(channel_, reads ? fd : ARES_SOCKET_BAD, writes ? fd : ARES_SOCKET_BAD);
    check_memory();
}

void channel::check_memory() {
    if (no_memory_) throw std::bad_alloc();
}

void channel::on_answer(void* self, int status, int, ares_addrinfo* found) noexcept {
    auto& of = *static_cast<channel*>(self);
    of.status_ = status;
    of.found_ = found;
    of.answered_ = true;
}

void channel::on_socket(void* self, int fd, int readable, int writable) noexcept {
    auto& of = *static_cast<channel*>(self);
    const auto reading = readable ? events::readable : events::none;
    const auto writing = writable ? events::writable : events::none;
    try {
        of.watch(fd, reading | writing);
    } catch (const std::bad_alloc&) {
        of.no_memory_ = true; // C code cannot be thrown through
    }
}

void channel::watch(int fd, events wanted) {
    const auto place = std::find_if(sockets_.begin(), sockets_.end(),
                                    [fd](const socket& each) { return each.fd == fd; });
    if (wanted == events::none) {
        if (place != sockets_.end()) sockets_.erase(place);
    } else if (place != sockets_.end()) {
        place->wanted = wanted;
    } else {
        sockets_.push_back({fd, wanted});
    }
}

std::optional<resolve_failure> channel::failure() const {
    switch (status_) {
    case ARES_SUCCESS:
        if (!found_ || !found_->nodes) return resolve_failure::no_addresses;
        return std::nullopt;
    case ARES_ENOMEM:
        throw std::bad_alloc();
    case ARES_ENODATA:
        return resolve_failure::no_addresses;
    case ARES_ENOTFOUND:
        return resolve_failure::not_found;
    case ARES_EREFUSED:
        return resolve_failure::refused;
    case ARES_ETIMEOUT:
        return resolve_failure::timed_out;
    case ARES_EBADRESP:
        return resolve_failure::malformed;
    case ARES_EBADNAME:
    case ARES_EBADQUERY:
    case ARES_EBADSTR:
        return resolve_failure::bad_name;
    case ARES_ESERVFAIL:
    case ARES_EFORMERR:
    case ARES_ENOTIMP:
        return resolve_failure::server_failed;
    default:
        return resolve_failure::unreachable; // no socket, no server, no connection
    }
}

std::vector<endpoint> channel::addresses(std::uint16_t port) const {
    std::vector<endpoint> all;
    for (const auto* node = found_ ? found_->nodes : nullptr; node; node = node->ai_next) {
        const auto address = endpoint_of(*node, port);
        if (address && std::find(all.begin(), all.end(), *address) == all.end()) {
            all.push_back(*address);
        }
    }
    return all;
}

bool channel::reset() noexcept {
    ares_cancel(channel_);
    if (found_) ares_freeaddrinfo(found_);
    found_ = nullptr;
    status_ = ARES_SUCCESS;
    answered_ = false;
    return sockets_.empty() && !no_memory_;
}

} // namespace toadstone::io::detail
