// Who goes when somebody else needs the place.
#include <toadstone/io/detail/idle_list.hpp>

namespace toadstone::io::detail {

void idle_entry::idle() noexcept {
    const std::lock_guard hold(of_->lock_);
    if (listed_ || asked_to_go_.cancelled()) return;
    if (demand* const waits = of_->first_unmet_) {
        of_->unlink(*waits);
        asked_to_go_.cancel();
        return;
    }
    listed_ = true;
    next_ = nullptr;
    previous_ = of_->last_;
    (of_->last_ ? of_->last_->next_ : of_->first_) = this;
    of_->last_ = this;
}

void idle_entry::busy() noexcept {
    const std::lock_guard hold(of_->lock_);
    if (listed_) of_->unlink(*this);
}

demand::demand(idle_list& of) noexcept : of_(&of) {
    const std::lock_guard hold(of_->lock_);
    if (of_->shed_first()) return;
    queued_ = true;
    previous_ = of_->last_unmet_;
    (of_->last_unmet_ ? of_->last_unmet_->next_ : of_->first_unmet_) = this;
    of_->last_unmet_ = this;
}

demand::~demand() {
    const std::lock_guard hold(of_->lock_);
    if (queued_) of_->unlink(*this);
}

void idle_list::shed_one() noexcept {
    const std::lock_guard hold(lock_);
    static_cast<void>(shed_first());
}

bool idle_list::shed_first() noexcept {
    if (!first_) return false;
    idle_entry& idlest = *first_;
    unlink(idlest);
    idlest.asked_to_go_.cancel();
    return true;
}

void idle_list::unlink(idle_entry& which) noexcept {
    (which.previous_ ? which.previous_->next_ : first_) = which.next_;
    (which.next_ ? which.next_->previous_ : last_) = which.previous_;
    which.listed_ = false;
}

void idle_list::unlink(demand& which) noexcept {
    (which.previous_ ? which.previous_->next_ : first_unmet_) = which.next_;
    (which.next_ ? which.next_->previous_ : last_unmet_) = which.previous_;
    which.queued_ = false;
}

} // namespace toadstone::io::detail
