// Opening by a path, for files and folders.
#ifndef TOADSTONE_IO_DETAIL_OPEN_HPP
#define TOADSTONE_IO_DETAIL_OPEN_HPP

#include <toadstone/runtime/detail/io_op.hpp>
#include <toadstone/runtime/detail/leaf.hpp>

#include <string>

namespace toadstone::io::detail {

/// Gives a descriptor or -errno.
class open_leaf : public toadstone::detail::io_op {
public:
    open_leaf(int from, const char* path, int flags, unsigned mode) noexcept
        : from_(from), path_(path), flags_(flags), mode_(mode) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override;
    int from_;
    const char* path_;
    int flags_;
    unsigned mode_;
};
using open_op = toadstone::detail::called_from<open_leaf, int, const char*, int, unsigned>;

/// The kernel would take what is before a zero byte for the path. Errors:
/// std::invalid_argument, which shows it as "\0".
void check_path(const char* operation, const std::string& path);

} // namespace toadstone::io::detail

#endif
