// Running a context: the trampoline, the teardown, and carrying a request to the pending leaf.
#include <toadstone/runtime/detail/context.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/executor.hpp>

#include <utility>

namespace toadstone::detail {
std::uint64_t next_task_id() noexcept {
    static std::atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

context::context(context& parent) noexcept
    : home_(parent.home_), parent_(&parent), id_(parent.id_), name_(parent.name_) {}

context::~context() {
    TOADSTONE_ASSERT(!request_queued_, "a context outlives the requests made to it");
}

void context::adopt(promise_base& body, frame_owner& owner) noexcept {
    body.ctx = this;
    body.owner = &owner;
    owner.child = &body;
    frame_ = &body;
}

void context::start(promise_base& body, frame_owner& owner) noexcept {
    adopt(body, owner);
    home_->push(*this);
}

void context::run() noexcept {
    budget_ = home_->turn_budget();
    run_observer* const observer = home_->observer();
    if (observer) [[unlikely]]
        observer->before_run(*this);
    const slice_scope slice(this);
    if (pending_) {
        leaf* ended = std::exchange(pending_, nullptr);
        if (should_stop() && ended->taken()) unwinding_ = true;
    }
    if (unwinding_) {
        tear_down();
    } else {
        if (observer) [[unlikely]]
            observer->resuming(*this);
        resume_chain();
    }
}

// The trampoline: one native frame however deep the chain of coroutines is.
void context::resume_chain() noexcept {
    promise_base* frame = frame_;
    for (;;) {
        frame->handle().resume();
        if (promise_base* ended = std::exchange(finished_, nullptr)) {
            promise_base* parent = ended->parent;
            if (ended->threw) {
                // A guard in the frame's parameters has not seen the exception pass.
                teardown_record record;
                record.what = teardown_record::kind::exception;
                record.task = this;
                record.error = *ended->threw;
                destroy_frames(ended, parent, record);
            } else {
                ended->owner->child = nullptr;
                ended->handle().destroy();
            }
            if (!parent) {
                finish();
                return;
            }
            frame = parent;
        } else if (next_) {
            frame = std::exchange(next_, nullptr);
        } else {
            if (unwinding_) {
                tear_down();
            } else if (run_observer* const observer = home_->observer()) [[unlikely]] {
                observer->suspended(*this);
            }
            return;
        }
    }
}

void context::tear_down() noexcept {
    teardown_record record;
    record.what = teardown_record::kind::cancelled;
    record.reason = reason();
    record.where = where_;
    record.task = this;
    destroy_frames(std::exchange(frame_, nullptr), nullptr, record);
    unwound_ = true;
    finish();
}

void destroy_frames(promise_base* innermost, promise_base* stop,
                    const teardown_record& record) noexcept {
    const slice_scope slice(current_context(), &record);
    while (innermost != stop) {
        promise_base* const parent = innermost->parent;
        innermost->owner->child = nullptr;
        innermost->handle().destroy();
        innermost = parent;
    }
}

void frame_owner::abandon() noexcept {
    context* ctx = child->ctx;
    TOADSTONE_ASSERT(!ctx->suspended(), "a frame is destroyed only when nothing is in flight");
    teardown_record record;
    record.what = teardown_record::kind::abandoned;
    record.reason = cancel_reason::abandoned;
    record.where = ctx->where();
    record.task = ctx;
    destroy_frames(ctx->innermost(), child->parent, record);
}

bool context::flag_request(cancel_reason reason) noexcept {
    std::uint8_t none = 0;
    const auto mark = static_cast<std::uint8_t>(static_cast<unsigned>(reason) + 1);
    return request_.compare_exchange_strong(none, mark, std::memory_order_relaxed);
}

void context::request(cancel_reason reason, bool force) noexcept {
    const bool first = flag_request(reason);
    if (force && !forced_) {
        forced_ = true;
    } else if (!first) {
        return;
    }
    act_on_request();
}

void context::act_on_request() noexcept {
    home_->carry_out_request(*this);
}

void context::deliver_request() noexcept {
    request_queued_ = false;
    if (extras_) extras_->request(reason());
    if (!pending_ || !should_stop()) return;
    if (pending_->cancel(reason(), forced_)) {
        pending_ = nullptr;
        unwinding_ = true;
        home_->push(*this);
    }
}

void context::stop_and_schedule(cancel_reason reason) noexcept {
    flag_request(reason);
    pending_ = nullptr;
    unwinding_ = true;
    home_->push(*this);
}

cancel_state& context::extras() {
    if (!extras_) {
        extras_ = cancel_ref(new cancel_state);
        if (requested()) extras_->request(reason());
    }
    return *extras_;
}

cancel_ref context::shared_extras() {
    extras();
    return extras_;
}

} // namespace toadstone::detail
