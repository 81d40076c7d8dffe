// Closing.
#include <toadstone/io/detail/descriptor.hpp>

#include <toadstone/runtime/uring/system_calls.hpp>

namespace toadstone::io::detail {

void descriptor::close_now() noexcept {
    toadstone::detail::system().close(release());
}

} // namespace toadstone::io::detail
