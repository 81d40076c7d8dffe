// The local mutex without its data: a word, a queue of waiters, and the poison; no atomics.
#ifndef TOADSTONE_SYNC_DETAIL_LOCAL_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_LOCAL_CORE_HPP

#include <toadstone/runtime/detail/cancel_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/detail/lock_waiter.hpp>
#include <toadstone/sync/detail/policies.hpp>

#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone::sync::detail {

class local_core;

/// Of what may be held: the place of the guard that holds it. A guard that holds nothing points
/// to one that nobody ever holds, so that one comparison tells that a guard holds its lock and
/// that it is where it was made or moved to.
///
/// Of a guard whose policy asks whether it was dereferenced, it is the place behind, until it
/// is: that comparison tells this, too.
struct local_hold {
    const void* guard = nullptr; ///< null from a hand-over to its resumption; stale when free

    [[nodiscard]] static const void* untouched(const void* guard) noexcept {
        return static_cast<const char*>(guard) + 1;
    }
    [[nodiscard]] bool is_untouched() const noexcept {
        return (reinterpret_cast<std::uintptr_t>(guard) & 1) != 0;
    }
};
extern constinit local_hold held_by_nobody;

/// What a guard is made of, in place.
struct local_seed {
    local_core& mutex;
    bool untouched = false; ///< its policy asks whether it was dereferenced
};

/// What few sections need.
struct local_section {
    constexpr explicit local_section(policies what) noexcept : policy(what) {}

    policies policy;
    unsigned born = 0; ///< the level at which it began, if ordinary code began it
    bool consistent = false;
    bool opened = false;     ///< consistent, until it is dereferenced
    bool strict = false;     ///< interrupted unless it has ended, whatever the policy says
    bool repairing = false;  ///< for others, who fail if this fails
    bool moved = false;      ///< the guard has moved,
    std::uint64_t mover = 0; ///< last by this task or thread
};

/// Somebody in the queue of a local mutex.
class local_waiter {
public:
    using state = toadstone::detail::waiter::state;

    local_waiter(const local_waiter&) = delete;
    local_waiter& operator=(const local_waiter&) = delete;
    [[nodiscard]] state how() const noexcept { return state_; }

protected:
    // What only a queue needs is left as it is.
    local_waiter(wants what, state now) noexcept : state_(now), wants_(what) {}
    ~local_waiter() {} // the failure, if there is one, has been thrown or dropped

    /// Why it was refused. To be taken once.
    [[nodiscard]] poison_cause take_failure() noexcept;
    [[nodiscard]] wants wanted() const noexcept { return wants_; }

private:
    friend class local_core;
    state state_;
    wants wants_;
    local_waiter* next_;
    local_waiter* previous_;
    toadstone::detail::context* task_;
    union {
        std::source_location locks_at_; // while queued: where the section begins
        poison_cause failure_;          // exists from state::refused until it is taken
    };
};

/// One word and one queue, which the home worker alone touches.
///
///     word_            meaning
///     unused           never used: the first worker that comes becomes the home
///     the home worker  free and healthy, nobody waits: the fast path of lock() compares this
///     held             held, nothing to be said of it: the fast path of unlock() compares this
///     watched          held; somebody waits, or it is poisoned, or `section_` says something
///     poisoned         free; those acquire it that want anything, and patience alone waits
///
/// One comparison with the worker that asks tells free, healthy, and the right worker.
class local_core : public local_hold {
public:
    constexpr local_core(std::string_view name, policies policy) noexcept
        : name_(name), section_(policy), policy_(policy) {}
    local_core(const local_core&) = delete;
    local_core& operator=(const local_core&) = delete;
    ~local_core() {
        TOADSTONE_ASSERT_OF(
            (!is_held() && !first_) || toadstone::detail::ends_with_program(this),
            "a mutex is destroyed only when nobody holds it or waits for it", describe());
    }

    /// The uncontended acquisition. False: acquire_or_queue() knows why.
    [[nodiscard]] bool try_acquire(const toadstone::detail::executor& home,
                                   std::source_location where) noexcept {
        if (word_ != reinterpret_cast<std::uintptr_t>(&home)) return false;
        word_ = held;
        locked_at_ = where;
        return true;
    }
    /// Acquires or fails, as the waiter's state then says: true. Or queues the waiter.
    [[nodiscard]] bool acquire_or_queue(local_waiter& waiter, toadstone::detail::context& task,
                                        std::source_location where) noexcept;
    /// For code that does not wait. False: somebody holds it. Errors: poison_error.
    [[nodiscard]] bool acquire_now(std::source_location where);
    /// Takes a waiter out of the queue, and gives it a state. False: it is in it no more.
    [[nodiscard]] bool withdraw(local_waiter& waiter, local_waiter::state how) noexcept;
    /// For a waiter whose task has to stop: the section was never entered.
    void hand_back(local_waiter& waiter) noexcept;

