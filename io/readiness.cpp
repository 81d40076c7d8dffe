// One poll by the ring.
#include <toadstone/io/readiness.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/runtime/executor.hpp>

#include <stdexcept>
#include <string>

#include <liburing.h>
#include <poll.h>

namespace toadstone::io {
namespace {

constexpr events every_event = events::readable | events::priority | events::writable |
                               events::error | events::hang_up | events::peer_closed;

static_assert(static_cast<int>(events::readable) == POLLIN);
static_assert(static_cast<int>(events::priority) == POLLPRI);
static_assert(static_cast<int>(events::writable) == POLLOUT);
static_assert(static_cast<int>(events::error) == POLLERR);
static_assert(static_cast<int>(events::hang_up) == POLLHUP);
static_assert(static_cast<int>(events::peer_closed) == POLLRDHUP);

} // namespace

namespace detail {

void readiness_leaf::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_poll_add(&entry, fd_, static_cast<unsigned>(wanted_));
}

bool readiness_leaf::can_be_waited_for() const noexcept {
    return wanted_ != events::none && contains(every_event, wanted_);
}

void readiness_leaf::start() noexcept {
    if (can_be_waited_for()) [[likely]] {
        begin();
    } else {
        ctx_->home().push(*ctx_);
    }
}

events readiness_leaf::await_resume() const {
    const int came = result();
    if (came > 0) [[likely]]
        return static_cast<events>(came) & every_event;
    const std::string object = "descriptor " + std::to_string(fd_);
    if (came < 0) throw_io_error("wait for", object, -came);
    throw std::invalid_argument(
        "wait for " + object +
        (wanted_ == events::none ? ": for no event" : ": for what is no event"));
}

} // namespace detail
} // namespace toadstone::io
