// Which operations are under way on a descriptor, so that it is neither used twice at the same
// time nor closed under one of them.
#ifndef TOADSTONE_IO_DETAIL_IN_USE_HPP
#define TOADSTONE_IO_DETAIL_IN_USE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/program_end.hpp>

#include <coroutine>
#include <cstdint>
#include <string_view>
#include <utility>

namespace toadstone::io::detail {

/// One word per stream or file:
///
///     bit 0    somebody reads            set and cleared by its claim; one at a time
///     bit 1    somebody writes           set and cleared by its claim; one at a time
///     bit 2    close() is under way      set and cleared by its closing_mark
///     3..30    a count of other operations: polls, positional reads and writes, syncs
///     bit 31   close() is suspended      set by it; cleared by the last to leave, who wakes it
///
/// Bit 31 implies bit 2. Who enters while bit 2 is set gets no descriptor and so fails with
/// EBADF at once: close() waits for that, too. Who finds bit 0, 1 or 2 set that he wants to set
/// has changed nothing and is refused.
///
/// Tasks on several workers may use one stream (one reads, another writes), therefore the word
/// is atomic, and everything that reads the descriptor does so under a claim and after
/// being_closed() or, in close(), under the closing_mark:
///
/// * A claim's leaving releases (R) what it did to whoever waits in close(), which acquires (A)
///   by seeing the others gone: the descriptor is not taken away under its readers. The next
///   claim of the same kind acquires it, too, and so finds the poison that the one before left.
/// * The end of a closing_mark releases (R) that the descriptor is gone to the operations and
///   closings that begin later. They acquire (A) it with the look that tells them that nobody
///   closes any more: a claim with being_closed(), a later closing_mark with its beginning.
class in_use {
public:
    static constexpr std::uint32_t reading = 1;
    static constexpr std::uint32_t writing = 2;
    static constexpr std::uint32_t closing = 4;
    static constexpr std::uint32_t one_more = 8;

    in_use() noexcept = default;
    /// Its object moves: only while nobody uses it, because operations point to it.
    in_use(in_use&& other) noexcept { other.check_unused(no_name); }
    in_use& operator=(in_use&& other) noexcept {
        check_unused(no_name);
        other.check_unused(no_name);
        return *this;
    }
    ~in_use() { check_unused(no_name); }

    [[nodiscard]] bool unused() const noexcept {
        // Relaxed: that the others are done, whoever moves or destroys it knows already.
        return word_.load(std::memory_order_relaxed) == 0;
    }
    /// Ends the process if somebody uses what goes or moves: an operation points to it. Objects
    /// that have a name check themselves, by `describe()`, before they let this one do it. What
    /// exit() destroys may be in use.
    template <class Describe>
    void check_unused(Describe describe) const noexcept {
        TOADSTONE_ASSERT_OF(unused() || toadstone::detail::ends_with_program(this),
                            "a stream, listener or file stays where it is while an operation "
                            "uses it",
                            describe());
    }

    [[nodiscard]] bool idle() const noexcept {
        return (word_.load(std::memory_order_relaxed) & ~closing) == 0;
    }
    /// close() has begun: operations that start now must not use the descriptor any more.
    /// Ask under a claim, then read the descriptor.
    [[nodiscard]] bool being_closed() const noexcept {
        return (word_.load(std::memory_order_acquire) & closing) != 0; // (A) a close is over
    }
    /// A write is under way. False orders: what the last one left is seen.
    [[nodiscard]] bool being_written() const noexcept {
        return (word_.load(std::memory_order_acquire) & writing) != 0; // (A)
    }

private:
    static std::string_view no_name() noexcept { return {}; }
    friend class claim;
    friend class idle_awaiter;
    friend class closing_mark;

    /// False: somebody else reads, or writes.
    [[nodiscard]] bool enter(std::uint32_t what) noexcept;
    void leave(std::uint32_t what) noexcept;

    toadstone::detail::atomic<std::uint32_t> word_{0};
    /// Set before `closing` waits; see leave().
    toadstone::detail::plain<toadstone::detail::context*> closer_ = nullptr;
};

/// One operation's entry in an in_use.
class claim {
public:
    claim() noexcept = default;
    /// Refused if somebody else is at it: then it is empty.
    claim(in_use& of, std::uint32_t what) noexcept { static_cast<void>(take(of, what)); }
    claim(const claim&) = delete;
    claim& operator=(const claim&) = delete;
    ~claim() { drop(); }

    [[nodiscard]] explicit operator bool() const noexcept { return of_ != nullptr; }
    /// False: refused.
    [[nodiscard]] bool take(in_use& of, std::uint32_t what) noexcept {
        if (!of.enter(what)) return false;
        of_ = &of;
        what_ = what;
        return true;
    }
    void drop() noexcept {
        if (of_) std::exchange(of_, nullptr)->leave(what_);
    }

private:
    in_use* of_ = nullptr;
    std::uint32_t what_ = 0;
};

/// close() is under way. Dropped when close() is torn down before it closed. Empty if another
/// task closes already.
class closing_mark {
public:
    explicit closing_mark(in_use& of) noexcept;
    closing_mark(const closing_mark&) = delete;
    closing_mark& operator=(const closing_mark&) = delete;
    ~closing_mark();
    [[nodiscard]] explicit operator bool() const noexcept { return of_ != nullptr; }

private:
    in_use* of_;
};

/// Waits until no operation is left, under a closing_mark.
///
/// Cancellation: not a cancellation point. Whoever awaits has seen to it that the operations
///     end.
class idle_awaiter : public toadstone::detail::leaf {
public:
    explicit idle_awaiter(in_use& of) noexcept : of_(&of) {}

    bool cancel(toadstone::cancel_reason, bool) noexcept override { return false; }
    bool taken() noexcept override { return false; }

    [[nodiscard]] bool await_ready() const noexcept {
        return of_->word_.load(std::memory_order_acquire) == in_use::closing; // (A)
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        suspend_always(frame);
        wait();
    }
    void await_resume() const noexcept {}

private:
    void wait() noexcept;

    in_use* of_;
};

} // namespace toadstone::io::detail

#endif
