// A section that is open to others for a while: its guard lets the lock go, and has it again.
#ifndef TOADSTONE_SYNC_DETAIL_OPEN_SECTION_HPP
#define TOADSTONE_SYNC_DETAIL_OPEN_SECTION_HPP

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/sync/detail/guard_core.hpp>
#include <toadstone/sync/detail/lock_waiter.hpp>
#include <toadstone/sync/detail/mutex_core.hpp>

#include <exception>

namespace toadstone::sync::detail {

/// In a handler of a poison_error, or of a would_deadlock: throws it with the other nested.
[[noreturn, gnu::cold]] void nest_failure(const std::exception_ptr& failure);

/// A member of a leaf, which ends, however it ends, when the guard has the mutex again: no
/// destructor of the task finds it without. A forced end alone may find it empty.
class open_section final : lock_waiter {
public:
    explicit open_section(guard_core& guard) noexcept
        : lock_waiter(wants::anything), guard_(&guard) {}

    /// In await_ready. Errors: std::logic_error, with that sentence, if the guard holds
    /// nothing.
    void prepare(toadstone::detail::context& task, const char* rule);
    /// In await_suspend, when the task has suspended: only then its frames are known. Errors:
    /// std::bad_alloc; later nothing fails.
    void find_holder();
    void open() noexcept { guard_->open(); }
    [[nodiscard]] mutex_core& mutex() const noexcept { return *mutex_; }

    /// In line for the mutex from now on. True: has it at once; false: the task is made ready
    /// when it has it.
    [[nodiscard]] bool lock_again() noexcept;
    /// Leaves the line. False: the mutex is there, or on its way.
    [[nodiscard]] bool give_up() noexcept { return mutex_->withdraw(*this, state::withdrawn); }
    /// False: by force, or because it would wait for itself; the guard stays empty.
    [[nodiscard]] bool locked() const noexcept { return how() == state::granted; }

    /// The task stops at this leaf. What it did before it opened the section poisons nothing:
    /// others were in. In a frame that goes with the leaf, the guard dies before anybody has
    /// used it again. Around a boundary that has ended the leaf, it may be used again before it
    /// dies, and counts then. `stops`: the request is not known to the task yet.
    void spare_guard(bool stops = false) noexcept;
    /// The guard has the mutex, poisoned or not.
    void close() noexcept { guard_->close(*mutex_, *holder_); }
    /// The task goes on. Errors: poison_error if the mutex is poisoned; would_deadlock; the
    /// guard holds nothing then.
    void close_healthy();
    /// The same after what is not of this section has failed: the guard counts when it is used
    /// again. Errors: as close_healthy(), with the failure nested.
    void close_after(const std::exception_ptr& failure);

private:
    void wake() noexcept override;

    guard_core* guard_;
    mutex_core* mutex_ = nullptr;
    toadstone::detail::context* task_ = nullptr;
    toadstone::detail::context* holder_ = nullptr; // whose guard it is: the task, or around it
};

} // namespace toadstone::sync::detail

#endif
