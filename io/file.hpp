// file: reading, writing and syncing files through the ring.
#ifndef TOADSTONE_IO_FILE_HPP
#define TOADSTONE_IO_FILE_HPP

#include <toadstone/io/buffer.hpp>
#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/detail/tear_watch.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone::io {

/// How a file is opened.
struct open_options {
    bool read = true;       ///< may be read
    bool write = false;     ///< may be written
    bool create = false;    ///< make it if it is not there; needs write or append
    bool exclusive = false; ///< with create: fail with EEXIST if it is there
    bool truncate = false;  ///< empty it; needs write
    bool append = false;    ///< every write goes to the end; implies write
    unsigned mode = 0666;   ///< permissions of a new file, less the umask
};

class file;
class folder;

namespace detail {

class file_read : public handle_op {
public:
    file_read(file& from, mutable_buffer into, std::uint64_t offset) noexcept;
    [[nodiscard]] bool await_ready() noexcept { return into_.empty() && skip(); }
    std::size_t await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    file* from_;
    mutable_buffer into_;
    std::uint64_t offset_;
};

class file_sync : public handle_op {
public:
    file_sync(file& which, bool data_only) noexcept;
    /// True: an earlier one has failed, and is not tried again.
    [[nodiscard]] bool await_ready() const noexcept;
    void await_resume();

private:
    void fill(io_uring_sqe& entry) noexcept override;
    file* which_;
    bool data_only_;
};

using file_read_operation =
    toadstone::detail::operation<file_read, file&, mutable_buffer, std::uint64_t>;
using file_sync_operation = toadstone::detail::operation<file_sync, file&, bool>;

} // namespace detail

/// An open file.
///
/// Errors: std::system_error whose text names operation, path and errno.
/// Poisoning: an append() that is cut after some of its bytes were written leaves half a record
///     at the end. It poisons the file: later appends throw poison_error with the cause, until
///     truncate() has cut the half away. Positional writes do not poison, they can be repeated.
/// Fairness: a failed sync is final. The kernel has dropped what it could not write and would
///     report success the next time, so every later sync and write throws the first error.
/// Threads: any worker; reads and positional writes may overlap, appends must not.
/// Lifetime: stays where it is while an operation is in flight. The destructor closes with
///     close(2), without looking at errors; close() reports them.
class file {
public:
    /// Opens a file. Errors also: std::invalid_argument for options that contradict each other,
    /// when it is awaited.
    ///
    /// Cancellation: a cancellation point. If the kernel opened the file all the same, it is
    ///     delivered, or closed when nobody takes it. A file that it created stays.
    [[nodiscard]] static toadstone::task<file>
    open(std::string_view path, open_options options = {},
         std::source_location where = std::source_location::current());

    /// Takes over a descriptor that is open already. `path` is what errors call it, and what
    /// is_at_path() looks for; by default its kind and number. It is appended to if it was
    /// opened with O_APPEND.
    ///
    /// Errors: std::system_error for one that is not open (EBADF); std::invalid_argument for
    ///     a folder, a pipe, a socket and what has no kind. What is not taken stays the
    ///     caller's.
    [[nodiscard]] static file adopt(int fd, std::string path = {});

    file(file&& other) noexcept
        : handle_((other.check_unused(), std::move(other.handle_))),
          path_(std::move(other.path_)), poison_(std::move(other.poison_)),
          appends_(other.appends_), sync_error_(other.sync_error()) {}
    file& operator=(file&& other) noexcept {
        check_unused();
        other.check_unused();
        handle_ = std::move(other.handle_);
        path_ = std::move(other.path_);
        poison_ = std::move(other.poison_);
        appends_ = other.appends_;
        sync_error_.store(other.sync_error(), std::memory_order_relaxed);
        return *this;
    }
    ~file() { check_unused(); }

    /// Reads at `offset`. Returns: bytes read, 0 at the end of the file or for an empty buffer.
    ///
    /// Cancellation: a cancellation point; bytes that were read are delivered. The buffer is
    ///     the kernel's until this returns or the frame is torn down.
    [[nodiscard]] detail::file_read_operation read_at(mutable_buffer into,
                                                      std::uint64_t offset) noexcept {
        return detail::file_read_operation(*this, into, offset);
    }
    /// Reads at the file's own position, which it moves. Works on what has no positions, too.
    ///
    /// Cancellation: as read_at.
    [[nodiscard]] detail::file_read_operation read_some(mutable_buffer into) noexcept {
        return detail::file_read_operation(*this, into, own_position);
    }

    /// Writes all of `data` at `offset`, over as many writes as it takes.
    ///
    /// Cancellation: a cancellation point before each of them; what is written stays written.
    [[nodiscard]] toadstone::task<>
    write_all_at(const_buffer data, std::uint64_t offset,
                 std::source_location where = std::source_location::current());

