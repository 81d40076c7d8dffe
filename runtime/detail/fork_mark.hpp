// Whether this process is the one in which something was made, or a fork of it.
#ifndef TOADSTONE_RUNTIME_DETAIL_FORK_MARK_HPP
#define TOADSTONE_RUNTIME_DETAIL_FORK_MARK_HPP

#include <toadstone/runtime/detail/atomic.hpp>

#include <cstdint>

namespace toadstone::detail {

/// Remembers the process that made it. Asking is one load: a page that the kernel clears in
/// every child (MADV_WIPEONFORK) holds the number of the process.
///
/// Threads: forked() from any. If there is no such page, no fork is noticed.
class fork_mark {
public:
    fork_mark() noexcept;
    [[nodiscard]] bool forked() const noexcept {
        return number_->load(std::memory_order_relaxed) != made_in_;
    }

private:
    const atomic<std::uint64_t>* number_;
    std::uint64_t made_in_;
};

} // namespace toadstone::detail

#endif
