// Handing places over.
#include <toadstone/io/detail/places.hpp>

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::io::detail {

places::~places() {
    TOADSTONE_ASSERT(taken_ == 0 && !first_, "a server ends after its connections");
}

std::optional<place> places::try_enter() noexcept {
    const std::lock_guard hold(lock_);
    if (taken_ == most_ || first_) return std::nullopt;
    ++taken_;
    return std::optional<place>(std::in_place, *this);
}

void places::leave() noexcept {
    const std::lock_guard hold(lock_);
    // Whoever goes on because of this cannot destroy *this before the lock is released: the
    // owner joins all connections first, and this call is part of one.
    if (first_) {
        place_awaiter& next = *first_;
        first_ = next.next_;
        (first_ ? first_->previous_ : last_) = nullptr;
        next.queued_ = false;
        next.ctx_->home().schedule(*next.ctx_);
        return;
    }
    if (--taken_ == 0 && waits_for_none_) {
        auto& waiter = *std::exchange(waits_for_none_, nullptr);
        waiter.home().schedule(waiter);
    }
}

void place_awaiter::wait() noexcept {
    {
        const std::lock_guard hold(of_->lock_);
        if (of_->taken_ == of_->most_ || of_->first_) {
            queued_ = true;
            next_ = nullptr;
            previous_ = of_->last_;
            (of_->last_ ? of_->last_->next_ : of_->first_) = this;
            of_->last_ = this;
            return;
        }
        ++of_->taken_;
    }
    ctx_->home().push(*ctx_);
}

bool place_awaiter::cancel(toadstone::cancel_reason, bool) noexcept {
    const std::lock_guard hold(of_->lock_);
    if (!queued_) return false; // granted: taken() passes it on
    (previous_ ? previous_->next_ : of_->first_) = next_;
    (next_ ? next_->previous_ : of_->last_) = previous_;
    queued_ = false;
    return true;
}

void empty_awaiter::wait() noexcept {
    {
        const std::lock_guard hold(of_->lock_);
        if (of_->taken_ > 0) {
            TOADSTONE_ASSERT(!of_->waits_for_none_, "one task at a time waits for the last");
            of_->waits_for_none_ = ctx_;
            return;
        }
    }
    ctx_->home().push(*ctx_);
}

bool empty_awaiter::cancel(toadstone::cancel_reason, bool) noexcept {
    const std::lock_guard hold(of_->lock_);
    if (!of_->waits_for_none_) return false;
    of_->waits_for_none_ = nullptr;
    return true;
}

} // namespace toadstone::io::detail
