// The semaphore and its permits, where they do not wait.
#include <toadstone/sync/semaphore.hpp>

#include <toadstone/runtime/detail/thread_wait.hpp>

#include <stdexcept>

namespace toadstone::sync {

bool detail::acquire_here(semaphore_core& core, std::uint64_t wanted, bool block) {
    if (core.try_acquire(wanted)) return true;
    toadstone::detail::thread_wait<semaphore_waiter> waiter(wanted);
    if (!core.acquire_now(waiter)) {
        if (!block) return false;
        waiter.wait_for(core, "blocking_acquire()", "acquire()");
    }
    if (waiter.how() != semaphore_waiter::state::granted) core.throw_closed();
    return true;
}

std::optional<semaphore::permit> semaphore::try_acquire(std::size_t count) {
    if (!detail::acquire_here(core_, count, false)) return std::nullopt;
    return std::optional<permit>(std::in_place, core_, count);
}

semaphore::permit semaphore::blocking_acquire(std::size_t count) {
    static_cast<void>(detail::acquire_here(core_, count, true));
    return permit(core_, count);
}

void semaphore::add_permits(std::size_t count) {
    if (count > detail::semaphore_core::most - core_.available()) {
        throw std::invalid_argument("a semaphore has at most 2^60 - 1 permits");
    }
    core_.release(count);
}

semaphore::permit semaphore::permit::split(std::size_t count) {
    place_.check();
    if (count > count_) {
        throw std::invalid_argument("a permit is split into what it holds");
    }
    count_ -= count;
    return permit(*core_, count);
}

void semaphore::permit::merge(permit&& other) {
    place_.check();
    other.place_.check();
    if (core_ != other.core_) {
        throw std::invalid_argument("permits of one semaphore are merged");
    }
    if (this != &other) count_ += std::exchange(other.count_, 0);
}

} // namespace toadstone::sync
