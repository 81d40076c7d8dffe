// What a submission does to the simulated network and disks, once it can.
#include <toadstone/sim/kernel/sim_kernel.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sys/socket.h>

namespace toadstone::sim::detail {
namespace {

// A poll may tell a thing again this often, so that every run comes to an end.
constexpr unsigned most_repeats = 3;

std::byte* pointer(std::uint64_t address) noexcept {
    return reinterpret_cast<std::byte*>(address);
}

bool is_send(std::uint8_t opcode) noexcept {
    return opcode == IORING_OP_SEND || opcode == IORING_OP_SEND_ZC || opcode == IORING_OP_WRITE;
}

} // namespace

bool sim_kernel::ready(request& what) {
    const submission& entry = what.entry;
    if (what.notifies) {
        const auto& route = what.route;
        return prompt_ || !route || route->has_come_to(what.to_side, what.until);
    }
    if (!what.file || what.file->type == object::kind::file) return true;
    if (what.file->type == object::kind::event) {
        return entry.opcode != IORING_OP_READ ||
               static_cast<event_object&>(*what.file).count > 0;
    }
    if (what.file->type == object::kind::pipe) return pipe_ready(what);
    auto& socket = static_cast<socket_object&>(*what.file);
    switch (entry.opcode) {
    case IORING_OP_ACCEPT:
        if (socket.now != socket_object::state::listening) return true; // which wakes all
        return !socket.arrivals.empty() && !(what.sleeper && socket.sleeps(*what.sleeper));
    case IORING_OP_CONNECT:
        return world_.can_connect(socket, pointer(entry.addr),
                                  static_cast<socklen_t>(entry.off));
    case IORING_OP_RECV:
    case IORING_OP_READ:
        return world_.can_receive(socket);
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_WRITE:
        return world_.can_send(socket);
    case IORING_OP_POLL_ADD:
        if (what.wakes == world_.wakes(socket)) return false;
        return (world_.events(socket) & (entry.flags | POLLERR | POLLHUP)) != 0;
    default:
        return true;
    }
}

// An accept that has found nobody, or was woken and has come too late.
void sim_kernel::fall_asleep(request& what) {
    if (what.entry.opcode != IORING_OP_ACCEPT) return;
    auto* const listener = dynamic_cast<socket_object*>(what.file.get());
    if (!listener || (what.sleeper && listener->sleeps(*what.sleeper))) return;
    what.sleeper = listener->next_sleeper++;
    listener->sleepers.push_back(*what.sleeper);
}

void sim_kernel::get_up(request& what) {
    if (!what.sleeper) return;
    auto& sleepers = static_cast<socket_object&>(*what.file).sleepers;
    sleepers.erase(std::remove(sleepers.begin(), sleepers.end(), *what.sleeper),
                   sleepers.end());
    what.sleeper.reset();
}

bool sim_kernel::attempt(request& what, int& result) {
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_NOP:
        result = 0;
        return true;
    case IORING_OP_OPENAT:
        result =
            world_.open_at(entry.fd, reinterpret_cast<const char*>(entry.addr), entry.flags);
        return true;
    case IORING_OP_RENAMEAT:
        result = world_.rename_at(
            entry.fd, reinterpret_cast<const char*>(entry.addr), static_cast<int>(entry.len),
            reinterpret_cast<const char*>(entry.off), static_cast<unsigned>(entry.flags));
        return true;
    case IORING_OP_UNLINKAT:
        result = world_.remove_at(entry.fd, reinterpret_cast<const char*>(entry.addr),
                                  static_cast<unsigned>(entry.flags));
        return true;
    case IORING_OP_MKDIRAT:
        result = world_.make_folder_at(entry.fd, reinterpret_cast<const char*>(entry.addr));
        return true;
    case IORING_OP_CLOSE:
        result = world_.close(entry.fd);
        return true;
    case IORING_OP_FSYNC:
        if (!what.file) what.file = world_.find(entry.fd);
        if (what.file) break;
        result = -EBADF;
        return true;
    default:
        break;
    }
    switch (what.file->type) {
    case object::kind::socket:
        return attempt_socket(what, result);
    case object::kind::file:
        return attempt_file(what, result);
    case object::kind::pipe:
        return attempt_pipe(what, result);
    case object::kind::event: {
        auto& event = static_cast<event_object&>(*what.file);
        if (entry.opcode != IORING_OP_READ) {
            result = -EINVAL;
            return true;
        }
        if (event.count == 0) return false;
        std::memcpy(pointer(entry.addr), &event.count, sizeof event.count);
        event.count = 0;
        result = sizeof event.count;
        return true;
    }
    }
    return false;
}

bool sim_kernel::attempt_socket(request& what, int& result) {
    auto& socket = static_cast<socket_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_ACCEPT:
        result = accept(socket, entry);
        return result != -EAGAIN;
    case IORING_OP_CONNECT:
        result = world_.connect(std::static_pointer_cast<socket_object>(what.file),
                                pointer(entry.addr), static_cast<socklen_t>(entry.off));
        return result != -EAGAIN;
    case IORING_OP_RECV:
    case IORING_OP_READ:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_WRITE:
        return attempt_transfer(what, result);
    case IORING_OP_POLL_ADD:
        return attempt_poll(what, result);
    default:
        result = -EINVAL;
        return true;
    }
}

