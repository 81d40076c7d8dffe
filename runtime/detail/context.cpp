// Running a context: the trampoline, the teardown, and carrying a request to the pending leaf.
#include <toadstone/runtime/detail/context.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/detail/root_task.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/outcome.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <utility>

namespace toadstone::detail {
namespace {

thread_local constinit per_thread<const context*> waits_here = nullptr;

} // namespace

thread_waited_for::thread_waited_for(const context& by) noexcept
    : outer_(std::exchange(waits_here, &by)) {}
thread_waited_for::~thread_waited_for() {
    waits_here = outer_;
}
const context* thread_waited_for::by() noexcept {
    return waits_here;
}

std::uint64_t next_task_id() noexcept {
    static constinit atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

context::context(context& parent) noexcept
    : home_(parent.home_), root_(parent.root_), parent_(&parent), serial_(next_serial()),
      seen_epoch_(parent.seen_epoch_) {}

std::uint64_t next_serial() noexcept {
    constexpr std::uint64_t batch = 4096;
    static constinit atomic<std::uint64_t> last{1};
    static thread_local constinit std::uint64_t next = 0;
    if (next % batch == 0) next = last.fetch_add(1, std::memory_order_relaxed) * batch;
    return 2 * next++ + 1;
}

std::uint64_t thread_serial() noexcept {
    static thread_local const std::uint64_t thread = next_serial();
    return thread;
}

std::uint64_t current_serial() noexcept {
    if (const context* task = current_context()) return task->serial();
    return thread_serial();
}

// What stands outside waits for this context, so that it stays, and changes nothing, meanwhile.
context* context::around() const noexcept {
    if (!is_root()) return parent_;
    return group_ ? group_->awaited_by() : nullptr;
}

const void* context::local(const void* key) const noexcept {
    for (const context* each = around(); each; each = each->around()) {
        const leaf* const boundary = each->pending_;
        if (const void* const value = boundary ? boundary->local_inside(key) : nullptr)
            return value;
    }
    return nullptr;
}

const void* find_local(const void* key) noexcept {
    const context* const task = current_context();
    return task ? task->local(key) : nullptr;
}

const context* context::waiting(std::uint64_t serial) const noexcept {
    const context* each = this;
    while (each && each->serial_ != serial) each = each->around();
    return each;
}

bool context::waited_for_by(std::uint64_t serial, std::uint64_t mask) const noexcept {
    for (const context* each = this; each; each = each->around()) {
        if ((each->serial_ & mask) == serial) return true;
        const root_group* const scope = each->group();
        if (scope && scope->waiting_thread() != 0 && (scope->waiting_thread() & mask) == serial)
            return true;
    }
    return false;
}

const context* context::holder_of(const void* object) const noexcept {
    for (const context* each = this; each; each = each->around()) {
        const extent own = each->record();
        if (own.holds(object) || each->memory_holds(object)) return each;
        for (promise_base* frame = each->frame_; frame; frame = frame->parent) {
            const void* const begin = frame->handle().address();
            if (!own.holds(begin) && frame_holds(begin, object)) return each;
        }
    }
    return nullptr;
}

bool context::memory_holds(const void* object) const noexcept {
    const task_memory* each = memory_;
    while (each && !each->holds(object)) each = each->older;
    return each != nullptr;
}

context& context::holder_or_self(const void* object) noexcept {
    TOADSTONE_ASSERT(suspended(), "the frames of a task are looked at while it is suspended");
    if (!around()) return *this;
    const context* const holder = holder_of(object);
    return holder ? const_cast<context&>(*holder) : *this; // it waits for this one
}

// A guard may outlive the context, and the worker: whoever releases it must find neither.
void context::let_go_of_extras() noexcept {
    cancel_state& own = *state();
    own.set_owner(nullptr);
    own.stop_following();
    own.drop_adopted();
    own.drop_reference();
}

void context::tell_extras() noexcept {
    cancel_state& own = *state();
    if (requested()) own.request(reason());
    own.set_owner(nullptr);
    own.stop_following();
    own.disown_adopted();
}

context::~context() {
    if (state()) let_go_of_extras();
    TOADSTONE_ASSERT_OF(!request_queued_, "a context outlives the requests made to it",
                        describe_task(id(), name()));
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

template <bool Observed>
inline context* context::run(thread_slice& slice, run_observer* observer) noexcept {
    if constexpr (Observed) observer->before_run(*this);
    put_into_slice(slice, *this);
    leaf* const ended = std::exchange(pending_, nullptr);
    // What is being unwound has been requested, or passes somebody else's request on.
    if (may_have_to_stop()) [[unlikely]] {
        if (ended && stops_at(*ended)) unwinding_ = true;
        if (unwinding_) {
            context* const then = tear_down();
            end_slice(slice); // *this may be gone
            return then;
        }
    }
    if constexpr (Observed) observer->resuming(*this);
    context* const then = resume_chain<Observed>(observer);
    end_slice(slice);
    return then;
}

template <bool Observed>
inline unsigned executor::run_list(unsigned most) noexcept {
    thread_slice& slice = this_slice;
    const context* const last = last_;
    unsigned left = most;
    for (;;) {
        context* next = first_;
        const bool is_last = next == last;
        first_ = next->queue_link.next;
        next->budget_ = turn_budget();
        for (;;) {
            --left;
            running_.store(next->id(), std::memory_order_relaxed);
            context* const then = next->run<Observed>(slice, observer_);
            if (!then) [[likely]]
                break;
            // As a leaf that completes at once: no chain of ends keeps the others waiting.
            then->budget_ = next->budget_ - 1;
            if (then->budget_ <= 0 || left == 0) {
                push(*then);
                break;
            }
            next = then;
        }
        if (is_last) break;
        if (left == 0) break;
    }
    running_.store(0, std::memory_order_relaxed);
    return most - left;
}

unsigned executor::run_ready(unsigned most) noexcept {
    if (!first_ || most == 0) return 0;
    return observer_ ? run_list<true>(most) : run_list<false>(most);
}

// A local whose destructor throws sends a coroutine that is being destroyed through
// unhandled_exception() to its final suspension: destroy() returns, and the frame and its
// parameters are still there. What a parameter's destructor throws comes out of destroy(),
// which neither compiler gets right: g++ 12 leaves the rest undestroyed, clang 19 looks into
// the frame that it has freed. It is told, and the documentation forbids it.
inline void context::destroy(promise_base& frame) noexcept {
    try {
        frame.handle().destroy();
        if (next_ != 0) [[unlikely]]
            destroy_rest(frame);
    } catch (...) {
        report_lost_failure(*this, "the destructor of a parameter", std::current_exception());
    }
}

void context::destroy_rest(promise_base& frame) {
    next_ = 0;
    report_lost_failure(*this, "a destructor", std::exchange(*frame.threw, nullptr));
    frame.handle().destroy();
}

namespace {

bool says_stopped(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const stopped_by_request&) {
        return true;
    } catch (...) {
        return false;
    }
}

} // namespace

void context::end_failed_frame(promise_base& ended) noexcept {
    // The outermost, of a context that was asked to stop and has left by throw_if_cancelled():
    // a cancellation like any other.
    if (!ended.parent && requested() && says_stopped(*ended.threw)) unwound_ = true;
    // A guard in the frame's parameters has not seen the exception pass.
    teardown_record record;
    record.what = teardown_record::kind::exception;
    record.task = this;
    record.error = *ended.threw;
    if (unwound_) *ended.threw = nullptr;
    destroy_frames(&ended, ended.parent, record);
}

inline void context::end_frame(promise_base& ended) noexcept {
    if (ended.threw) [[unlikely]] {
        end_failed_frame(ended);
    } else {
        ended.owner->child = nullptr;
        destroy(ended);
    }
}

// The trampoline: one native frame however deep the chain of coroutines is.
template <bool Observed>
inline context* context::resume_chain(run_observer* observer) noexcept {
    promise_base* frame = frame_;
    for (;;) {
        frame->handle().resume();
        const std::uintptr_t step = next_;
        if (step == 0) {
            if (!pending_) [[unlikely]] {
                if (!unwinding_) die_of_unknown_suspension();
                return tear_down();
            }
            if constexpr (Observed) observer->suspended(*this);
            return nullptr;
        }
        next_ = 0;
        if ((step & at_its_end) != 0) {
            promise_base& ended = *reinterpret_cast<promise_base*>(step - at_its_end);
            frame = ended.parent;
            end_frame(ended);
            if (!frame) return finish();
        } else {
            frame = reinterpret_cast<promise_base*>(step);
            if (frame->ctx != this) {
                if constexpr (Observed) observer->suspended(*this);
                return frame->ctx;
            }
        }
    }
}

// Nothing would ever resume it: better to say so than to be silent for ever.
void context::die_of_unknown_suspension() noexcept {
    contract_violated(
        "a coroutine has suspended without the library's knowledge and would never "
        "go on: g++ 12 compiles some forms of co_await wrongly, such as a "
        "condition in a coroutine whose outermost scope declares nothing; "
        "tools/lint finds them",
        __FILE__, __LINE__);
}

context* context::tear_down() noexcept {
    if (cancel_state* const own = state()) own->request(reason()); // if not told yet
    teardown_record record;
    record.what = teardown_record::kind::cancelled;
    record.reason = reason();
    record.where = where();
    record.task = this;
    destroy_frames(std::exchange(frame_, nullptr), nullptr, record);
    unwound_ = true;
    return finish();
}

void destroy_frames(promise_base* innermost, promise_base* stop,
                    const teardown_record& record) noexcept {
    const slice_scope slice(current_context(), &record);
    while (innermost != stop) {
        promise_base* const parent = innermost->parent;
        innermost->owner->child = nullptr;
        destroy_frame(*innermost);
        innermost = parent;
    }
}

void report_lost_failure(const context& task, const char* what,
                         const std::exception_ptr& error) noexcept {
    char text[80]; // `what` is a literal of a few words
    const int length = std::snprintf(text, sizeof text, ": %s failed", what);
    report_unobserved(task.id(), task.name(),
                      {text, std::min(static_cast<std::size_t>(length), sizeof text - 1)},
                      error);
}

void destroy_frame(promise_base& frame) noexcept {
    frame.ctx->destroy(frame);
}

teardown_record end_without_result(const context& who,
                                   const std::exception_ptr& error) noexcept {
    teardown_record end;
    end.what = error ? teardown_record::kind::exception : teardown_record::kind::cancelled;
    if (who.requested()) end.reason = who.reason();
    end.where = who.where();
    end.task = &who;
    end.error = error;
    return end;
}

void frame_owner::abandon() noexcept {
    context* ctx = child->ctx;
    TOADSTONE_ASSERT_OF(!ctx->suspended(),
                        "a frame is destroyed only when nothing is in flight",
                        describe_task(ctx->id(), ctx->name()));
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
    const bool first = request_.compare_exchange_strong(none, mark, std::memory_order_seq_cst);
    // Not by the first to ask alone, who may not have come to it when this returns.
    bump_epoch();
    return first;
}

bool context::request(cancel_reason reason, bool force) noexcept {
    const bool first = flag_request(reason);
    const bool first_by_force = force && !forced_;
    if (first_by_force) forced_ = true;
    if (first || first_by_force) act_on_request();
    return first;
}

bool context::has_to_stop() noexcept {
    const std::uint32_t epoch = root_->epoch_.load(std::memory_order_acquire); // (A) the flags
    if (!requested() && !requested_outside()) {
        if (!ask_leaf_) seen_epoch_ = epoch;
        return false;
    }
    return forced_ || !deferred();
}

bool context::stops_at(leaf& ended) noexcept {
    ask_leaf_ = false;
    if (has_to_stop()) return ended.taken();
    cancel_reason why = cancel_reason::requested;
    const bool defers = deferred(); // before the leaf gives a guard its lock back
    if (!ended.stopped(why) || defers) return false;
    flag_request(why);
    return true;
}

bool context::requested_outside() noexcept {
    for (context* each = this; !each->shut_off_ && !each->is_root();) {
        each = each->parent_;
        if (each->flaggable_ && each->requested()) return carry_inwards(*each);
    }
    return false;
}

// Through the boundary that the flagged one waits for, so that all that stands inside learns of
// it, with the same reason, before anything there ends.
bool context::carry_inwards(context& flagged) noexcept {
    flagged.act_on_request();
    return requested();
}

void context::act_on_request() noexcept {
    home_->carry_out_request(*this);
}

void context::deliver_request() noexcept {
    request_queued_ = false;
    if (const cancel_ref own = state_to_tell()) own->request(reason());
    if (!pending_ || !should_stop()) return;
    if (pending_->cancel(reason(), forced_)) {
        pending_ = nullptr;
        unwinding_ = true;
        home_->push(*this);
    }
}

void context::stop_for(cancel_reason reason) noexcept {
    flag_request(reason);
    pending_ = nullptr;
    unwinding_ = true;
}

cancel_state& context::extras() {
    if (cancel_state* const own = state()) return *own;
    auto* const made = new cancel_state;
    made->set_owner(this);
    cancel_state* already = nullptr;
    if (!extras_.compare_exchange_strong(already, made, std::memory_order_seq_cst,
                                         std::memory_order_acquire)) {
        made->drop_reference(); // a task on another worker, inside, was first
        return *already;
    }
    if (requested_by_anybody()) made->request(reason());
    return *made;
}

// First all the states, because that may fail, then the links.
cancel_ref context::token_state() {
    for (context* each = this; each; each = each->shut_off_ ? nullptr : each->around()) {
        if (each->extras().follows()) break; // and so do those around it
    }
    for (context* each = this;;) {
        context* const outer = each->shut_off_ ? nullptr : each->around();
        cancel_state& leader = outer             ? outer->extras()
                               : each->shut_off_ ? each->home().force_state()
                                                 : each->home().stop_state();
        if (!each->extras().follow(leader) || !outer) break;
        each = outer;
    }
    return shared_extras();
}

bool context::stop_requested() const noexcept {
    for (const context* each = this;; each = each->around()) {
        if (each->request_.load(std::memory_order_acquire) != 0) return true;
        if (each->shut_off_) return each->home().force_state().requested();
        if (!each->around()) return each->home().stop_state().requested();
    }
}

// What is adopted by a context around changes only while that runs, and it waits for this one.
std::optional<cancel_reason> context::why_stop() const noexcept {
    for (const context* each = this;; each = each->around()) {
        const bool only_force = each->deferred();
        if (!only_force && each->request_.load(std::memory_order_acquire) != 0) {
            return each->reason();
        }
        const bool at_top = !each->around();
        if (!only_force && !each->shut_off_ && !at_top) continue;
        const cancel_state& asks = only_force || each->shut_off_ ? each->home().force_state()
                                                                 : each->home().stop_state();
        return asks.requested() ? std::optional(asks.reason()) : std::nullopt;
    }
}

bool cancel_state::adopted_deferral() const noexcept {
    if (!adopted_) return false;
    for (const auto& each : *adopted_) {
        if (each->deferrals.load(std::memory_order_seq_cst) != 0) return true;
    }
    return false;
}

void cancel_state::disown_adopted() noexcept {
    if (!adopted_) return;
    for (const auto& each : *adopted_) each->set_owner(nullptr);
}

void cancel_state::drop_adopted() noexcept {
    disown_adopted();
    adopted_.reset();
}

void cancel_state::adopt(cancel_state& from) {
    if (!adopted_) adopted_ = std::make_unique<std::vector<cancel_ref>>();
    std::erase_if(*adopted_, [](const cancel_ref& each) {
        const bool over = each->deferrals.load(std::memory_order_relaxed) == 0;
        if (over) each->set_owner(nullptr); // whoever has ended it may still be about to tell
        return over;
    });
    from.add_reference();
    adopted_->push_back(cancel_ref(&from));
}

// A state outlives its context, so that what it adopted goes from hand to hand with it. First
// nobody's: who ends a deferral then looks for no context that is gone. This one, which runs,
// sees at its next await that it has ended.
void context::adopt_extras_of(context& ended) {
    const auto take = [this](cancel_state& from) {
        // Nobody takes a new guard for a context that has ended: once 0, always 0.
        if (from.deferrals.load(std::memory_order_relaxed) == 0) return;
        extras().adopt(from);
        from.set_owner(this);
    };
    const cancel_ref left(ended.extras_.exchange(nullptr, std::memory_order_relaxed));
    left->set_owner(nullptr);
    left->disown_adopted();
    left->stop_following();
    take(*left);
    if (const auto adopted = left->take_adopted()) {
        for (const auto& each : *adopted) take(*each);
    }
}

void cancel_state::run_posted() noexcept {
    context* owner = nullptr;
    {
        const std::lock_guard hold(lock_);
        posted_ = false;
        // On its home worker it stays while we use it. Another's may have adopted it since.
        if (owner_ && owner_->home().is_current()) owner = owner_;
    }
    if (owner) owner->act_on_request();
    drop_reference();
}

void cancel_state::deferral_ended() noexcept {
    context* here = nullptr;
    {
        const std::lock_guard hold(lock_);
        if (!owner_ || !owner_->requested_by_anybody()) return;
        if (owner_->home().is_current()) {
            here = owner_;
        } else if (!posted_) {
            // While the lock is held the owner is there, and so is its worker.
            posted_ = true;
            add_reference();
            owner_->home().post(*this);
        }
    }
    if (here) here->act_on_request();
}

void cancel_state::set_owner(context* owner) noexcept {
    const std::lock_guard hold(lock_);
    owner_ = owner;
}

cancel_ref context::shared_extras() {
    cancel_state& own = extras();
    own.add_reference();
    return cancel_ref(&own);
}

} // namespace toadstone::detail
