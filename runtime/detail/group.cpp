// Groups of child contexts: counting the ends, telling the others, when_all and when_any.
#include <toadstone/runtime/detail/group.hpp>

#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/finally.hpp>
#include <toadstone/runtime/when_all.hpp>
#include <toadstone/runtime/when_any.hpp>
#include <toadstone/runtime/when_any_success.hpp>

#include <stdexcept>

namespace toadstone::detail {

void group_boundary::add(group_member& member) noexcept {
    (last_ ? last_->next_ : first_) = &member;
    last_ = &member;
    member.index_ = count_++;
    ++running_;
    inherit_request(member);
}

void group_boundary::begun() noexcept {
    if (running_ == 0) ctx_->home().push(*complete());
}

bool group_boundary::cancel(cancel_reason reason, bool force) noexcept {
    request_others(nullptr, reason, force);
    return false;
}

void group_boundary::request_others(const context* but, cancel_reason reason,
                                    bool force) noexcept {
    for (group_member* each = first_; each; each = each->next_) {
        if (each != but && !each->ended_) each->request(reason, force);
    }
}

std::size_t group_boundary::index_of(const context& member) noexcept {
    return static_cast<const group_member&>(member).index_;
}

context* group_boundary::child_ended(context& child) noexcept {
    auto& member = static_cast<group_member&>(child);
    member.ended_ = true;
    one_ended(child, child.unwound() ? nullptr : member.failure());
    if (--running_ > 0) return nullptr;
    drop_undelivered();
    return nothing_to_deliver_ ? pass_on(stop_reason_) : complete();
}

// A guard among them is judged as if its joiner had dropped it: clean where somebody else has
// won; where the joiner is stopped, or given a failure, its section may be half done.
void group_boundary::drop_undelivered() noexcept {
    const std::exception_ptr failure = delivered_failure();
    for (group_member* each = first_; each; each = each->next_) {
        if (delivers(*each)) continue;
        if (failure || nothing_to_deliver_) {
            teardown_record end = end_without_result(*each, failure);
            end.reason = stop_reason_;
            end.where = where_; // of the co_await that gets no result
            each->drop_result(end);
        } else {
            each->drop_result();
        }
    }
}

void all_of::one_ended(context& child, const std::exception_ptr& error) noexcept {
    if (error) {
        if (!first_failure_) {
            first_failure_ = error;
            nothing_to_deliver_ = false;
            request_others(&child, cancel_reason::sibling_failed);
        } else {
            report_lost_failure(child, "another child of when_all", error);
        }
    } else if (child.unwound() && !first_failure_ && !nothing_to_deliver_) {
        nothing_to_deliver_ = true;
        stop_reason_ = child.reason();
        request_others(&child, cancel_reason::sibling_failed);
    }
}

bool all_of::delivers(const context&) const noexcept {
    return !first_failure_ && !nothing_to_deliver_;
}

std::exception_ptr all_of::delivered_failure() const noexcept {
    return first_failure_;
}

std::exception_ptr any_of::delivered_failure() const noexcept {
    return winner_failure_;
}

bool any_of::delivers(const context& member) const noexcept {
    return decided_ && !nothing_to_deliver_ && index_of(member) == winner_;
}

void all_of::check() const {
    check_stopped();
    if (first_failure_) std::rethrow_exception(first_failure_);
}

void any_of::one_ended(context& child, const std::exception_ptr& error) noexcept {
    if (decided_) {
        if (error) report_lost_failure(child, "the loser of a race", error);
        return;
    }
    if (child.unwound()) {
        // Cancelled by itself or with the caller: it has nothing to win with.
        if (!nothing_to_deliver_) stop_reason_ = child.reason();
        nothing_to_deliver_ = true;
        return;
    }
    decided_ = true;
    nothing_to_deliver_ = false;
    winner_failure_ = error;
    winner_ = index_of(child);
    request_others(&child, cancel_reason::lost_race);
}

any_success_of::any_success_of(context& ctx, std::source_location where, std::size_t branches)
    : group_boundary(ctx, where) {
    failures_.reserve(branches);
}

std::size_t any_success_of::winner() {
    check_stopped();
    if (!decided_) throw_together(std::move(failures_));
    return winner_;
}

bool any_success_of::delivers(const context& member) const noexcept {
    return decided_ && index_of(member) == winner_;
}

void any_success_of::one_ended(context& child, const std::exception_ptr& error) noexcept {
    if (decided_) return;
    if (child.unwound() && owner().should_stop()) {
        stop(child);
    } else if (child.unwound()) {
        try {
            throw task_cancelled(child.reason());
        } catch (...) {
            failures_.push_back(std::current_exception());
        }
    } else if (error && nothing_to_deliver_) {
        report_lost_failure(child, "a branch of when_any_success", error);
    } else if (error) {
        failures_.push_back(error);
    } else {
        decided_ = true;
        nothing_to_deliver_ = false;
        winner_ = index_of(child);
        request_others(&child, cancel_reason::lost_race);
    }
}

// Nobody will be given what has failed before, unless a branch succeeds all the same.
void any_success_of::stop(context& child) noexcept {
    if (!nothing_to_deliver_) stop_reason_ = child.reason();
    nothing_to_deliver_ = true;
    for (const auto& each : failures_) {
        report_lost_failure(child, "a branch of when_any_success", each);
    }
    failures_.clear();
}

void throw_empty_race() {
    throw std::invalid_argument("when_any() of no tasks would wait for ever");
}

} // namespace toadstone::detail
