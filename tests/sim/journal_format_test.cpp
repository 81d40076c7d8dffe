// The bytes of a journal: what is written is read, and what is not as it was is noticed.
#include "journal/format.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

constexpr std::uint64_t epoch = 0x1122334455667788;

/// A segment in the making, as the writer makes it.
struct made {
    explicit made(journal::position begins = {}, std::size_t size = journal::smallest_segment)
        : file(to_bytes(journal::segment_header{epoch, begins, size})), at(begins) {
        file.resize(size);
    }
    /// One write of these payloads, of types 1, 2 and so on.
    void write(const std::vector<std::string>& payloads) {
        std::string bytes;
        const std::uint64_t synced = at.sequence + 1;
        std::uint32_t type = 0;
        for (const auto& each : payloads) {
            journal::add_record(bytes, at, epoch, synced, ++type, each);
            records.push_back({at.sequence, type, each});
        }
        put(bytes);
    }
    void close(journal::mark what = journal::mark::closed) { put(to_bytes(what, at, epoch)); }
    void put(const std::string& bytes) {
        file.replace(used, bytes.size(), bytes);
        used += bytes.size();
    }
    [[nodiscard]] journal::segment_content read() const {
        return journal::read_segment(file, "segment");
    }

    std::string file;
    journal::position at;
    std::size_t used = journal::segment_header_size;
    std::vector<journal::record> records;
};

made three_writes() {
    made one({41, 0xabcd});
    one.write({"first"});
    one.write({"second", "", std::string(100, 'x')});
    one.write({std::string("fif\0th", 6)});
    return one;
}

/// Every bit, but only some of where nothing but zeros are.
std::vector<std::size_t> bits_of(const made& one) {
    std::vector<std::size_t> all;
    for (std::size_t bit = 0; bit < one.file.size() * 8;) {
        all.push_back(bit);
        const std::size_t byte = bit / 8;
        const bool zeros = (byte >= 64 && byte < journal::segment_header_size - 8) ||
                           byte > one.used + journal::record_header_size;
        bit += zeros ? 61 : 1;
    }
    return all;
}

bool has_all(const journal::segment_content& found, const made& of) {
    return !found.broken && found.records == of.records && found.ends == of.at;
}

} // namespace

TEST_CASE("journal: S530: records are read as they were written, and so are marks") {
    made one = three_writes();
    const auto open = one.read();
    CHECK(has_all(open, one));
    CHECK(open.header.begins == journal::position{41, 0xabcd});
    CHECK(open.records.front().sequence == 42);
    CHECK_FALSE(open.last);
    CHECK_FALSE(open.torn);
    CHECK(open.good_bytes == one.used);
    CHECK(open.unsure_from == one.used - journal::framed_size(6));
    one.close(journal::mark::continued);
    const auto closed = one.read();
    CHECK(has_all(closed, one));
    CHECK(closed.last == journal::mark::continued);
    CHECK(closed.unsure_from == closed.good_bytes);
    // The check value of CRC32C that RFC 3720 and everybody else has.
    CHECK(journal::crc32c("123456789") == 0xe3069283);
    CHECK(journal::crc32c("6789", journal::crc32c("12345")) == 0xe3069283);
}

TEST_CASE("journal: S530: names of files sort as their numbers, and others are not taken") {
    CHECK(journal::name_of("segment-", 42) == "segment-00000000000000000042");
    CHECK(journal::number_in("segment-00000000000000000042", "segment-") == 42);
    CHECK(journal::number_in(journal::name_of("segment-", ~0ULL), "segment-") == ~0ULL);
    for (const char* other : {"segment-42", "segment-0000000000000000004x", "segment-new",
                              "snapshot-00000000000000000042", "segment-99999999999999999999",
                              "segment--0000000000000000042"}) {
        INFO(other);
        CHECK_FALSE(journal::number_in(other, "segment-"));
    }
}

TEST_CASE("journal: S531: each flipped bit of a closed segment is noticed or does no harm") {
    made one = three_writes();
    one.close();
    std::size_t refused = 0;
    std::size_t wrong = 0;
    for (const std::size_t bit : bits_of(one)) {
        const auto flip = static_cast<char>(1U << bit % 8);
        one.file[bit / 8] = static_cast<char>(one.file[bit / 8] ^ flip);
        const auto found = one.read();
        one.file[bit / 8] = static_cast<char>(one.file[bit / 8] ^ flip);
        if (found.broken) ++refused;
        if (!found.broken && !has_all(found, one)) ++wrong;
    }
    CHECK(wrong == 0);
    // All of the header's fields, and of the records; the rest is zeros and the mark.
    const std::size_t mark_size = journal::record_header_size;
    const std::size_t records = one.used - mark_size - journal::segment_header_size;
    CHECK(refused == (40 + records) * 8);
}

