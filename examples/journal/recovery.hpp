// What a journal's folders hold: the newest good snapshot, the records behind it, and what is
// wrong.
#ifndef TOADSTONE_EXAMPLES_JOURNAL_RECOVERY_HPP
#define TOADSTONE_EXAMPLES_JOURNAL_RECOVERY_HPP

#include "format.hpp"

#include <toadstone/io/folder.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace journal {

inline constexpr const char* segment_kind = "segment-";
inline constexpr const char* snapshot_kind = "snapshot-";

/// What open() finds: `state`, and what has happened since.
struct contents {
    position state_at; ///< what `state` stands for; 0: there is no snapshot, `state` is empty
    std::string state;
    std::vector<record> records; ///< contiguous, behind `state_at`
    position end;                ///< behind the last of them
    /// What was found that is not as it should be, and does no harm: a line each.
    std::vector<std::string> notes;
};

/// What was found cannot be explained by a failure of power: something has been lost that was
/// acknowledged, or nobody can know. what() names the file, the place in it and what to do.
class damaged_journal : public std::runtime_error {
public:
    explicit damaged_journal(const damage& what);
    [[nodiscard]] const damage& where() const noexcept { return where_; }

private:
    damage where_;
};

/// What is left of a journal up to where it is damaged.
struct survey {
    contents good;
    std::optional<damage> broken;
    std::vector<std::string> snapshots; ///< files that are whole, oldest first
    std::vector<std::string> bad_snapshots;
    struct part {
        std::string name;
        std::size_t good_bytes = 0;
        std::size_t unsure_from = 0; ///< see segment_content
        std::uint64_t size = 0;
        position ends;
    };
    std::vector<part> segments; ///< those that were read, and the last one as far as it is good
};

enum class how_much : unsigned char {
    what_is_needed, ///< the newest good snapshot, and the segments from there on
    everything,     ///< all snapshots, and the segments from the oldest good one on
};

/// Reads both folders, and changes nothing.
///
/// What is read is on the disk: each folder and file is synced before. Otherwise a process that
/// goes on with what a dead one has written, and not synced, would lose it when power fails.
///
/// Errors: std::system_error.
/// Cancellation: each step is a cancellation point.
[[nodiscard]] toadstone::task<survey>
look_through(toadstone::io::folder& segments, toadstone::io::folder& snapshots, how_much what);

/// Copies what is good into two other folders, which are empty, and brings it to the disk.
///
/// Returns: what look_through() finds in the old ones.
/// Errors: damaged_journal if nothing can be saved; std::system_error.
/// Cancellation: as look_through(). What was copied stays.
[[nodiscard]] toadstone::task<survey> salvage(toadstone::io::folder& segments,
                                              toadstone::io::folder& snapshots,
                                              toadstone::io::folder& into,
                                              toadstone::io::folder& snapshots_into);

/// The numbers in the names of one kind in a folder, sorted.
[[nodiscard]] toadstone::task<std::vector<std::uint64_t>>
numbers_in(toadstone::io::folder& where, const char* kind);
[[nodiscard]] toadstone::task<std::string> read_file(toadstone::io::folder& from,
                                                     std::string name);
/// Whether a file has exactly this content, as the next one who opens it would read it.
[[nodiscard]] toadstone::task<bool> has_content(toadstone::io::folder& in, std::string name,
                                                std::string_view content);
/// Large files are written and compared so much at a time, with other tasks in between.
inline constexpr std::size_t part_bytes = std::size_t{256} << 10;
/// Writes a file beside, filled with zeros to `size`, syncs it, gives it its name, in the place
/// of what has that, and syncs the folder. `renamed`, if not null, is set when the name is
/// there, and may not be on the disk yet. One at a time for each kind and folder.
[[nodiscard]] toadstone::task<> put_file(toadstone::io::folder& into, std::string name,
                                         std::string_view content, std::uint64_t size,
                                         bool* renamed = nullptr);

} // namespace journal

#endif
