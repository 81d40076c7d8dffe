// Waiting for a mutex: queueing, being woken, failing, and blocking a plain thread.
#include <toadstone/sync/detail/lock_awaiter.hpp>

#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include <condition_variable>
#include <mutex>
#include <stdexcept>
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
bool waits_for_itself(const toadstone::detail::context& task, std::uint64_t owner,
                      bool suspended) noexcept {
    const void* const guard = mutex_core::place_of_guard(owner);
    if (guard) return suspended && has_moved_guard(task, owner, guard);
    return owner != 0 && task.waited_for_by(owner);
}
asker as_asker(const toadstone::detail::context& task, const mutex_core& mutex) noexcept {
    const std::uint64_t owner = mutex.owner();
    const bool hopeless = waits_for_itself(task, owner, task.suspended());
    return {task.serial(), hopeless ? owner : task.serial()};
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

bool lock_leaf::queue_up() noexcept {
    toadstone::detail::context& task = *ctx_;
    if (!mutex_->acquire_or_queue(*this, as_asker(task, *mutex_)))
        return true; // a wake-up may be on its way
    // Settled at once, but through the ready queue: a task whose budget is used up lets others
    // run, and the verdict is reached in one place.
    task.home().push(task);
    return false;
}

void lock_leaf::start_deferring() noexcept {
    toadstone::detail::cancel_ref task = ctx_->shared_extras(); // made in await_ready()
    detail::start_deferring(*task);
    mutex_->set_deferring(std::move(task));
}

void lock_leaf::wake() noexcept {
    ctx_->home().schedule(*ctx_);
}

void lock_leaf::fail() {
    if (how() == state::deadlock) {
        throw would_deadlock(mutex_->name(), describe_holder(*ctx_, *mutex_));
    }
    throw poison_error(take_failure());
}

toadstone::detail::cancel_ref task_that_defers(on_cancel policy) {
    if (policy != on_cancel::defer) return {};
    toadstone::detail::context* task = toadstone::detail::current_context();
    return task ? task->shared_extras() : toadstone::detail::cancel_ref();
}

bool timed_lock_leaf::cancel(cancel_reason reason, bool force) noexcept {
    stop_timer();
    return lock_leaf::cancel(reason, force);
}

bool timed_lock_leaf::taken() noexcept {
    stop_timer();
    return lock_leaf::taken();
}

void timed_lock_leaf::stop_timer() noexcept {
    disarm(ctx_->home());
}

// If the hand-over came first, the guard is delivered and the time limit forgotten.
void timed_lock_leaf::time_up() noexcept {
    if (mutex_->withdraw(*this, state::timed_out)) ctx_->home().push(*ctx_);
}

bool timed_lock_leaf::won() {
    stop_timer();
    if (how() == state::timed_out) return false;
    check();
    return true;
}

namespace {

class thread_waiter final : public lock_waiter {
public:
    thread_waiter() = default;
    void wait() {
        std::unique_lock hold(lock_);
        changed_.wait(hold, [this] { return done_; });
    }

private:
    void wake() noexcept override {
        const std::lock_guard hold(lock_); // held while notifying: the waiter owns all this
        done_ = true;
        changed_.notify_one();
    }

    std::mutex lock_;
    std::condition_variable changed_;
    bool done_ = false;
};

} // namespace

bool lock_here(mutex_core& mutex, bool block) {
    const std::uint64_t owner = toadstone::detail::current_serial();
    if (mutex.try_acquire()) {
        mutex.set_owner(owner);
        return true;
    }
    thread_waiter waiter;
    const asker who = this_asker(mutex);
    if (!mutex.acquire_now(waiter, who)) {
        if (!block) return false;
        if (toadstone::detail::executor::current()) {
            throw std::logic_error("blocking_lock() would block a worker and every task on it: "
                                   "co_await lock() instead");
        }
        if (!mutex.acquire_or_queue(waiter, who)) waiter.wait();
    }
    switch (waiter.how()) {
    case lock_waiter::state::granted:
        mutex.set_owner(owner);
        return true;
    case lock_waiter::state::deadlock:
        if (!block) return false;
        throw would_deadlock(mutex.name(), describe_asker(owner == mutex.owner()));
    default:
        throw poison_error(waiter.take_failure());
    }
}

} // namespace toadstone::sync::detail
