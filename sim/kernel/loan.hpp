// Memory of a task that is the kernel's for a time. Whoever looks at it early, changes it or
// frees it meanwhile is caught.
#ifndef TOADSTONE_SIM_KERNEL_LOAN_HPP
#define TOADSTONE_SIM_KERNEL_LOAN_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace toadstone::sim::detail {

/// Its own sum, to be compared later.
[[nodiscard]] std::uint64_t sum_of(const std::byte* at, std::size_t size) noexcept;

/// Nothing, or one buffer that the kernel writes or reads.
class loan {
public:
    loan() = default;
    /// Holds nothing of use until it is given back.
    [[nodiscard]] static loan to_write(std::byte* at, std::size_t size);
    [[nodiscard]] static loan to_read(std::byte* at, std::size_t size);

    [[nodiscard]] std::byte* at() const noexcept { return at_; }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] bool is_written() const noexcept { return written_; }

    /// The kernel has written the first `kept` bytes; the rest is as it was before. False if
    /// somebody else has written to it, or has changed what the kernel only reads.
    [[nodiscard]] bool give_back(std::size_t kept);

private:
    std::byte* at_ = nullptr;
    std::size_t size_ = 0;
    std::vector<std::byte> before_; // of a buffer that the kernel writes
    std::uint64_t sum_ = 0;         // of one that it reads
    bool written_ = false;
};

} // namespace toadstone::sim::detail

#endif