TEST_CASE("journal: S531: in a segment that was not closed only the last write can be lost") {
    made one = three_writes();
    for (const std::size_t bit : bits_of(one)) {
        const auto flip = static_cast<char>(1U << bit % 8);
        one.file[bit / 8] = static_cast<char>(one.file[bit / 8] ^ flip);
        const auto found = one.read();
        one.file[bit / 8] = static_cast<char>(one.file[bit / 8] ^ flip);
        const std::size_t at = bit / 8;
        if (found.broken || has_all(found, one)) continue;
        // A power failure in that write looks the same.
        if (at < one.used - journal::framed_size(6) || at >= one.used || !found.torn) {
            FAIL("bit " << bit << " is not noticed");
        }
    }
}

TEST_CASE("journal: S532: a segment of another length is refused") {
    const made one = three_writes();
    for (std::size_t size = 0; size < one.file.size(); ++size) {
        const auto found =
            journal::read_segment(std::string_view(one.file).substr(0, size), "s");
        if (!found.broken) FAIL("cut to " << size << " bytes");
    }
    CHECK(journal::read_segment(one.file + '\0', "s").broken);
}

TEST_CASE(
    "journal: S532: of a write that was torn its beginning is left, however it was torn") {
    made one({}, 16384);
    one.write({"on the disk"});
    const made before = one;
    one.write({std::string(700, 'a'), std::string(700, 'b'), std::string(700, 'c')});
    // Each of its sectors is there or not.
    const std::size_t first = before.used / 512;
    const std::size_t sectors = (one.used + 511) / 512 - first;
    for (std::size_t kept = 0; kept < std::size_t{1} << sectors; ++kept) {
        std::string file = before.file;
        for (std::size_t i = 0; i < sectors; ++i) {
            if (!(kept >> i & 1)) continue;
            file.replace((first + i) * 512, 512, one.file, (first + i) * 512, 512);
        }
        const auto found = journal::read_segment(file, "s");
        const bool whole = found.records.size() == one.records.size();
        if (found.broken || found.records.empty()) FAIL("lost, with " << kept);
        if (whole != (kept + 1 == std::size_t{1} << sectors)) FAIL("not whole, with " << kept);
        for (std::size_t i = 0; i < found.records.size(); ++i) {
            if (found.records[i] != one.records[i]) FAIL("another record, with " << kept);
        }
    }
}

TEST_CASE("journal: S533: a lost sector before what was synced later is damage") {
    made one({}, 16384);
    for (int i = 0; i < 12; ++i) one.write({std::string(200, static_cast<char>('a' + i))});
    const std::size_t begin = journal::segment_header_size;
    for (std::size_t at = begin; at < one.used; at += 512) {
        std::string file = one.file;
        file.replace(at, 512, 512, '\0');
        const auto found = journal::read_segment(file, "s");
        const bool in_last = at + 512 > one.used - journal::framed_size(200);
        INFO("lost at " << at);
        CHECK((found.broken.has_value() || in_last));
        if (!found.broken) continue;
        CHECK(found.broken->file == "s");
        CHECK(found.broken->byte <= at);
        CHECK(found.broken->byte + journal::framed_size(200) > at);
    }
}

TEST_CASE("journal: S533: the bytes of another segment are no records of this one") {
    made other({}, journal::smallest_segment);
    other.write({"one", "two", "three"});
    made one;
    const std::string head = one.file.substr(0, journal::segment_header_size);
    const std::string own =
        to_bytes(journal::segment_header{epoch + 1, {}, journal::smallest_segment});
    one.file = own + other.file.substr(journal::segment_header_size);
    const auto found = one.read();
    CHECK(found.records.empty());
    CHECK(found.torn);
    CHECK_FALSE(found.broken);
    CHECK(head != own);
}

TEST_CASE("journal: S534: each flipped bit and each other length of a snapshot is noticed") {
    const journal::snapshot one{{12, 34}, "the state of everything"};
    const std::string file = to_bytes(one);
    std::optional<journal::damage> broken;
    const auto read = journal::read_snapshot(file, "s", broken);
    REQUIRE(read);
    CHECK(read->at == one.at);
    CHECK(read->state == one.state);
    CHECK_FALSE(broken);
    for (std::size_t bit = 0; bit < file.size() * 8; ++bit) {
        std::string flipped = file;
        flipped[bit / 8] =
            static_cast<char>(flipped[bit / 8] ^ static_cast<char>(1U << bit % 8));
        if (journal::read_snapshot(flipped, "s", broken)) FAIL("bit " << bit);
    }
    for (std::size_t size = 0; size < file.size(); ++size) {
        if (journal::read_snapshot(std::string_view(file).substr(0, size), "s", broken)) {
            FAIL("cut to " << size);
        }
    }
    CHECK_FALSE(journal::read_snapshot(file + 'x', "s", broken));
    CHECK(broken->what == "the snapshot has another length than it was made with");
}
