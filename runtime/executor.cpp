// The executor's queues: ready contexts, the inbox, requests in progress.
#include <toadstone/runtime/executor.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/root_task.hpp>

#include <utility>

namespace toadstone::detail {
namespace {

thread_local constinit per_thread<executor*> executor_here = nullptr;

} // namespace

executor::~executor() {
    TOADSTONE_ASSERT(!first_ && inbox_empty(), "an executor ends with nothing left to run");
}

executor* executor::current() noexcept {
    return executor_here;
}

executor* executor::bind_thread(executor* to) noexcept {
    return std::exchange(executor_here, to);
}

void executor::schedule(context& ready) noexcept {
    if (is_current()) {
        push(ready);
        return;
    }
    waker* const waker = waker_; // *this may be gone once the context is in the list
    context* head = remote_ready_.load(std::memory_order_relaxed);
    do {
        ready.queue_link.next = head;
    } while (!remote_ready_.compare_exchange_weak(head, &ready, std::memory_order_seq_cst,
                                                  std::memory_order_relaxed));
    if (!head && waker->asleep.load(std::memory_order_seq_cst)) waker->notify();
}

void executor::post(posted& work) noexcept {
    waker* const waker = waker_;
    work.waiting_.store(true, std::memory_order_relaxed);
    posted* head = inbox_.load(std::memory_order_relaxed);
    do {
        work.next_ = head;
    } while (!inbox_.compare_exchange_weak(head, &work, std::memory_order_seq_cst,
                                           std::memory_order_relaxed));
    if (!head && waker->asleep.load(std::memory_order_seq_cst)) waker->notify();
}

void executor::take_what_came() noexcept {
    if (remote_ready_.load(std::memory_order_relaxed)) {
        context* newest = remote_ready_.exchange(nullptr, std::memory_order_acquire);
        context* in_order = nullptr;
        while (newest) {
            context* const next = newest->queue_link.next;
            newest->queue_link.next = in_order;
            in_order = newest;
            newest = next;
        }
        while (in_order) {
            context* const next = in_order->queue_link.next;
            push(*in_order);
            in_order = next;
        }
    }
    if (inbox_.load(std::memory_order_relaxed)) {
        posted* newest = inbox_.exchange(nullptr, std::memory_order_acquire);
        posted* in_order = nullptr;
        while (newest) {
            posted* const next = newest->next_;
            newest->next_ = in_order;
            in_order = newest;
            newest = next;
        }
        while (in_order) {
            posted* const work = in_order;
            in_order = work->next_;
            work->waiting_.store(false, std::memory_order_relaxed);
            work->run_posted();
        }
    }
}

bool executor::inbox_empty() const noexcept {
    return inbox_.load(std::memory_order_seq_cst) == nullptr &&
           remote_ready_.load(std::memory_order_seq_cst) == nullptr;
}

bool executor::may_sleep() noexcept {
    waker_->asleep.store(true, std::memory_order_seq_cst);
    return inbox_empty();
}

void executor::carry_out_request(context& ctx) noexcept {
    if (ctx.request_queued_) return;
    ctx.request_queued_ = true;
    ctx.request_link.next = nullptr;
    (requests_last_ ? requests_last_->request_link.next : requests_first_) = &ctx;
    requests_last_ = &ctx;
    if (carrying_out_) return;
    carrying_out_ = true;
    while (requests_first_) {
        context* const next = requests_first_;
        requests_first_ = next->request_link.next;
        if (!requests_first_) requests_last_ = nullptr;
        next->deliver_request();
    }
    carrying_out_ = false;
}

void executor::count_launch(bool here) noexcept {
    if (here) {
        launched_here_.store(launched_here_.load(std::memory_order_relaxed) + 1,
                             std::memory_order_release);
    } else {
        launched_elsewhere_.fetch_add(1, std::memory_order_release);
    }
}

void executor::root_gone() noexcept {
    ended_.store(ended_.load(std::memory_order_relaxed) + 1, std::memory_order_seq_cst);
}

void executor::stop_roots(cancel_reason reason, bool force) noexcept {
    stopping_ = true;
    stopping_by_force_ = force;
    stop_reason_ = reason;
    announce_stop(reason, force);
    for (root_task* each = roots_; each; each = each->next_) {
        if (each->request(reason, force)) each->asked_by_stop = true;
    }
}

void executor::announce_stop(cancel_reason reason, bool force) noexcept {
    stop_state_->request(reason);
    if (force) force_state_->request(reason);
}

void executor::add_root(root_task& task) noexcept {
    roots_gate_.begin_change();
    task.next_ = roots_;
    task.previous_ = nullptr;
    if (roots_) roots_->previous_ = &task;
    roots_ = &task;
    roots_gate_.end_change();
    if (stopping_ && task.request(stop_reason_, stopping_by_force_)) task.asked_by_stop = true;
}

void executor::remove_root(root_task& task) noexcept {
    roots_gate_.begin_change();
    (task.previous_ ? task.previous_->next_ : roots_) = task.next_;
    if (task.next_) task.next_->previous_ = task.previous_;
    roots_gate_.end_change();
}

} // namespace toadstone::detail
