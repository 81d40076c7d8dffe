// What a simulated world has once: the hash of what happened, and the table of descriptors.
#include <toadstone/sim/kernel/state.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace toadstone::sim {

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

std::size_t world::state::part_of(std::size_t size) {
    if (size <= 1) return size;
    switch (choose(static_cast<unsigned>(std::min<std::size_t>(size, 4)), choice::amount)) {
    case 1:
        return 1;
    case 2:
        return (size + 1) / 2;
    case 3:
        return size - 1;
    default:
        return size;
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

} // namespace toadstone::sim
