// What a task provides is looked at once for each call, and lent from then on.
#include <toadstone/sim/kernel/buffer_ring.hpp>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <utility>

namespace toadstone::sim::detail {
namespace {

constexpr std::uint64_t page = 4096;
constexpr unsigned most_entries = 32768;

} // namespace

// What follows the number of the group is flags and fields that are to be zero, under names
// that depend on the version of liburing.
int buffer_ring::check(const io_uring_buf_reg& wanted) noexcept {
    unsigned char bytes[sizeof wanted];
    std::memcpy(bytes, &wanted, sizeof wanted);
    constexpr std::size_t named = offsetof(io_uring_buf_reg, bgid) + sizeof wanted.bgid;
    if (std::any_of(bytes + named, bytes + sizeof bytes, [](auto each) { return each != 0; })) {
        return -EINVAL;
    }
    if (wanted.ring_addr == 0) return -EFAULT;
    const unsigned count = wanted.ring_entries;
    const bool fits = count > 0 && count <= most_entries && (count & (count - 1)) == 0;
    return fits && wanted.ring_addr % page == 0 ? 0 : -EINVAL;
}

buffer_ring::buffer_ring(const io_uring_buf_reg& wanted) noexcept
    : shared_(reinterpret_cast<const io_uring_buf_ring*>(wanted.ring_addr)),
      mask_(wanted.ring_entries - 1) {}

void buffer_ring::look() {
    const std::uint16_t tail = io_uring_smp_load_acquire(&shared_->tail);
    const auto* const entries = reinterpret_cast<const io_uring_buf*>(shared_);
    for (; seen_ != tail; ++seen_) {
        const io_uring_buf& each = entries[seen_ & mask_];
        loans_.push_back(
            {loan::to_write(reinterpret_cast<std::byte*>(each.addr), each.len), each.bid});
    }
}

bool buffer_ring::give_back(std::size_t filled) {
    loan memory = std::move(loans_.front().memory);
    loans_.pop_front();
    return memory.give_back(filled);
}

bool buffer_ring::give_all_back() {
    bool intact = true;
    while (!empty()) intact &= give_back(0);
    return intact;
}

} // namespace toadstone::sim::detail
