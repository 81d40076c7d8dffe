// The simulated disks.
#include <toadstone/sim/kernel/state.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h> // RENAME_NOREPLACE

namespace toadstone::sim {

using detail::file_object;
using detail::inode;
using detail::names;

namespace {

const std::string root = names::root;
constexpr std::size_t sector = 512;

// Calls `fn(part)` for what is between the slashes, as long as that gives 0.
template <class Fn>
int for_each_part(std::string_view path, Fn fn) {
    while (!path.empty()) {
        const auto slash = path.find('/');
        const std::string_view part = path.substr(0, slash);
        path.remove_prefix(std::min(path.size(), part.size() + 1));
        if (part.empty()) continue;
        if (const int error = fn(part)) return error;
    }
    return 0;
}

void step(std::string& name, std::string_view part) {
    if (part == "..") {
        name = names::parent_of(name);
    } else if (part != ".") {
        if (name != root) name += '/';
        name.append(part);
    }
}

// Whatever there is on the way.
std::string name_of(std::string_view path) {
    std::string name = root;
    for_each_part(path, [&name](std::string_view part) {
        step(name, part);
        return 0;
    });
    return name;
}

} // namespace

int world::state::walk(std::string_view path, std::string& name) const {
    if (path.front() == '/') name = root;
    return for_each_part(path, [&](std::string_view part) {
        if (!names_.is_folder(name)) return names_.find(name) ? -ENOTDIR : -ENOENT;
        step(name, part);
        return 0;
    });
}

void world::state::make_folder(std::string_view path) {
    std::string name = root;
    for_each_part(path, [&](std::string_view part) {
        step(name, part);
        if (names_.find(name)) {
            throw std::invalid_argument("make_folder " + std::string(path) + ": " + name +
                                        " is a file");
        }
        names_.add_folder(name);
        return 0;
    });
    names_.sync_name(name);
}

int world::state::open_folder(std::string_view path, int flags) {
    if ((flags & O_CREAT) && (flags & O_EXCL)) return -EEXIST;
    if ((flags & O_CREAT) || (flags & O_ACCMODE) != O_RDONLY) return -EISDIR;
    auto folder = std::make_shared<file_object>(std::make_shared<inode>());
    folder->folder = true;
    folder->path = path;
    return add(std::move(folder));
}

int world::state::open_from(std::string name, std::string_view path, int flags) {
    if (const int error = walk(path, name)) return error;
    if (names_.is_folder(name)) return open_folder(name, flags);
    auto found = names_.share(name);
    if (path.back() == '/') {
        if (flags & O_CREAT) return -EISDIR;
        return found ? -ENOTDIR : -ENOENT;
    }
    if (!found) {
        if (!(flags & O_CREAT)) return -ENOENT;
        if (disk_fault(50)) return -ENOSPC;
        found = std::make_shared<inode>();
        names_.add_file(name, found);
    } else if ((flags & O_CREAT) && (flags & O_EXCL)) {
        return -EEXIST;
    }
    if (flags & O_DIRECTORY) return -ENOTDIR;
    if (flags & O_TRUNC) {
        found->cached.clear();
        found->dirty.clear();
    }
    auto file = std::make_shared<file_object>(found);
    const int access = flags & O_ACCMODE;
    file->readable = access != O_WRONLY;
    file->writable = access != O_RDONLY;
    file->append = (flags & O_APPEND) != 0;
    return add(std::move(file));
}

int world::state::start_of(int folder, std::string_view path, std::string& name) const {
    if (path.empty()) return -ENOENT;
    name = root;
    if (folder == AT_FDCWD || path.front() == '/') return 0;
    const auto found = find(folder);
    if (!found) return -EBADF;
    const auto* from = dynamic_cast<const file_object*>(found.get());
    if (!from || !from->folder) return -ENOTDIR;
    name = from->path;
    return 0;
}

int world::state::resolve(int folder, std::string_view path, std::string& name) const {
    if (const int error = start_of(folder, path, name)) return error;
    return walk(path, name);
}

int world::state::open_at(int folder, std::string_view path, int flags) {
    if (path.empty()) return -ENOENT;
    if (full()) return -EMFILE; // before anything is looked up or made
    std::string from;
    if (const int error = start_of(folder, path, from)) return error;
    return open_from(std::move(from), path, flags);
}

namespace {

// The last part of a path, by which nothing is renamed or removed.
bool ends_in_dots(std::string_view path) {
    while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
    const std::string_view last = path.substr(path.rfind('/') + 1);
    return last == "." || last == "..";
}

} // namespace

int world::state::rename_at(int from_folder, std::string_view from, int to_folder,
                            std::string_view to, unsigned flags) {
    std::string old_name;
    std::string new_name;
    if (const int error = resolve(from_folder, from, old_name)) return error;
    if (const int error = resolve(to_folder, to, new_name)) return error;
    if (old_name == root || new_name == root) return -EBUSY;
    if (ends_in_dots(from) || ends_in_dots(to)) return -EBUSY;
    const bool is_folder = names_.is_folder(old_name);
    if (!is_folder && !names_.find(old_name)) return -ENOENT;
    if (!is_folder && (from.back() == '/' || to.back() == '/')) return -ENOTDIR;
    return rename(old_name, new_name, (flags & RENAME_NOREPLACE) == 0);
}

int world::state::rename(const std::string& from, const std::string& to, bool replaces) {
    const bool is_folder = names_.is_folder(from);
    const bool on_folder = names_.is_folder(to);
    const bool on_file = names_.find(to) != nullptr;
    if (!replaces && (on_folder || on_file)) return -EEXIST;
    if (is_folder && names::is_within(to, from)) return -EINVAL;
    if (from == to) return 0;
    if (is_folder && on_file) return -ENOTDIR;
    if (names::is_within(from, to)) return -ENOTEMPTY;
    if (!is_folder && on_folder) return -EISDIR;
    if (on_folder && !names_.list(to).empty()) return -ENOTEMPTY;
    if (disk_fault(50)) return -ENOSPC;
    names_.rename(from, to);
    for (const auto& each : descriptors_) {
        auto* const open = dynamic_cast<file_object*>(each.get());
        if (!is_folder || !open || !open->folder) continue;
        if (open->path == from || names::is_within(open->path, from)) {
            open->path = to + open->path.substr(from.size());
        }
    }
    return 0;
}

int world::state::remove_at(int folder, std::string_view path, unsigned flags) {
    std::string name;
    if (const int error = resolve(folder, path, name)) return error;
    const bool is_folder = names_.is_folder(name);
    if (flags & AT_REMOVEDIR) {
        if (name == root) return -EBUSY;
        if (ends_in_dots(path))
            return path.substr(path.size() - 2) == ".." ? -ENOTEMPTY : -EINVAL;
        if (!is_folder) return names_.find(name) ? -ENOTDIR : -ENOENT;
        if (!names_.list(name).empty()) return -ENOTEMPTY;
    } else {
        if (is_folder) return -EISDIR;
        if (!names_.find(name)) return -ENOENT;
        if (path.back() == '/') return -ENOTDIR;
    }
    names_.remove(name);
    return 0;
}

int world::state::make_folder_at(int folder, std::string_view path) {
    std::string name;
    if (const int error = resolve(folder, path, name)) return error;
    if (names_.is_folder(name) || names_.find(name)) return -EEXIST;
    if (disk_fault(50)) return -ENOSPC;
    names_.add_folder(name);
    return 0;
}

int world::state::list(file_object& folder, std::byte* into, std::size_t size) {
    if (!folder.folder) return -ENOTDIR;
    if (!names_.is_folder(folder.path)) return -ENOENT;
    auto all = names_.list(folder.path);
    all.insert(all.begin(), {{".", true}, {"..", true}});
    std::size_t used = 0;
    for (; folder.position < all.size(); ++folder.position) {
        const auto& [name, is_folder] = all[folder.position];
        // As in the kernel's linux_dirent64, which no header declares.
        constexpr std::size_t name_at = 19;
        const std::size_t record = (name_at + name.size() + 1 + 7) / 8 * 8;
        if (used + record > size) return used ? static_cast<int>(used) : -EINVAL;
        std::memset(into + used, 0, record);
        const std::uint64_t next = folder.position + 1;
        const auto length = static_cast<std::uint16_t>(record);
        std::memcpy(into + used, &next, sizeof next); // a number, and not 0
        std::memcpy(into + used + 8, &next, sizeof next);
        std::memcpy(into + used + 16, &length, sizeof length);
        into[used + 18] = static_cast<std::byte>(is_folder ? DT_DIR : DT_REG);
        std::memcpy(into + used + name_at, name.c_str(), name.size());
        used += record;
    }
    return static_cast<int>(used);
}

int world::state::write(file_object& file, const std::byte* data, std::size_t size,
                        std::uint64_t offset) {
    if (!file.writable) return -EBADF;
    if (disk_fault(40)) return choose(2, choice::fault) ? -EIO : -ENOSPC;
    const std::size_t count = part_of(size);
    auto& bytes = file.node->cached;
    const bool by_position = offset == static_cast<std::uint64_t>(-1);
    std::size_t at = by_position ? file.position : static_cast<std::size_t>(offset);
    if (file.append) at = bytes.size();
    file.node->touch(std::min(at, bytes.size()), at + count);
    if (bytes.size() < at + count) bytes.resize(at + count);
    std::copy_n(data, count, bytes.begin() + static_cast<std::ptrdiff_t>(at));
    if (by_position) file.position = at + count;
    return static_cast<int>(count);
}

int world::state::read(file_object& file, std::byte* into, std::size_t size,
                       std::uint64_t offset) {
    if (!file.readable) return -EBADF;
    if (file.folder) return -EISDIR;
    const auto& bytes = file.node->cached;
    const bool by_position = offset == static_cast<std::uint64_t>(-1);
    const std::size_t at = by_position ? file.position : static_cast<std::size_t>(offset);
    if (at >= bytes.size()) return 0;
    const std::size_t count = part_of(std::min(size, bytes.size() - at));
    std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), count, into);
    if (by_position) file.position = at + count;
    return static_cast<int>(count);
}

