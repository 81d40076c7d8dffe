// A scope's bookkeeping: its children, the first failure, and the end.
#include <toadstone/runtime/task_scope.hpp>

#include <toadstone/runtime/aggregate_error.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/finally.hpp>

#include <algorithm>
#include <new>
#include <string>
#include <utility>

namespace toadstone {

bool task_scope::add(detail::root_task& child) noexcept {
    const std::lock_guard hold(lock_);
    if (over()) return false;
    child.group_next = first_;
    child.group_previous = nullptr;
    (first_ ? first_->group_previous : last_) = &child;
    first_ = &child;
    ++count_;
    return true;
}

void task_scope::refuse(detail::root_task& child, detail::promise_base& body) {
    std::string who;
    try {
        who = detail::describe_task(child.id(), child.name());
    } catch (const std::bad_alloc&) {
        who.clear();
    }
    body.handle().destroy();
    child.drop_run();
    detail::throw_misuse("a scope that has ended takes no children", who);
}

// The child may have ended by now, but its handle keeps the record alive.
void task_scope::after_launch(detail::root_task& child) noexcept {
    std::optional<cancel_reason> reason;
    {
        const std::lock_guard hold(lock_);
        reason = cancelled_;
        // stop() may have found it in the list already, and asked.
        if (reason && !child.asked_by_group) {
            child.asked_by_group = !child.requested_by_anybody();
        }
    }
    if (reason) child.request_from_anywhere(*reason);
}

void task_scope::cancel(cancel_reason reason) noexcept {
    stop(reason, false);
}

// What is asked may end at once, and the scope with it: not before a thread that is in here, of
// which there is one at most, has left. What the home worker calls returns before the task that
// awaits the scope goes on, so that it need not be noted.
void task_scope::stop(cancel_reason reason, bool for_caller) noexcept {
    const bool elsewhere = !home_.is_current();
    bool body = false;
    {
        const std::lock_guard hold(lock_);
        if (cancelled_ || over()) return;
        cancelled_ = reason;
        asking_ = elsewhere;
        for_caller_ = for_caller;
        for (auto* each = first_; each; each = each->group_next) {
            each->asked_by_group = !each->requested_by_anybody();
        }
        to_ask_ = last_;
        body = body_running_;
    }
    // Without the lock: callbacks of their tokens may use the scope.
    for (bool more = true; more;) {
        some children{};
        more = next_to_ask(children);
        for (detail::root_task* const each : children) {
            if (!each) break;
            each->request_from_anywhere(reason);
            each->drop_reference();
        }
    }
    if (body) stop_body(reason);
    if (elsewhere) done_asking();
}

void task_scope::done_asking() noexcept {
    bool last = false;
    {
        const std::lock_guard hold(lock_);
        asking_ = false;
        last = over();
    }
    if (last) all_ended();
}

// A child that ends meanwhile leaves the list, and the place in it behind. One that has come
// meanwhile is asked, too. False: there are no more.
bool task_scope::next_to_ask(some& children) noexcept {
    const std::lock_guard hold(lock_);
    for (std::size_t i = 0; to_ask_ && i < children.size(); ++i) {
        if (!to_ask_->asked_by_group)
            to_ask_->asked_by_group = !to_ask_->requested_by_anybody();
        to_ask_->add_reference();
        children[i] = to_ask_;
        to_ask_ = to_ask_->group_previous;
    }
    return to_ask_ != nullptr;
}

std::size_t task_scope::size() const noexcept {
    const std::lock_guard hold(lock_);
    return count_;
}

void task_scope::note_failure(detail::context& who,
                              const std::exception_ptr& failure) noexcept {
    if (!failure) return;
    if (kept_) {
        keep_failure(who, failure);
        return;
    }
    bool first = false;
    bool same = false;
    {
        const std::lock_guard hold(lock_);
        first = !first_failure_;
        if (first) first_failure_ = failure;
        same = first_failure_ == failure; // the body joined the child that failed
    }
    if (first) {
        cancel(cancel_reason::sibling_failed);
    } else if (!same) {
        detail::report_lost_failure(who, "another child of the scope", failure);
    }
}

void task_scope::keep_failure(detail::context& who,
                              const std::exception_ptr& failure) noexcept {
    bool lost = false;
    {
        const std::lock_guard hold(lock_);
        auto& all = kept_->all;
        // The body has joined the child, and failed with it.
        if (std::find(all.begin(), all.end(), failure) != all.end()) return;
        try {
            all.push_back(failure);
        } catch (const std::bad_alloc&) {
            lost = true;
        }
    }
    if (lost) detail::report_lost_failure(who, "a child of the scope", failure);
}

// Nobody else is there any more. Without memory for all of them the first is thrown alone.
void task_scope::gather_kept() noexcept {
    const auto& all = kept_->all;
    if (all.empty()) return;
    try {
        detail::throw_together(all);
    } catch (const aggregate_error&) {
        first_failure_ = std::current_exception();
    } catch (...) {
        first_failure_ = all.front();
        for (std::size_t i = 1; i < all.size(); ++i) {
            detail::report_lost_failure(*awaited_by(), "another child of the scope", all[i]);
        }
    }
}

void task_scope::root_ended(detail::root_task& child, std::exception_ptr failure) noexcept {
    note_failure(child, failure);
    failure = nullptr; // whoever is told may be the last to hold it, on another thread
    bool last = false;
    {
        const std::lock_guard hold(lock_);
        if (child.unwound()) {
            if (child.asked_by_stop) torn_by_stop_ = true;
            if (for_caller_ && child.asked_by_group) torn_for_caller_ = true;
        }
        (child.group_previous ? child.group_previous->group_next : first_) = child.group_next;
        (child.group_next ? child.group_next->group_previous : last_) = child.group_previous;
        if (to_ask_ == &child) to_ask_ = child.group_previous;
        --count_;
        last = over() && !asking_;
    }
    if (last) all_ended();
}

void task_scope::body_ended(detail::context& body, std::exception_ptr failure) noexcept {
    note_failure(body, failure);
    const bool failed = failure != nullptr;
    failure = nullptr;
    if (body.unwound()) cancel(body.reason());
    if (failed) cancel(cancel_reason::sibling_failed); // unless it is cancelled already
    bool last = false;
    {
        const std::lock_guard hold(lock_);
        body_running_ = false;
        last = over() && !asking_;
    }
    if (last) all_ended();
}

} // namespace toadstone
