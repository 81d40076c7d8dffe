// Arriving at a barrier, completing a round, and breaking it.
#include <toadstone/sync/detail/barrier_core.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/thread_wait.hpp>
#include <toadstone/sync/barrier.hpp>

#include <string>

namespace toadstone::sync {
namespace {

std::string text_of(const detail::break_cause& why) {
    if (why.declared) return "barrier broken: somebody said so";
    const std::string who = toadstone::detail::describe_task(why.task_id, {});
    return "barrier broken: " + who + " left it (" + std::string(to_string(why.reason)) + ")";
}

} // namespace

barrier_broken::barrier_broken(const detail::break_cause& why)
    : std::runtime_error(text_of(why)), reason_(why.reason), task_id_(why.task_id) {}

} // namespace toadstone::sync

namespace toadstone::sync::detail {

using state = barrier_waiter::state;

void barrier_core::break_round(const break_cause& why, ended_waits& ended) noexcept {
    why_ = why;
    arrived_ = 0;
    while (auto* const first = static_cast<barrier_waiter*>(queue_.first())) {
        first->broken_ = why;
        ended.take(queue_, *first, state::refused);
    }
}

bool barrier_core::settle_or_queue(barrier_waiter& one) noexcept {
    ended_waits ended;
    const std::uint32_t word = lock_.lock();
    bool settled = true;
    if (word & broken) {
        one.broken_ = why_;
        one.state_ = state::refused;
    } else if (arrived_ + 1 < parties_) {
        ++arrived_;
        queue_.add(one);
        settled = false;
    } else {
        arrived_ = 0;
        ended.take_all(queue_, state::granted);
        one.last_ = true;
        one.state_ = state::granted;
    }
    lock_.unlock(word); // from here on a queued waiter may be woken and gone
    ended.wake();
    return settled;
}

bool barrier_core::withdraw(barrier_waiter& one, state how) noexcept {
    ended_waits ended;
    std::uint32_t word = lock_.lock();
    const bool queued = queue_.withdraw(one, how);
    if (queued) {
        one.broken_ = one.own_;
        word |= broken;
        break_round(one.own_, ended);
    }
    lock_.unlock(word);
    ended.wake();
    return queued;
}

void barrier_core::break_it(const break_cause& why) noexcept {
    ended_waits ended;
    const std::uint32_t word = lock_.lock();
    if (!(word & broken)) break_round(why, ended);
    lock_.unlock(word | broken);
    ended.wake();
}

// Those who wait belong to a round that will never be complete.
void barrier_core::reset() noexcept {
    ended_waits ended;
    const std::uint32_t word = lock_.lock();
    break_round({cancel_reason::requested, 0, true}, ended);
    lock_.unlock(word & ~broken);
    ended.wake();
}

std::size_t barrier_core::waiting() const noexcept {
    const std::uint32_t word = lock_.lock();
    const std::size_t count = arrived_;
    lock_.unlock(word);
    return count;
}

void barrier_leaf::fail() const {
    throw barrier_broken(broken_);
}

bool arrive_here(barrier_core& core) {
    class party : public barrier_waiter {
    public:
        [[nodiscard]] bool last() const noexcept { return last_; }
        [[nodiscard]] const break_cause& why() const noexcept { return broken_; }
    };
    toadstone::detail::thread_wait<party> one;
    one.wait_for(core, "blocking_arrive_and_wait()", "arrive_and_wait()");
    if (one.how() != state::granted) throw barrier_broken(one.why());
    return one.last();
}

} // namespace toadstone::sync::detail
