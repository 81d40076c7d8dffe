// Closing through the ring.
#include <toadstone/io/detail/handle.hpp>

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

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
using close_op = toadstone::detail::called_from<close_leaf>;

} // namespace

toadstone::task<int> close_handle(handle& what, before_close first,
                                  std::source_location where) {
    std::optional<closing_mark> mark(std::in_place, what.use);
    if (!what.fd) {
        mark.reset();
        co_await toadstone::detail::checkpoint_for(where);
        co_return 0;
    }
    if (first == before_close::shut_down && !what.use.idle()) {
        toadstone::detail::system().shutdown(what.fd.get(), SHUT_RDWR);
    }
    co_await toadstone::detail::called_from<idle_awaiter>(where, what.use);
    const int result = co_await close_op(where, what.fd);
    co_return result;
}

} // namespace toadstone::io::detail
