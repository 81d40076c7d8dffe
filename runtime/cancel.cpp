// Cancellation sources and tokens: telling the listeners, once each, whatever thread asks.
#include <toadstone/runtime/cancel.hpp>

#include <toadstone/runtime/executor.hpp>

#include <memory>
#include <mutex>

namespace toadstone::detail {

void cancel_state::marked::add(cancel_state& state) noexcept {
    state.next_marked_ = nullptr;
    if (last) {
        last->next_marked_ = &state;
    } else {
        first = &state;
    }
    last = &state;
}

per_thread<cancel_state::marked*>& cancel_state::telling_here() noexcept {
    static thread_local constinit per_thread<marked*> here = nullptr;
    return here;
}

bool cancel_state::request(cancel_reason reason) noexcept {
    if (!mark(reason)) return false;
    add_reference(); // a listener may drop the last one
    tell_all();
    return true;
}

void cancel_state::request_unless_dying(cancel_reason reason) noexcept {
    if (!add_reference_unless_dying()) return;
    if (!mark(reason)) {
        drop_reference();
    } else if (marked* const outer = telling_here()) {
        outer->add(*this); // so that a chain by way of stop_tokens does not recurse either
        mark_followers(*outer);
    } else {
        tell_all();
    }
}

// The caller's thread has marked this state and holds a reference for the list.
void cancel_state::tell_all() noexcept {
    marked all;
    all.add(*this);
    mark_followers(all);
    marked* const outer = telling_here();
    telling_here() = &all;
    while (cancel_state* const each = all.first) {
        each->tell();
        all.first = each->next_marked_;
        each->drop_reference();
    }
    telling_here() = outer;
}

bool cancel_state::mark(cancel_reason reason) noexcept {
    const std::lock_guard hold(lock_);
    if (reason_.load(std::memory_order_relaxed) != 0) return false;
    reason_.store(static_cast<std::uint8_t>(static_cast<unsigned>(reason) + 1),
                  std::memory_order_release);
    return true;
}

// This state is the last of the list. Those that are added are looked at in their turn.
void cancel_state::mark_followers(marked& all) noexcept {
    for (cancel_state* each = this; each; each = each->next_marked_) {
        cancel_state* follower = each->take_followers();
        while (follower) {
            cancel_state* const next = follower->next_follower_;
            if (follower->mark(each->reason())) {
                all.add(*follower);
            } else {
                follower->drop_reference();
            }
            follower = next;
        }
    }
}

// With a reference to each. One whose last reference has gone waits for the lock, to leave the
// list, and is passed over.
cancel_state* cancel_state::take_followers() noexcept {
    const std::lock_guard hold(lock_);
    cancel_state* taken = nullptr;
    while (cancel_state* const each = followers_) {
        followers_ = each->next_follower_;
        each->following_ = false;
        if (!each->add_reference_unless_dying()) continue;
        each->next_follower_ = taken;
        taken = each;
    }
    return taken;
}

void cancel_state::tell() noexcept {
    std::unique_lock hold(lock_);
    teller_ = this_thread();
    while (cancel_listener* listener = first_) {
        first_ = listener->next_;
        if (first_) first_->previous_ = nullptr;
        listener->listed_ = false;
        telling_.store(listener, std::memory_order_relaxed);
        hold.unlock();
        listener->cancelled(reason()); // may destroy the listener
        hold.lock();
        telling_.store(nullptr, std::memory_order_release);
        telling_.notify_all();
    }
}

bool cancel_state::follow(cancel_state& leader) noexcept {
    {
        const std::lock_guard hold(lock_);
        if (leader_) return false;
        const std::lock_guard hold_leader(leader.lock_);
        if (leader.reason_.load(std::memory_order_relaxed) == 0) {
            leader.add_reference();
            leader_ = &leader;
            next_follower_ = leader.followers_;
            previous_follower_ = nullptr;
            if (next_follower_) next_follower_->previous_follower_ = this;
            leader.followers_ = this;
            following_ = true;
            return true;
        }
    }
    request(leader.reason());
    return true;
}

bool cancel_state::follows() noexcept {
    const std::lock_guard hold(lock_);
    return leader_ != nullptr;
}

void cancel_state::stop_following() noexcept {
    if (cancel_state* const leader = take_leader()) leader->drop_reference();
}

cancel_state* cancel_state::take_leader() noexcept {
    cancel_state* leader = nullptr;
    {
        const std::lock_guard hold(lock_);
        leader = leader_;
        leader_ = nullptr;
    }
    if (!leader) return nullptr;
    const std::lock_guard hold(leader->lock_);
    if (following_) {
        (previous_follower_ ? previous_follower_->next_follower_ : leader->followers_) =
            next_follower_;
        if (next_follower_) next_follower_->previous_follower_ = previous_follower_;
        following_ = false;
    }
    return leader;
}

bool cancel_state::add_reference_unless_dying() noexcept {
    std::uint32_t count = references_.load(std::memory_order_relaxed);
    while (count != 0 &&
           !references_.compare_exchange_weak(count, count + 1, std::memory_order_relaxed)) {
    }
    return count != 0;
}

// With the last of a chain goes the reference to the next, and so on: in a loop.
void cancel_state::free(cancel_state* state) noexcept {
    do {
        state->stop_link_.reset(); // waits for a callback that another thread is making
        cancel_state* const leader = state->take_leader();
        delete state;
        state = leader;
    } while (state && state->references_.fetch_sub(1, std::memory_order_acq_rel) == 1);
}

bool cancel_state::listen(cancel_listener& listener) noexcept {
    const std::lock_guard hold(lock_);
    if (reason_.load(std::memory_order_relaxed) != 0) return false;
    listener.next_ = first_;
    listener.previous_ = nullptr;
    if (first_) first_->previous_ = &listener;
    first_ = &listener;
    listener.listed_ = true;
    return true;
}

void cancel_state::leave(cancel_listener& listener) noexcept {
    std::unique_lock hold(lock_);
    if (listener.listed_) {
        (listener.previous_ ? listener.previous_->next_ : first_) = listener.next_;
        if (listener.next_) listener.next_->previous_ = listener.previous_;
        listener.listed_ = false;
        return;
    }
    const bool being_told = telling_.load(std::memory_order_relaxed) == &listener;
    if (!being_told || teller_ == this_thread()) return;
    hold.unlock();
    while (telling_.load(std::memory_order_acquire) == &listener) {
        telling_.wait(&listener, std::memory_order_relaxed);
    }
}

// Listed, the task may go on, and end, at any time.
void token_wait::begin() noexcept {
    if (!token_.can_be_cancelled() || token_.state()->listen(*this)) return;
    told_ = true;
    ctx_->home().push(*ctx_);
}

void token_wait::cancelled(cancel_reason) noexcept {
    told_ = true;
    ctx_->home().schedule(*ctx_);
}

// Who has left, or has waited for the thread that tells, knows whether it was told.
bool token_wait::cancel(cancel_reason, bool) noexcept {
    if (token_.can_be_cancelled()) token_.state()->leave(*this);
    return !told_;
}

std::shared_ptr<void> cancel_state::kept() noexcept {
    const std::lock_guard hold(lock_);
    return kept_;
}

std::shared_ptr<void> cancel_state::keep(std::shared_ptr<void> owned) noexcept {
    const std::lock_guard hold(lock_);
    if (!kept_) kept_ = std::move(owned);
    return kept_; // what lost is destroyed by the caller, without the lock
}

} // namespace toadstone::detail

