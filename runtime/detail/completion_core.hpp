// A completion without its type: who may answer, who waits, and who goes last.
#ifndef TOADSTONE_RUNTIME_DETAIL_COMPLETION_CORE_HPP
#define TOADSTONE_RUNTIME_DETAIL_COMPLETION_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>

#include <cstdint>

namespace toadstone::detail {

/// Whoever waits for the answer.
class answer_waiter {
public:
    answer_waiter(const answer_waiter&) = delete;
    answer_waiter& operator=(const answer_waiter&) = delete;

protected:
    answer_waiter() = default;
    virtual ~answer_waiter() = default;
    /// The answer is there, or none will come. Once, on any thread; *this may be gone then.
    virtual void answered() noexcept = 0;

private:
    friend class completion_core;
};

/// The state that completions and the wait share, on the heap: a callback that comes late finds
/// this, never a frame. One word:
///
///     claimed   senders   waiting
///     no        some      yes       open: whoever claims it answers, or ends the wait
///     yes       some      yes       answered, or being answered; or the wait is being ended
///     yes       some      no        the wait is over; answers are refused
///     yes       none      yes       the answer, or the news that none will come, is on its way
///     no        none      -         never: the last sender claims as it leaves
///     no        -         no        never: the waiter claims, or was told, before it leaves
///     yes       none      no        freed, by whoever has left last
///
/// `claimed` is set once, by a sender or by the waiter; a sender that has set it calls
/// answered(), before which the waiter stays. Nobody else touches the waiter.
///
/// Orderings: (A) with (R): who leaves last sees what all others did. The claim orders nothing:
/// the answer is published by the wake-up, and who has lost the claim reads nothing.
class completion_core : public pooled {
    static constexpr std::uint32_t waiting = 1;
    static constexpr std::uint32_t claimed = 2;
    static constexpr std::uint32_t sender = 4;

public:
    /// With one sender.
    explicit completion_core(answer_waiter& who) noexcept : waiter_(&who) {}
    completion_core(const completion_core&) = delete;
    completion_core& operator=(const completion_core&) = delete;

    [[nodiscard]] bool is_claimed() const noexcept {
        return (word_.load(std::memory_order_relaxed) & claimed) != 0;
    }
    /// For a sender that has an answer, and for the waiter, which wants none any more. False:
    /// somebody else was first.
    [[nodiscard]] bool claim() noexcept {
        return (word_.fetch_or(claimed, std::memory_order_relaxed) & claimed) == 0;
    }
    /// By the sender that has claimed it, when the answer is written.
    void tell() noexcept { waiter_->answered(); }

    void add_sender() noexcept { word_.fetch_add(sender, std::memory_order_relaxed); }
    /// The last one that leaves with no answer given tells that none will come.
    void drop_sender() noexcept;
    /// The waiter leaves.
    void drop_waiter() noexcept;

    /// For the waiter that was told: there is no answer.
    [[nodiscard]] bool is_broken() const noexcept { return broken_; }

protected:
    virtual ~completion_core() = default;

private:
    answer_waiter* const waiter_;
    plain<bool> broken_ = false; // the last sender, before it tells
    atomic<std::uint32_t> word_{sender | waiting};
};

} // namespace toadstone::detail

#endif