int world::state::sync(file_object& file) {
    if (file.folder) {
        if (disk_fault(40)) return -EIO;
        names_.sync_folder(file.path);
        return 0;
    }
    inode& node = *file.node;
    if (fail_sync_ || disk_fault(40)) {
        fail_sync_ = false;
        node.dirty.clear();
        return -EIO;
    }
    node.durable.resize(node.cached.size());
    node.for_each_dirty([&](std::size_t begin, std::size_t end) {
        std::copy_n(node.cached.data() + begin, end - begin, node.durable.data() + begin);
    });
    node.dirty.clear();
    if (!options_.strict_folders) names_.sync_file(node);
    return 0;
}

void world::state::crash_disks() {
    names_.crash([this] { return dice_.choose(2, choice::fault) == 0; });
    names_.for_each_file([this](inode& node) {
        std::vector<std::byte> after = node.durable;
        // A file that was made shorter may be so on the disk already.
        if (after.size() > node.cached.size() && dice_.choose(2, choice::fault)) {
            after.resize(node.cached.size());
        }
        node.for_each_dirty([&](std::size_t begin, std::size_t end) {
            for (std::size_t at = begin; at < end; at += sector) {
                if (dice_.choose(2, choice::fault)) continue; // it was not written back
                const std::size_t count = std::min(sector, end - at);
                if (after.size() < at + count) after.resize(at + count);
                std::copy_n(node.cached.data() + at, count, after.data() + at);
            }
        });
        node.cached = after;
        node.durable = std::move(after);
        node.dirty.clear();
    });
}

const inode* world::state::file(std::string_view path) const {
    return names_.find(name_of(path));
}

void world::state::remove_file(std::string_view path) {
    const std::string name = name_of(path);
    if (!names_.find(name)) return;
    names_.remove(name);
    names_.sync_name(name);
}

void world::state::sync_name(std::string_view path) {
    names_.sync_name(name_of(path));
}

inode& world::state::make_file(std::string_view path) {
    const std::string name = name_of(path);
    if (names_.is_folder(name)) {
        throw std::invalid_argument("put_file " + std::string(path) + ": it is a folder");
    }
    make_folder(names::parent_of(name));
    if (!names_.find(name)) names_.add_file(name, std::make_shared<inode>());
    return *names_.find(name);
}

} // namespace toadstone::sim
