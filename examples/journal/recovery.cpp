// From the files to a state and the records behind it, or to a sentence about what is wrong.
#include "recovery.hpp"

#include <toadstone/io/file.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace journal {

namespace io = toadstone::io;
using toadstone::task;

damaged_journal::damaged_journal(const damage& what)
    : std::runtime_error(
          what.file + " at byte " + std::to_string(what.byte) + ": " + what.what +
          "; nothing was changed: restore the files from a copy, or save what is "
          "good into a new folder with journal_check --salvage"),
      where_(what) {}

task<std::vector<std::uint64_t>> numbers_in(io::folder& where, const char* kind) {
    std::vector<std::uint64_t> numbers;
    const auto names = co_await where.list();
    for (const auto& each : names) {
        if (const auto number = number_in(each.name, kind)) numbers.push_back(*number);
    }
    co_return numbers;
}

task<std::string> read_file(io::folder& from, std::string name) {
    io::file file = co_await from.open_file(std::move(name));
    co_await file.sync_all();
    std::string bytes(file.size(), '\0');
    std::size_t have = 0;
    while (have < bytes.size()) {
        const auto rest = std::span(bytes).subspan(have);
        const std::size_t count = co_await file.read_at(rest, have);
        if (count == 0) break;
        have += count;
    }
    bytes.resize(have);
    co_await file.close();
    co_return bytes;
}

task<bool> has_content(io::folder& in, std::string name, std::string_view content) {
    io::file file = co_await in.open_file(std::move(name));
    co_await file.sync_all();
    bool same = file.size() == content.size();
    std::string there(std::min(content.size(), part_bytes), '\0');
    for (std::size_t at = 0; same && at < content.size();) {
        const std::size_t count = co_await file.read_at(std::span(there), at);
        same =
            count > 0 && content.substr(at, count) == std::string_view(there).substr(0, count);
        at += count;
    }
    co_await file.close();
    co_return same;
}

task<> put_file(io::folder& into, std::string name, std::string_view content,
                std::uint64_t size, bool* renamed) {
    const std::string beside = name.substr(0, name.find('-') + 1) + "new";
    // One that a dead process has left may have failed to be synced, which stays with it.
    co_await into.remove(beside);
    io::file fresh =
        co_await into.open_file(beside, {.write = true, .create = true, .exclusive = true});
    for (std::size_t at = 0; at < content.size(); at += part_bytes) {
        co_await fresh.write_all_at(content.substr(at, part_bytes), at);
    }
    // Written, not made longer: the first sync of a block that was never written is slow, and
    // a disk that is full says so now.
    const std::string zeros(std::min<std::uint64_t>(size - content.size(), 65536), '\0');
    for (std::uint64_t at = content.size(); at < size;) {
        const std::uint64_t count = std::min<std::uint64_t>(zeros.size(), size - at);
        co_await fresh.write_all_at(std::string_view(zeros).substr(0, count), at);
        at += count;
    }
    co_await fresh.sync_all();
    co_await fresh.close();
    co_await into.rename(beside, std::move(name));
    if (renamed) *renamed = true;
    co_await into.sync();
}

namespace {

/// One journal that is looked through.
class surveyor {
public:
    surveyor(io::folder& segments, io::folder& snapshots, how_much what)
        : segments_(segments), snapshots_(snapshots), what_(what) {}

    task<survey> look() {
        co_await segments_.sync();
        co_await snapshots_.sync();
        co_await find_state();
        co_await find_records();
        co_return std::move(found_);
    }

private:
    task<> find_state() {
        auto numbers = co_await numbers_in(snapshots_, snapshot_kind);
        for (auto each = numbers.rbegin(); each != numbers.rend(); ++each) {
            if (!states_.empty() && what_ == how_much::what_is_needed) break;
            co_await try_snapshot(*each);
        }
        std::reverse(found_.snapshots.begin(), found_.snapshots.end());
    }

    task<> try_snapshot(std::uint64_t number) {
        const std::string name = name_of(snapshot_kind, number);
        const std::string bytes = co_await read_file(snapshots_, name);
        std::optional<damage> broken;
        auto whole = read_snapshot(bytes, snapshots_.path() + "/" + name, broken);
        if (whole && whole->at.sequence != number) {
            whole.reset();
            broken =
                damage{snapshots_.path() + "/" + name, 0, "it has the name of another one"};
        }
        if (!whole) {
            note(broken->file + ": " + broken->what);
            found_.bad_snapshots.push_back(name);
            if (!bad_snapshot_) bad_snapshot_ = std::move(broken);
            co_return;
        }
        found_.snapshots.push_back(name);
        states_.push_back(whole->at);
        if (states_.size() > 1) co_return;
        found_.good.state_at = whole->at;
        found_.good.state = std::move(whole->state);
        found_.good.end = whole->at;
    }

    task<> find_records() {
        const auto numbers = co_await numbers_in(segments_, segment_kind);
        const std::uint64_t next = states_.empty() ? 1 : states_.back().sequence + 1;
        // The last one that begins at or before the first record that is needed.
        auto first = std::upper_bound(numbers.begin(), numbers.end(), next);
        if (first == numbers.begin()) {
            if (numbers.empty() && next == 1 && !bad_snapshot_) co_return;
            say_missing(next, numbers.empty() ? 0 : numbers.front());
            co_return;
        }
        --first;
        for (auto each = first; each != numbers.end(); ++each) {
            const bool is_last = each + 1 == numbers.end();
            co_await take_segment(*each, is_last);
            if (found_.broken) co_return;
        }
        if (reached_->sequence < found_.good.state_at.sequence) {
            breaks(found_.segments.back().name, found_.segments.back().good_bytes,
                   "the segments end with record " + std::to_string(reached_->sequence) +
                       ", the newest snapshot stands for " +
                       std::to_string(found_.good.state_at.sequence));
        }
    }

