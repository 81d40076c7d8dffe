// Waiting for a mutex: queueing, being woken, failing, and blocking a plain thread.
#include <toadstone/sync/detail/lock_awaiter.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/detail/shared_core.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include <string>

namespace toadstone::sync {
namespace {

std::string held_by(std::string_view mutex_name, std::string_view holder) {
    std::string text = "mutex ";
    if (!mutex_name.empty()) text.append("'").append(mutex_name).append("' ");
    return text.append("is held by ").append(holder);
}

} // namespace

would_deadlock::would_deadlock(std::string_view mutex_name, std::string_view holder)
    : std::system_error(std::make_error_code(std::errc::resource_deadlock_would_occur),
                        held_by(mutex_name, holder)) {}

} // namespace toadstone::sync

namespace toadstone::sync::detail {

namespace {

// In a frame of the task itself it is the task's. In one of whoever waits for it, it may be in
// a slot that a sibling has filled, and is to empty: there it counts if one of them moved it.
bool has_moved_guard(const toadstone::detail::context& task, std::uint64_t owner,
                     const void* guard) noexcept {
    const auto* const holder = task.holder_of(guard);
    return holder == &task ||
           (holder && task.waited_for_by(mutex_core::mover(owner), mutex_core::mover_mask));
}

// A task that waits for this one cannot acquire the lock in between, so what it holds it held
// before: the owner of now is the one to look for among them.
// `elsewhere`: it waits for what another thread does, and so has suspended.
bool waits_for_itself(const toadstone::detail::context& task, std::uint64_t owner,
                      bool elsewhere) noexcept {
    const void* const guard = mutex_core::place_of_guard(owner);
    if (!guard) return owner != 0 && task.waited_for_by(owner);
    return (elsewhere || task.suspended()) && has_moved_guard(task, owner, guard);
}
asker as_asker(const toadstone::detail::context& task, const mutex_core& mutex) noexcept {
    const std::uint64_t owner = mutex.owner();
    return {task.serial(), waits_for_itself(task, owner, false) ? owner : task.serial()};
}

asker this_asker(const mutex_core& mutex) noexcept {
    if (const auto* task = toadstone::detail::current_context()) return as_asker(*task, mutex);
    const std::uint64_t thread = toadstone::detail::current_serial();
    // A task that waits for a blocking function on this thread does not let go before it.
    const auto* const waits = toadstone::detail::thread_waited_for::by();
    const std::uint64_t owner = waits ? mutex.owner() : 0;
    return {thread, waits && waits_for_itself(*waits, owner, true) ? owner : thread};
}

// Who held it then, if that can still be said.
std::string describe_holder(const toadstone::detail::context& task, const mutex_core& mutex) {
    const std::uint64_t owner = mutex.owner();
    const void* const guard = mutex_core::place_of_guard(owner);
    const auto* const holder = guard ? task.holder_of(guard) : task.waiting(owner);
    if (!holder) return "one who waits for the task that asks for it";
    if (holder->id() == task.id()) return "the task that asks for it";
    return toadstone::detail::describe_task(holder->id(), holder->name()) +
           ", which waits for " + toadstone::detail::describe_task(task.id(), task.name()) +
           ", which asks for it";
}

// Who holds it and is asking, or waits for the one who asks.
std::string describe_asker(bool itself) {
    if (toadstone::detail::current_context()) return "the task that asks for it";
    const auto* const waits = toadstone::detail::thread_waited_for::by();
    if (itself || !waits) return "the thread that asks for it";
    return toadstone::detail::describe_task(waits->id(), waits->name()) +
           ", which waits for the blocking function that asks for it, or by one that waits "
           "for that task";
}

} // namespace

bool ask_for(mutex_core& mutex, lock_waiter& waiter,
             const toadstone::detail::context& task) noexcept {
    return mutex.acquire_or_queue(waiter, as_asker(task, mutex));
}

void throw_failure(lock_waiter& waiter, const mutex_core& mutex,
                   const toadstone::detail::context& task) {
    if (waiter.how() == lock_waiter::state::deadlock) {
        throw would_deadlock(mutex.name(), describe_holder(task, mutex));
    }
    throw poison_error(waiter.take_failure());
}

void lock_leaf::start_deferring() noexcept {
    toadstone::detail::cancel_ref task = ctx_->shared_extras(); // made in await_ready()
    detail::start_deferring(*task);
    core_->set_deferring(std::move(task));
}

toadstone::detail::cancel_ref task_that_defers(on_cancel policy) {
    if (policy != on_cancel::defer) return {};
    toadstone::detail::context* task = toadstone::detail::current_context();
    return task ? task->shared_extras() : toadstone::detail::cancel_ref();
}

namespace {

using waiting_thread = toadstone::detail::thread_wait<lock_waiter>;

template <class Core>
bool wait_for_lock_here(Core& mutex, waiting_thread& waiter, bool block, const char* what,
                        const char* instead) {
    const asker who = this_asker(mutex);
    if (!mutex.acquire_now(waiter, who)) {
        if (!block) return false;
        waiter.wait_for(mutex, what, instead,
                        [&] { return mutex.acquire_or_queue(waiter, who); });
    }
    switch (waiter.how()) {
    case lock_waiter::state::granted:
        return true;
    case lock_waiter::state::deadlock:
        if (!block) return false;
        throw would_deadlock(mutex.name(), describe_asker(who.serial == mutex.owner()));
    default:
        throw poison_error(waiter.take_failure());
    }
}

} // namespace

bool lock_here(mutex_core& mutex, bool block) {
    const std::uint64_t owner = toadstone::detail::current_serial();
    if (!mutex.try_acquire()) {
        waiting_thread waiter;
        if (!wait_for_lock_here(mutex, waiter, block, "blocking_lock()", "lock()"))
            return false;
    }
    mutex.set_owner(owner);
    return true;
}

bool read_here(shared_core& core, wants what, bool block) {
    if (core.try_read()) return true;
    waiting_thread waiter(what, access::read);
    return wait_for_lock_here(core, waiter, block, "blocking_read()", "read()");
}

bool upgradable_here(shared_core& core, bool block) {
    if (!core.try_upgradable()) {
        waiting_thread waiter(wants::healthy, access::upgradable);
        if (!wait_for_lock_here(core, waiter, block, "blocking_upgradable()", "upgradable()"))
            return false;
    }
    core.set_owner(toadstone::detail::current_serial());
    return true;
}

bool upgrade_here(shared_core& core, bool block) {
    if (!core.try_upgrade() && !core.upgrade_now()) {
        if (!block) return false;
        waiting_thread waiter(wants::anything, access::upgrade);
        waiter.wait_for(core, "blocking_upgrade()", "upgrade()",
                        [&] { return core.upgrade_or_queue(waiter); });
        if (waiter.how() == lock_waiter::state::refused) refuse_second_upgrade();
    }
    core.set_owner(toadstone::detail::current_serial());
    return true;
}

} // namespace toadstone::sync::detail
