// Any submission entry as an operation that a task awaits, and that always delivers its result.
#ifndef TOADSTONE_TESTS_SUPPORT_RAW_OP_HPP
#define TOADSTONE_TESTS_SUPPORT_RAW_OP_HPP

#include <toadstone/runtime/detail/io_op.hpp>

#include <cstring>

#include <liburing.h>

namespace toadstone::tests {

/// A submission entry that a frame can hold: the kernel's own type ends in an array of no size,
/// which no member may.
class entry {
public:
    /// `entry([&](io_uring_sqe* e) { io_uring_prep_nop(e); })`
    template <class Prepare>
    explicit entry(Prepare prepare) {
        io_uring_sqe made{};
        prepare(&made);
        std::memcpy(bytes_, &made, sizeof bytes_);
    }
    void copy_to(io_uring_sqe& to) const noexcept { std::memcpy(&to, bytes_, sizeof bytes_); }
    /// The same with changes: `with([](io_uring_sqe* e) { e->flags = IOSQE_ASYNC; })`.
    template <class Change>
    [[nodiscard]] entry with(Change change) const {
        return entry([&](io_uring_sqe* e) {
            copy_to(*e);
            change(e);
        });
    }

private:
    unsigned char bytes_[sizeof(io_uring_sqe)];
};

/// An entry as it is given, whatever it ends with: also a cancelled one delivers.
class raw_leaf : public detail::io_op {
public:
    raw_leaf(const entry& what, const io_uring_sqe** placed) noexcept
        : entry_(what), placed_(placed) {}
    bool taken() noexcept override { return false; }
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& to) noexcept override {
        entry_.copy_to(to);
        if (placed_) *placed_ = &to;
    }
    entry entry_;
    const io_uring_sqe** placed_;
};
class [[nodiscard]] raw_op : public detail::operation<raw_leaf, entry, const io_uring_sqe**> {
public:
    explicit raw_op(const entry& what, const io_uring_sqe** placed = nullptr) noexcept
        : operation(what, placed) {}
};

} // namespace toadstone::tests

#endif
