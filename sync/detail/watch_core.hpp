// A watch without its value's type: which value is the newest, who has not seen it, who waits.
#ifndef TOADSTONE_SYNC_DETAIL_WATCH_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_WATCH_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/channel_counts.hpp>

#include <cstddef>
#include <cstdint>

namespace toadstone::sync::detail {

/// A value, which does not change any more once it can be seen. It lives as long as it is the
/// newest, or somebody looks at it.
class watch_value {
public:
    watch_value() noexcept = default;
    watch_value(const watch_value&) = delete;
    watch_value& operator=(const watch_value&) = delete;

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    [[nodiscard]] bool drop_reference() noexcept {
        return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; // (A) (R)
    }

protected:
    ~watch_value() = default;

private:
    toadstone::detail::atomic<std::size_t> references_{1};
};

/// Where a receiver is. Its own: one task at a time, whose worker alone counts.
struct watch_place {
    std::uint64_t seen = 0; // the newest version that it knows of
    unsigned waits = 0;     // tasks that wait through it
};

/// Waits for a version that it has not seen. Granted: there is one. Refused: there will be
/// none.
class watch_waiter : public toadstone::detail::waiter {
protected:
    explicit watch_waiter(std::uint64_t seen) noexcept : seen_(seen) {}
    ~watch_waiter() override = default;

    friend class watch_core;
    std::uint64_t seen_;
};

/// The word: the number of the newest version above four bits. A new version takes the place of
/// the one before in one step; who looks at that goes on looking at it, whole.
///
///     closed  failed  changing   meaning
///       0       0        0       open
///       0       0        1       a sender makes the next version
///       1       0        1       the last change: it may still be published
///       1       0        0       the end: there will be no other version
///       1       1       0/1      as without `failed`; who finds the end finds the cause
///
/// `changing` is the sender's that has the mutex for changes; `closed` and `failed` are set
/// once, under the lock `busy`. Who waits has seen the newest version, and it is not the end.
///
/// Orderings: (A) who sees a version, by (R) of its publish, sees its value.
class watch_core : public channel_counts {
public:
    explicit watch_core(watch_value& initial) noexcept : channel_counts(1), newest_(&initial) {}

    /// For the halves. The last one closes the channel.
    void drop_sender() noexcept {
        if (was_last_sender()) close();
    }
    void add_receiver() noexcept { receivers_.fetch_add(1, std::memory_order_relaxed); }
    void drop_receiver() noexcept { receivers_.fetch_sub(1, std::memory_order_relaxed); }
    [[nodiscard]] std::size_t receivers() const noexcept {
        return receivers_.load(std::memory_order_relaxed);
    }

    /// One change at a time: others wait for its end, their threads with them.
    class change {
    public:
        /// Errors: channel_closed, poison_error; std::logic_error inside another on the same
        /// thread.
        explicit change(watch_core& of);
        change(const change&) = delete;
        change& operator=(const change&) = delete;
        /// Without publish() nothing has happened.
        ~change();

        /// The newest; there will be no newer one before this ends.
        [[nodiscard]] watch_value& newest() const noexcept { return *of_.newest_; }
        /// Returns: the one before, less a reference, which is the caller's to drop.
        [[nodiscard]] watch_value& publish(watch_value& next) noexcept;

    private:
        watch_core& of_;
        bool is_published_ = false;
    };

    struct pinned {
        watch_value* value; ///< with a reference
        std::uint64_t version;
    };
    [[nodiscard]] pinned pin() const noexcept;
    [[nodiscard]] std::uint64_t version() const noexcept { return word_.read() >> shift; }

    enum class found : unsigned char { nothing, change, end };
    [[nodiscard]] found look(std::uint64_t seen) const noexcept {
        return look(word_.read(), seen);
    }
    [[nodiscard]] bool settle_or_queue(watch_waiter& waiter) noexcept;
    [[nodiscard]] bool withdraw(watch_waiter& waiter,
                                toadstone::detail::waiter::state how) noexcept;
    /// It has taken nothing: the version is still unseen.
    void hand_back(watch_waiter&) noexcept {}
    /// Blocks the thread. Errors: std::logic_error on a worker that would.
    [[nodiscard]] found wait_blocking(std::uint64_t seen, const char* what,
                                      const char* instead);

