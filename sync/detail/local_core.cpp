// The local mutex's slow paths: queueing, handing over, poisoning, failing.
#include <toadstone/sync/detail/local_core.hpp>

#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include <algorithm>

namespace toadstone::sync::detail {

constinit local_hold held_by_nobody;

namespace {

constexpr const char* one_worker = "a local_mutex is used by the tasks of one worker only";

} // namespace

void local_core::claim(const toadstone::detail::executor& home) noexcept {
    if (!home_) {
        home_ = &home;
        slice_ = &toadstone::detail::this_slice;
        word_ = reinterpret_cast<std::uintptr_t>(home_);
    }
    TOADSTONE_ASSERT_OF(home_ == &home, one_worker, describe());
}

// From here on the end of the section looks at what is said of it.
void local_core::watch() noexcept {
    if (word_ != held) return;
    section_ = {};
    word_ = watched;
}

void local_core::begin_slowly(std::source_location where) noexcept {
    word_ = held;
    locked_at_ = where;
    if (first_ || cause_) watch();
}

bool local_core::acquire_or_queue(local_lock_leaf& waiter) noexcept {
    using state = local_lock_leaf::state;
    const toadstone::detail::context& task = *waiter.ctx_;
    claim(task.home());
    if (cause_ && !waiter.anything_) {
        waiter.state_ = state::poisoned;
        std::construct_at(&waiter.failure_, cause_);
    } else if (!is_held()) {
        begin_slowly(waiter.where_);
        guard = nullptr;
    } else if (waits_for_itself(task)) {
        waiter.state_ = state::deadlock;
    } else {
        watch();
        waiter.state_ = state::queued;
        waiter.next_ = nullptr;
        waiter.previous_ = last_;
        (last_ ? last_->next_ : first_) = &waiter;
        last_ = &waiter;
        return false;
    }
    return true;
}

bool local_core::acquire_now(std::source_location where) {
    const auto* const home = toadstone::detail::executor::current();
    TOADSTONE_ASSERT_OF(home != nullptr, one_worker, describe());
    claim(*home);
    if (cause_) throw poison_error(cause_);
    if (is_held()) return false;
    begin_slowly(where);
    if (const unsigned level = toadstone::detail::level()) {
        watch();
        section_.born = level;
    }
    return true;
}

// Whose the lock is, the place of its guard tells: the task that has it in a frame, unless
// another one has put it there and may take it away again.
bool local_core::waits_for_itself(const toadstone::detail::context& task) const noexcept {
    const auto* const holder = guard ? task.holder_of(guard) : nullptr;
    if (!holder) return false;
    const bool moved = word_ == watched && section_.moved;
    return holder == &task || !moved || task.waited_for_by(section_.mover);
}

void local_core::unlink(local_lock_leaf& waiter) noexcept {
    (waiter.previous_ ? waiter.previous_->next_ : first_) = waiter.next_;
    (waiter.next_ ? waiter.next_->previous_ : last_) = waiter.previous_;
}

void local_core::end_wait(local_lock_leaf& waiter) noexcept {
    unlink(waiter);
    waiter.ctx_->home().push(*waiter.ctx_);
}

bool local_core::is_interrupted() const noexcept {
    if (word_ != watched) return toadstone::detail::level() > 0;
    return !section_.consistent && toadstone::detail::level() > section_.born;
}

void local_core::end_watched() noexcept {
    TOADSTONE_ASSERT_OF(home_->is_current(), one_worker, describe_section());
    if (is_interrupted()) poison({});
    release();
}

void local_core::release_watched() noexcept {
    TOADSTONE_ASSERT_OF(home_->is_current(), one_worker, describe_section());
    guard = nullptr;
    if (local_lock_leaf* const next = first_) {
        next->state_ = local_lock_leaf::state::granted; // nobody can come between
        end_wait(*next);
        begin_slowly(next->where_);
    } else {
        word_ = cause_ ? poisoned : reinterpret_cast<std::uintptr_t>(home_);
    }
}

void local_core::end_unrepaired() noexcept {
    poison(is_interrupted() ? "" : "the repair was not completed");
    release();
}

void local_core::poison(std::string_view why) noexcept {
    TOADSTONE_ASSERT_OF(home_->is_current(), one_worker, describe_section());
    watch();
    const toadstone::detail::poisoning what{.type = "local_mutex",
                                            .during = "holding the lock taken at",
                                            .name = name_,
                                            .locked_at = locked_at_,
                                            .why = why,
                                            .previous = cause_.state()};
    const poison_cause before =
        std::exchange(cause_, poison_cause(toadstone::detail::make_cause(what)));
    for (local_lock_leaf* each = first_; each;) {
        local_lock_leaf* const next = each->next_;
        if (!each->anything_) { // all of them at once: no convoy
            each->state_ = local_lock_leaf::state::poisoned;
            std::construct_at(&each->failure_, cause_);
            end_wait(*each);
        }
        each = next;
    }
}

void local_core::set_consistent(bool consistent) noexcept {
    watch();
    section_.consistent = consistent;
}

// A guard that a destructor acquired during unwinding, and that outlived that, goes on in
// calmer control flow: the level only ever falls.
void local_core::guard_moved(const void* to) noexcept {
    watch();
    guard = to;
    section_.moved = true;
    section_.mover = toadstone::detail::current_serial();
    section_.born = std::min(section_.born, toadstone::detail::level());
}

std::string local_core::describe() const {
    return name_.empty() ? std::string() : "local_mutex '" + std::string(name_) + "'";
}

std::string local_core::describe_section() const {
    std::string text = describe();
    text += text.empty() ? "the lock taken at " : ", taken at ";
    return text + toadstone::detail::describe_place(locked_at_);
}

void local_guard_core::release_unrepaired() noexcept {
    if (!held()) return;
    static_cast<local_core*>(std::exchange(mutex_, &held_by_nobody))->end_unrepaired();
}

void local_guard_core::check_place() const noexcept {
    TOADSTONE_ASSERT_OF(mutex_ == &held_by_nobody,
                        "a guard is not copied behind its back: with g++ 12, "
                        "name the result of co_await lock() first",
                        core().describe_section());
}

void local_guard_core::refuse() const {
    check_place();
    toadstone::detail::throw_misuse("a guard gives access only while it holds the lock");
}

void local_lock_leaf::queue_up() noexcept {
    // Settled at once, but through the ready queue: the budget is used up, or the lock failed.
    if (mutex_->acquire_or_queue(*this)) ctx_->home().push(*ctx_);
}

bool local_lock_leaf::cancel(cancel_reason, bool) noexcept {
    if (state_ != state::queued) return false;
    mutex_->unlink(*this);
    return true;
}

// A lock that was granted to a task which has to stop goes on, clean, to the next in line.
bool local_lock_leaf::taken() noexcept {
    if (state_ == state::granted) mutex_->release();
    if (state_ == state::poisoned) static_cast<void>(take_failure());
    return true;
}

poison_cause local_lock_leaf::take_failure() noexcept {
    poison_cause failure = std::move(failure_);
    std::destroy_at(&failure_);
    return failure;
}

void local_lock_leaf::fail() {
    if (state_ == state::poisoned) throw poison_error(take_failure());
    throw would_deadlock(mutex_->name(),
                         "the task that asks for it, or one that waits for that");
}

} // namespace toadstone::sync::detail
