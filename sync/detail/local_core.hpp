// The local mutex without its data: a word, a queue of waiters, and the poison; no atomics.
#ifndef TOADSTONE_SYNC_DETAIL_LOCAL_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_LOCAL_CORE_HPP

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>
#include <toadstone/runtime/poison_cause.hpp>

#include <coroutine>
#include <cstdint>
#include <memory>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone::sync::detail {

class local_guard_core;
class local_lock_leaf;

/// Of what may be held: the place of the guard that holds it. A guard that holds nothing points
/// to one that nobody ever holds, so that one comparison tells that a guard holds its lock and
/// that it is where it was made or moved to.
struct local_hold {
    const void* guard = nullptr; ///< null from a hand-over to its resumption; stale when free
};
extern constinit local_hold held_by_nobody;

/// One word and one queue, which the home worker alone touches.
///
///     word_            meaning
///     unused           never used: the first worker that comes becomes the home
///     the home worker  free and healthy, nobody waits: the fast path of lock() compares this
///     held             held, nothing to be said of it: the fast path of unlock() compares this
///     watched          held; somebody waits, or it is poisoned, or `section_` says something
///     poisoned         free, and nobody waits; only those that want anything may acquire it
///
/// One comparison with the worker that asks tells free, healthy, and the right worker.
class local_core : public local_hold {
public:
    constexpr explicit local_core(std::string_view name) noexcept : name_(name) {}
    local_core(const local_core&) = delete;
    local_core& operator=(const local_core&) = delete;
    ~local_core() {
        TOADSTONE_ASSERT_OF(!is_held() || toadstone::detail::ends_with_program(this),
                            "a mutex is destroyed only when nobody holds it or waits for it",
                            describe());
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
    [[nodiscard]] bool acquire_or_queue(local_lock_leaf& waiter) noexcept;
    /// For code that does not wait. False: somebody holds it. Errors: poison_error.
    [[nodiscard]] bool acquire_now(std::source_location where);
    void unlink(local_lock_leaf& waiter) noexcept;

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
    /// For the owner: poisons, and goes on holding. Ends the waits that this ends.
    void poison(std::string_view why) noexcept;
    void clear_poison() noexcept { const poison_cause old = std::exchange(cause_, {}); }
    /// A repair was given up: the poison is kept, with a new cause chained to the old one.
    void end_unrepaired() noexcept;
    /// Leaving early does no harm just now.
    void set_consistent(bool consistent) noexcept;

    [[nodiscard]] bool is_held() const noexcept { return word_ == held || word_ == watched; }
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    [[nodiscard]] std::string_view name() const noexcept { return name_; }
    /// "local_mutex 'accounts'"; empty without a name.
    [[nodiscard, gnu::cold]] std::string describe() const;
    /// "local_mutex 'accounts', taken at tracker.cpp:80".
    [[nodiscard, gnu::cold]] std::string describe_section() const;
    /// The guard is here now. Who moved it may be another task than who locked.
    void guard_moved(const void* to) noexcept;

private:
    static constexpr std::uintptr_t unused = 0;
    static constexpr std::uintptr_t held = 1;
    static constexpr std::uintptr_t watched = 3;
    static constexpr std::uintptr_t poisoned = 5;

    void claim(const toadstone::detail::executor& home) noexcept;
    void watch() noexcept;
    void begin_slowly(std::source_location where) noexcept;
    [[gnu::cold]] void end_watched() noexcept;
    void release_watched() noexcept;
    [[nodiscard]] bool is_interrupted() const noexcept;
    void end_wait(local_lock_leaf& waiter) noexcept;
    [[nodiscard]] bool waits_for_itself(const toadstone::detail::context& task) const noexcept;

    std::uintptr_t word_ = unused;
    const toadstone::detail::executor* home_ = nullptr;
    toadstone::detail::thread_slice* slice_ = nullptr; // of the home worker's thread
    std::source_location locked_at_;                   // where the present section began
    local_lock_leaf* first_ = nullptr;
    local_lock_leaf* last_ = nullptr;
    poison_cause cause_; // empty when healthy
    std::string_view name_;
    // What few sections need; it counts while the word is `watched`.
    struct {
        unsigned born = 0; ///< the level at which the section began, if ordinary code began it
        bool consistent = false;
        bool moved = false;      ///< the guard has moved,
        std::uint64_t mover = 0; ///< last by this task or thread
    } section_;
};

/// The part of a guard that does not depend on the data. What a mutex's guard remembers of its
/// section stands in the mutex here: there is one section at a time, and one thread.
class local_guard_core {
public:
    explicit local_guard_core(local_core& mutex) noexcept : mutex_(&mutex) {
        mutex.guard = this;
    }
    local_guard_core(local_guard_core&& other) noexcept : mutex_(other.take()) { arrive(); }
    local_guard_core& operator=(local_guard_core&& other) noexcept {
        if (this != &other) {
            end_section(); // by the same rule as the destructor
            mutex_ = other.take();
            arrive();
        }
        return *this;
    }
    ~local_guard_core() { end_section(); }

