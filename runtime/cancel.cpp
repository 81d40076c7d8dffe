// Cancellation sources and tokens: telling the listeners, once each, whatever thread asks.
#include <toadstone/runtime/cancel.hpp>

#include <memory>
#include <mutex>

namespace toadstone::detail {

bool cancel_state::request(cancel_reason reason) noexcept {
    std::unique_lock hold(lock_);
    if (reason_.load(std::memory_order_relaxed) != 0) return false;
    reason_.store(static_cast<std::uint8_t>(static_cast<unsigned>(reason) + 1),
                  std::memory_order_release);
    teller_ = this_thread();
    add_reference(); // a listener may drop the last one
    while (cancel_listener* listener = first_) {
        first_ = listener->next_;
        if (first_) first_->previous_ = nullptr;
        listener->listed_ = false;
        telling_.store(listener, std::memory_order_relaxed);
        hold.unlock();
        listener->cancelled(reason); // may destroy the listener
        hold.lock();
        telling_.store(nullptr, std::memory_order_release);
        telling_.notify_all();
    }
    hold.unlock();
    drop_reference();
    return true;
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

/// Hands a parent's request down.
class cancellation_source::parent_link final : detail::cancel_listener {
public:
    parent_link(detail::cancel_ref parent, detail::cancel_ref child)
        : parent_(std::move(parent)), child_(std::move(child)) {
        if (!parent_->listen(*this)) child_->request(parent_->reason());
    }
    ~parent_link() { parent_->leave(*this); }

private:
    void cancelled(cancel_reason reason) noexcept override { child_->request(reason); }

    detail::cancel_ref parent_;
    detail::cancel_ref child_;
};

cancellation_source::cancellation_source(const cancellation_token& parent)
    : cancellation_source() {
    if (parent.state_) link_ = std::make_shared<parent_link>(parent.state_, state_);
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