int sim_kernel::accept(socket_object& listener, const submission& entry) {
    if (world_.full()) return -EMFILE; // and whoever has come goes on waiting
    if (listener.now != socket_object::state::listening) return -EINVAL;
    if (listener.arrivals.empty()) return -EAGAIN;
    if (world_.network_fault(20)) {
        static constexpr int faults[] = {-ECONNABORTED, -EPROTO, -EMFILE, -ENOBUFS};
        return faults[world_.choose(4, choice::fault)];
    }
    auto accepted = world_.accept(listener);
    if (entry.addr) {
        auto& length = *reinterpret_cast<socklen_t*>(entry.off);
        length = write_address(accepted->family, accepted->peer, pointer(entry.addr), length);
    }
    return world_.add(std::move(accepted));
}

// With MSG_WAITALL the kernel goes on after a short transfer, until all is done, the stream
// ends or fails, or it is cancelled. A passing want of memory cuts a send short, too: then the
// bytes are told and the error is not.
bool sim_kernel::attempt_transfer(request& what, int& result) {
    if (what.entry.selects) return attempt_selecting(what, result);
    auto& socket = static_cast<socket_object&>(*what.file);
    const submission& entry = what.entry;
    std::byte* const at = pointer(entry.addr) + what.done;
    const std::size_t left = entry.len - what.done;
    const bool sending = is_send(entry.opcode);
    const int count =
        sending ? world_.send(socket, at, left) : world_.receive(socket, at, left);
    if (count == -EAGAIN) return false;
    if (count > 0) what.done += static_cast<std::uint32_t>(count);
    result = what.done > 0 ? static_cast<int>(what.done) : count;
    const bool of_file = entry.opcode == IORING_OP_READ || entry.opcode == IORING_OP_WRITE;
    const bool all = !of_file && (entry.flags & MSG_WAITALL);
    if (!all || count <= 0 || what.done == entry.len) return true;
    return sending && world_.choose(8, choice::amount) == 7;
}

// The buffer is chosen first, and stays where it was if nothing comes into it.
bool sim_kernel::attempt_selecting(request& what, int& result) {
    buffer_ring* const group = group_of(what.entry);
    if (!group) {
        result = -ENOBUFS;
        return true;
    }
    std::size_t size = group->size();
    if (what.entry.len != 0) size = std::min<std::size_t>(size, what.entry.len);
    result = world_.receive(static_cast<socket_object&>(*what.file), group->at(), size);
    if (result <= 0) return result != -EAGAIN;
    what.flags = IORING_CQE_F_BUFFER |
                 (static_cast<unsigned>(group->number()) << IORING_CQE_BUFFER_SHIFT);
    if (!group->give_back(static_cast<std::size_t>(result))) {
        complaint_ = "a provided buffer was written to";
    }
    return true;
}

// One that goes on tells of each thing that happens, not of each state: as the edge-triggered
// epoll. What it has told already and is still so may be left out, or told once more.
bool sim_kernel::attempt_poll(request& what, int& result) {
    auto& socket = static_cast<socket_object&>(*what.file);
    const int ends = POLLERR | POLLHUP;
    const int events = world_.events(socket) & (what.entry.flags | ends);
    result = events;
    if (events == 0 || !what.entry.multishot) return events != 0;
    const int fresh = events & ~what.told;
    const bool only_data = fresh != 0 && (fresh & (ends | POLLRDHUP)) == 0;
    if (only_data && world_.choose(2, choice::race) == 0) result = fresh;
    what.told = events;
    if (what.repeats < most_repeats && world_.choose(8, choice::race) == 7) {
        ++what.repeats; // two wake-ups, and one thing to tell
    } else {
        what.wakes = world_.wakes(socket);
    }
    return true;
}

bool sim_kernel::pipe_ready(const request& what) const {
    const auto& end = static_cast<const pipe_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_READ:
        return what.never_waits || world_.can_read(end, entry.len);
    case IORING_OP_WRITE:
        return what.never_waits || world_.can_write(end, entry.len);
    case IORING_OP_POLL_ADD:
        return (world_.events(end) & (entry.flags | POLLERR | POLLHUP)) != 0;
    default:
        return true;
    }
}

bool sim_kernel::attempt_pipe(request& what, int& result) {
    auto& end = static_cast<pipe_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_READ:
        result = world_.read(end, pointer(entry.addr), entry.len);
        return what.never_waits || result != -EAGAIN;
    case IORING_OP_WRITE:
        result = world_.write(end, pointer(entry.addr), entry.len);
        return what.never_waits || result != -EAGAIN;
    case IORING_OP_POLL_ADD:
        result = world_.events(end) & (entry.flags | POLLERR | POLLHUP);
        if (entry.multishot) result = -EINVAL; // not simulated
        return result != 0;
    case IORING_OP_FSYNC:
        result = -EINVAL;
        return true;
    default:
        result = -ENOTSOCK;
        return true;
    }
}

bool sim_kernel::attempt_file(request& what, int& result) {
    auto& file = static_cast<file_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_READ:
        result = world_.read(file, pointer(entry.addr), entry.len, entry.off);
        return true;
    case IORING_OP_WRITE:
        result = world_.write(file, pointer(entry.addr), entry.len, entry.off);
        return true;
    case IORING_OP_FSYNC:
        result = world_.sync(file);
        return true;
    case IORING_OP_POLL_ADD: // always ready for what files can be ready for, and for no more
        result = entry.flags & (POLLIN | POLLOUT);
        if (result == 0) result = -EINVAL;
        return true;
    default:
        result = -ENOTSOCK;
        return true;
    }
}

} // namespace toadstone::sim::detail
