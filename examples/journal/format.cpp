// Frames and checksums. All numbers are little-endian.
#include "format.hpp"

#include <algorithm>
#include <charconv>
#include <climits>
#include <system_error>
#include <utility>

#include <isa-l/crc.h>

namespace journal {
namespace {

// Offsets in a record.
constexpr std::size_t length_at = 4;
constexpr std::size_t sequence_at = 8;
constexpr std::size_t epoch_at = 16;
constexpr std::size_t synced_at = 24;
constexpr std::size_t type_at = 32;
constexpr std::size_t head_at = 36; // the CRC of what is between the first field and this one

constexpr std::string_view segment_magic = "tsjrnl\n1";
constexpr std::string_view snapshot_magic = "tssnap\n1";
constexpr std::size_t segment_fields = 8 + 8 + 4 + 8;

template <class T>
void put(std::string& to, T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        to += static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
    }
}

template <class T>
T take(std::string_view from, std::size_t at) {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
        value |=
            static_cast<T>(static_cast<T>(static_cast<unsigned char>(from[at + i])) << (8 * i));
    }
    return value;
}

std::string head_of(const position& at, std::uint64_t epoch, std::uint64_t synced,
                    std::uint32_t type, std::size_t length) {
    std::string head;
    put(head, static_cast<std::uint32_t>(length));
    put(head, at.sequence + 1);
    put(head, epoch);
    put(head, synced);
    put(head, type);
    put(head, crc32c(head));
    return head;
}

void add_frame(std::string& to, position& at, const std::string& head,
               std::string_view payload) {
    std::string chain;
    put(chain, at.chain);
    const std::size_t begin = to.size();
    to.append(sizeof(std::uint32_t), '\0');
    to.append(head);
    to.append(payload);
    to.append(framed_size(payload.size()) - record_header_size - payload.size(), '\0');
    const std::uint32_t crc =
        crc32c(std::string_view(to).substr(begin + length_at), crc32c(chain));
    chain.clear();
    put(chain, crc);
    to.replace(begin, chain.size(), chain);
    at = {at.sequence + 1, crc};
}

/// One frame in a segment, of which nothing is believed yet.
class frame {
public:
    frame(std::string_view file, std::size_t at) : bytes_(file.substr(at)) {}

    /// Its header is one of this epoch, whatever became of its payload.
    [[nodiscard]] bool has_head(std::uint64_t epoch) const {
        return bytes_.size() >= record_header_size &&
               take<std::uint64_t>(bytes_, epoch_at) == epoch &&
               take<std::uint32_t>(bytes_, head_at) ==
                   crc32c(bytes_.substr(length_at, head_at - length_at));
    }
    /// It is what was written behind `at`.
    [[nodiscard]] bool follows(const position& at, std::uint64_t epoch) const {
        if (!has_head(epoch) || sequence() != at.sequence + 1) return false;
        if (length() > bytes_.size() - record_header_size) return false;
        if (size() > bytes_.size()) return false;
        std::string chain;
        put(chain, at.chain);
        return crc() == crc32c(bytes_.substr(length_at, size() - length_at), crc32c(chain));
    }
    [[nodiscard]] bool is_empty() const {
        const std::string_view head = bytes_.substr(0, record_header_size);
        return std::all_of(head.begin(), head.end(), [](char c) { return c == '\0'; });
    }
    [[nodiscard]] std::uint32_t crc() const { return take<std::uint32_t>(bytes_, 0); }
    [[nodiscard]] std::uint64_t sequence() const {
        return take<std::uint64_t>(bytes_, sequence_at);
    }
    [[nodiscard]] std::uint64_t synced() const {
        return take<std::uint64_t>(bytes_, synced_at);
    }
    [[nodiscard]] std::uint32_t type() const { return take<std::uint32_t>(bytes_, type_at); }
    [[nodiscard]] std::size_t length() const { return take<std::uint32_t>(bytes_, length_at); }
    [[nodiscard]] std::size_t size() const { return framed_size(length()); }
    [[nodiscard]] std::string_view payload() const {
        return bytes_.substr(record_header_size, length());
    }

private:
    std::string_view bytes_;
};

std::optional<segment_header> read_header(std::string_view file, std::string_view& why) {
    segment_header header;
    if (file.size() < segment_header_size) {
        why = "the file is too short for its header";
    } else if (file.substr(0, segment_magic.size()) != segment_magic) {
        why = "this is no segment of a journal, or of another version";
    } else if (take<std::uint32_t>(file, segment_magic.size() + segment_fields) !=
               crc32c(file.substr(0, segment_magic.size() + segment_fields))) {
        why = "its header is damaged";
    } else {
        header.epoch = take<std::uint64_t>(file, 8);
        header.begins.sequence = take<std::uint64_t>(file, 16) - 1;
        header.begins.chain = take<std::uint32_t>(file, 24);
        header.size = take<std::uint64_t>(file, 28);
        if (header.size == file.size()) return header;
        why = "the file has another size than it was made with";
    }
    return std::nullopt;
}

