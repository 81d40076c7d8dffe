// The files of a journal, byte by byte: made, and looked through without trusting them.
#ifndef TOADSTONE_EXAMPLES_JOURNAL_FORMAT_HPP
#define TOADSTONE_EXAMPLES_JOURNAL_FORMAT_HPP

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace journal {

/// A place between two records. `chain` is the CRC of the last one before it, and so depends on
/// all of them.
struct position {
    std::uint64_t sequence = 0; ///< of the last record before it; 0: there is none
    std::uint32_t chain = 0;
    friend bool operator==(const position&, const position&) = default;
};

struct record {
    std::uint64_t sequence = 0; ///< the first one is 1
    std::uint32_t type = 0;     ///< the user's; see largest_type
    std::string payload;
    friend bool operator==(const record&, const record&) = default;
};

/// Beyond it are the marks at the end of a segment.
inline constexpr std::uint32_t largest_type = 0xffff'ff00;
/// The header has a block of its own, which no record's write touches again.
inline constexpr std::size_t segment_header_size = 4096;
inline constexpr std::size_t record_header_size = 40;
inline constexpr std::size_t smallest_segment = 2 * segment_header_size;

/// What a segment says at its end of what follows. Without a mark its writer was stopped, or
/// is at work.
enum class mark : std::uint32_t {
    closed = 0xffff'ff01,    ///< its journal was closed in order
    continued = 0xffff'ff02, ///< there is another segment behind it
};

/// Bytes that a record takes in a segment.
[[nodiscard]] constexpr std::size_t framed_size(std::size_t payload) noexcept {
    return record_header_size + (payload + 7) / 8 * 8;
}
/// The longest payload that a segment of that size holds, with a mark behind it.
[[nodiscard]] constexpr std::size_t longest_payload(std::size_t segment_bytes) noexcept {
    return segment_bytes - segment_header_size - 2 * record_header_size;
}

/// CRC32C of `bytes`, going on from that of what comes before them.
[[nodiscard]] std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

struct segment_header {
    std::uint64_t epoch = 0; ///< random: the bytes of another segment are no records of this
    position begins;         ///< before its first record
    std::uint64_t size = 0;  ///< of the file
};
[[nodiscard]] std::string to_bytes(const segment_header& header);

/// Appends to `to` a record behind `at`, which moves on. All before `synced` was synced when
/// this is written.
void add_record(std::string& to, position& at, std::uint64_t epoch, std::uint64_t synced,
                std::uint32_t type, std::string_view payload);
/// A mark is no record: it has no number of its own, and what comes next does not depend on it.
[[nodiscard]] std::string to_bytes(mark what, const position& at, std::uint64_t epoch);

/// Something that no failure of power explains.
struct damage {
    std::string file;
    std::uint64_t byte = 0;
    std::string what;
};

struct segment_content {
    segment_header header;
    std::vector<record> records;
    std::vector<std::uint32_t> chains; ///< the CRC of each
    position ends;
    std::size_t good_bytes = 0; ///< to the end of the last good record
    /// From here on it is the last write, of which nothing says that it was synced.
    std::size_t unsure_from = 0;
    std::optional<mark> last;
    bool torn = false; ///< behind the last good record is what was written and never synced
    std::optional<damage> broken;
};

/// Looks through a segment.
///
/// A record that is not good ends it. That was a failure of power, in the middle of what was
/// written last, unless a record behind it was written after it had been synced: that is
/// damage.
[[nodiscard]] segment_content read_segment(std::string_view file, std::string name);

struct snapshot {
    position at; ///< it stands for everything up to there
    std::string state;
};
[[nodiscard]] std::string to_bytes(const snapshot& what);
/// Its first bytes, before the state, whose CRC goes on to the last ones.
[[nodiscard]] std::string snapshot_head(const position& at, std::uint64_t state_bytes);
/// Its last bytes.
[[nodiscard]] std::string snapshot_tail(std::uint32_t crc);
/// Returns: nothing, and says why in `broken`, for one that is not whole.
[[nodiscard]] std::optional<snapshot> read_snapshot(std::string_view file, std::string name,
                                                    std::optional<damage>& broken);

/// "segment-00000000000000000042": names sort as their numbers.
[[nodiscard]] std::string name_of(std::string_view kind, std::uint64_t number);
/// Returns: nothing for a name that name_of() does not give.
[[nodiscard]] std::optional<std::uint64_t> number_in(std::string_view name,
                                                     std::string_view kind);

} // namespace journal

#endif
