// The simulated network and disks.
#include <toadstone/sim/kernel/state.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fcntl.h>
#include <sys/socket.h>

namespace toadstone::sim {

using detail::connection;
using detail::file_object;
using detail::inode;
using detail::segment;
using detail::socket_object;
using detail::stream;

void world::state::mix(std::uint64_t value) noexcept {
    for (int i = 0; i < 8; ++i) {
        hash_ = (hash_ ^ (value & 0xff)) * 0x100000001b3;
        value >>= 8;
    }
}

void world::state::mix(std::string_view text) noexcept {
    for (const char each : text) {
        hash_ = (hash_ ^ static_cast<unsigned char>(each)) * 0x100000001b3;
    }
}

int world::state::add(std::shared_ptr<detail::object> what) {
    const auto free = std::find(descriptors_.begin(), descriptors_.end(), nullptr);
    const auto index = free - descriptors_.begin();
    if (free == descriptors_.end()) {
        descriptors_.push_back(std::move(what));
    } else {
        *free = std::move(what);
    }
    return first_fd + static_cast<int>(index);
}

std::shared_ptr<detail::object> world::state::find(int fd) const {
    const auto index = static_cast<std::size_t>(fd - first_fd);
    return fd >= first_fd && index < descriptors_.size() ? descriptors_[index] : nullptr;
}

int world::state::close(int fd) {
    if (!find(fd)) return -EBADF;
    descriptors_[static_cast<std::size_t>(fd - first_fd)].reset();
    return 0;
}

std::size_t world::state::descriptors() const noexcept {
    return descriptors_.size() - static_cast<std::size_t>(std::count(
                                     descriptors_.begin(), descriptors_.end(), nullptr));
}

int world::state::bind(socket_object& socket, std::uint16_t port) {
    socket.port = port ? port : next_port_++;
    return 0;
}

int world::state::listen(const std::shared_ptr<socket_object>& socket, int backlog) {
    if (!socket->port) socket->port = next_port_++;
    socket->now = socket_object::state::listening;
    socket->backlog =
        std::min(static_cast<unsigned>(std::max(1, backlog)), options_.listen_backlog);
    listeners_.push_back(socket);
    return 0;
}

int world::state::connect(socket_object& socket, std::uint16_t port) {
    if (partitioned_) return -EAGAIN;
    std::vector<std::shared_ptr<socket_object>> found;
    for (const auto& each : listeners_) {
        auto listener = each.lock();
        if (listener && listener->port == port &&
            listener->now == socket_object::state::listening) {
            found.push_back(std::move(listener));
        }
    }
    if (found.empty() || network_fault(16)) return -ECONNREFUSED;
    auto& listener = found[choose(static_cast<unsigned>(found.size()), choice::timing)];
    if (listener->arrivals.size() >= listener->backlog) return -EAGAIN; // SYN is sent again
    auto link = std::make_shared<connection>();
    link->number = next_connection_++;
    connections_.push_back(link);
    if (!socket.port) socket.port = next_port_++;
    socket.now = socket_object::state::connected;
    socket.peer_port = port;
    socket.link = link;
    socket.side = 0;
    listener->arrivals.push_back({link, socket.port});
    return 0;
}

void world::state::deliver() noexcept {
    if (partitioned_) return;
    for (const auto& each : connections_) {
        const auto link = each.lock();
        if (!link) continue;
        for (stream& way : link->to) {
            while (!way.in_flight.empty() && way.in_flight.front().arrives <= now_) {
                segment& first = way.in_flight.front();
                way.ready.insert(way.ready.end(), first.bytes.begin(), first.bytes.end());
                if (first.fin) way.fin_arrived = true;
                way.in_flight.pop_front();
            }
        }
    }
}

detail::time_point world::state::next_arrival() const noexcept {
    auto next = detail::time_point::max();
    if (partitioned_) return next;
    for (const auto& each : connections_) {
        const auto link = each.lock();
        if (!link) continue;
        for (const stream& way : link->to) {
            if (!way.in_flight.empty()) next = std::min(next, way.in_flight.front().arrives);
        }
    }
    return next;
}

int world::state::send(socket_object& socket, const std::byte* data, std::size_t size) {
    if (socket.now != socket_object::state::connected) return -ENOTCONN;
    connection& link = *socket.link;
    stream& way = link.to[1 - socket.side];
    if (link.reset || way.fin_sent) return -EPIPE;
    if (network_fault(200)) {
        reset(link);
        return -ECONNRESET;
    }
    if (size == 0) return 0;
    if (link.closed[1 - socket.side]) { // nobody is there: this is answered by a reset
        reset(link);
        return static_cast<int>(size);
    }
    if (way.held >= options_.stream_capacity) return -EAGAIN;
    std::size_t count = std::min(size, options_.stream_capacity - way.held);
    if (count > 1) {
        switch (choose(4, choice::amount)) {
        case 1:
            count = 1;
            break;
        case 2:
            count = (count + 1) / 2;
            break;
        case 3:
            count -= 1;
            break;
        default:
            break;
        }
    }
    // A slow segment delays those behind it: a stream keeps its order.
    auto arrives = now_ + options_.latency * (1 + 9 * choose(2, choice::timing));
    if (!way.in_flight.empty()) arrives = std::max(arrives, way.in_flight.back().arrives);
    way.in_flight.push_back({arrives, std::vector<std::byte>(data, data + count), false});
    way.held += count;
    return static_cast<int>(count);
}

int world::state::receive(socket_object& socket, std::byte* into, std::size_t size,
                          bool peek_only) {
    if (socket.now != socket_object::state::connected) return -ENOTCONN;
    stream& way = socket.link->to[socket.side];
    if (socket.link->reset) return -ECONNRESET;
    if (way.ready.empty()) return way.fin_arrived ? 0 : -EAGAIN;
    if (peek_only) return 1;
    std::size_t count = std::min(size, way.ready.size());
    if (count > 1) {
        switch (choose(3, choice::amount)) {
        case 1:
            count = 1;
            break;
        case 2:
            count = (count + 1) / 2;
            break;
        default:
            break;
        }
    }
    std::copy_n(way.ready.begin(), count, into);
    way.ready.erase(way.ready.begin(), way.ready.begin() + static_cast<std::ptrdiff_t>(count));
    way.held -= count;
    return static_cast<int>(count);
}

void world::state::send_fin(connection& link, int side) {
    stream& way = link.to[1 - side];
    if (way.fin_sent || link.reset) return;
    way.fin_sent = true;
    auto arrives = now_ + options_.latency;
    if (!way.in_flight.empty()) arrives = std::max(arrives, way.in_flight.back().arrives);
    way.in_flight.push_back({arrives, {}, true});
}

int world::state::shut_down(socket_object& socket, int how) {
    if (socket.now == socket_object::state::listening) {
        socket.now = socket_object::state::fresh; // a pending accept ends
        return 0;
    }
    if (socket.now != socket_object::state::connected) return -ENOTCONN;
    if (how != SHUT_RD) send_fin(*socket.link, socket.side);
    if (how != SHUT_WR) socket.link->to[socket.side].fin_arrived = true;
    return 0;
}

// With bytes that nobody has read, Linux resets instead of saying goodbye.
void world::state::socket_gone(connection& link, int side) noexcept {
    link.closed[side] = true;
    if (!link.to[side].ready.empty()) {
        reset(link);
    } else {
        send_fin(link, side);
    }
}

void world::state::reset(connection& link) noexcept {
    link.reset = true;
    for (stream& way : link.to) way = stream{};
}

void world::state::reset_all() noexcept {
    for (const auto& each : connections_) {
        if (const auto link = each.lock()) reset(*link);
    }
}

std::size_t world::state::open_connections() const noexcept {
    std::size_t count = 0;
    for (const auto& each : connections_) {
        const auto link = each.lock();
        count += link && !link->reset && !(link->closed[0] && link->closed[1]);
    }
    return count;
}

int world::state::open(std::string_view path, int flags) {
    auto found = directory_.find(path);
    if (found == directory_.end()) {
        if (!(flags & O_CREAT)) return -ENOENT;
        if (disk_fault(50)) return -ENOSPC;
        found = directory_.emplace(std::string(path), std::make_shared<inode>()).first;
    } else if ((flags & O_CREAT) && (flags & O_EXCL)) {
        return -EEXIST;
    }
    if (flags & O_TRUNC) found->second->cached.clear();
    auto file = std::make_shared<file_object>(found->second);
    const int access = flags & O_ACCMODE;
    file->readable = access != O_WRONLY;
    file->writable = access != O_RDONLY;
    file->append = (flags & O_APPEND) != 0;
    return add(std::move(file));
}

int world::state::write(file_object& file, const std::byte* data, std::size_t size,
                        std::uint64_t offset) {
    if (!file.writable) return -EBADF;
    if (disk_fault(40)) return choose(2, choice::fault) ? -EIO : -ENOSPC;
    std::size_t count = size;
    if (count > 1 && choose(4, choice::amount) == 3) count = (count + 1) / 2;
    auto& bytes = file.node->cached;
    const bool by_position = offset == static_cast<std::uint64_t>(-1);
    std::size_t at = by_position ? file.position : static_cast<std::size_t>(offset);
    if (file.append) at = bytes.size();
    if (bytes.size() < at + count) bytes.resize(at + count);
    std::copy_n(data, count, bytes.begin() + static_cast<std::ptrdiff_t>(at));
    if (by_position) file.position = at + count;
    return static_cast<int>(count);
}

int world::state::read(file_object& file, std::byte* into, std::size_t size,
                       std::uint64_t offset) {
    if (!file.readable) return -EBADF;
    const auto& bytes = file.node->cached;
    const bool by_position = offset == static_cast<std::uint64_t>(-1);
    const std::size_t at = by_position ? file.position : static_cast<std::size_t>(offset);
    if (at >= bytes.size()) return 0;
    std::size_t count = std::min(size, bytes.size() - at);
    if (count > 1 && choose(4, choice::amount) == 3) count = (count + 1) / 2;
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), count, into);
    if (by_position) file.position = at + count;
    return static_cast<int>(count);
}