    /// The records behind the state are in no segment.
    void say_missing(std::uint64_t needed, std::uint64_t begin) {
        std::string what = "the segment with record " + std::to_string(needed) + " is missing";
        if (begin != 0) what += ", the first one begins with record " + std::to_string(begin);
        if (bad_snapshot_) {
            found_.broken = bad_snapshot_;
            found_.broken->what += ", and " + what;
        } else {
            breaks("", 0, what);
        }
    }

    task<> take_segment(std::uint64_t number, bool is_last) {
        const std::string name = name_of(segment_kind, number);
        const std::string bytes = co_await read_file(segments_, name);
        segment_content here = read_segment(bytes, segments_.path() + "/" + name);
        if (!here.broken && here.header.begins.sequence + 1 != number) {
            breaks(name, 0, "it has the name of another one");
            co_return;
        }
        if (here.good_bytes > 0 && !joins(name, here)) co_return;
        for (std::size_t i = 0; i < here.records.size(); ++i) {
            if (!take_record(name, here.records[i], here.chains[i])) co_return;
        }
        if (here.good_bytes > 0) {
            reached_ = here.ends;
            if (reached_->sequence > found_.good.end.sequence) found_.good.end = here.ends;
            found_.segments.push_back(
                {name, here.good_bytes, here.unsure_from, here.header.size, here.ends});
        }
        if (here.broken) {
            found_.broken = std::move(here.broken);
        } else if (is_last && here.last == mark::continued) {
            breaks(name, here.good_bytes, "the segment that follows it is missing");
        } else if (here.torn) {
            note(segments_.path() + "/" + name + ": what begins at byte " +
                 std::to_string(here.good_bytes) + " was never acknowledged, and is left out");
        }
    }

    /// Whether a segment begins where the one before has ended.
    bool joins(const std::string& name, const segment_content& here) {
        const position& begins = here.header.begins;
        if (!reached_) return agrees(name, begins);
        if (begins == *reached_) return true;
        breaks(name, 0,
               "it does not begin where the segment before it ends, behind record " +
                   std::to_string(reached_->sequence));
        return false;
    }

    /// Whether the snapshots that stand for this position say the same of it.
    bool agrees(const std::string& name, const position& at) {
        for (const position& each : states_) {
            if (each.sequence != at.sequence || each == at) continue;
            breaks(name, 0,
                   "the snapshot of record " + std::to_string(at.sequence) +
                       " is of another journal");
            return false;
        }
        return true;
    }

    bool take_record(const std::string& name, record& one, std::uint32_t chain) {
        if (!agrees(name, {one.sequence, chain})) return false;
        if (one.sequence > found_.good.state_at.sequence) {
            found_.good.records.push_back(std::move(one));
        }
        return true;
    }

    void note(std::string line) { found_.good.notes.push_back(std::move(line)); }
    void breaks(const std::string& name, std::uint64_t byte, std::string what) {
        found_.broken = damage{segments_.path() + "/" + name, byte, std::move(what)};
    }

    io::folder& segments_;
    io::folder& snapshots_;
    how_much what_;
    survey found_;
    std::vector<position> states_;       ///< of the good snapshots, newest first
    std::optional<damage> bad_snapshot_; ///< the newest of them
    std::optional<position> reached_;    ///< by the segments so far
};

} // namespace

task<survey> look_through(io::folder& segments, io::folder& snapshots, how_much what) {
    surveyor one(segments, snapshots, what);
    survey found = co_await one.look();
    co_return found;
}

task<survey> salvage(io::folder& segments, io::folder& snapshots, io::folder& into,
                     io::folder& snapshots_into) {
    survey found = co_await look_through(segments, snapshots, how_much::everything);
    if (found.segments.empty() && found.snapshots.empty() && found.broken) {
        throw damaged_journal(*found.broken);
    }
    const position& end = found.good.end;
    const bool reached = !found.segments.empty() && found.segments.back().ends == end;
    if (!reached && !found.snapshots.empty()) {
        found.snapshots.erase(found.snapshots.begin(), found.snapshots.end() - 1);
    }
    for (const std::string& name : found.snapshots) {
        const std::string bytes = co_await read_file(snapshots, name);
        co_await put_file(snapshots_into, name, bytes, bytes.size());
    }
    if (!reached) { // the newest snapshot is all that is good, and never without a segment
        const segment_header header{end.sequence, end, smallest_segment};
        const std::string empty = to_bytes(header);
        co_await put_file(into, name_of(segment_kind, end.sequence + 1), empty, header.size);
        co_return found;
    }
    for (const auto& each : found.segments) {
        const std::string bytes = co_await read_file(segments, each.name);
        const auto good = std::string_view(bytes).substr(0, each.good_bytes);
        co_await put_file(into, each.name, good, each.size);
    }
    co_return found;
}

} // namespace journal
