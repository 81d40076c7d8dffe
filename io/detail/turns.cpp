// Standing in line for a turn, leaving the line, and the next one's turn.
#include <toadstone/io/detail/turns.hpp>

namespace toadstone::io::detail {

void turns::pass_on() noexcept {
    turn_op* const next = first_;
    if (!next) {
        worker_.store(nullptr, std::memory_order_release); // (R)
        return;
    }
    first_ = next->next_;
    (first_ ? first_->previous_ : last_) = nullptr;
    next->turn_->held_ = true;
    next->begin();
}

void turn_op::wait() noexcept {
    turns& of = *turn_->of_;
    previous_ = of.last_;
    (of.last_ ? of.last_->next_ : of.first_) = this;
    of.last_ = this;
}

bool turn_op::cancel(toadstone::cancel_reason reason, bool force) noexcept {
    if (turn_->held_) return io_op::cancel(reason, force);
    turns& of = *turn_->of_;
    (previous_ ? previous_->next_ : of.first_) = next_;
    (next_ ? next_->previous_ : of.last_) = previous_;
    return true;
}

} // namespace toadstone::io::detail
