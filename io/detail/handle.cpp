// Closing through the ring.
#include <toadstone/io/detail/handle.hpp>

#include <toadstone/io/detail/ahead.hpp>
#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/tear_watch.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/uring/receiver.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>
#include <optional>
#include <utility>

#include <liburing.h>
#include <sys/socket.h>

namespace toadstone::io::detail {
namespace {

/// The descriptor is the kernel's as soon as the entry is filled. Until then, in a task that is
/// stopped before that, it stays with its owner.
class close_leaf : public toadstone::detail::io_op {
public:
    explicit close_leaf(descriptor& what) noexcept : what_(&what) {
        cancellable_ = false; // most cancelled closes leave the descriptor open
    }
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_close(&entry, what_->release());
    }
    descriptor* what_;
};
using close_op = toadstone::detail::called_from<close_leaf, descriptor&>;

/// Resets a connection that operations are in flight on, which then end. connect(2): sockets
/// "may dissolve the association by connecting to an address with the sa_family member of
/// sockaddr set to AF_UNSPEC"; of TCP that sends a reset.
class disconnect_leaf : public toadstone::detail::io_op {
public:
    explicit disconnect_leaf(const descriptor& which) noexcept : which_(&which) {
        cancellable_ = false;
    }
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        nobody_.sa_family = AF_UNSPEC;
        io_uring_prep_connect(&entry, which_->get(), &nobody_, sizeof nobody_);
    }
    const descriptor* which_;
    sockaddr nobody_{};
};
using disconnect_op = toadstone::detail::called_from<disconnect_leaf, const descriptor&>;
using idle_op = toadstone::detail::called_from<idle_awaiter, in_use&>;
using rest_op = toadstone::detail::called_from<rest_leaf, toadstone::detail::receiver&>;

} // namespace

bool handle_op::is_poisoned() const noexcept {
    return mark_->set();
}

void handle_op::answer_later() noexcept {
    ctx_->home().push(*ctx_);
}

void throw_close_error(std::string_view operation, std::string_view object, int result) {
    if (result == -EALREADY) throw_in_use(operation, object, "closes it");
    throw_io_error(operation, object, -result);
}

toadstone::task<int> close_handle(handle& what, before_close first, const poison_mark* mark,
                                  std::source_location where,
                                  toadstone::detail::receiver* const* ahead) {
    std::optional<closing_mark> closing(std::in_place, what.use);
    if (!*closing || !what.fd) {
        const bool refused = !*closing;
        closing.reset();
        co_await toadstone::detail::checkpoint_for(where);
        co_return refused ? -EALREADY : 0;
    }
    // Whoever writes may poison, so that the mark is looked at only when nobody does.
    const bool reset = what.use.being_written() || (mark && mark->set());
    if (first == before_close::shut_down && !what.use.idle()) {
        int result = -1;
        if (reset) result = co_await disconnect_op(where, what.fd);
        if (result < 0) toadstone::detail::system().shutdown(what.fd.get(), SHUT_RDWR);
    }
    co_await idle_op(where, what.use);
    if (ahead && *ahead) {
        if ((*ahead)->in_flight()) {
            co_await rest_op(where, **ahead);
        }
        (*ahead)->forget_unread();
    }
    const int result = co_await close_op(where, what.fd);
    co_return result;
}

} // namespace toadstone::io::detail
