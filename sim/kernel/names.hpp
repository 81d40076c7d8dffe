// The names of files and folders, as everybody sees them and as they are on the disk.
#ifndef TOADSTONE_SIM_KERNEL_NAMES_HPP
#define TOADSTONE_SIM_KERNEL_NAMES_HPP

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace toadstone::sim::detail {

struct inode;

/// Whole names, from the root, without dots and doubled slashes.
///
/// A change is seen at once. On the disk it is when a folder that it is in has been synced, or
/// when it was lucky. One that builds on another, of the same name or within a folder that is
/// renamed, does not come before it. What is in a folder that is not on the disk is not either.
class names {
public:
    using file = std::shared_ptr<inode>;
    static constexpr const char* root = "/";
    [[nodiscard]] static std::string parent_of(const std::string& name);
    [[nodiscard]] static bool is_within(std::string_view name, std::string_view folder);

    names();

    [[nodiscard]] bool is_folder(std::string_view name) const {
        return now_.folders.count(name) > 0;
    }
    /// Null: there is no file of that name.
    [[nodiscard]] inode* find(std::string_view name) const;
    [[nodiscard]] file share(std::string_view name) const;
    /// Each name in a folder, without its path, and whether it is a folder; in order.
    [[nodiscard]] std::vector<std::pair<std::string, bool>>
    list(const std::string& folder) const;

    void add_file(const std::string& name, file what);
    void add_folder(const std::string& name);
    /// A file, or a folder that is empty.
    void remove(const std::string& name);
    /// Replaces a file, or an empty folder.
    void rename(const std::string& from, const std::string& to);

    /// What has changed in this folder is on the disk.
    void sync_folder(const std::string& folder);
    /// The names of this file are.
    void sync_file(const inode& which);
    /// All that is known of a name is on the disk.
    void sync_name(const std::string& name);
    /// Power fails. `kept()` says of each change that was not synced whether it is on the disk.
    void crash(const std::function<bool()>& kept);

    template <class Fn>
    void for_each_file(Fn&& fn) const {
        for (const auto& [name, what] : now_.files) fn(*what);
    }

private:
    struct change {
        enum class kind : unsigned char { file, folder, removed, renamed } what;
        std::string from;
        std::string to;
        file node;
        bool marked = false;
    };
    struct image {
        std::map<std::string, file, std::less<>> files;
        std::set<std::string, std::less<>> folders;
        void apply(const change& one);
    };
    void begin(change one);
    [[nodiscard]] static bool builds_on(const change& later, const change& earlier);
    void mark(std::size_t which);
    void write_marked();

    image now_;
    image disk_;
    std::vector<change> pending_;
};

} // namespace toadstone::sim::detail

#endif
