// Changing names, and what of it survives.
#include <toadstone/sim/kernel/names.hpp>

#include <toadstone/sim/kernel/objects.hpp>

#include <algorithm>

namespace toadstone::sim::detail {

std::string names::parent_of(const std::string& name) {
    const auto slash = name.rfind('/');
    return slash == 0 ? root : name.substr(0, slash);
}

bool names::is_within(std::string_view name, std::string_view folder) {
    if (folder == root) return name != root;
    return name.size() > folder.size() && name.substr(0, folder.size()) == folder &&
           name[folder.size()] == '/';
}

names::names() {
    now_.folders = {root, "/tmp"};
    disk_.folders = now_.folders;
}

inode* names::find(std::string_view name) const {
    const auto found = now_.files.find(name);
    return found == now_.files.end() ? nullptr : found->second.get();
}

names::file names::share(std::string_view name) const {
    const auto found = now_.files.find(name);
    return found == now_.files.end() ? nullptr : found->second;
}

std::vector<std::pair<std::string, bool>> names::list(const std::string& folder) const {
    std::vector<std::pair<std::string, bool>> all;
    const std::size_t skipped = folder == root ? 1 : folder.size() + 1;
    const auto add = [&](const std::string& name, bool is_folder) {
        if (name != root && parent_of(name) == folder) {
            all.emplace_back(name.substr(skipped), is_folder);
        }
    };
    for (const auto& [name, what] : now_.files) add(name, false);
    for (const auto& name : now_.folders) add(name, true);
    std::sort(all.begin(), all.end());
    return all;
}

void names::add_file(const std::string& name, file what) {
    begin({change::kind::file, name, {}, std::move(what)});
}
void names::add_folder(const std::string& name) {
    if (!is_folder(name)) begin({change::kind::folder, name, {}, nullptr});
}
void names::remove(const std::string& name) {
    begin({change::kind::removed, name, {}, share(name)});
}
void names::rename(const std::string& from, const std::string& to) {
    begin({change::kind::renamed, from, to, share(from)});
}

void names::begin(change one) {
    now_.apply(one);
    pending_.push_back(std::move(one));
}

void names::image::apply(const change& one) {
    switch (one.what) {
    case change::kind::file:
        files[one.from] = one.node;
        break;
    case change::kind::folder:
        folders.insert(one.from);
        break;
    case change::kind::removed:
        files.erase(one.from);
        folders.erase(one.from);
        break;
    case change::kind::renamed:
        if (one.node) {
            files.erase(one.from);
            files[one.to] = one.node;
            break;
        }
        folders.erase(one.from);
        folders.insert(one.to);
        const auto moved = [&one](const std::string& name) {
            return one.to + name.substr(one.from.size());
        };
        for (auto each = files.begin(); each != files.end();) {
            const auto old = each++;
            if (!is_within(old->first, one.from)) continue;
            files[moved(old->first)] = old->second;
            files.erase(old);
        }
        for (auto each = folders.begin(); each != folders.end();) {
            const auto old = each++;
            if (!is_within(*old, one.from)) continue;
            folders.insert(moved(*old));
            folders.erase(old);
        }
        break;
    }
}

bool names::builds_on(const change& later, const change& earlier) {
    const auto touches = [](const change& one, const std::string& name) {
        return one.from == name || (!one.to.empty() && one.to == name);
    };
    if (touches(earlier, later.from)) return true;
    if (!later.to.empty() && touches(earlier, later.to)) return true;
    const auto moves = [](const change& folder, const change& other) {
        if (folder.what != change::kind::renamed || folder.node) return false;
        for (const std::string* name : {&other.from, &other.to}) {
            if (is_within(*name, folder.from) || is_within(*name, folder.to)) return true;
        }
        return false;
    };
    return moves(later, earlier) || moves(earlier, later);
}

void names::mark(std::size_t which) {
    pending_[which].marked = true;
    for (std::size_t i = which; i-- > 0;) {
        if (!pending_[i].marked && builds_on(pending_[which], pending_[i])) mark(i);
    }
}

void names::write_marked() {
    for (const change& each : pending_) {
        if (each.marked) disk_.apply(each);
    }
    const auto written = [](const change& each) { return each.marked; };
    pending_.erase(std::remove_if(pending_.begin(), pending_.end(), written), pending_.end());
}

void names::sync_folder(const std::string& folder) {
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        const change& each = pending_[i];
        const bool here = parent_of(each.from) == folder ||
                          (!each.to.empty() && parent_of(each.to) == folder);
        if (here && !each.marked) mark(i);
    }
    write_marked();
}

void names::sync_file(const inode& which) {
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        if (pending_[i].node.get() == &which && !pending_[i].marked) mark(i);
    }
    write_marked();
}

void names::sync_name(const std::string& name) {
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        const change& each = pending_[i];
        const bool on_its_way = each.from == name || each.to == name ||
                                is_within(name, each.from) ||
                                (!each.to.empty() && is_within(name, each.to));
        if (on_its_way && !each.marked) mark(i);
    }
    write_marked();
}

void names::crash(const std::function<bool()>& kept) {
    for (std::size_t i = 0; i < pending_.size(); ++i) {
        if (kept() && !pending_[i].marked) mark(i);
    }
    write_marked();
    pending_.clear();
    // What is left of a folder that is not there cannot be reached. A folder comes before all
    // that is in it.
    for (auto each = disk_.folders.begin(); each != disk_.folders.end();) {
        const auto old = each++;
        if (*old != root && disk_.folders.count(parent_of(*old)) == 0) disk_.folders.erase(old);
    }
    for (auto each = disk_.files.begin(); each != disk_.files.end();) {
        const auto old = each++;
        if (disk_.folders.count(parent_of(old->first)) == 0) disk_.files.erase(old);
    }
    now_ = disk_;
}

} // namespace toadstone::sim::detail
