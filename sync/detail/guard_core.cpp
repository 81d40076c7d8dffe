// How a guard ends: cleanly, poisoning, or giving up a repair.
#include <toadstone/sync/detail/guard_core.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>

namespace toadstone::sync::detail {

toadstone::detail::cause_ref guard_core::cause_for(const mutex_core& mutex,
                                                   std::string_view why,
                                                   bool in_handler) const noexcept {
    const poison_cause before = mutex.cause();
    return toadstone::detail::make_cause({.type = mutex.type(),
                                          .during = "holding the lock taken at",
                                          .name = mutex.name(),
                                          .locked_at = where_,
                                          .why = why,
                                          .previous = before.state(),
                                          .in_handler = in_handler});
}

void guard_core::release_by_rule() noexcept {
    if (is_interrupted()) {
        release_interrupted();
    } else {
        release_clean();
    }
}

void guard_core::release_interrupted() noexcept {
    end_early(toadstone::detail::interrupted_by_exception(), false);
}

void guard_core::release_discarded() noexcept {
    if (is_interrupted()) {
        release_interrupted();
    } else {
        end_early(true, true);
    }
}

void guard_core::end_early(bool by_exception, bool in_handler) noexcept {
    mutex_core* const mutex = std::exchange(mutex_, nullptr);
    if (bits_ & seed::deferring) stop_deferring(*mutex);
    if (is_spared(by_exception)) {
        mutex->release();
    } else {
        mutex->release_poisoned(cause_for(*mutex, {}, in_handler));
    }
}

void guard_core::release_in_place() noexcept {
    if (!mutex_) return;
    if (is_interrupted()) bits_ |= seed::strict;
    release_by_rule();
}

bool guard_core::is_spared(bool by_exception) const noexcept {
    if (bits_ & seed::strict) return false;
    return policies::of(bits_).spares(by_exception, (self_ & untouched) != 0);
}

void guard_core::open() noexcept {
    mutex_core* const mutex = std::exchange(mutex_, nullptr);
    if (bits_ & seed::deferring) stop_deferring(*mutex);
    mutex->release();
}

void guard_core::close(mutex_core& mutex, toadstone::detail::context& task) noexcept {
    mutex_ = &mutex;
    mutex.set_owner(task.serial());
    if (!(bits_ & seed::deferring)) return;
    toadstone::detail::cancel_ref state = task.shared_extras(); // made when it began to defer
    state->deferrals.fetch_add(1, std::memory_order_relaxed);
    mutex.set_deferring(std::move(state));
}

void guard_core::note_touch() const noexcept {
    check_place();
    self_ = here();
    bits_ &= ~seed::opened;
}

void guard_core::release_unrepaired() noexcept {
    if (!mutex_) return;
    mutex_core* const mutex = std::exchange(mutex_, nullptr);
    const bool interrupted = is_interrupted();
    if (bits_ & seed::deferring) stop_deferring(*mutex);
    mutex->release_poisoned(
        cause_for(*mutex, interrupted ? "" : "the repair was not completed"),
        (bits_ & seed::repairing) != 0);
}

void guard_core::note_move() const noexcept {
    mutex_->owner_moved(this, toadstone::detail::current_serial());
}

std::string guard_core::describe() const {
    std::string text = mutex_ ? mutex_->describe() : std::string();
    text += text.empty() ? "the lock taken at " : ", taken at ";
    return text + toadstone::detail::describe_place(where_);
}

void guard_core::declare_poisoned(std::string_view why) {
    if (!mutex_) {
        toadstone::detail::throw_misuse("a guard that holds nothing poisons nothing");
    }
    mutex_->poison_held(cause_for(*mutex_, why.empty() ? "no reason given" : why));
}

void guard_core::stop_deferring(mutex_core& mutex) noexcept {
    const toadstone::detail::cancel_ref task = mutex.take_deferring();
    detail::stop_deferring(*task);
}

void stop_deferring(toadstone::detail::cancel_state& task) noexcept {
    if (task.deferrals.fetch_sub(1, std::memory_order_seq_cst) == 1) task.deferral_ended();
}

} // namespace toadstone::sync::detail
