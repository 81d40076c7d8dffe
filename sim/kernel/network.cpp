// The simulated network.
#include <toadstone/sim/kernel/state.hpp>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>

#include <poll.h>
#include <sys/socket.h>

namespace toadstone::sim {

using detail::address;
using detail::connection;
using detail::host;
using detail::segment;
using detail::socket_object;
using detail::stream;

namespace {

// Whoever is at the one gets what is sent to the other.
bool reaches(const host& at, bool only_v6, const host& to) noexcept {
    if (at == to) return true;
    if (!detail::is_any(at)) return false;
    return detail::is_v4(at) ? detail::is_v4(to) : !(only_v6 && detail::is_v4(to));
}

} // namespace

// Two sockets share a port if both want to in the same way, or if nobody could mean both.
bool world::state::conflicts(const socket_object& socket, const address& at, bool to_listen) {
    bound_.erase(std::remove_if(bound_.begin(), bound_.end(),
                                [](const auto& each) { return each.expired(); }),
                 bound_.end());
    return std::any_of(bound_.begin(), bound_.end(), [&](const auto& each) {
        const auto other = each.lock();
        if (other.get() == &socket || other->own.port != at.port) return false;
        if (!reaches(at.at, socket.only_v6, other->own.at) &&
            !reaches(other->own.at, other->only_v6, at.at)) {
            return false;
        }
        const bool listens = other->now == socket_object::state::listening;
        if (to_listen && !listens) return false;
        if (socket.reuse_port && other->reuse_port) return false;
        return !(socket.reuse_address && other->reuse_address && !listens);
    });
}

std::uint16_t world::state::free_port() {
    constexpr std::uint16_t first = 32768;
    constexpr std::uint16_t last = 60999;
    for (;;) {
        const std::uint16_t port = next_port_;
        next_port_ = port == last ? first : static_cast<std::uint16_t>(port + 1);
        const bool taken = std::any_of(bound_.begin(), bound_.end(), [&](const auto& each) {
            const auto other = each.lock();
            return other && other->own.port == port;
        });
        if (!taken) return port;
    }
}

int world::state::bind(const std::shared_ptr<socket_object>& socket, const address& to) {
    if (socket->own.port) return -EINVAL;
    if (to.port && conflicts(*socket, to, false)) return -EADDRINUSE;
    socket->own = to;
    if (!to.port) socket->own.port = free_port();
    bound_.push_back(socket);
    return 0;
}

int world::state::listen(const std::shared_ptr<socket_object>& socket, int backlog) {
    if (socket->now == socket_object::state::connected) return -EINVAL;
    if (!socket->own.port) {
        static_cast<void>(bind(socket, {detail::any_host(socket->family)}));
    }
    if (socket->now == socket_object::state::fresh) {
        if (conflicts(*socket, socket->own, true)) return -EADDRINUSE;
        socket->now = socket_object::state::listening;
    }
    socket->backlog =
        std::min(static_cast<unsigned>(std::max(1, backlog)), options_.listen_backlog);
    return 0;
}

// Who listens at exactly this address comes before who listens at any.
std::vector<std::shared_ptr<socket_object>> world::state::listening_at(const address& to) {
    std::vector<std::shared_ptr<socket_object>> found;
    bool exactly = false;
    for (const auto& each : bound_) {
        auto listener = each.lock();
        if (!listener || listener->own.port != to.port ||
            listener->now != socket_object::state::listening ||
            !reaches(listener->own.at, listener->only_v6, to.at)) {
            continue;
        }
        const bool is_it = listener->own.at == to.at;
        if (exactly && !is_it) continue;
        if (is_it && !std::exchange(exactly, true)) found.clear();
        found.push_back(std::move(listener));
    }
    return found;
}

bool world::state::can_connect(const socket_object& socket, const void* name,
                               socklen_t length) {
    if (socket.now != socket_object::state::fresh) return true;
    address to;
    if (detail::read_address(socket.family, name, length, to) != 0) return true;
    if (partitioned()) return false;
    to.at = detail::target_of(to.at);
    const auto found = listening_at(to);
    const auto chosen = std::find(found.begin(), found.end(), socket.chosen.lock());
    return chosen == found.end() || !(*chosen)->is_full();
}

int world::state::connect(const std::shared_ptr<socket_object>& socket, const void* name,
                          socklen_t length) {
    if (detail::is_nobody(name, length)) return disconnect(*socket);
    if (socket->now != socket_object::state::fresh) return -EISCONN;
    address to;
    if (const int error = detail::read_address(socket->family, name, length, to)) return error;
    if (partitioned()) return -EAGAIN;
    to.at = detail::target_of(to.at);
    const auto found = listening_at(to);
    if (found.empty() || network_fault(16)) return -ECONNREFUSED;
    auto listener = socket->chosen.lock();
    if (std::find(found.begin(), found.end(), listener) == found.end()) {
        listener = found[choose(static_cast<unsigned>(found.size()), choice::timing)];
        socket->chosen = listener;
    }
    if (listener->is_full()) return -EAGAIN; // the SYN is sent again
    auto link = std::make_shared<connection>();
    link->number = next_connection_++;
    for (stream& way : link->to) way.latency = some_latency();
    connections_.push_back(link);
    if (!socket->own.port) socket->own.port = free_port();
    if (detail::is_any(socket->own.at)) socket->own.at = detail::source_for(to.at);
    socket->now = socket_object::state::connected;
    socket->peer = to;
    socket->link = link;
    socket->side = 0;
    ++socket->wakes;
    listener->arrivals.push_back({link, socket->own, to});
    ++listener->wakes;
    auto& sleepers = listener->sleepers;
    if (!sleepers.empty()) sleepers.erase(sleepers.begin());
    return 0;
}

// The peer is reset, what had arrived is gone, and whoever waits here is told; the socket is as
// good as new.
int world::state::disconnect(socket_object& socket) {
    if (socket.now == socket_object::state::listening) return shut_down(socket, SHUT_RD);
    if (socket.now == socket_object::state::fresh) return 0;
    const auto link = std::exchange(socket.link, nullptr);
    if (!link->reset[socket.side]) {
        socket.error = ECONNRESET;
        socket_gone(*link, socket.side, true);
    }
    socket.now = socket_object::state::fresh;
    socket.peer = {};
    ++socket.wakes;
    return 0;
}

std::shared_ptr<socket_object> world::state::accept(socket_object& from) {
    auto arrival = std::move(from.arrivals.front());
    from.arrivals.pop_front();
    auto made = std::make_shared<socket_object>(*this, from.family);
    made->now = socket_object::state::connected;
    made->reuse_address = from.reuse_address;
    made->reuse_port = from.reuse_port;
    made->aborts = from.aborts;
    made->own = arrival.to;
    made->peer = arrival.from;
    made->link = std::move(arrival.link);
    made->side = 1;
    bound_.push_back(made);
    return made;
}

void world::state::set_clogged(std::uint64_t connection, int side, bool on) {
    if (on) {
        clogged_.emplace(connection, side);
    } else {
        clogged_.erase({connection, side});
    }
}

void world::state::set_all_clogged(int side, bool on) {
    all_clogged_[side] = on;
    if (on) return;
    for (auto each = clogged_.begin(); each != clogged_.end();) {
        each = each->second == side ? clogged_.erase(each) : std::next(each);
    }
}

bool world::state::clogged(const connection& link, int side) const {
    return !calm() && (all_clogged_[side] || clogged_.count({link.number, side}) > 0);
}

void world::state::deliver() noexcept {
    if (partitioned()) return;
    for (const auto& each : connections_) {
        const auto link = each.lock();
        if (!link) continue;
        for (int side = 0; side < 2; ++side) {
            if (clogged(*link, side)) continue;
            stream& way = link->to[side];
            while (!way.in_flight.empty() && way.in_flight.front().arrives <= now_) {
                const segment first = std::move(way.in_flight.front());
                way.in_flight.pop_front();
                ++way.arrivals;
                way.arrived += first.bytes.size();
                if (first.last == segment::mark::rst) {
                    reset(*link, side);
                } else if (!link->closed[side] && !link->reset[side]) {
                    way.ready.insert(way.ready.end(), first.bytes.begin(), first.bytes.end());
                    if (first.last == segment::mark::fin) way.fin_arrived = true;
                } else if (!first.bytes.empty()) {
                    send_rst(*link, side, false); // nobody is there
                }
            }
        }
    }
}

detail::time_point world::state::next_arrival() const noexcept {
    // What is held up goes on when the world is calm, if it ever is.
    if (partitioned()) return next_calm();
    auto next = detail::time_point::max();
    for (const auto& each : connections_) {
        const auto link = each.lock();
        if (!link) continue;
        for (int side = 0; side < 2; ++side) {
            const stream& way = link->to[side];
            if (way.in_flight.empty()) continue;
            next = std::min(next,
                            clogged(*link, side) ? next_calm() : way.in_flight.front().arrives);
        }
    }
    return next;
}

namespace {

// The error that waits for this side, which is told once, or else `otherwise`.
int error_of(connection& link, int side, int otherwise) noexcept {
    const int error = std::exchange(link.error[side], 0);
    return error ? -error : otherwise;
}
int error_of(socket_object& socket, int otherwise) noexcept {
    const int error = std::exchange(socket.error, 0);
    return error ? -error : otherwise;
}

} // namespace

std::chrono::nanoseconds world::state::some_latency() {
    switch (choose(3, choice::timing)) {
    case 1:
        return options_.latency / 5;
    case 2:
        return options_.latency * 20;
    default:
        return options_.latency;
    }
}

void world::state::send_segment(stream& way, std::vector<std::byte> bytes, segment::mark last,
                                unsigned slower) {
    auto arrives = now_ + (calm() ? options_.latency : way.latency) * slower;
    if (!way.in_flight.empty()) arrives = std::max(arrives, way.in_flight.back().arrives);
    way.in_flight.push_back({arrives, std::move(bytes), last});
}

bool world::state::can_send(const socket_object& socket) const {
    if (socket.now != socket_object::state::connected) return true;
    const connection& link = *socket.link;
    const stream& way = link.to[1 - socket.side];
    return link.reset[socket.side] || way.fin_sent || way.held < options_.stream_capacity;
}

int world::state::send(socket_object& socket, const std::byte* data, std::size_t size) {
    if (socket.now != socket_object::state::connected) return error_of(socket, -EPIPE);
    connection& link = *socket.link;
    const int side = socket.side;
    stream& way = link.to[1 - side];
    if (!link.reset[side] && !way.fin_sent && network_fault(200)) {
        reset(link, 0);
        reset(link, 1);
    }
    if (link.reset[side] || way.fin_sent) return error_of(link, side, -EPIPE);
    if (size == 0) return 0;
    // Where nobody is any more it is taken all the same, and answered by a reset on arrival.
    if (way.held >= options_.stream_capacity) return -EAGAIN;
    const std::size_t count = part_of(std::min(size, options_.stream_capacity - way.held));
    send_segment(way, std::vector<std::byte>(data, data + count), segment::mark::none,
                 1 + 9 * choose(2, choice::timing));
    way.held += count;
    way.sent += count;
    return static_cast<int>(count);
}

bool world::state::can_receive(const socket_object& socket) const {
    if (socket.now != socket_object::state::connected) return true;
    const connection& link = *socket.link;
    const stream& way = link.to[socket.side];
    return !way.ready.empty() || way.fin_arrived || way.refused || link.reset[socket.side];
}

// What has arrived is read first; then the end; then, once, why there was none.
int world::state::receive(socket_object& socket, std::byte* into, std::size_t size) {
    if (socket.now != socket_object::state::connected) return error_of(socket, -ENOTCONN);
    connection& link = *socket.link;
    stream& way = link.to[socket.side];
    if (way.ready.empty()) {
        if (way.fin_arrived) return 0;
        if (link.reset[socket.side]) return error_of(link, socket.side, 0);
        return way.refused ? 0 : -EAGAIN;
    }
    const std::size_t count = part_of(std::min(size, way.ready.size()));
    std::copy_n(way.ready.begin(), count, into);
    way.ready.erase(way.ready.begin(), way.ready.begin() + static_cast<std::ptrdiff_t>(count));
    if (way.held >= options_.stream_capacity) ++way.vacancies;
    way.held -= count;
    return static_cast<int>(count);
}

int world::state::events(const socket_object& socket) const {
    switch (socket.now) {
    case socket_object::state::fresh:
        return POLLOUT | POLLHUP | (socket.error ? POLLERR : 0);
    case socket_object::state::listening:
        return socket.arrivals.empty() ? 0 : POLLIN;
    case socket_object::state::connected:
        break;
    }
    const connection& link = *socket.link;
    const stream& in = link.to[socket.side];
    const stream& out = link.to[1 - socket.side];
    const bool gone = link.reset[socket.side];
    const bool no_more = gone || in.fin_arrived || in.refused;
    int events = 0;
    if (no_more || !in.ready.empty()) events |= POLLIN;
    if (no_more) events |= POLLRDHUP;
    if (gone || (no_more && out.fin_sent)) events |= POLLHUP;
    if (can_send(socket)) events |= POLLOUT;
    if (link.error[socket.side]) events |= POLLERR;
    return events;
}

std::uint64_t world::state::wakes(const socket_object& socket) const noexcept {
    if (!socket.link) return socket.wakes;
    const connection& link = *socket.link;
    return socket.wakes + link.to[socket.side].arrivals + link.to[1 - socket.side].vacancies;
}

void world::state::send_fin(connection& link, int side) {
    stream& way = link.to[1 - side];
    if (way.fin_sent || link.reset[side]) return;
    way.fin_sent = true;
    send_segment(way, {}, segment::mark::fin);
}

void world::state::send_rst(connection& link, int side, bool overtakes) {
    stream& way = link.to[1 - side];
    if (overtakes) way.in_flight.clear(); // what it overtakes is refused on arrival
    send_segment(way, {}, segment::mark::rst);
}

int world::state::shut_down(socket_object& socket, int how) {
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return -EINVAL;
    switch (socket.now) {
    case socket_object::state::fresh:
        return -ENOTCONN;
    case socket_object::state::listening:
        if (how == SHUT_WR) return 0;
        socket.now = socket_object::state::fresh; // a pending accept ends
        ++socket.wakes;
        socket.sleepers.clear();
        for (auto& each : std::exchange(socket.arrivals, {})) {
            socket_gone(*each.link, 1, true);
        }
        return 0;
    case socket_object::state::connected:
        break;
    }
    connection& link = *socket.link;
    stream& in = link.to[socket.side];
    const bool both_ended = in.fin_arrived && link.to[1 - socket.side].fin_arrived;
    if (both_ended || link.reset[socket.side]) return -ENOTCONN;
    if (how != SHUT_RD) send_fin(link, socket.side);
    if (how != SHUT_WR) in.refused = true;
    ++socket.wakes;
    return 0;
}

// With bytes that nobody has read, Linux resets instead of saying goodbye.
void world::state::socket_gone(connection& link, int side, bool abort) noexcept {
    link.closed[side] = true;
    if (link.reset[side]) return;
    if (abort || !link.to[side].ready.empty()) {
        send_rst(link, side, choose(2, choice::timing) == 1);
    } else {
        send_fin(link, side);
    }
}

// What has arrived stays readable; what was on its way is lost. A reset that follows the end of
// the stream is a broken pipe, and one that follows both ends is nothing.
void world::state::reset(connection& link, int side) noexcept {
    stream& in = link.to[side];
    stream& out = link.to[1 - side];
    if (link.reset[side]) return;
    link.reset[side] = true;
    ++in.arrivals;
    if (!in.fin_arrived) {
        link.error[side] = ECONNRESET;
    } else if (!out.fin_arrived) {
        link.error[side] = out.fin_sent ? ECONNRESET : EPIPE;
    }
    in.in_flight.clear();
    out.in_flight.clear();
}

void world::state::reset_all() noexcept {
    for (const auto& each : connections_) {
        const auto link = each.lock();
        if (!link) continue;
        reset(*link, 0);
        reset(*link, 1);
    }
}

std::size_t world::state::open_connections() const noexcept {
    std::size_t count = 0;
    for (const auto& each : connections_) {
        const auto link = each.lock();
        count +=
            link && !link->reset[0] && !link->reset[1] && !(link->closed[0] && link->closed[1]);
    }
    return count;
}

} // namespace toadstone::sim