    void close() noexcept { close(word_.lock()); }
    /// close(), with a cause that is told at the end. False: it was closed already.
    bool fail(poison_cause cause) noexcept;
    [[nodiscard]] bool is_closed() const noexcept { return (word_.read() & closed_bit) != 0; }
    /// For whoever has found the end: empty unless it was failed.
    [[nodiscard]] poison_cause cause() const noexcept {
        return word_.read() & failed_bit ? failure_ : poison_cause();
    }

protected:
    ~watch_core() = default;
    [[nodiscard]] watch_value* last() const noexcept { return newest_; }

private:
    static constexpr std::uint64_t busy = 1;
    static constexpr std::uint64_t closed_bit = 2;
    static constexpr std::uint64_t failed_bit = 4;
    static constexpr std::uint64_t changing = 8;
    static constexpr unsigned shift = 4;
    static constexpr std::uint64_t one_version = std::uint64_t{1} << shift;

    using ended_waits = toadstone::detail::ended_waits;
    [[nodiscard]] static bool is_over(std::uint64_t word) noexcept {
        return (word & (closed_bit | changing)) == closed_bit;
    }
    [[nodiscard]] static found look(std::uint64_t word, std::uint64_t seen) noexcept {
        if (word >> shift != seen) return found::change;
        return is_over(word) ? found::end : found::nothing;
    }
    void unlock_and_end(std::uint64_t word) noexcept;
    void close(std::uint64_t word) noexcept { unlock_and_end(word | closed_bit); }

    mutable toadstone::detail::locked_word<std::uint64_t, busy> word_{0};
    toadstone::detail::plain<watch_value*> newest_; // under the lock, as the queue
    toadstone::detail::wait_queue queue_;
    toadstone::detail::atomic<std::size_t> receivers_{0};
    toadstone::detail::mutex changes_;
    /// Who has that mutex; only its own thread finds itself here. Orders nothing.
    toadstone::detail::atomic<const void*> changer_{nullptr};
    poison_cause failure_; // written once, before `failed`; whoever sees that may read it
};

/// The leaf behind every co_await for a change.
class change_leaf : public toadstone::detail::wait_leaf<watch_core, watch_waiter> {
public:
    static constexpr bool acquires = false;

    [[nodiscard]] bool await_ready() noexcept {
        if (!may_complete_at_once()) return false;
        const auto now = core_->look(seen_);
        state_ = now == watch_core::found::end ? state::refused : state::granted;
        return now != watch_core::found::nothing;
    }

protected:
    change_leaf(watch_core& core, watch_place& place) noexcept
        : wait_leaf(core, place.seen), place_(&place) {
        ++place.waits;
    }
    ~change_leaf() { --place_->waits; }

    /// Whether there is a change, which counts as seen from now on; or throws the cause of the
    /// end.
    [[nodiscard]] bool is_changed() const {
        if (how() == state::granted) {
            place_->seen = core_->version();
            return true;
        }
        if (const poison_cause cause = core_->cause()) throw poison_error(cause);
        return false;
    }

private:
    watch_place* place_; // the receiver's
};

class changed_leaf : public change_leaf {
public:
    changed_leaf(watch_core& core, watch_place& place) noexcept : change_leaf(core, place) {}
    [[nodiscard]] bool await_resume() const { return is_changed(); }

protected:
    ~changed_leaf() = default;
};

class timed_changed_leaf : public toadstone::detail::timed_wait<change_leaf> {
public:
    timed_changed_leaf(watch_core& core, watch_place& place,
                       toadstone::detail::time_limit limit) noexcept
        : timed_wait(limit, core, place) {}
    [[nodiscard]] bool await_resume() { return in_time() && is_changed(); }

protected:
    ~timed_changed_leaf() = default;
};

} // namespace toadstone::sync::detail

#endif
