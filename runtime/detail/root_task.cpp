// The life of a spawned task: launch, requests from anywhere, the end and who is told of it.
#include <toadstone/runtime/detail/root_task.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>

#include <cstring>
#include <utility>

namespace toadstone::detail {

root_waiter* root_task::ended_mark() noexcept {
    class mark final : public root_waiter {
        void root_ended() noexcept override {}
    };
    static mark the;
    return &the;
}

root_task::~root_task() {
    if (owned_name_) free_frame(owned_name_, std::strlen(owned_name_) + 1);
}

// On the thread that spawns; the home worker lists the task and queues its first run.
void root_task::launch(promise_base& body, const cancellation_token& token,
                       root_group* group) noexcept {
    group_ = group;
    if (group && group->awaited_by()) stand_inside(*group->awaited_by());
    if (token.can_be_cancelled()) token_ = token.state();
    adopt(body, body_);
    home().count_launch();
    if (home().is_current()) {
        begin();
    } else {
        home().post(*this);
    }
}

root_task::root_task(executor& home, std::string_view name) : context(home) {
    if (!name.empty()) {
        owned_name_ = static_cast<char*>(allocate_frame(name.size() + 1));
        std::memcpy(owned_name_, name.data(), name.size());
        owned_name_[name.size()] = '\0';
        for (char* each = owned_name_; each != owned_name_ + name.size(); ++each) {
            if (static_cast<unsigned char>(*each) < ' ') *each = ' '; // one line in every log
        }
    }
    set_identity(next_task_id(), owned_name_);
}

void root_task::begin() noexcept {
    home().add_root(*this);
    home().push(*this);
    if (token_ && !token_->listen(*this)) request(token_->reason());
    if (requested()) act_on_request();
}

void root_task::run_posted() noexcept {
    begin();
}

void root_task::request_post::run_posted() noexcept {
    if (!task_.ended()) task_.act_on_request();
    task_.drop_reference();
}

void root_task::request_from_anywhere(cancel_reason reason) noexcept {
    cancel_ref state;
    // finish() waits for this count, so that the worker is still there for the post below.
    requesters_.fetch_add(1, std::memory_order_seq_cst);
    if (!ended()) {
        if (flag_request(reason)) {
            add_reference();
            home().post(request_post_);
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

void root_task::cancelled(cancel_reason reason) noexcept {
    request_from_anywhere(reason);
}

context* root_task::finish() noexcept {
    if (token_) token_->leave(*this);
    home().remove_root(*this);
    tell_token(); // a request that came too late for a cancellation point
    // The exception is whoever's who joins: nothing here may hold it when he is told.
    if (group_) group_->root_ended(*this, unwound() ? nullptr : failure());
    root_waiter* waiter = waiter_.exchange(ended_mark(), std::memory_order_seq_cst);
    await_requesters();
    executor& here = home();
    if (waiter) waiter->root_ended();
    // What encloses the task may be gone: the destructor of its result finds nobody here.
    end_slice(this_slice);
    drop_reference();
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
    return nobody == ended_mark() ? wait_result::ended : wait_result::refused;
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

void root_task::drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    if (!observed_ && !group_ && !unwound()) { // a group rethrows it
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
