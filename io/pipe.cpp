// The operations on the ends of pipes. A descriptor that is non-blocking, as those of others
// may be, answers EAGAIN where another would wait, if it is a terminal, and on older kernels if
// it is a pipe: then it is polled.
#include <toadstone/io/pipe.hpp>

#include <toadstone/io/detail/adopt.hpp>
#include <toadstone/io/detail/error.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/detail/sigpipe.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>
#include <exception>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace toadstone::io {
namespace {

constexpr std::uint64_t own_position = ~std::uint64_t{0};

using idle_op = toadstone::detail::called_from<detail::idle_awaiter, detail::in_use&>;

/// As a tear_watch wants to know it.
struct writing_end {
    static constexpr std::string_view type = "pipe";
    static constexpr std::string_view during = "in the write begun at";
    const std::string* own_name;

    [[nodiscard]] std::string name() const { return *own_name; }
    void poisoned() const noexcept {}
};

bool can_wait_for_ever(mode_t mode) noexcept {
    return S_ISFIFO(mode) || S_ISCHR(mode) || S_ISSOCK(mode);
}

struct adopted {
    detail::descriptor fd;
    std::string name;
    bool polls_first;
};
adopted adopt_end(int fd, std::string&& name, const char* as, bool to_write) {
    const detail::adoption about(fd, as);
    if (!can_wait_for_ever(about.mode())) about.refuse();
    if (S_ISSOCK(about.mode())) about.check_stream_socket();
    about.check_access(to_write);
    if (name.empty()) name = about.describe();
    return {detail::descriptor::as_it_is(fd), std::move(name), S_ISCHR(about.mode())};
}

} // namespace

namespace detail {

pipe_end& pipe_end::operator=(pipe_end&& other) noexcept {
    check_unused();
    other.check_unused();
    if (this == &other) return *this;
    if (!owned_) static_cast<void>(handle_.fd.release());
    handle_ = std::move(other.handle_);
    name_ = std::move(other.name_);
    closing_ = std::move(other.closing_);
    owned_ = other.owned_;
    polls_first_ = other.polls_first_;
    return *this;
}

toadstone::task<> pipe_end::close(std::source_location where) {
    co_await toadstone::detail::checkpoint_for(where);
    if (!is_open()) co_return;
    closing_.cancel();
    int result = 0;
    if (owned_) {
        result = co_await close_handle(handle_, before_close::wait, nullptr, where);
    } else {
        const closing_mark closing(handle_.use);
        if (!closing) result = -EALREADY;
        if (closing) co_await idle_op(where, handle_.use);
        if (closing) static_cast<void>(handle_.fd.release());
    }
    if (result < 0) throw_close_error("close", name_, result);
}

pipe_read_leaf::pipe_read_leaf(pipe_reader& from, mutable_buffer into) noexcept
    : handle_op(from.handle_, in_use::reading), from_(&from), into_(into),
      polling_(from.polls_first_ && !into.empty()) {
    make_parts();
}

void pipe_read_leaf::fill(io_uring_sqe& entry) noexcept {
    if (polling_) {
        io_uring_prep_poll_add(&entry, fd(), POLLIN);
    } else {
        io_uring_prep_read(&entry, fd(), into_.data(), one_transfer(into_.size()),
                           own_position);
    }
}

bool pipe_read_leaf::go_on() noexcept {
    const bool was_polling = polling_;
    if (was_polling ? result() < 0 : result() != -EAGAIN) return false;
    polling_ = !was_polling;
    if (end_asked()) {
        polling_ = true; // nothing has been read
        return false;
    }
    begin();
    return true;
}

std::size_t pipe_read_leaf::await_resume() {
    if (refused()) throw_in_use("read from", from_->name_, "reads from it");
    if (into_.empty()) return 0;
    const end_of_use at_end(*this);
    const int count = polling_ && result() >= 0 ? -ECANCELED : result();
    if (count < 0) throw_io_error("read from", from_->name_, -count);
    return static_cast<std::size_t>(count);
}

pipe_write_leaf::pipe_write_leaf(pipe_writer& to, const_buffer data) noexcept
    : handle_op(to.handle_, in_use::writing, &to.poison_), to_(&to), data_(data) {
    make_parts();
}

void pipe_write_leaf::fill(io_uring_sqe& entry) noexcept {
    if (polling_) {
        io_uring_prep_poll_add(&entry, fd(), POLLOUT);
        return;
    }
    // A write to a pipe that nobody reads raises the signal for the thread that submits it, and
    // there is no flag against that as sockets have one.
    toadstone::detail::block_sigpipe();
    io_uring_prep_write(&entry, fd(), data_.data(), one_transfer(data_.size()), own_position);
}

bool pipe_write_leaf::go_on() noexcept {
    const int count = result();
    if (polling_) {
        if (count < 0 || end_asked()) return false;
        polling_ = false;
    } else if (count == -EAGAIN) {
        polling_ = true;
        if (end_asked()) return false;
    } else {
        if (count <= 0) return false;
        begun_ = true;
        data_ = data_.last(data_.size() - static_cast<std::size_t>(count));
        if (data_.empty() || end_asked()) return false;
    }
    begin();
    return true;
}

void pipe_write_leaf::tear() noexcept {
    writing_end end{&to_->name_};
    to_->poison_.tear(end, where_);
}

void pipe_write_leaf::await_resume() {
    if (refused()) throw_in_use("write to", to_->name_, "writes to it");
    const end_of_use at_end(*this);
    if (begun_ && data_.empty()) return;
    to_->poison_.check();
    if (!data_.empty()) fail();
}

void pipe_write_leaf::fail() {
    // Bytes that went out with others left: it was asked to end, and that was not taken.
    int error = result() < 0 ? -result() : result() > 0 ? ECANCELED : EIO;
    if (error == EAGAIN) error = ECANCELED; // it was to be polled
    if (!begun_) throw_io_error("write to", to_->name_, error);
    // As if it were a coroutine of its own, which the exception leaves.
    try {
        const struct tearing {
            pipe_write_leaf& self;
            ~tearing() {
                self.tear();
                self.begun_ = false;
            }
        } here{*this};
        throw_io_error("write to", to_->name_, error);
    } catch (...) {
        toadstone::detail::explain_causes(std::current_exception());
        throw;
    }
}

// What close() has ended touches the end no more: it may be gone.
std::size_t pipe_read::await_resume() {
    switch (settled()) {
    case end_of_operation::by_itself:
        break;
    case end_of_operation::cut:
        return 0;
    case end_of_operation::refused:
        throw_io_error("read from", "a pipe that was closed", EBADF);
    }
    return leaf_inside().await_resume();
}

void pipe_write::await_resume() {
    switch (settled()) {
    case end_of_operation::by_itself:
        break;
    case end_of_operation::cut:
        throw_io_error("write to", "a pipe that was closed meanwhile", ECANCELED);
    case end_of_operation::refused:
        throw_io_error("write to", "a pipe that was closed", EBADF);
    }
    leaf_inside().await_resume();
}

pipe_read pipe_read_operation::make_awaiter(toadstone::detail::context& ctx,
                                            std::source_location where) const {
    return pipe_read(ctx, where, pipe_read_inside(*from_, into_), from_->closing_.token());
}

pipe_write pipe_write_operation::make_awaiter(toadstone::detail::context& ctx,
                                              std::source_location where) const {
    return pipe_write(ctx, where, pipe_write_inside(*to_, data_), to_->closing_.token());
}

} // namespace detail

