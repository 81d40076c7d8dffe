// The operations behind folder.
#include <toadstone/io/folder.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/open.hpp>
#include <toadstone/runtime/spawn_blocking.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

#include <dirent.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdio.h> // RENAME_NOREPLACE

namespace toadstone::io {
namespace {

constexpr int open_flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

/// A change of a name, from a folder on. Gives 0 or -errno.
class name_leaf : public detail::handle_op {
public:
    enum class change : unsigned char { rename, remove, make };
    struct request {
        change what;
        const char* name;
        unsigned flags = 0; ///< or the rights of what is made
        int into = -1;
        const char* new_name = nullptr;
    };
    name_leaf(detail::handle& from, request what) noexcept
        : handle_op(from, detail::in_use::one_more), what_(what) {}
    [[nodiscard]] int await_resume() noexcept { return finish(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        switch (what_.what) {
        case change::rename:
            io_uring_prep_renameat(&entry, fd(), what_.name, what_.into, what_.new_name,
                                   what_.flags);
            break;
        case change::remove:
            io_uring_prep_unlinkat(&entry, fd(), what_.name, static_cast<int>(what_.flags));
            break;
        case change::make:
            io_uring_prep_mkdirat(&entry, fd(), what_.name, what_.flags);
            break;
        }
    }
    request what_;
};
using change = name_leaf::change;
using name_op = toadstone::detail::called_from<name_leaf, detail::handle&, name_leaf::request>;

class sync_leaf : public detail::handle_op {
public:
    explicit sync_leaf(detail::handle& of) noexcept : handle_op(of, detail::in_use::one_more) {}
    [[nodiscard]] int await_resume() noexcept { return finish(); }

private:
    void fill(io_uring_sqe& entry) noexcept override { io_uring_prep_fsync(&entry, fd(), 0); }
};
using sync_op = toadstone::detail::called_from<sync_leaf, detail::handle&>;

entry_kind kind_of(unsigned char type) noexcept {
    switch (type) {
    case DT_REG:
        return entry_kind::file;
    case DT_DIR:
        return entry_kind::folder;
    case DT_LNK:
        return entry_kind::link;
    case DT_UNKNOWN:
        return entry_kind::unknown;
    default:
        return entry_kind::other;
    }
}

/// On a thread that may block.
std::vector<folder_entry> read_names(int fd, const std::string& path) {
    // The kernel's linux_dirent64: two numbers of 8 bytes, the length of the record, a type
    // and the name.
    constexpr std::size_t length_at = 16;
    constexpr std::size_t type_at = 18;
    constexpr std::size_t name_at = 19;
    std::vector<folder_entry> all;
    std::vector<char> records(32768);
    for (;;) {
        const int size = toadstone::detail::system().getdents64(
            fd, records.data(), static_cast<unsigned>(records.size()));
        if (size < 0) detail::throw_io_error("list", path, errno);
        if (size == 0) break;
        for (std::size_t at = 0; at < static_cast<std::size_t>(size);) {
            const char* const record = records.data() + at;
            std::uint16_t length = 0;
            std::memcpy(&length, record + length_at, sizeof length);
            at += length;
            const std::string_view name = record + name_at;
            if (name == "." || name == "..") continue;
            folder_entry& entry = all.emplace_back();
            entry.name = name;
            entry.kind = kind_of(static_cast<unsigned char>(record[type_at]));
        }
    }
    std::sort(all.begin(), all.end(),
              [](const auto& one, const auto& other) { return one.name < other.name; });
    return all;
}

} // namespace

std::string folder::path_of(const std::string& name) const {
    if (!name.empty() && name.front() == '/') return name;
    return path_.empty() || path_.back() == '/' ? path_ + name : path_ + "/" + name;
}

toadstone::task<folder> folder::open(std::string path, std::source_location where) {
    detail::check_path("open", path);
    const int fd = co_await detail::open_op(where, AT_FDCWD, path.c_str(), open_flags, 0U);
    if (fd < 0) detail::throw_io_error("open", path, -fd);
    co_return folder(detail::descriptor(fd), std::move(path));
}

toadstone::task<folder> folder::open_folder(std::string name, std::source_location where) {
    const detail::borrowed_fd here(handle_);
    std::string path = path_of(name);
    detail::check_path("open", path);
    const int fd = co_await detail::open_op(where, here.get(), name.c_str(), open_flags, 0U);
    if (fd < 0) detail::throw_io_error("open", path, -fd);
    co_return folder(detail::descriptor(fd), std::move(path));
}

toadstone::task<file> folder::open_file(std::string name, open_options options,
                                        std::source_location where) {
    const detail::borrowed_fd here(handle_);
    std::string path = path_of(name);
    co_return co_await file::open_path(here.get(), std::move(name), std::move(path), options,
                                       where);
}

toadstone::task<int> folder::move(std::string from, folder& into, std::string to,
                                  unsigned flags, std::source_location where) {
    const detail::borrowed_fd here(handle_); // for the path in an error
    const detail::borrowed_fd there(into.handle_);
    detail::check_path("rename", from);
    detail::check_path("rename to", to);
    const name_leaf::request what{change::rename, from.c_str(), flags, there.get(), to.c_str()};
    const int result = co_await name_op(where, handle_, what);
    if (result < 0 && !(result == -EEXIST && (flags & RENAME_NOREPLACE))) {
        std::string object = from + " to " + to + " in " + path_;
        if (&into != this) object = from + " in " + path_ + " to " + to + " in " + into.path_;
        detail::throw_io_error("rename", object, -result);
    }
    co_return result;
}

toadstone::task<> folder::rename(std::string from, std::string to, std::source_location where) {
    static_cast<void>(co_await move(std::move(from), *this, std::move(to), 0, where));
}

toadstone::task<> folder::rename(std::string from, folder& into, std::string to,
                                 std::source_location where) {
    static_cast<void>(co_await move(std::move(from), into, std::move(to), 0, where));
}

toadstone::task<bool> folder::rename_new(std::string from, std::string to,
                                         std::source_location where) {
    const int result =
        co_await move(std::move(from), *this, std::move(to), RENAME_NOREPLACE, where);
    co_return result == 0;
}

toadstone::task<bool> folder::take_away(std::string name, int flags,
                                        std::source_location where) {
    const detail::borrowed_fd here(handle_);
    detail::check_path("remove", name);
    const name_leaf::request what{change::remove, name.c_str(), static_cast<unsigned>(flags)};
    const int result = co_await name_op(where, handle_, what);
    if (result < 0 && result != -ENOENT) {
        detail::throw_io_error("remove", path_of(name), -result);
    }
    co_return result == 0;
}

toadstone::task<bool> folder::remove(std::string name, std::source_location where) {
    return take_away(std::move(name), 0, where);
}

toadstone::task<bool> folder::remove_folder(std::string name, std::source_location where) {
    return take_away(std::move(name), AT_REMOVEDIR, where);
}

toadstone::task<bool> folder::make_folder(std::string name, unsigned mode,
                                          std::source_location where) {
    const detail::borrowed_fd here(handle_);
    detail::check_path("make", name);
    const name_leaf::request what{change::make, name.c_str(), mode};
    const int result = co_await name_op(where, handle_, what);
    if (result < 0 && result != -EEXIST) {
        detail::throw_io_error("make", path_of(name), -result);
    }
    co_return result == 0;
}

toadstone::task<std::vector<folder_entry>> folder::list(std::source_location where) {
    const detail::borrowed_fd here(handle_);
    // Of its own: where the reading is belongs to who reads.
    const int fd = co_await detail::open_op(where, here.get(), ".", open_flags, 0U);
    if (fd < 0) detail::throw_io_error("list", path_, -fd);
    const detail::descriptor own(fd);
    const auto read = [this, &own] { return read_names(own.get(), path_); };
    std::vector<folder_entry> all = co_await spawn_blocking(read);
    co_return all;
}

toadstone::task<> folder::sync(std::source_location where) {
    const detail::claim here(handle_.use, detail::in_use::one_more); // for the path in an error
    const int result = co_await sync_op(where, handle_);
    if (result < 0) detail::throw_io_error("sync", path_, -result);
}

toadstone::task<> folder::close(std::source_location where) {
    const int result =
        co_await detail::close_handle(handle_, detail::before_close::wait, nullptr, where);
    if (result < 0) detail::throw_close_error("close", path_, result);
}

} // namespace toadstone::io