namespace toadstone {

cancellation_source::cancellation_source() : state_(new detail::cancel_state) {}

cancellation_source::cancellation_source(const cancellation_token& parent)
    : cancellation_source() {
    if (parent.state_) state_->follow(*parent.state_);
}

namespace {

/// A std::stop_source that a token's request stops; owned by the token's state.
class stop_bridge final : detail::cancel_listener {
public:
    explicit stop_bridge(detail::cancel_state& from) : from_(from) {
        if (!from_.listen(*this)) source_.request_stop();
    }
    ~stop_bridge() { from_.leave(*this); }
    std::stop_token token() const noexcept { return source_.get_token(); }

private:
    void cancelled(cancel_reason) noexcept override { source_.request_stop(); }

    detail::cancel_state& from_;
    std::stop_source source_;
};

} // namespace

std::stop_token cancellation_token::to_stop_token() const {
    if (!state_) return {};
    // One bridge for all calls. It goes with the state, whose own destructor has no listeners
    // left to tell: a plain reference back is safe, and a counted one would keep both alive for
    // ever.
    std::shared_ptr<void> bridge = state_->kept();
    if (!bridge) {
        const auto made = std::make_shared<stop_bridge>(*state_);
        bridge = state_->keep(made);
    }
    return static_cast<stop_bridge*>(bridge.get())->token();
}

} // namespace toadstone
