// What a lent buffer holds meanwhile, and how a stranger's hand in it is noticed.
#include <toadstone/sim/kernel/loan.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace toadstone::sim::detail {
namespace {

// What a buffer that the kernel will write holds in the meantime.
constexpr std::byte canary{0xa5};

} // namespace

std::uint64_t sum_of(const std::byte* at, std::size_t size) noexcept {
    std::uint64_t sum = size;
    for (; size >= sizeof sum; at += sizeof sum, size -= sizeof sum) {
        std::uint64_t part = 0;
        std::memcpy(&part, at, sizeof part);
        sum = (sum ^ part) * 0x9e3779b97f4a7c15;
    }
    for (; size > 0; ++at, --size)
        sum = (sum ^ static_cast<std::uint64_t>(*at)) * 0x100000001b3;
    return sum;
}

loan loan::to_write(std::byte* at, std::size_t size) {
    loan made;
    made.at_ = at;
    made.size_ = size;
    made.written_ = true;
    made.before_.assign(at, at + size);
    std::fill_n(at, size, canary);
    return made;
}

loan loan::to_read(std::byte* at, std::size_t size) {
    loan made;
    made.at_ = at;
    made.size_ = size;
    made.sum_ = sum_of(at, size);
    return made;
}

// Goes over all of it, however much was kept: a buffer that was freed in the meantime shows
// up here. Beyond what was delivered a real kernel has left it alone.
bool loan::give_back(std::size_t kept) {
    const std::size_t size = std::exchange(size_, 0);
    if (size == 0) return true;
    if (!written_) return sum_of(at_, size) == sum_;
    kept = std::min(kept, size);
    const auto untouched = std::count(at_ + kept, at_ + size, canary);
    const bool intact = static_cast<std::size_t>(untouched) == size - kept;
    std::copy(before_.begin() + static_cast<std::ptrdiff_t>(kept), before_.end(), at_ + kept);
    [[maybe_unused]] const volatile std::uint64_t read = sum_of(at_, kept);
    return intact;
}

} // namespace toadstone::sim::detail