/// The place behind `from` of what was written after `sequence` had been synced, or 0.
std::size_t find_later(std::string_view file, std::size_t from, std::uint64_t sequence,
                       std::uint64_t epoch) {
    for (std::size_t at = from; at + record_header_size <= file.size(); at += 8) {
        const frame there(file, at);
        if (there.has_head(epoch) && there.synced() > sequence) return at;
    }
    return 0;
}

} // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) {
    std::uint32_t crc = ~before;
    while (!bytes.empty()) {
        const std::string_view part = bytes.substr(0, INT_MAX);
        // It only reads; its parameter is not const, and its length is an int.
        auto* const data = reinterpret_cast<unsigned char*>(const_cast<char*>(part.data()));
        crc = crc32_iscsi(data, static_cast<int>(part.size()), crc);
        bytes.remove_prefix(part.size());
    }
    return ~crc;
}

std::string to_bytes(const segment_header& header) {
    std::string bytes(segment_magic);
    put(bytes, header.epoch);
    put(bytes, header.begins.sequence + 1);
    put(bytes, header.begins.chain);
    put(bytes, header.size);
    put(bytes, crc32c(bytes));
    bytes.resize(segment_header_size);
    return bytes;
}

void add_record(std::string& to, position& at, std::uint64_t epoch, std::uint64_t synced,
                std::uint32_t type, std::string_view payload) {
    add_frame(to, at, head_of(at, epoch, synced, type, payload.size()), payload);
}

std::string to_bytes(mark what, const position& at, std::uint64_t epoch) {
    std::string bytes;
    position behind = at;
    add_frame(bytes, behind,
              head_of(at, epoch, at.sequence + 1, static_cast<std::uint32_t>(what), 0), {});
    return bytes;
}

segment_content read_segment(std::string_view file, std::string name) {
    segment_content found;
    std::string_view why;
    const auto header = read_header(file, why);
    if (!header) {
        found.broken = damage{std::move(name), 0, std::string(why)};
        return found;
    }
    found.header = *header;
    found.ends = header->begins;
    std::size_t at = segment_header_size;
    found.unsure_from = at;
    std::uint64_t synced = 0;
    while (frame(file, at).follows(found.ends, header->epoch)) {
        const frame good(file, at);
        if (good.type() > largest_type) {
            found.last = static_cast<mark>(good.type());
            found.unsure_from = at;
            break;
        }
        if (good.synced() != synced) found.unsure_from = at;
        synced = good.synced();
        at += good.size();
        found.records.push_back({good.sequence(), good.type(), std::string(good.payload())});
        found.chains.push_back(good.crc());
        found.ends = {good.sequence(), good.crc()};
    }
    found.good_bytes = at;
    if (found.last) return found;
    found.torn = !frame(file, at).is_empty();
    const std::uint64_t missing = found.ends.sequence + 1;
    if (const std::size_t later = find_later(file, at, missing, header->epoch)) {
        found.broken =
            damage{std::move(name), at,
                   "record " + std::to_string(missing) + " is damaged: what is at byte " +
                       std::to_string(later) + " was written after it was on the disk"};
    }
    return found;
}

std::string snapshot_head(const position& at, std::uint64_t state_bytes) {
    std::string bytes(snapshot_magic);
    put(bytes, at.sequence);
    put(bytes, at.chain);
    put(bytes, state_bytes);
    return bytes;
}

std::string snapshot_tail(std::uint32_t crc) {
    std::string bytes;
    put(bytes, crc);
    return bytes;
}

std::string to_bytes(const snapshot& what) {
    std::string bytes = snapshot_head(what.at, what.state.size()) + what.state;
    return bytes + snapshot_tail(crc32c(bytes));
}

std::optional<snapshot> read_snapshot(std::string_view file, std::string name,
                                      std::optional<damage>& broken) {
    const std::size_t state_at = snapshot_magic.size() + 8 + 4 + 8;
    const char* why = nullptr;
    if (file.size() < state_at + 4 || file.substr(0, snapshot_magic.size()) != snapshot_magic) {
        why = "this is no snapshot, or of another version";
    } else if (take<std::uint64_t>(file, state_at - 8) != file.size() - state_at - 4) {
        why = "the snapshot has another length than it was made with";
    } else if (take<std::uint32_t>(file, file.size() - 4) !=
               crc32c(file.substr(0, file.size() - 4))) {
        why = "the snapshot is damaged";
    } else {
        snapshot whole;
        whole.at = {take<std::uint64_t>(file, 8), take<std::uint32_t>(file, 16)};
        whole.state = file.substr(state_at, file.size() - state_at - 4);
        return whole;
    }
    broken = damage{std::move(name), 0, why};
    return std::nullopt;
}

std::string name_of(std::string_view kind, std::uint64_t number) {
    const std::string digits = std::to_string(number);
    return std::string(kind) + std::string(20 - digits.size(), '0') + digits;
}

std::optional<std::uint64_t> number_in(std::string_view name, std::string_view kind) {
    if (name.size() != kind.size() + 20 || name.substr(0, kind.size()) != kind) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    const char* const end = name.data() + name.size();
    const auto read = std::from_chars(name.data() + kind.size(), end, number);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return number;
}

} // namespace journal
