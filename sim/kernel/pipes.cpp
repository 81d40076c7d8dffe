// The simulated pipes.
#include <toadstone/sim/kernel/state.hpp>

#include <algorithm>
#include <cerrno>

#include <poll.h>

namespace toadstone::sim {

using detail::pipe_object;

int world::state::make_pipe(int ends[2], bool nonblocking) {
    if (options_.max_descriptors > 0 && descriptors() + 2 > options_.max_descriptors) {
        return -EMFILE;
    }
    const auto buffer = std::make_shared<detail::pipe_buffer>();
    ends[0] = add(std::make_shared<pipe_object>(buffer, false, nonblocking));
    ends[1] = add(std::make_shared<pipe_object>(buffer, true, nonblocking));
    return 0;
}

// Linux counts pages, and so takes less in many small writes: but whatever poll() calls
// writable takes 4096 bytes.
bool world::state::can_write(const pipe_object& end, std::size_t size) const {
    if (!end.writes || size == 0 || end.buffer->readers == 0) return true;
    return room_in(end) >= (size <= whole_write() ? size : 1);
}

int world::state::write(pipe_object& end, const std::byte* data, std::size_t size) {
    if (!end.writes) return -EBADF;
    if (size == 0) return 0;
    if (end.buffer->readers == 0) return -EPIPE;
    if (!can_write(end, size)) return -EAGAIN;
    const std::size_t fits = std::min(size, room_in(end));
    const std::size_t count = size <= whole_write() ? size : part_of(fits);
    end.buffer->bytes.insert(end.buffer->bytes.end(), data, data + count);
    return static_cast<int>(count);
}

bool world::state::can_read(const pipe_object& end, std::size_t size) const {
    if (end.writes || size == 0 || end.buffer->writers == 0) return true;
    return !end.buffer->bytes.empty();
}

int world::state::read(pipe_object& end, std::byte* into, std::size_t size) {
    if (end.writes) return -EBADF;
    if (!can_read(end, size)) return -EAGAIN;
    auto& bytes = end.buffer->bytes;
    const std::size_t count = part_of(std::min(size, bytes.size()));
    std::copy_n(bytes.begin(), count, into);
    bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(count));
    return static_cast<int>(count);
}

int world::state::events(const pipe_object& end) const {
    if (end.writes) {
        return (room_in(end) >= whole_write() ? POLLOUT : 0) |
               (end.buffer->readers == 0 ? POLLERR : 0);
    }
    return (end.buffer->bytes.empty() ? 0 : POLLIN) | (end.buffer->writers == 0 ? POLLHUP : 0);
}

} // namespace toadstone::sim
