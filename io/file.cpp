// The operations behind file, and the loops over short writes.
#include <toadstone/io/file.hpp>

#include <toadstone/io/detail/adopt.hpp>
#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/open.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <cerrno>
#include <stdexcept>

#include <fcntl.h>
#include <liburing.h>
#include <sys/stat.h>

namespace toadstone::io {
namespace {

/// Returns what write(2) would: a count or -errno.
class write_leaf : public detail::handle_op {
public:
    write_leaf(detail::handle& to, const_buffer data, std::uint64_t offset) noexcept
        : handle_op(to, detail::in_use::one_more), data_(data), offset_(offset) {}
    [[nodiscard]] int await_resume() noexcept { return finish(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_write(&entry, fd(), data_.data(), detail::one_transfer(data_.size()),
                            offset_);
    }
    const_buffer data_;
    std::uint64_t offset_;
};
using write_op =
    toadstone::detail::called_from<write_leaf, detail::handle&, const_buffer, std::uint64_t>;

int flags_of(const open_options& options, const std::string& path) {
    const bool write = options.write || options.append;
    const auto refuse = [&path](const char* why) {
        throw std::invalid_argument("open " + path + ": " + why);
    };
    if (!options.read && !write) refuse("ask for read, write or append");
    if (options.create && !write) refuse("a file is only created for writing");
    if (options.truncate && !write) refuse("a file is only emptied for writing");
    if (options.exclusive && !options.create) refuse("exclusive goes with create");
    int flags = O_CLOEXEC | O_NOCTTY;
    flags |= options.read ? (write ? O_RDWR : O_RDONLY) : O_WRONLY;
    if (options.create) flags |= O_CREAT;
    if (options.exclusive) flags |= O_EXCL;
    if (options.truncate) flags |= O_TRUNC;
    if (options.append) flags |= O_APPEND;
    return flags;
}

/// A file, as a tear_watch wants to know it.
struct appended_file {
    static constexpr std::string_view type = "file";
    static constexpr std::string_view during = "in the write begun at";
    const std::string* path;

