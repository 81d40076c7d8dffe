// A group of buffers that a task has provided for receives to take from.
#ifndef TOADSTONE_SIM_KERNEL_BUFFER_RING_HPP
#define TOADSTONE_SIM_KERNEL_BUFFER_RING_HPP

#include <toadstone/sim/kernel/loan.hpp>

#include <cstdint>
#include <deque>

#include <liburing.h>

namespace toadstone::sim::detail {

/// Shared with the task, as IORING_REGISTER_PBUF_RING has it. A buffer is the kernel's from the
/// call that finds it provided until a completion names it, or until the group is taken back;
/// and so has to be the memory of the ring itself. A real kernel would not look at an idle one.
class buffer_ring {
public:
    /// 0 and a group, or -errno.
    [[nodiscard]] static int check(const io_uring_buf_reg& wanted) noexcept;
    explicit buffer_ring(const io_uring_buf_reg& wanted) noexcept;

    /// Borrows what has been provided since.
    void look();
    [[nodiscard]] bool empty() const noexcept { return loans_.empty(); }
    /// The one that is next. There is one.
    [[nodiscard]] std::byte* at() const noexcept { return loans_.front().memory.at(); }
    [[nodiscard]] std::size_t size() const noexcept { return loans_.front().memory.size(); }
    [[nodiscard]] std::uint16_t number() const noexcept { return loans_.front().number; }
    /// It goes back with so many bytes in it. False: somebody else has written to it.
    [[nodiscard]] bool give_back(std::size_t filled);
    [[nodiscard]] bool give_all_back();

private:
    struct provided {
        loan memory;
        std::uint16_t number;
    };
    const io_uring_buf_ring* shared_;
    unsigned mask_;
    std::uint16_t seen_ = 0; // of the tail that the task moves
    std::deque<provided> loans_;
};

} // namespace toadstone::sim::detail

#endif
