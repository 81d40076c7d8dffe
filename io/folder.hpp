// folder: the names in a folder: found, made, moved, removed, and brought to the disk.
#ifndef TOADSTONE_IO_FOLDER_HPP
#define TOADSTONE_IO_FOLDER_HPP

#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/file.hpp>
#include <toadstone/runtime/task.hpp>

#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::io {

/// What a name in a folder stands for.
enum class entry_kind : unsigned char {
    file,
    folder,
    link,    ///< a symbolic one
    other,   ///< a socket, a pipe, a device
    unknown, ///< the file system does not say without asking for each
};

/// What list() finds.
struct folder_entry {
    std::string name;                      ///< without its path
    entry_kind kind = entry_kind::unknown; ///< unknown where the file system does not say
};

/// A folder that is open, by which what is in it is named: it may be renamed meanwhile, and is
/// still the same one. A name is a path from here; one that begins with "/" is that.
///
/// What was made, renamed or removed is seen by all at once, and is on the disk for certain
/// when sync() of each folder that it changed has succeeded. Renaming is all or nothing, after
/// a failure of power, too: that is how a file is replaced whole.
///
///     auto here = co_await io::folder::open("/var/lib/store");
///     auto fresh = co_await here.open_file("snapshot.new", {.write = true, .create = true});
///     co_await fresh.write_all_at(state, 0);
///     co_await fresh.sync_all();
///     co_await here.rename("snapshot.new", "snapshot");
///     co_await here.sync();
///
/// Errors: std::system_error whose text names operation, path and errno, "rename a to b in
///     /var/lib/store: No space left on device"; std::invalid_argument for a name with a zero
///     byte.
/// Cancellation: every suspending member is a cancellation point. What the kernel has done is
///     delivered; one that was cancelled has changed nothing.
/// Threads: any worker; all of it may overlap.
/// Lifetime: stays where it is while an operation is in flight, and outlives it. The destructor
///     closes it.
/// Source: openat(2), renameat2(2), unlinkat(2), mkdirat(2), getdents64(2).
class folder {
public:
    /// Opens one that is there. Errors also: ENOTDIR for what is no folder.
    [[nodiscard]] static toadstone::task<folder>
    open(std::string path, std::source_location where = std::source_location::current());

    folder(folder&& other) noexcept
        : handle_((other.check_unused(), std::move(other.handle_))),
          path_(std::move(other.path_)) {}
    folder& operator=(folder&& other) noexcept {
        check_unused();
        other.check_unused();
        handle_ = std::move(other.handle_);
        path_ = std::move(other.path_);
        return *this;
    }
    ~folder() { check_unused(); }

    /// As file::open(), from here.
    [[nodiscard]] toadstone::task<file>
    open_file(std::string name, open_options options = {},
              std::source_location where = std::source_location::current());
    /// As open(), from here.
    [[nodiscard]] toadstone::task<folder>
    open_folder(std::string name, std::source_location where = std::source_location::current());

    /// Gives what is called `from` the name `to`, in the place of what has it: a file for a
    /// file, an empty folder for a folder.
    [[nodiscard]] toadstone::task<>
    rename(std::string from, std::string to,
           std::source_location where = std::source_location::current());
    /// The same into another folder of the same file system, which is synced by itself. Errors
    /// also: EXDEV for another file system.
    [[nodiscard]] toadstone::task<>
    rename(std::string from, folder& into, std::string to,
           std::source_location where = std::source_location::current());
    /// rename() that replaces nothing. Returns: false, and nothing has changed, if something
    /// has that name. Errors also: EINVAL where the file system cannot promise it.
    [[nodiscard]] toadstone::task<bool>
    rename_new(std::string from, std::string to,
               std::source_location where = std::source_location::current());

    /// Removes a name that is no folder's. Who has the file open goes on with it. Returns:
    /// false if there is none.
    [[nodiscard]] toadstone::task<bool>
    remove(std::string name, std::source_location where = std::source_location::current());
    /// Removes an empty folder. Returns: false if there is none. Errors also: ENOTEMPTY.
    [[nodiscard]] toadstone::task<bool>
    remove_folder(std::string name,
                  std::source_location where = std::source_location::current());
    /// Makes one. `mode`: its rights, less the umask. Returns: false if something has that
    /// name.
    [[nodiscard]] toadstone::task<bool>
    make_folder(std::string name, unsigned mode = 0777,
                std::source_location where = std::source_location::current());

    /// All names in it but "." and "..", sorted by their bytes. What comes and goes meanwhile
    /// may be among them.
    ///
    /// Cancellation: as spawn_blocking(), whose threads ask for the names: once begun it is
    ///     waited for.
    [[nodiscard]] toadstone::task<std::vector<folder_entry>>
    list(std::source_location where = std::source_location::current());

    /// Waits until the names in it are on the disk (fsync of the folder); not what is in the
    /// files. After an error nobody knows: it can be tried again, but what the disk has lost
    /// stays lost.
    [[nodiscard]] toadstone::task<>
    sync(std::source_location where = std::source_location::current());

    /// Waits for the operations in flight and closes. Does nothing on a closed one.
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
    /// By which it was opened.
    [[nodiscard]] const std::string& path() const noexcept { return path_; }

private:
    folder(detail::descriptor&& fd, std::string&& path) noexcept
        : handle_(std::move(fd)), path_(std::move(path)) {}
    void check_unused() const noexcept {
        handle_.use.check_unused([this] { return path_; });
    }
    [[nodiscard]] std::string path_of(const std::string& name) const;
    toadstone::task<int> move(std::string from, folder& into, std::string to, unsigned flags,
                              std::source_location where);
    toadstone::task<bool> take_away(std::string name, int flags, std::source_location where);

    detail::handle handle_;
    std::string path_;
};

} // namespace toadstone::io

#endif
