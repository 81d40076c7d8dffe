// The part of a guard that does not depend on the data: what it holds, and the verdict.
#ifndef TOADSTONE_SYNC_DETAIL_GUARD_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_GUARD_CORE_HPP

#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/sync/detail/mutex_core.hpp>
#include <toadstone/sync/detail/policies.hpp>
#include <toadstone/sync/policy.hpp>

#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone::sync::detail {

/// What a guard is made of. A guard is built in place from it: of one that moves, only its
/// place tells whose it is.
struct guard_seed {
    /// `born`: the level. `deferring`: the mutex has the task whose cancellation waits for the
    /// guard.
    guard_seed(mutex_core& from, std::source_location begun, policies policy, bool defers,
               unsigned born) noexcept
        : mutex(from), where(begun), bits(policy.bits() | (defers ? deferring : 0) |
                                          (born < most_born ? born : most_born) << born_shift) {
    }

    static constexpr std::uint32_t deferring = 64; // the first that is no policy
    static constexpr std::uint32_t consistent = 128;
    static constexpr std::uint32_t strict = 256;
    static constexpr std::uint32_t opened = 1024;   // consistent, until it is dereferenced
    static constexpr std::uint32_t repairing = 512; // for others, who fail if this fails
    static constexpr unsigned born_shift = 16;
    static constexpr unsigned most_born = 0xffff;

    mutex_core& mutex;
    std::source_location where; ///< where the section began
    std::uint32_t bits;         ///< policies, what is above, and the level
};

class guard_core {
public:
    using seed = guard_seed;
    explicit guard_core(guard_seed&& seed) noexcept
        : mutex_(&seed.mutex), where_(seed.where), bits_(seed.bits),
          self_(here() | (seed.bits & untouched)) {
        if (!mutex_) __builtin_unreachable(); // g++ reads the reference back from a frame
    }

    guard_core(guard_core&& other) noexcept { take(other); }
    guard_core& operator=(guard_core&& other) noexcept {
        if (this != &other) {
            release(); // by the same rule as the destructor
            take(other);
        }
        return *this;
    }
    ~guard_core() { release(); }

    /// Ends the section by the rule: poisons if it dies where it should not.
    void release() noexcept {
        if (!mutex_) return;
        if (self_ == here() && bits_ < seed::deferring && toadstone::detail::level() == 0)
            [[likely]] {
            std::exchange(mutex_, nullptr)->release();
        } else {
            check_place();
            release_by_rule();
        }
    }
    /// For one whose section works on a copy: normal control flow, and no `catch` handler but
    /// the one that it began in.
    [[nodiscard]] bool ends_well(const void* begun_in) const noexcept {
        if (is_interrupted()) return false;
        const void* const handler = toadstone::detail::handler_in_slice();
        return !handler || handler == begun_in;
    }
    /// For the same, when it does not end well: the copy is gone, and the policy for this kind
    /// of end decides whether it poisons besides.
    void release_discarded() noexcept;
    /// For one whose policies speak of a copy, but that has worked on the data itself: poisons
    /// if it is interrupted.
    void release_in_place() noexcept;
    /// Ends the section; never poisons.
    void release_clean() noexcept {
        mutex_core* const mutex = std::exchange(mutex_, nullptr);
        if (bits_ & seed::deferring) [[unlikely]]
            stop_deferring(*mutex);
        mutex->release();
    }

    /// The lock has another holder, which is no guard.
    void let_go_unreleased() noexcept {
        mutex_core* const mutex = std::exchange(mutex_, nullptr);
        if (bits_ & seed::deferring) stop_deferring(*mutex);
    }
    /// For a wait inside the section: lets the lock go, clean; the guard holds nothing until
    /// close(), and what its section is stays as it is. It defers nothing meanwhile.
    void open() noexcept;
    /// The lock is held again, by that task, or by this plain thread.
    void close(mutex_core& mutex, toadstone::detail::context& task) noexcept;
    void close(mutex_core& mutex) noexcept {
        mutex_ = &mutex;
        bits_ &= ~seed::deferring;
    }
    [[nodiscard]] bool defers() const noexcept { return (bits_ & seed::deferring) != 0; }
    /// Others have had the data since it was last dereferenced: as long as it is not again, it
    /// poisons nothing.
    void set_untouched() noexcept {
        bits_ |= seed::opened;
        self_ |= untouched;
    }

