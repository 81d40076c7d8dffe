// Lets another thread look at a list that one thread changes, at next to no cost for that one.
#ifndef TOADSTONE_RUNTIME_DETAIL_LIST_GATE_HPP
#define TOADSTONE_RUNTIME_DETAIL_LIST_GATE_HPP

#include <toadstone/runtime/detail/atomic.hpp>

#include <mutex>

namespace toadstone::detail {

/// A lock whose owner side is two plain stores and a load. Each side says what it does and then
/// looks at what the other does (Dekker); the barrier between the two, which the owner leaves
/// out, the looking side runs on all processors (membarrier(2)). Where that is not to be had,
/// the owner's store is an exchange.
///
/// (A) and (R): what the owner changed is seen by whoever looks, and the looking is over before
/// the owner's next change.
class list_gate {
public:
    list_gate() noexcept;

    /// Around each change. The owner's thread only.
    void begin_change() noexcept {
        while (!may_change()) wait_for_looking();
    }
    void end_change() noexcept { changing_.store(false, std::memory_order_release); } // (R)

    /// While it lives, the owner changes nothing. Any other thread; short.
    class look {
    public:
        explicit look(list_gate& gate) noexcept;
        ~look();
        look(const look&) = delete;
        look& operator=(const look&) = delete;
        /// False: the barrier failed, which it never did before; the list is not to be read.
        explicit operator bool() const noexcept { return sound_; }

    private:
        list_gate& gate_;
        std::unique_lock<std::mutex> alone_;
        bool sound_ = true;
    };

private:
    [[nodiscard]] bool may_change() noexcept {
        if (light_) [[likely]] {
            changing_.store(true, std::memory_order_relaxed);
            compiler_barrier(); // with membarrier in look
        } else {
            changing_.exchange(true, std::memory_order_seq_cst);
        }
        return !looking_.load(std::memory_order_seq_cst); // (A)
    }
    void wait_for_looking() noexcept;

    const bool light_;
    unmodelled_atomic<bool> changing_{false};
    unmodelled_atomic<bool> looking_{false};
    std::mutex looker_;
};

} // namespace toadstone::detail

#endif
