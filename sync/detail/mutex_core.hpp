// The mutex without its data: the lock word, the queue of waiters, and the poison.
#ifndef TOADSTONE_SYNC_DETAIL_MUTEX_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_MUTEX_CORE_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/cancel_state.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/locked_word.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/wait_queue.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/lock_waiter.hpp>
#include <toadstone/sync/policy.hpp>

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone::sync::detail {

/// Who asks for a lock, by numbers that are never used again.
struct asker {
    asker(std::uint64_t self) noexcept : asker(self, self) {}
    asker(std::uint64_t self, std::uint64_t hopeless) noexcept
        : serial(self), would_wait_for_itself(hopeless) {}
    std::uint64_t serial; ///< the owner if it is granted
    /// If this is the owner, the wait would have no end: whoever holds the lock waits for the
    /// asker, or is the asker.
    std::uint64_t would_wait_for_itself;
};

/// One word, one queue.
///
///     held  waiting  poisoned   meaning
///      0       0        0       free: the fast path's compare-and-swap starts here
///      1       0        0       held, nobody waits: the fast path of unlock() ends this
///      1       1        0       held; unlock() hands over to the first waiter
///      0       1        0       impossible: a free healthy lock has no waiters
///      0       0        1       poisoned: lock() fails, recover() and lock_or_poison() acquire
///      1       0        1       poisoned, and somebody looks at it or repairs it
///      1       1        1       the same; no waiters that want healthy data
///      0       1        1       poisoned; only waiters with patience
///
/// `batched`, `shared` and the length of the mutex's name never change. `turns`, of a batched
/// mutex, is how many waiters in succession have been preferred to the oldest; under the queue
/// lock. Of a shared mutex, the number of readers stands where others have the length of their
/// name, and `held` is set while there are any: for a writer that is a lock that is held. One
/// of them may have the right to go on as a writer, `upgradable`; the owner is known then.
///
/// A fourth bit, `queue`, locks the queue, for a few instructions. While it is set nobody else
/// changes the word: both fast paths expect it to be clear. `held` is set by whoever acquires
/// (fast path, or under the queue lock) and cleared by the owner; `waiting` and `poisoned`
/// change under the queue lock only. Poisoning and releasing are one store, so that no next
/// owner sees the data without the poison.
///
/// Orderings: (A) an acquisition pairs with (R) the release before it and so sees the data, the
/// cause and the queue as the last owner left them.
class mutex_core {
public:
    /// Of a batched mutex: waiters of one worker in succession that may overtake the oldest.
    static constexpr std::uint32_t most_in_batch = 64;

    constexpr explicit mutex_core(std::string_view name,
                                  fairness order = fairness::strict) noexcept
        : name_(name.data()),
          word_(length_bits(name.size()) | (order == fairness::batched ? batched : 0)) {}
    mutex_core(const mutex_core&) = delete;
    mutex_core& operator=(const mutex_core&) = delete;
    ~mutex_core() {
        // Relaxed: that the others are done with the lock, whoever destroys it knows already.
        // What exit() destroys may be in use.
        TOADSTONE_ASSERT_OF((word_.look() & flags & ~poisoned) == 0 ||
                                toadstone::detail::ends_with_program(this),
                            "a mutex is destroyed only when nobody holds it or waits for it",
                            describe());
        if (const auto* const cause =
                static_cast<const toadstone::detail::cause_state*>(cause_)) [[unlikely]]
            cause->drop();
    }

    /// The uncontended acquisition. Fails when the lock is held, waited for or poisoned: the
    /// poison is a bit of the word that is compared anyway. Whoever acquired says who he is,
    /// by set_owner().
    [[nodiscard]] bool try_acquire() noexcept {
        std::uint32_t free = word_.look();
        return (free & flags) == 0 && word_.acquire(free, free | held);
    }

    /// Acquires or fails, as the waiter's state then says: true. Or queues the waiter: false,
    /// and its wake-up may come at any time, from any thread.
    [[nodiscard]] bool acquire_or_queue(lock_waiter& waiter, asker who) noexcept;

    /// As acquire_or_queue(), but never queues: false when it would.
    [[nodiscard]] bool acquire_now(lock_waiter& waiter, asker who) noexcept;

    /// Takes a waiter out of the queue, in O(1), and gives it a state. False: it is not queued
    /// any more, and its wake-up has come or is coming.
    [[nodiscard]] bool withdraw(lock_waiter& waiter, lock_waiter::state how) noexcept;

    /// For a waiter whose task has to stop: the section was never entered.
    void hand_back(lock_waiter& waiter) noexcept {
        if (waiter.how() == lock_waiter::state::granted) release();
        if (waiter.how() == lock_waiter::state::refused) {
            static_cast<void>(waiter.take_failure());
        }
    }

    /// Releases cleanly; the first waiter becomes the owner. Resumes nothing.
    void release() noexcept {
        owner_.store(0, std::memory_order_relaxed);
        std::uint32_t now = word_.look();
        if ((now & flags) != held || !word_.release(now, now & ~held)) [[unlikely]]
            change(nullptr, false, false);
    }
    /// Poisons and releases, in one step. `repair_failed`: those who want to repair fail.
    void release_poisoned(toadstone::detail::cause_ref cause,
                          bool repair_failed = false) noexcept;

    /// For the owner: poisons, and goes on holding.
    void poison_held(toadstone::detail::cause_ref cause) noexcept;
    void clear_poison() noexcept;

    /// Whoever acquired it has told the lock who he is, or that he is not known any more.
    void set_owner(std::uint64_t owner) noexcept {
        owner_.store(owner, std::memory_order_relaxed);
    }
    /// A hint: 0 if it is not known.
    [[nodiscard]] std::uint64_t owner() const noexcept {
        return owner_.load(std::memory_order_relaxed);
    }
    /// The guard has moved, and may be another task's now: the owner is whoever has that place.
    /// Who moved it there counts, too: a slot in the frame of a task may be a child's to fill.
    void owner_moved(const void* guard, std::uint64_t mover) noexcept {
        const std::uint64_t place = reinterpret_cast<std::uintptr_t>(guard) / alignof(void*);
        const bool fits = place < std::uint64_t{1} << place_bits;
        owner_.store(fits ? moved | (mover & mover_mask) << place_bits | place : 0,
                     std::memory_order_relaxed);
    }
    /// For an owner() that moved: the end of the serial number of whoever moved it, to be
    /// compared under this mask. Of half a million numbers two are taken for the same.
    [[nodiscard]] static std::uint64_t mover(std::uint64_t owner) noexcept {
        return owner >> place_bits & mover_mask;
    }
    /// For an owner() that moved: where its guard was put. Else null.
    [[nodiscard]] static const void* place_of_guard(std::uint64_t owner) noexcept {
        constexpr std::uint64_t place_mask = (std::uint64_t{1} << place_bits) - 1;
        return owner & moved
                   ? reinterpret_cast<const void*>((owner & place_mask) * alignof(void*))
                   : nullptr;
    }
    static constexpr std::uint64_t mover_mask = (std::uint64_t{1} << 19) - 1;

    /// For the owner, whose guard defers the cancellation of that task.
    void set_deferring(toadstone::detail::cancel_ref task) noexcept {
        deferring_ = std::move(task);
    }
    [[nodiscard]] toadstone::detail::cancel_ref take_deferring() noexcept {
        return std::move(deferring_);
    }

    /// Orders nothing: to read the cause or the data, one locks.
    [[nodiscard]] bool is_poisoned() const noexcept { return (word_.look() & poisoned) != 0; }
    [[nodiscard]] bool is_held() const noexcept { return (word_.look() & held) != 0; }
    /// Empty when healthy.
    [[nodiscard]] poison_cause cause() const noexcept;
    [[nodiscard]] std::string_view name() const noexcept {
        const std::uint32_t word = word_.look();
        if (word & shared) [[unlikely]]
            return name_of_shared();
        return {name_, word >> flag_bits};
    }
    [[nodiscard]] std::size_t count_waiters() const noexcept;
    /// Its id, if the owner is a task, in no boundary, whose guard has not moved; else 0.
    [[nodiscard]] std::uint64_t owner_task() const noexcept {
        const std::uint64_t owner = this->owner();
        return owner % 2 == 0 && !(owner & moved) ? owner / 2 : 0;
    }
    /// "mutex 'accounts', held by task 7, 2 wait".
    [[nodiscard, gnu::cold]] std::string state() const;
    [[gnu::cold]] std::ostream& print(std::ostream& out) const;
    /// "mutex", for causes and errors.
    [[nodiscard]] const char* type() const noexcept {
        return word_.look() & shared ? "shared_mutex" : "mutex";
    }
    /// "mutex 'accounts'"; empty without a name.
    [[nodiscard, gnu::cold]] std::string describe() const;

protected:
    /// Of a shared mutex, which keeps the length of its name itself.
    struct of_shared {};
    constexpr mutex_core(of_shared, const char* name) noexcept : name_(name), word_(shared) {}

    static constexpr std::uint32_t held = 1;
    static constexpr std::uint32_t waiting = 2;
    static constexpr std::uint32_t poisoned = 4;
    static constexpr std::uint32_t queue = 8;
    static constexpr std::uint32_t flags = 15;
    static constexpr std::uint32_t batched = 16;
    static constexpr std::uint32_t one_turn = 32;
    static constexpr std::uint32_t turns = 127 * one_turn;
    static constexpr std::uint32_t shared = 4096;
    static constexpr std::uint32_t upgradable = 8192;
    static constexpr unsigned flag_bits = 14; // of the word, all but the length
    static constexpr std::uint32_t one_reader = std::uint32_t{1} << flag_bits;
    [[nodiscard]] static constexpr std::uint32_t readers(std::uint32_t word) noexcept {
        return word >> flag_bits;
    }
    static constexpr std::uint32_t most_readers = 0xffffffff >> flag_bits;

    /// Of a shared mutex: whether nobody who is in it is in the way.
    [[nodiscard]] static bool may_enter(std::uint32_t word, access kind) noexcept {
        const bool joins = readers(word) != 0 && readers(word) < most_readers;
        switch (kind) {
        case access::write:
            return !(word & held);
        case access::read:
            return !(word & held) || joins;
        case access::upgradable:
            return !(word & held) || (joins && !(word & upgradable));
        case access::upgrade:
            return (word & upgradable) && readers(word) == 1;
        }
        return false;
    }
    /// The word of whoever may, and does.
    [[nodiscard]] static std::uint32_t entered(std::uint32_t word, access kind) noexcept {
        if (kind == access::upgrade) return (word - one_reader) & ~upgradable;
        word |= kind == access::upgradable ? held | upgradable : held;
        return kind == access::write ? word : word + one_reader;
    }

    /// Under the queue lock: an upgrade waits.
    [[nodiscard]] bool next_upgrades() const noexcept;

    using ended_waits = toadstone::detail::ended_waits;
    /// Under the queue lock. Readers that are in the way of nobody go together.
    [[nodiscard]] std::uint32_t serve_shared(std::uint32_t word, bool repair_failed,
                                             ended_waits& ended) noexcept;

private:
    static constexpr std::uint64_t moved = std::uint64_t{1} << 63;
    static constexpr unsigned place_bits = 44; // of an address without its last three

    static constexpr std::uint32_t length_bits(std::size_t length) noexcept {
        constexpr std::size_t most = 0xffffffff >> flag_bits;
        return static_cast<std::uint32_t>(length < most ? length : most) << flag_bits;
    }

    /// Poisons, if there is a cause; releases, unless it is kept; ends the waits that this
    /// ends.
    void change(const toadstone::detail::cause_ref* cause, bool keep,
                bool repair_failed) noexcept;
    /// Ends the waits that the lock's state ends; returns the word as it is then.
    [[nodiscard]] std::uint32_t serve(std::uint32_t word, bool repair_failed,
                                      ended_waits& ended) noexcept;
    [[nodiscard]] std::uint32_t serve_strictly(std::uint32_t word, bool repair_failed,
                                               ended_waits& ended) noexcept;
    [[nodiscard, gnu::cold]] std::string_view name_of_shared() const noexcept;
    [[nodiscard]] std::uint32_t serve_batched(std::uint32_t word, bool repair_failed,
                                              ended_waits& ended) noexcept;
    void give_cause(lock_waiter& waiter) const noexcept;
    /// Decides what the lock's present state means for an arriving waiter.
    [[nodiscard]] bool settle(std::uint32_t& word, lock_waiter& waiter, asker who) noexcept;

protected:
    template <class T>
    using plain = toadstone::detail::plain<T>;
    // A hint: a serial number; or `moved`, the end of that of the mover, and the place of the
    // guard; or 0 if unknown.
    toadstone::detail::atomic<std::uint64_t> owner_{0};
    // Under the lock of the word. Of a batched mutex, its pointer: where the lanes are entered.
    toadstone::detail::wait_queue queue_;
    plain<const toadstone::detail::cause_state*> cause_ = nullptr; // the same; kept
    toadstone::detail::cancel_ref deferring_;                      // the owner's
    const char* name_;
    toadstone::detail::locked_word<std::uint32_t, queue> word_; // behind it is room for a T
};

} // namespace toadstone::sync::detail

#endif
