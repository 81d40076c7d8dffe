// How a guard ends: cleanly, poisoning, or giving up a repair.
#include <toadstone/sync/detail/guard_core.hpp>

#include <toadstone/runtime/detail/context.hpp>

namespace toadstone::sync::detail {

toadstone::detail::cause_ref guard_core::cause_for(const mutex_core& mutex,
                                                   std::string_view why) const noexcept {
    const poison_cause before = mutex.cause();
    return toadstone::detail::make_cause({.type = "mutex",
                                          .during = "holding the lock taken at",
                                          .name = mutex.name(),
                                          .locked_at = where_,
                                          .why = why,
                                          .previous = before.state()});
}

void guard_core::release_by_rule() noexcept {
    if (is_interrupted()) {
        release_interrupted();
    } else {
        release_clean();
    }
}

void guard_core::release_interrupted() noexcept {
    mutex_core* const mutex = std::exchange(mutex_, nullptr);
    if (bits_ & seed::deferring) stop_deferring(*mutex);
    const policies policy = policies::of(bits_);
    const bool by_exception = toadstone::detail::interrupted_by_exception();
    const bool spared =
        !(bits_ & seed::strict) && (by_exception ? policy.exception() == on_exception::release
                                                 : policy.cancel() == on_cancel::release);
    if (spared) {
        mutex->release();
    } else {
        mutex->release_poisoned(cause_for(*mutex, {}));
    }
}

void guard_core::release_unrepaired() noexcept {
    if (!mutex_) return;
    mutex_core* const mutex = std::exchange(mutex_, nullptr);
    const bool interrupted = is_interrupted();
    if (bits_ & seed::deferring) stop_deferring(*mutex);
    mutex->release_poisoned(
        cause_for(*mutex, interrupted ? "" : "the repair was not completed"));
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
    if (task->deferrals.fetch_sub(1, std::memory_order_seq_cst) == 1) task->deferral_ended();
}

} // namespace toadstone::sync::detail