    /// What the guard of that task is made of, which has just acquired, with this policy. One
    /// that defers: the task's extras are there.
    [[nodiscard]] local_seed begin_as(policies policy,
                                      toadstone::detail::context& task) noexcept;

    /// Ends the section by the rule, poisoning if it ends where it should not, and releases:
    /// the first waiter becomes the owner. Resumes nothing.
    void end_section() noexcept {
        if (word_ == held && toadstone::detail::level_in(*slice_) == 0) [[likely]] {
            word_ = reinterpret_cast<std::uintptr_t>(home_);
        } else {
            end_watched();
        }
    }
    /// Releases; never poisons.
    void release() noexcept {
        if (word_ == held) [[likely]] {
            word_ = reinterpret_cast<std::uintptr_t>(home_);
        } else {
            release_watched();
        }
    }
    /// Ends a section that has worked on a copy, which is gone, and not ended well: the policy
    /// for this kind of end decides whether it poisons besides.
    void end_discarded() noexcept;
    /// A repair was given up: the poison is kept, with a new cause chained to the old one.
    void end_unrepaired() noexcept;
    /// It dies where it should not, and is not spared by what was said of it.
    [[nodiscard]] bool is_interrupted() const noexcept;

    /// For the owner: poisons, and goes on holding. Ends the waits that this ends.
    void poison(std::string_view why, bool in_handler = false,
                bool repair_failed = false) noexcept;
    void clear_poison() noexcept { const poison_cause old = std::exchange(cause_, {}); }
    /// Of the present section: see local_section.
    void set_consistent(bool consistent) noexcept;
    void make_strict() noexcept;
    void repair_for_others() noexcept;
    /// The guard is dereferenced for the first time.
    void guard_touched(const void* place) noexcept;
    /// The guard is here now. Who moved it may be another task than who locked.
    void guard_moved(const void* to) noexcept;

    /// A section that is open to others for a while.
    struct opened {
        local_section section;
        std::source_location locked_at;
        bool defers;
        bool untouched;
    };
    /// Lets the lock go, clean. It defers nothing meanwhile.
    [[nodiscard]] opened open() noexcept;
    /// The same section goes on: that task has the lock again, for the guard at that place.
    void close(const opened& before, const void* place,
               toadstone::detail::context& task) noexcept;
    [[nodiscard]] bool defers() const noexcept { return static_cast<bool>(deferring_); }

    [[nodiscard]] bool is_held() const noexcept { return word_ == held || word_ == watched; }
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    [[nodiscard]] bool is_poisoned() const noexcept { return static_cast<bool>(cause_); }
    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    [[nodiscard]] std::size_t count_waiters() const noexcept;
    /// "local_mutex 'accounts', held, 2 wait".
    [[nodiscard, gnu::cold]] std::string state() const;
    [[gnu::cold]] std::ostream& print(std::ostream& out) const;
    /// "local_mutex 'accounts'"; empty without a name.
    [[nodiscard, gnu::cold]] std::string describe() const;
    /// "local_mutex 'accounts', taken at tracker.cpp:80".
    [[nodiscard, gnu::cold]] std::string describe_section() const;

private:
    static constexpr std::uintptr_t unused = 0;
    static constexpr std::uintptr_t held = 1;
    static constexpr std::uintptr_t watched = 3;
    static constexpr std::uintptr_t poisoned = 5;

    void claim(const toadstone::detail::executor& home) noexcept;
    void check_home() const noexcept;
    void watch() noexcept;
    void begin_slowly(std::source_location where) noexcept;
    void defer_for(toadstone::detail::cancel_ref task) noexcept;
    void stop_deferring() noexcept;
    [[gnu::cold]] void end_watched() noexcept;
    void end_early(bool by_exception, bool in_handler) noexcept;
    void release_watched() noexcept;
    void unlink(local_waiter& waiter) noexcept;
    void end_wait(local_waiter& waiter, local_waiter::state how) noexcept;
    void refuse(local_waiter& waiter) const noexcept;
    [[nodiscard]] bool is_spared(bool by_exception) const noexcept;
    [[nodiscard]] bool waits_for_itself(const toadstone::detail::context& task) const noexcept;

    std::uintptr_t word_ = unused;
    const toadstone::detail::executor* home_ = nullptr;
    toadstone::detail::thread_slice* slice_ = nullptr; // of the home worker's thread
    std::source_location locked_at_;                   // where the present section began
    local_waiter* first_ = nullptr;
    local_waiter* last_ = nullptr;
    poison_cause cause_; // empty when healthy
    std::string_view name_;
    local_section section_;                   // counts while the word is `watched`
    toadstone::detail::cancel_ref deferring_; // the owner's, whose cancellation waits; the same
    policies policy_;                         // of sections that have none of their own
};

} // namespace toadstone::sync::detail

#endif