int world::state::sync(file_object& file) {
    if (fail_sync_ || disk_fault(40)) {
        // As on Linux: the pages are marked clean although they were not written.
        fail_sync_ = false;
        file.node->sync_lost = true;
        return -EIO;
    }
    if (!file.node->sync_lost) file.node->durable = file.node->cached;
    file.node->entry_durable = true;
    return 0;
}

void world::state::crash_disks() {
    constexpr std::size_t sector = 512;
    for (auto each = directory_.begin(); each != directory_.end();) {
        inode& node = *each->second;
        if (!node.entry_durable && dice_.choose(2, choice::fault)) {
            each = directory_.erase(each);
            continue;
        }
        std::vector<std::byte> after = node.durable;
        for (std::size_t at = 0; at < node.cached.size(); at += sector) {
            if (dice_.choose(2, choice::fault)) continue; // this sector was not written back
            const std::size_t end = std::min(at + sector, node.cached.size());
            if (after.size() < end) after.resize(end);
            std::copy(node.cached.begin() + static_cast<std::ptrdiff_t>(at),
                      node.cached.begin() + static_cast<std::ptrdiff_t>(end),
                      after.begin() + static_cast<std::ptrdiff_t>(at));
        }
        node.cached = node.durable = std::move(after);
        node.sync_lost = false;
        ++each;
    }
}

const inode* world::state::file(std::string_view path) const {
    const auto found = directory_.find(path);
    return found == directory_.end() ? nullptr : found->second.get();
}

inode& world::state::make_file(std::string_view path) {
    auto& node = directory_[std::string(path)];
    if (!node) node = std::make_shared<inode>();
    return *node;
}

} // namespace toadstone::sim