    /// Appends all of `data` to a file that was opened for it.
    ///
    /// Errors also: poison_error; std::logic_error for a file opened without append, and while
    ///     another task appends.
    /// Cancellation: a cancellation point. Cancelled before the first byte, nothing has
    ///     happened. A write that finished is delivered.
    /// Poisoning: see the class.
    [[nodiscard]] toadstone::task<>
    append(const_buffer data, std::source_location where = std::source_location::current());

    /// Waits until the data is on the disk (fdatasync). See the class for what a failure means.
    ///
    /// Cancellation: a cancellation point. A sync that finished is delivered; one that was
    ///     cancelled says nothing about the data.
    [[nodiscard]] detail::file_sync_operation sync_data() noexcept {
        return detail::file_sync_operation(*this, true);
    }
    /// As sync_data(), with everything that stat(2) shows (fsync).
    ///
    /// Cancellation: as sync_data.
    [[nodiscard]] detail::file_sync_operation sync_all() noexcept {
        return detail::file_sync_operation(*this, false);
    }

    /// Bytes in the file now.
    [[nodiscard]] std::uint64_t size() const;
    /// Cuts or extends the file, without suspending. Mends a file that a cut append poisoned:
    /// whoever calls this knows where the last whole record ends.
    ///
    /// Errors also: std::logic_error while another task appends.
    void truncate(std::uint64_t size);

    /// An ordinary file: no pipe, device, folder or socket, which may make readers wait for
    /// ever, or have no end. Does not suspend.
    [[nodiscard]] bool is_regular() const;
    /// False once the file was renamed, removed or replaced, so that who looks for it at its
    /// path finds another one or none. Does not suspend. A path that is not absolute is that of
    /// the working folder of now.
    [[nodiscard]] bool is_at_path() const;

    /// Takes the lock of the file for this object alone, if nobody has it. Never waits. It is
    /// advisory: it keeps out those who ask for it, not those who write without it. It belongs
    /// to the open file description, not to the process: a second file object of this process
    /// is somebody else, a child that inherits the descriptor is not. Locking again what is
    /// locked changes the kind of the lock.
    ///
    /// Returns: whether it is held now. Errors: std::system_error when the file is not open for
    ///     writing (EBADF), or its file system has no locks.
    /// Lifetime: until unlock(), the destructor, close() or the end of the process.
    /// Source: fcntl(2), open file description locks.
    [[nodiscard]] bool try_lock();
    /// As try_lock(), beside others that share it. The file has to be open for reading.
    [[nodiscard]] bool try_lock_shared();
    /// Does nothing when it is not held.
    void unlock();

    /// A sync has failed, which is final, see the class.
    [[nodiscard]] bool sync_failed() const noexcept { return sync_error() != 0; }
    /// A write was cut.
    [[nodiscard]] bool poisoned() const noexcept { return poison_.set(); }
    /// Empty unless poisoned.
    [[nodiscard]] toadstone::poison_cause cause() const noexcept { return poison_.cause(); }

    /// Waits for the operations in flight and closes. Does nothing on a closed file.
    ///
    /// Errors also: std::logic_error while another task closes it.
    /// Cancellation: a cancellation point; once the kernel was asked, it is not cancelled.
    [[nodiscard]] toadstone::task<>
    close(std::source_location where = std::source_location::current());

    /// False once close() has begun. From any thread.
    [[nodiscard]] bool is_open() const noexcept { return native_handle() >= 0; }
    /// -1 once close() has begun. What is done with it is not waited for by close().
    [[nodiscard]] int native_handle() const noexcept {
        return detail::borrowed_fd(handle_).get();
    }
    /// As it was opened by.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    friend class detail::file_read;
    friend class detail::file_sync;
    friend class folder;

    static constexpr std::uint64_t own_position = ~std::uint64_t{0};

    file(detail::descriptor&& fd, std::string&& path, bool appends) noexcept
        : handle_(std::move(fd)), path_(std::move(path)), appends_(appends) {}
    /// `path`: what the name, from there, is called.
    static toadstone::task<file> open_path(int from, std::string name, std::string path,
                                           open_options options, std::source_location where);
    [[nodiscard]] int sync_error() const noexcept {
        return sync_error_.load(std::memory_order_relaxed);
    }
    void keep_sync_error(int error) noexcept {
        int none = 0;
        sync_error_.compare_exchange_strong(none, error, std::memory_order_relaxed);
    }
    void check_synced(const char* operation) const;
    void check_unused() const noexcept {
        handle_.use.check_unused([this] { return "file '" + path_ + "'"; });
    }
    bool set_lock(const char* operation, short kind);

    detail::handle handle_;
    std::string path_;
    detail::poison_mark poison_;
    bool appends_ = false;
    /// The first, which is final. Several may sync at once.
    toadstone::detail::unmodelled_atomic<int> sync_error_{0};
};

} // namespace toadstone::io

#endif
