// The steps of a generator's frame: into a chain, out of it, and its end.
#include <toadstone/runtime/detail/generator.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/outcome.hpp>

namespace toadstone::detail {

generator_core& generator_promise_base::core() const noexcept {
    return *static_cast<generator_core*>(owner);
}

// With the frame: of one that is running, by a teardown of the chain that it stands in.
generator_promise_base::~generator_promise_base() {
    if (!owner || core().now_ != generator_core::stage::running) return;
    core().now_ = generator_core::stage::torn;
    if (const teardown_record* const record = current_slice().record) {
        core().reason_ = record->reason;
    }
}

void generator_promise_base::unhandled_exception() noexcept {
    std::exception_ptr error = std::current_exception();
    if (lost) {
        *lost = std::move(error);
        return;
    }
    explain_causes(error);
    *failure = std::move(error);
    threw = failure;
}

void generator_promise_base::at_its_end() noexcept {
    if (lost) return;
    if (core().child) core().now_ = generator_core::stage::ended; // else it is being torn down
    ctx->ended(*this);
}

void generator_promise_base::pause() noexcept {
    core().now_ = generator_core::stage::paused;
    ctx->call(*parent);
}

void generator_core::check_idle() const {
    TOADSTONE_ASSERT(now_ != stage::running,
                     "an async_generator is moved and destroyed while nobody awaits its next "
                     "value");
}

generator_core::generator_core(generator_core&& other) noexcept
    : now_(other.now_), reason_(other.reason_) {
    other.check_idle();
    child = std::exchange(other.child, nullptr);
    if (child && child->owner) child->owner = this;
    if (child) other.now_ = stage::ended;
}

void generator_core::swap(generator_core& other) noexcept {
    check_idle();
    other.check_idle();
    std::swap(child, other.child);
    std::swap(now_, other.now_);
    std::swap(reason_, other.reason_);
    if (child && child->owner) child->owner = this;
    if (other.child && other.child->owner) other.child->owner = &other;
}

generator_core::~generator_core() {
    check_idle();
    if (!child) return;
    if (now_ == stage::fresh) {
        std::exchange(child, nullptr)->handle().destroy(); // as a task that never started
    } else {
        destroy_paused();
    }
}

// In normal control flow its consumer has given it up: an abandonment. In a teardown, or as an
// exception passes, it goes for the same reason as the frame that it is in.
void generator_core::destroy_paused() noexcept {
    context* const here = current_context();
    if (level() > 0) {
        destroy_frame_here(here);
        return;
    }
    teardown_record record;
    record.what = teardown_record::kind::abandoned;
    record.reason = cancel_reason::abandoned;
    record.where = frame()->yielded_at;
    record.task = here;
    const slice_scope slice(here, &record);
    destroy_frame_here(here);
}

// As context::destroy(), but there may be no context: its consumer may have ended.
void generator_core::destroy_frame_here(context* here) noexcept {
    generator_promise_base& dying = *frame();
    child = nullptr;
    dying.ctx = here;
    std::exception_ptr lost;
    dying.lost = &lost;
    const auto report = [&](const char* what, const std::exception_ptr& error) {
        if (here) {
            report_lost_failure(*here, what, error);
        } else {
            report_unobserved(0, {}, ": a destructor failed", error);
        }
    };
    try {
        const auto handle = dying.handle();
        handle.destroy();
        if (!lost) return;
        report("a destructor", lost); // and the frame is at its end, and still there
        handle.destroy();
    } catch (...) {
        report("the destructor of a parameter", std::current_exception());
    }
}

void generator_core::enter(context& ctx, promise_base& consumer) noexcept {
    now_ = stage::running;
    child->ctx = &ctx;
    child->parent = &consumer;
    child->owner = this;
}

void generator_wait::go_into(promise_base& consumer) noexcept {
    if (ctx_->should_stop()) {
        ctx_->stop_here(consumer, where_);
        return;
    }
    generator_promise_base* const frame = from_.frame();
    if (!frame) { // for want of budget
        ctx_->suspend_at(consumer, this, where_);
        ctx_->home().push(*ctx_);
        return;
    }
    frame->failure = &failure_;
    from_.enter(*ctx_, consumer);
    if (ctx_->spend()) {
        ctx_->call(*frame);
    } else {
        ctx_->suspend_at(*frame, this, where_);
        ctx_->home().push(*ctx_);
    }
}

void generator_wait::check() {
    if (misused_) throw_misuse("an async_generator is asked for one value at a time");
    if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
    if (from_.now() == generator_core::stage::torn) throw task_cancelled(from_.reason());
}

} // namespace toadstone::detail