    /// Leaving early does no harm just now.
    void set_consistent(bool on) noexcept {
        bits_ = on ? bits_ | seed::consistent : bits_ & ~seed::consistent;
    }
    /// Interrupted unless disarmed, whatever the level and the policy say.
    void make_strict() noexcept { bits_ |= seed::strict; }
    /// For a recovery: if it fails, those fail that wait to repair the data themselves.
    void repairs_for_others() noexcept { bits_ |= seed::repairing; }

    /// For access that may change the data: nothing is done but for a guard that has to know.
    void touch() const noexcept {
        if (self_ != here()) [[unlikely]]
            note_touch();
    }

    /// Errors: std::logic_error if nothing is held.
    void declare_poisoned(std::string_view why);
    [[nodiscard]] mutex_core* mutex() const noexcept { return mutex_; }

    /// For a recovery: releases with the poison kept, and says why in a cause chained to it.
    void release_unrepaired() noexcept;

    /// g++ 12 copies the result of a co_await bit by bit in some expressions, such as
    /// `new guard(co_await m.lock())`, and destroys the original: the lock would be free
    /// without anybody noticing.
    void check_place() const noexcept {
        TOADSTONE_ASSERT_OF((self_ & ~untouched) == here(),
                            "a guard is not copied behind its back: with g++ 12, "
                            "name the result of co_await lock() first",
                            describe());
    }

private:
    /// Of a guard whose policies have that bit: no place has it.
    static constexpr std::uint32_t untouched = 1;

    /// Tells apart the places that a copy is made between: they are not 4 GiB apart.
    [[nodiscard]] std::uint32_t here() const noexcept {
        return static_cast<std::uint32_t>(reinterpret_cast<std::uintptr_t>(this));
    }
    /// "mutex 'accounts', taken at tracker.cpp:80".
    [[nodiscard, gnu::cold]] std::string describe() const;
    void take(guard_core& other) noexcept {
        if (other.mutex_) other.check_place();
        self_ = here() | (other.self_ & untouched);
        mutex_ = std::exchange(other.mutex_, nullptr);
        where_ = other.where_;
        bits_ = other.bits_;
        rebase();
        if (mutex_) note_move();
    }
    /// A guard that a destructor acquired during unwinding, and that outlived that, goes on in
    /// calmer control flow. The level only ever falls: nothing is laundered.
    void rebase() noexcept {
        if (born() == 0) return;
        const unsigned now = toadstone::detail::level();
        if (now < born()) bits_ -= (born() - now) << seed::born_shift;
    }
    /// The level at birth, which is kept when the guard moves.
    [[nodiscard]] unsigned born() const noexcept { return bits_ >> seed::born_shift; }
    [[nodiscard]] bool is_interrupted() const noexcept {
        if (bits_ & (seed::consistent | seed::opened)) return false;
        return (bits_ & seed::strict) || toadstone::detail::level() > born();
    }
    [[gnu::cold]] void note_touch() const noexcept;
    [[nodiscard]] bool is_spared(bool by_exception) const noexcept;
    void release_by_rule() noexcept;
    void release_interrupted() noexcept;
    void end_early(bool by_exception, bool in_handler) noexcept;
    void note_move() const noexcept;
    static void stop_deferring(mutex_core& mutex) noexcept;
    [[nodiscard]] toadstone::detail::cause_ref
    cause_for(const mutex_core& mutex, std::string_view why,
              bool in_handler = false) const noexcept;

    mutex_core* mutex_ = nullptr;
    std::source_location where_;     // where the section began
    mutable std::uint32_t bits_ = 0; // as in the seed
    mutable std::uint32_t self_;     // here(), with `untouched` until it is dereferenced
};

} // namespace toadstone::sync::detail

#endif