pipe_reader pipe_reader::adopt(int fd, std::string name) {
    adopted made = adopt_end(fd, std::move(name), "the reading end of a pipe", false);
    return pipe_reader(std::move(made.fd), std::move(made.name), true, made.polls_first);
}

pipe_writer pipe_writer::adopt(int fd, std::string name) {
    adopted made = adopt_end(fd, std::move(name), "the writing end of a pipe", true);
    return pipe_writer(std::move(made.fd), std::move(made.name), true, false);
}

struct pipe::made {
    made() {
        int ends[2] = {-1, -1};
        if (toadstone::detail::system().pipe2(ends, O_CLOEXEC) != 0) {
            detail::throw_io_error("make", "a pipe", errno);
        }
        reader = detail::descriptor(ends[0]);
        writer = detail::descriptor(ends[1]);
    }
    detail::descriptor reader;
    detail::descriptor writer;
};

pipe::pipe() : pipe(made()) {}
pipe::pipe(made&& from)
    : reader(std::move(from.reader), "a pipe", true, false),
      writer(std::move(from.writer), "a pipe", true, false) {}

namespace {

bool is_device(int fd, const char* what) {
    struct stat about = {};
    if (toadstone::detail::system().fstat(fd, &about) != 0) {
        detail::throw_io_error("use", what, errno);
    }
    return S_ISCHR(about.st_mode);
}

} // namespace

pipe_reader standard_input() {
    const bool device = is_device(STDIN_FILENO, "standard input");
    return pipe_reader(detail::descriptor::as_it_is(STDIN_FILENO), "standard input", false,
                       device);
}

pipe_writer standard_output() {
    static_cast<void>(is_device(STDOUT_FILENO, "standard output"));
    return pipe_writer(detail::descriptor::as_it_is(STDOUT_FILENO), "standard output", false,
                       false);
}

} // namespace toadstone::io
