// The rare ends of a local mutex's guard.
#include <toadstone/sync/detail/local_guard_core.hpp>

namespace toadstone::sync::detail {

bool local_guard_core::is_untouched() const noexcept {
    if (mutex_->guard == local_hold::untouched(this)) return true;
    TOADSTONE_ASSERT_OF(mutex_ == &held_by_nobody,
                        "a guard is not copied behind its back: with g++ 12, "
                        "name the result of co_await lock() first",
                        core().describe_section());
    return false;
}

void local_guard_core::end_untouched() noexcept {
    if (is_untouched()) core().end_section();
}

void local_guard_core::touch_untouched() const {
    if (!is_untouched()) refuse();
    core().guard_touched(this);
}

void local_guard_core::refuse() {
    toadstone::detail::throw_misuse("a guard gives access only while it holds the lock");
}

void local_guard_core::release_unrepaired() noexcept {
    if (held()) let_go().end_unrepaired();
}

void local_guard_core::release_in_place() noexcept {
    if (!held()) return;
    if (core().is_interrupted()) core().make_strict();
    let_go().end_section();
}

} // namespace toadstone::sync::detail
