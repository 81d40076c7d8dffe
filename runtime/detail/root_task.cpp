// The life of a spawned task: launch, requests from anywhere, the end and who is told of it.
#include <toadstone/runtime/detail/root_task.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>

#include <memory>
#include <utility>

namespace toadstone::detail {

constinit ended_root ended_mark;

root_extras* root_extras::make(root_task& task, const root_options& options) {
    if (options.name.empty() && !options.token) return nullptr;
    void* const block = allocate_frame(sizeof(root_extras) + options.name.size());
    return ::new (block) root_extras(task, options);
}

root_extras::root_extras(root_task& task, const root_options& options) noexcept
    : task_(task), token_(options.token), name_size_(options.name.size()) {
    if (token_) token_->add_reference();
    char* to = reinterpret_cast<char*>(this + 1);
    for (const char each : options.name) {
        const bool control = static_cast<unsigned char>(each) < ' '; // one line in every log
        std::construct_at(to++, control ? ' ' : each);
    }
}

void root_extras::free() noexcept {
    const std::size_t size = sizeof *this + name_size_;
    this->~root_extras();
    free_frame(this, size);
}

void root_extras::cancelled(cancel_reason reason) noexcept {
    task_.request_from_anywhere(reason);
}

root_task::root_task(executor& home, const root_options& options)
    : root_task(home, home.is_current(), options) {}

root_task::root_task(executor& home, bool here, const root_options& options)
    : context(home), arrived_(here), counted_here_(here ? 1 : 0),
      references_(here ? home_bias : home_bias + 1), rare_(root_extras::make(*this, options)) {}

std::string_view root_task::own_name() const noexcept {
    return rare_ ? rare_->name() : std::string_view();
}

// On the thread that spawns; the home worker lists the task and queues its first run.
void root_task::launch(promise_base& body, root_group* group) noexcept {
    join_group(group);
    adopt(body, body_);
    const bool here = arrived_.load(std::memory_order_relaxed);
    home().count_launch(here);
    if (here) {
        begin();
    } else {
        home().post(*this);
    }
}

void root_task::begin() noexcept {
    home().add_root(*this);
    home().push(*this);
    if (rare_ && !rare_->listen()) request(rare_->reason());
    if (requested_by_anybody()) {
        bump_epoch(); // who has flagged the request may not have come to it
        act_on_request();
    }
}

void root_task::run_posted() noexcept {
    if (!arrived_.load(std::memory_order_relaxed)) {
        arrived_.store(true, std::memory_order_seq_cst);
        begin();
    } else {
        if (!ended()) act_on_request();
        drop_reference();
    }
}

void root_task::request_from_anywhere(cancel_reason reason) noexcept {
    if (at_home()) {
        request_from_home(reason);
        return;
    }
    cancel_ref state;
    // finish() waits for this count, so that the worker is still there for the post below.
    requesters_.fetch_add(1, std::memory_order_seq_cst);
    if (!ended()) {
        if (flag_request(reason) && arrived_.load(std::memory_order_seq_cst)) {
            references_.fetch_add(1, std::memory_order_relaxed);
            home().post(*this);
        }
        // Not by the first to ask alone, who may not have come to it when this returns.
        reason = this->reason();
        state = state_to_tell();
    }
    // Released, so that the post does not come after it: the worker may go at once.
    requesters_.fetch_sub(1, std::memory_order_release);
    // Here and now, because the worker may be busy; after the count, because callbacks may take
    // their time.
    if (state) state->request(reason);
}

// Nothing else can end the task meanwhile, so nothing is counted and nothing posted.
void root_task::request_from_home(cancel_reason reason) noexcept {
    if (ended()) return;
    request(reason);
    // The request may have been queued behind another, or another thread's be on its way.
    if (const cancel_ref state = state_to_tell()) state->request(this->reason());
}

context* root_task::finish() noexcept {
    if (rare_) rare_->leave();
    home().remove_root(*this);
    tell_token(); // a request that came too late for a cancellation point
    // The exception is whoever's who joins: nothing here may hold it when he is told.
    if (root_group* const in = group()) in->root_ended(*this, unwound() ? nullptr : failure());
    root_waiter* waiter = waiter_.exchange(&ended_mark, std::memory_order_seq_cst);
    await_requesters();
    executor& here = home();
    if (waiter) waiter->root_ended();
    // What encloses the task may be gone: the destructor of its result finds nobody here.
    end_slice(this_slice);
    unpin();
    here.root_gone();
    return nullptr;
}

void root_task::await_requesters() const noexcept {
    while (requesters_.load(std::memory_order_seq_cst) != 0) {
        // A few instructions of another thread, unless its processor was taken away.
        yield_thread();
    }
}

root_task::wait_result root_task::wait(root_waiter& waiter) noexcept {
    root_waiter* nobody = nullptr;
    if (waiter_.compare_exchange_strong(nobody, &waiter, std::memory_order_acq_rel)) {
        return wait_result::waits;
    }
    return nobody == &ended_mark ? wait_result::ended : wait_result::refused;
}

bool root_task::stop_waiting(root_waiter& waiter) noexcept {
    // Relaxed: taken back, there is nobody to be told of anything; else the telling orders.
    root_waiter* expected = &waiter;
    return waiter_.compare_exchange_strong(expected, nullptr, std::memory_order_relaxed);
}

void root_task::note_lost_joiner() noexcept {
    if (level() == 0) return;
    joiner_lost_ = true;
    if (const teardown_record* record = current_slice().record) joiner_reason_ = record->reason;
}

bool root_task::at_home() const noexcept {
    return executor::current() == &home();
}

bool root_task::counts_here() const noexcept {
    return at_home() && pinned_ != 0;
}

void root_task::add_reference() noexcept {
    if (counts_here()) {
        counted_here_ = counted_here_ + 1;
    } else {
        references_.fetch_add(1, std::memory_order_relaxed);
    }
}

void root_task::drop_reference() noexcept {
    if (counts_here()) {
        counted_here_ = counted_here_ - 1;
    } else {
        drop_shared();
    }
}

void root_task::begin_join(const executor& worker) noexcept {
    if (&worker == &home() && pinned_ != 0) {
        pinned_ = pinned_ + 1;
    } else {
        references_.fetch_add(1, std::memory_order_relaxed);
    }
}

void root_task::end_join(const executor& worker) noexcept {
    if (&worker == &home() && pinned_ != 0) {
        unpin();
    } else {
        drop_shared();
    }
}

// What is read may be old, but not if it adds up to nothing: each reference that the home
// worker has dropped, or has left to others, was seen to be made. When there was none, nobody
// could make another.
void root_task::unpin() noexcept {
    pinned_ = pinned_ - 1;
    if (pinned_ != 0) return;
    const std::uint32_t here = counted_here_ - home_bias;
    if (references_.load(std::memory_order_acquire) + here == 0 ||
        references_.fetch_add(here, std::memory_order_acq_rel) + here == 0) {
        end_of_references();
    }
}

// (A) with (R): whoever frees the task sees what every other holder did to it. Who has the only
// reference has nobody to race with.
void root_task::drop_shared() noexcept {
    if (references_.load(std::memory_order_acquire) == 1 ||
        references_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        end_of_references();
    }
}

void root_task::end_of_references() noexcept {
    if (!observed_ && !group() && !unwound()) { // a group rethrows it
        if (const std::exception_ptr error = failure()) {
            report_unobserved(id(), name(), " failed and nobody joined it", error);
        }
    }
    if (joiner_lost_ && level() == 0) {
        // The task has ended after its joiner: the verdict is the same as before.
        teardown_record end = end_without_result(*this, nullptr);
        end.what = teardown_record::kind::abandoned;
        end.reason = joiner_reason_;
        const slice_scope torn(current_context(), &end);
        delete this;
        return;
    }
    delete this;
}

} // namespace toadstone::detail
