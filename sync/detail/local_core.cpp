// The local mutex's slow paths: queueing, handing over, poisoning, deferring.
#include <toadstone/sync/detail/local_core.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>
#include <toadstone/sync/detail/lock_state.hpp>

#include <algorithm>
#include <ostream>

namespace toadstone::sync::detail {

constinit local_hold held_by_nobody;

namespace {

constexpr const char* one_worker = "a local_mutex is used by the tasks of one worker only";

} // namespace

poison_cause local_waiter::take_failure() noexcept {
    poison_cause failure = std::move(failure_);
    std::destroy_at(&failure_);
    return failure;
}

void local_core::claim(const toadstone::detail::executor& home) noexcept {
    if (!home_) {
        home_ = &home;
        slice_ = &toadstone::detail::this_slice;
        word_ = reinterpret_cast<std::uintptr_t>(home_);
    }
    TOADSTONE_ASSERT_OF(home_ == &home, one_worker, describe());
}

void local_core::check_home() const noexcept {
    TOADSTONE_ASSERT_OF(home_->is_current(), one_worker, describe_section());
}

// From here on the end of the section looks at what is said of it.
void local_core::watch() noexcept {
    if (word_ != held) return;
    section_ = local_section(policy_);
    word_ = watched;
}

void local_core::begin_slowly(std::source_location where) noexcept {
    word_ = held;
    locked_at_ = where;
    if (first_ || cause_) watch();
}

bool local_core::acquire_or_queue(local_waiter& waiter, toadstone::detail::context& task,
                                  std::source_location where) noexcept {
    using state = local_waiter::state;
    claim(task.home());
    if (cause_ && waiter.wants_ == wants::healthy) {
        refuse(waiter);
    } else if (!is_held() && !(cause_ && waiter.wants_ == wants::patience)) {
        begin_slowly(where);
        guard = nullptr;
        waiter.state_ = state::granted;
    } else if (is_held() && waits_for_itself(task)) {
        waiter.state_ = state::deadlock;
    } else {
        watch();
        waiter.state_ = state::queued;
        waiter.task_ = &task;
        std::construct_at(&waiter.locks_at_, where);
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
    toadstone::detail::cancel_ref deferring = task_that_defers(policy_.cancel());
    if (cause_) throw poison_error(cause_);
    if (is_held()) return false;
    begin_slowly(where);
    if (const unsigned level = toadstone::detail::level()) {
        watch();
        section_.born = level;
    }
    if (deferring) defer_for(std::move(deferring));
    return true;
}

bool local_core::withdraw(local_waiter& waiter, local_waiter::state how) noexcept {
    if (waiter.state_ != local_waiter::state::queued) return false;
    unlink(waiter);
    waiter.state_ = how;
    return true;
}

void local_core::hand_back(local_waiter& waiter) noexcept {
    if (waiter.state_ == local_waiter::state::granted) release();
    if (waiter.state_ == local_waiter::state::refused) {
        static_cast<void>(waiter.take_failure());
    }
}

local_seed local_core::begin_as(policies policy, toadstone::detail::context& task) noexcept {
    if (policy.bits() != policy_.bits()) {
        watch();
        section_.policy = policy;
    }
    if (policy.defers()) defer_for(task.shared_extras());
    return {*this, policy.notes_touch()};
}

void local_core::defer_for(toadstone::detail::cancel_ref task) noexcept {
    watch();
    start_deferring(*task);
    deferring_ = std::move(task);
}

void local_core::stop_deferring() noexcept {
    if (!deferring_) return;
    const toadstone::detail::cancel_ref task = std::move(deferring_);
    detail::stop_deferring(*task);
}

// Whose the lock is, the place of its guard tells: the task that has it in a frame, unless
// another one has put it there and may take it away again.
bool local_core::waits_for_itself(const toadstone::detail::context& task) const noexcept {
    const auto* const holder = guard ? task.holder_of(guard) : nullptr;
    if (!holder) return false;
    const bool moved = word_ == watched && section_.moved;
    return holder == &task || !moved || task.waited_for_by(section_.mover);
}

void local_core::unlink(local_waiter& waiter) noexcept {
    (waiter.previous_ ? waiter.previous_->next_ : first_) = waiter.next_;
    (waiter.next_ ? waiter.next_->previous_ : last_) = waiter.previous_;
}

void local_core::end_wait(local_waiter& waiter, local_waiter::state how) noexcept {
    unlink(waiter);
    waiter.state_ = how;
    waiter.task_->home().push(*waiter.task_);
}

void local_core::refuse(local_waiter& waiter) const noexcept {
    waiter.state_ = local_waiter::state::refused;
    std::construct_at(&waiter.failure_, cause_);
}

bool local_core::is_interrupted() const noexcept {
    if (word_ != watched) return toadstone::detail::level() > 0;
    if (section_.consistent || section_.opened) return false;
    return section_.strict || toadstone::detail::level() > section_.born;
}

bool local_core::is_spared(bool by_exception) const noexcept {
    if (word_ != watched) return policy_.spares(by_exception, is_untouched());
    return !section_.strict && section_.policy.spares(by_exception, is_untouched());
}

void local_core::end_watched() noexcept {
    check_home();
    if (is_interrupted()) {
        end_early(toadstone::detail::interrupted_by_exception(), false);
    } else {
        release();
    }
}

void local_core::end_discarded() noexcept {
    check_home();
    if (is_interrupted()) {
        end_early(toadstone::detail::interrupted_by_exception(), false);
    } else {
        end_early(true, true);
    }
}

void local_core::end_early(bool by_exception, bool in_handler) noexcept {
    stop_deferring();
    if (!is_spared(by_exception)) poison({}, in_handler);
    release();
}

void local_core::release_watched() noexcept {
    check_home();
    stop_deferring();
    guard = nullptr;
    local_waiter* next = first_;
    while (next && cause_ && !takes_poisoned(next->wants_)) next = next->next_;
    if (next) {
        end_wait(*next, local_waiter::state::granted); // nobody can come between
        begin_slowly(next->locks_at_);
    } else {
        word_ = cause_ ? poisoned : reinterpret_cast<std::uintptr_t>(home_);
    }
}

void local_core::end_unrepaired() noexcept {
    check_home();
    const bool interrupted = is_interrupted();
    stop_deferring();
    poison(interrupted ? "" : "the repair was not completed", false,
           word_ == watched && section_.repairing);
    release();
}

void local_core::poison(std::string_view why, bool in_handler, bool repair_failed) noexcept {
    check_home();
    watch();
    const toadstone::detail::poisoning what{.type = "local_mutex",
                                            .during = "holding the lock taken at",
                                            .name = name_,
                                            .locked_at = locked_at_,
                                            .why = why,
                                            .previous = cause_.state(),
                                            .in_handler = in_handler};
    const poison_cause before =
        std::exchange(cause_, poison_cause(toadstone::detail::make_cause(what)));
    for (local_waiter* each = first_; each;) {
        local_waiter* const next = each->next_;
        if (is_refused(each->wants_, repair_failed)) { // all of them at once: no convoy
            end_wait(*each, local_waiter::state::refused);
            refuse(*each);
        }
        each = next;
    }
}

void local_core::set_consistent(bool consistent) noexcept {
    watch();
    section_.consistent = consistent;
}

void local_core::make_strict() noexcept {
    watch();
    section_.strict = true;
}

void local_core::repair_for_others() noexcept {
    watch();
    section_.repairing = true;
}

void local_core::guard_touched(const void* place) noexcept {
    guard = place;
    if (word_ == watched) section_.opened = false;
}

// A guard that a destructor acquired during unwinding, and that outlived that, goes on in
// calmer control flow: the level only ever falls.
void local_core::guard_moved(const void* to) noexcept {
    watch();
    guard = is_untouched() ? untouched(to) : to;
    section_.moved = true;
    section_.mover = toadstone::detail::current_serial();
    section_.born = std::min(section_.born, toadstone::detail::level());
}

local_core::opened local_core::open() noexcept {
    const opened now{.section = word_ == watched ? section_ : local_section(policy_),
                     .locked_at = locked_at_,
                     .defers = defers(),
                     .untouched = is_untouched()};
    release();
    return now;
}

void local_core::close(const opened& before, const void* place,
                       toadstone::detail::context& task) noexcept {
    watch();
    section_ = before.section;
    locked_at_ = before.locked_at;
    guard = before.untouched ? untouched(place) : place;
    if (before.defers) defer_for(task.shared_extras()); // made when the section was opened
}

std::size_t local_core::count_waiters() const noexcept {
    std::size_t count = 0;
    for (const local_waiter* each = first_; each; each = each->next_) ++count;
    return count;
}

std::string local_core::state() const {
    return lock_state(name_.empty() ? "local_mutex" : describe(), is_held() ? "held" : "free",
                      count_waiters(), cause_);
}

std::ostream& local_core::print(std::ostream& out) const {
    return out << state();
}

std::string local_core::describe() const {
    return name_.empty() ? std::string() : "local_mutex '" + std::string(name_) + "'";
}

std::string local_core::describe_section() const {
    std::string text = describe();
    text += text.empty() ? "the lock taken at " : ", taken at ";
    return text + toadstone::detail::describe_place(locked_at_);
}

} // namespace toadstone::sync::detail
