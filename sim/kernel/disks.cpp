// The simulated disks.
#include <toadstone/sim/kernel/state.hpp>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include <fcntl.h>

namespace toadstone::sim {

using detail::file_object;
using detail::inode;

namespace {

// Names of files and folders are those from the root, without dots and doubled slashes.
const std::string root = "/";

std::string parent_of(const std::string& name) {
    const auto slash = name.rfind('/');
    return slash == 0 ? root : name.substr(0, slash);
}

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
        name = parent_of(name);
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
        if (folders_.count(name) == 0) return directory_.count(name) ? -ENOTDIR : -ENOENT;
        step(name, part);
        return 0;
    });
}

void world::state::make_folder(std::string_view path) {
    std::string name = root;
    for_each_part(path, [&](std::string_view part) {
        step(name, part);
        if (directory_.count(name) > 0) {
            throw std::invalid_argument("make_folder " + std::string(path) + ": " + name +
                                        " is a file");
        }
        folders_.insert(name);
        return 0;
    });
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
    if (folders_.count(name) > 0) return open_folder(name, flags);
    auto found = directory_.find(name);
    if (path.back() == '/') {
        if (flags & O_CREAT) return -EISDIR;
        return found == directory_.end() ? -ENOENT : -ENOTDIR;
    }
    if (found == directory_.end()) {
        if (!(flags & O_CREAT)) return -ENOENT;
        if (disk_fault(50)) return -ENOSPC;
        found = directory_.emplace(name, std::make_shared<inode>()).first;
    } else if ((flags & O_CREAT) && (flags & O_EXCL)) {
        return -EEXIST;
    }
    if (flags & O_DIRECTORY) return -ENOTDIR;
    if (flags & O_TRUNC) {
        found->second->cached.clear();
        found->second->dirty.clear();
    }
    auto file = std::make_shared<file_object>(found->second);
    const int access = flags & O_ACCMODE;
    file->readable = access != O_WRONLY;
    file->writable = access != O_RDONLY;
    file->append = (flags & O_APPEND) != 0;
    return add(std::move(file));
}

int world::state::open_at(int folder, std::string_view path, int flags) {
    if (path.empty()) return -ENOENT;
    if (full()) return -EMFILE; // before anything is looked up or made
    if (folder == AT_FDCWD || path.front() == '/') return open_from(root, path, flags);
    const auto found = find(folder);
    if (!found) return -EBADF;
    const auto* from = dynamic_cast<const file_object*>(found.get());
    if (!from || !from->folder) return -ENOTDIR;
    return open_from(from->path, path, flags);
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
        for (auto& [path, node] : directory_) {
            if (parent_of(path) == file.path) node->entry_durable = true;
        }
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
    if (!options_.strict_folders) node.entry_durable = true;
    return 0;
}

void world::state::crash_disks() {
    constexpr std::size_t sector = 512;
    for (auto each = directory_.begin(); each != directory_.end();) {
        inode& node = *each->second;
        if (!node.entry_durable && dice_.choose(2, choice::fault)) {
            each = directory_.erase(each);
            continue;
        }
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
        ++each;
    }
}

const inode* world::state::file(std::string_view path) const {
    const auto found = directory_.find(name_of(path));
    return found == directory_.end() ? nullptr : found->second.get();
}

void world::state::remove_file(std::string_view path) {
    directory_.erase(name_of(path));
}

inode& world::state::make_file(std::string_view path) {
    const std::string name = name_of(path);
    if (folders_.count(name) > 0) {
        throw std::invalid_argument("put_file " + std::string(path) + ": it is a folder");
    }
    make_folder(parent_of(name));
    auto& node = directory_[name];
    if (!node) node = std::make_shared<inode>();
    return *node;
}

} // namespace toadstone::sim