    [[nodiscard]] std::string name() const { return *path; }
    void poisoned() const noexcept {}
};

// A write that takes nothing and reports nothing would be repeated for ever.
int error_of_write(int result) noexcept {
    return result == 0 ? EIO : -result;
}

} // namespace

namespace detail {

file_read::file_read(file& from, mutable_buffer into, std::uint64_t offset) noexcept
    : handle_op(from.handle_, in_use::one_more), from_(&from), into_(into), offset_(offset) {}

void file_read::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_read(&entry, fd(), into_.data(), one_transfer(into_.size()), offset_);
}

std::size_t file_read::await_resume() {
    const end_of_use at_end(*this);
    const int count = result();
    if (count < 0) throw_io_error("read from", from_->path_, -count);
    return static_cast<std::size_t>(count);
}

file_sync::file_sync(file& which, bool data_only) noexcept
    : handle_op(which.handle_, in_use::one_more), which_(&which), data_only_(data_only) {}

void file_sync::fill(io_uring_sqe& entry) noexcept {
    io_uring_prep_fsync(&entry, fd(), data_only_ ? IORING_FSYNC_DATASYNC : 0);
}

bool file_sync::await_ready() const noexcept {
    return which_->sync_error() != 0 && !ctx_->should_stop();
}

void file_sync::await_resume() {
    const end_of_use at_end(*this);
    const int error = -result();
    which_->check_synced("sync");
    if (error <= 0) return;
    // ECANCELED and EINTR: the kernel did not get to it. EBADF: the file was closed. None of
    // them says that data was lost.
    if (error != ECANCELED && error != EINTR && error != EBADF) which_->keep_sync_error(error);
    throw_io_error("sync", which_->path_, error);
}

} // namespace detail

toadstone::task<file> file::open(std::string_view path, open_options options,
                                 std::source_location where) {
    return open_path(AT_FDCWD, std::string(path), std::string(path), options, where);
}

toadstone::task<file> file::open_path(int from, std::string name, std::string path,
                                      open_options options, std::source_location where) {
    const int flags = flags_of(options, path);
    detail::check_path("open", path);
    const int result = co_await detail::open_op(where, from, name.c_str(), flags, options.mode);
    if (result < 0) detail::throw_io_error("open", path, -result);
    const bool appends = (flags & O_APPEND) != 0;
    co_return file(detail::descriptor(result), std::move(path), appends);
}

file file::adopt(int fd, std::string path) {
    const detail::adoption about(fd, "a file");
    const auto mode = about.mode();
    if (!S_ISREG(mode) && !S_ISBLK(mode) && !S_ISCHR(mode)) about.refuse();
    const bool appends = (about.flags() & O_APPEND) != 0;
    if (path.empty()) path = about.describe();
    return file(detail::descriptor::as_it_is(fd), std::move(path), appends);
}

void file::check_synced(const char* operation) const {
    const int error = sync_error();
    if (error == 0) return;
    const std::string object =
        path_ + " (a sync of it has failed before, so what is on the disk is unknown)";
    detail::throw_io_error(operation, object, error);
}

toadstone::task<> file::write_all_at(const_buffer data, std::uint64_t offset,
                                     std::source_location where) {
    const detail::claim here(handle_.use, detail::in_use::one_more); // for the path in an error
    if (data.empty() || sync_failed()) co_await toadstone::detail::checkpoint_for(where);
    check_synced("write to");
    while (!data.empty()) {
        const int count = co_await write_op(where, handle_, data, offset);
        if (count <= 0) detail::throw_io_error("write to", path_, error_of_write(count));
        const auto bytes = static_cast<std::size_t>(count);
        data = data.last(data.size() - bytes);
        offset += bytes;
    }
}

toadstone::task<> file::append(const_buffer data, std::source_location where) {
    const detail::claim alone(handle_.use, detail::in_use::writing);
    if (!alone || !appends_ || data.empty() || sync_failed() || poison_.set()) {
        co_await toadstone::detail::checkpoint_for(where);
    }
    if (!appends_) {
        throw std::logic_error("append to " + path_ + ": open it with append = true");
    }
    if (!alone) detail::throw_in_use("append to", path_, "appends to it");
    poison_.check();
    check_synced("append to");
    detail::tear_watch watch(poison_, appended_file{&path_}, data.size(), where);
    while (watch.left() > 0) {
        const int count =
            co_await write_op(where, handle_, data.last(watch.left()), own_position);
        if (count <= 0) detail::throw_io_error("append to", path_, error_of_write(count));
        watch.moved(static_cast<std::size_t>(count));
    }
}

std::uint64_t file::size() const {
    const detail::borrowed_fd fd(handle_);
    struct stat about = {};
    if (toadstone::detail::system().fstat(fd.get(), &about) != 0) {
        detail::throw_io_error("find the size of", path_, errno);
    }
    return static_cast<std::uint64_t>(about.st_size);
}

bool file::is_regular() const {
    const detail::borrowed_fd fd(handle_);
    struct stat about = {};
    if (toadstone::detail::system().fstat(fd.get(), &about) != 0) {
        detail::throw_io_error("find the type of", path_, errno);
    }
    return S_ISREG(about.st_mode);
}

bool file::is_at_path() const {
    const detail::borrowed_fd fd(handle_);
    struct stat ours = {};
    if (toadstone::detail::system().fstat(fd.get(), &ours) != 0) {
        detail::throw_io_error("look at", path_, errno);
    }
    struct stat there = {};
    if (toadstone::detail::system().stat(path_.c_str(), &there) != 0) {
        if (errno == ENOENT || errno == ENOTDIR) return false;
        detail::throw_io_error("look for", path_, errno);
    }
    return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

bool file::set_lock(const char* operation, short kind) {
    const detail::borrowed_fd fd(handle_);
    struct flock lock = {}; // from the start to whatever end; l_pid has to be 0
    lock.l_type = kind;
    lock.l_whence = SEEK_SET;
    if (toadstone::detail::system().fcntl_lock(fd.get(), F_OFD_SETLK, &lock) == 0) {
        return true;
    }
    if (errno == EAGAIN || errno == EACCES) return false; // POSIX allows either
    detail::throw_io_error(operation, path_, errno);
}

bool file::try_lock() {
    return set_lock("lock", F_WRLCK);
}

bool file::try_lock_shared() {
    return set_lock("lock", F_RDLCK);
}

void file::unlock() {
    set_lock("unlock", F_UNLCK);
}

void file::truncate(std::uint64_t size) {
    const detail::claim alone(handle_.use, detail::in_use::writing);
    if (!alone) detail::throw_in_use("truncate", path_, "appends to it");
    const detail::borrowed_fd fd(handle_);
    if (toadstone::detail::system().ftruncate(fd.get(), static_cast<off_t>(size)) != 0) {
        detail::throw_io_error("truncate", path_, errno);
    }
    poison_.clear();
}

toadstone::task<> file::close(std::source_location where) {
    const int result =
        co_await detail::close_handle(handle_, detail::before_close::wait, nullptr, where);
    if (result < 0) detail::throw_close_error("close", path_, result);
}

} // namespace toadstone::io
