// Closing.
#include <toadstone/io/detail/descriptor.hpp>

#include <unistd.h>

namespace toadstone::io::detail {

void descriptor::close_now() noexcept {
    ::close(release());
}

} // namespace toadstone::io::detail