    void end_section() noexcept {
        if (holds()) [[likely]] {
            core().end_section();
        } else {
            check_place();
        }
    }
    /// Ends the section; never poisons.
    void release() noexcept {
        if (held()) static_cast<local_core*>(std::exchange(mutex_, &held_by_nobody))->release();
    }
    /// For a recovery that was given up.
    void release_unrepaired() noexcept;

    [[nodiscard]] bool held() const noexcept {
        if (holds()) [[likely]]
            return true;
        check_place();
        return false;
    }
    /// What it holds. Errors: std::logic_error if that is nothing.
    [[nodiscard]] local_core& mutex() const {
        if (!holds()) [[unlikely]]
            refuse();
        return core();
    }

private:
    [[nodiscard]] bool holds() const noexcept { return mutex_->guard == this; }
    [[nodiscard]] local_core& core() const noexcept {
        return static_cast<local_core&>(*mutex_);
    }
    /// For one that does not hold: it must be empty, and not a copy (see guard_core).
    [[gnu::cold]] void check_place() const noexcept;
    [[noreturn, gnu::cold]] void refuse() const;
    local_hold* take() noexcept {
        return held() ? std::exchange(mutex_, &held_by_nobody) : mutex_;
    }
    void arrive() noexcept {
        if (mutex_ != &held_by_nobody) core().guard_moved(this);
    }

    local_hold* mutex_;
};

/// The leaf behind every co_await on a local mutex.
class local_lock_leaf : public toadstone::detail::leaf {
public:
    static constexpr bool acquires = true;
    enum class state : unsigned char { granted, queued, poisoned, deadlock };

    local_lock_leaf(const local_lock_leaf&) = delete;
    local_lock_leaf& operator=(const local_lock_leaf&) = delete;

    bool cancel(cancel_reason reason, bool force) noexcept final;
    bool taken() noexcept final;

    [[nodiscard]] bool await_ready() noexcept {
        return may_complete_at_once() && mutex_->try_acquire(ctx_->home(), where_);
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) queue_up();
    }

protected:
    // What only a waiter needs is left as it is.
    local_lock_leaf(local_core& mutex, bool anything, toadstone::detail::context& ctx,
                    std::source_location where) noexcept
        : mutex_(&mutex), state_(state::granted), anything_(anything) {
        bind(ctx, where);
    }
    ~local_lock_leaf() {} // the failure, if there is one, has been thrown or dropped

    /// Throws unless the lock was granted.
    [[nodiscard]] local_core& granted() {
        if (state_ != state::granted) [[unlikely]]
            fail();
        return *mutex_;
    }

private:
    friend class local_core;
    void queue_up() noexcept;
    [[nodiscard]] poison_cause take_failure() noexcept;
    [[noreturn, gnu::cold]] void fail();

    local_core* mutex_;
    state state_;
    bool anything_; // a poisoned lock will do
    local_lock_leaf* next_;
    local_lock_leaf* previous_;
    union {
        poison_cause failure_; // exists from state::poisoned until it is taken
    };
};

} // namespace toadstone::sync::detail

#endif
