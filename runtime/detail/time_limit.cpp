// Time limits: arming their timers by either clock, and saying what ran out of time.
#include <toadstone/runtime/detail/time_limit.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/limit_timer.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/with_timeout.hpp>

#include <algorithm>
#include <cstdint>
#include <optional>

namespace toadstone::detail {

void limit_timer::arm(executor& home) noexcept {
    using point = executor::clock::time_point;
    home_ = &home;
    switch (what_) {
    case time_limit::kind::length:
        home.arm(*this, deadline_after(home.now_or_later(), time_));
        return;
    case time_limit::kind::steady:
        home.arm(*this, point(time_ == longest_wait ? point::duration::max()
                                                    : point::duration(time_)));
        return;
    case time_limit::kind::calendar:
        // Both are bounded by longest_wait, so the difference is a number.
        const std::chrono::nanoseconds left =
            time_ - to_signed_nanoseconds(home.calendar_now().time_since_epoch());
        home.arm(*this, deadline_after(home.now_or_later(),
                                       std::min<std::chrono::nanoseconds>(left, look_again)));
        return;
    }
}

bool limit_timer::point_is_past(executor& home) const noexcept {
    const auto now = what_ == time_limit::kind::steady
                         ? home.now().time_since_epoch()
                         : to_signed_nanoseconds(home.calendar_now().time_since_epoch());
    return now >= time_;
}

std::chrono::steady_clock::time_point limit_timer::end(const executor& asking) const noexcept {
    using point = executor::clock::time_point;
    switch (what_) {
    case time_limit::kind::length:
        return time_.count() <= 0 ? asking.now() : due();
    case time_limit::kind::steady:
        return time_ == longest_wait ? point::max() : point(time_);
    case time_limit::kind::calendar:
        break; // the timer may be armed anew at any time, on another worker
    }
    const std::chrono::nanoseconds left =
        time_ - to_signed_nanoseconds(asking.calendar_now().time_since_epoch());
    return deadline_after(asking.now(), left);
}

// A context around this one waits at its boundary as long as anything runs inside.
std::optional<std::chrono::steady_clock::time_point> context::deadline() const noexcept {
    std::optional<std::chrono::steady_clock::time_point> first;
    for (const context* each = this; !each->shut_off_ && each->around();) {
        each = each->around();
        const limit_timer* const limit =
            each->pending_ ? each->pending_->limit_inside() : nullptr;
        if (!limit) continue;
        const auto end = limit->end(*home_);
        if (!first || end < *first) first = end;
    }
    return first;
}

void limit_timer::disarm(executor& home) noexcept {
    home.disarm(*this);
}

void limit_timer::expired() noexcept {
    if (what_ == time_limit::kind::calendar &&
        to_signed_nanoseconds(home_->calendar_now().time_since_epoch()) < time_) {
        arm(*home_);
    } else {
        time_up();
    }
}

namespace {

// At most three decimals, and no zeros at the end.
std::string decimal(std::int64_t thousandths) {
    std::string text = std::to_string(thousandths / 1000);
    std::string rest = std::to_string(1000 + thousandths % 1000).substr(1);
    while (!rest.empty() && rest.back() == '0') rest.pop_back();
    return rest.empty() ? text : text + "." + rest;
}

} // namespace

std::string time_limit::to_string() const {
    if (kind_ == kind::steady) return "its deadline";
    if (kind_ == kind::calendar) return "its deadline by the calendar";
    if (time_ == longest_wait) return "the longest time";
    const std::int64_t count = time_.count();
    if (count >= 1'000'000'000) return decimal(count / 1'000'000) + " s";
    if (count >= 1'000'000) return decimal(count / 1'000) + " ms";
    if (count >= 1'000) return decimal(count) + " us";
    return std::to_string(count) + " ns";
}

void throw_timeout(const time_limit& limit, std::source_location where,
                   std::source_location pending) {
    const bool point = limit.what() != time_limit::kind::length;
    std::string text = point ? "not finished by " : "not finished within ";
    text += limit.to_string();
    const std::string set_at = describe_place(where);
    const std::string stopped_at = pending.line() ? describe_place(pending) : set_at;
    text += ": the co_await at " + stopped_at;
    if (stopped_at != set_at) text += ", under the limit set at " + set_at;
    throw timeout_error(text);
}

} // namespace toadstone::detail
