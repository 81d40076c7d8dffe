// The part of a local mutex's guard that does not depend on the data.
#ifndef TOADSTONE_SYNC_DETAIL_LOCAL_GUARD_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_LOCAL_GUARD_CORE_HPP

#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/sync/detail/local_core.hpp>

#include <string_view>
#include <utility>

namespace toadstone::sync::detail {

/// What a mutex's guard remembers of its section stands in the mutex here: there is one section
/// at a time, and one thread.
class local_guard_core {
public:
    using seed = local_seed;

    explicit local_guard_core(seed&& from) noexcept : mutex_(&from.mutex) {
        from.mutex.guard = from.untouched ? local_hold::untouched(this) : this;
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
            end_untouched();
        }
    }
    /// Ends the section; never poisons.
    void release_clean() noexcept {
        if (held()) let_go().release();
    }
    /// For a recovery that was given up.
    void release_unrepaired() noexcept;
    // For one whose policies speak of a copy: as guard_core.
    [[nodiscard]] bool ends_well(const void* begun_in) const noexcept {
        if (core().is_interrupted()) return false;
        const void* const handler = toadstone::detail::handler_in_slice();
        return !handler || handler == begun_in;
    }
    void release_discarded() noexcept { let_go().end_discarded(); }
    void release_in_place() noexcept;

    [[nodiscard]] bool held() const noexcept {
        if (holds()) [[likely]]
            return true;
        return is_untouched();
    }
    /// What it holds, or null.
    [[nodiscard]] local_core* mutex() const noexcept { return held() ? &core() : nullptr; }
    /// What it holds. Errors: std::logic_error if that is nothing.
    [[nodiscard]] local_core& locked() const {
        if (!held()) refuse();
        return core();
    }
    /// The same, for access that may change the data.
    [[nodiscard]] local_core& dereferenced() const {
        if (!holds()) [[unlikely]]
            touch_untouched();
        return core();
    }
    void touch() const { static_cast<void>(dereferenced()); }
    /// It must be empty, or where it was made or moved to (see guard_core).
    void check_place() const noexcept { static_cast<void>(held()); }

    // Of what is held.
    void set_consistent(bool on) noexcept { core().set_consistent(on); }
    void make_strict() noexcept { core().make_strict(); }
    /// Errors: std::logic_error if nothing is held.
    void declare_poisoned(std::string_view why) {
        locked().poison(why.empty() ? "no reason given" : why);
    }

    /// For a wait inside the section.
    [[nodiscard]] local_core& let_go() noexcept {
        return *static_cast<local_core*>(std::exchange(mutex_, &held_by_nobody));
    }
    /// The same guard has the mutex again, and the section goes on.
    void close(local_core& mutex, const local_core::opened& section,
               toadstone::detail::context& task) noexcept {
        mutex_ = &mutex;
        mutex.close(section, this, task);
    }

private:
    [[nodiscard]] bool holds() const noexcept { return mutex_->guard == this; }
    [[nodiscard]] local_core& core() const noexcept {
        return static_cast<local_core&>(*mutex_);
    }
    // Of one that is not the guard of what it points to: it has not been dereferenced yet, or
    // it is empty. All else is a copy.
    [[gnu::cold]] bool is_untouched() const noexcept;
    [[gnu::cold]] void end_untouched() noexcept;
    [[gnu::cold]] void touch_untouched() const;
    [[noreturn, gnu::cold]] static void refuse();
    local_hold* take() noexcept {
        return held() ? std::exchange(mutex_, &held_by_nobody) : mutex_;
    }
    void arrive() noexcept {
        if (mutex_ != &held_by_nobody) core().guard_moved(this);
    }

    local_hold* mutex_;
};

} // namespace toadstone::sync::detail

#endif
