// Reading the journal back, line by line.
#include "replay.hpp"

#include "operation_json.hpp"

#include <algorithm>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tracker {
namespace {

// A name and a note at their longest, each byte of them escaped, need less than a third of it.
// What is longer is no record, and is not kept to see where it ends.
constexpr std::size_t longest_line = std::size_t{64} * 1024;

void apply(book& operations, const journal_record& record) {
    if (record.id == 0 || record.id > largest_id) {
        throw std::runtime_error("the id is not between 1 and " + std::to_string(largest_id));
    }
    if (!record.what) {
        if (operations.find(record.id))
            throw std::runtime_error("the operation exists already");
        operation fresh;
        fresh.id = record.id;
        fresh.name = record.name;
        operations.put(std::move(fresh));
        return;
    }
    const operation* before = operations.find(record.id);
    if (!before) throw std::runtime_error("there is no such operation");
    operation after = before->after(*record.what);
    operations.remove(record.id);
    operations.put(std::move(after));
}

/// Takes a journal's bytes as they come.
class line_reader {
public:
    line_reader(const std::string& path, book& operations, std::uint64_t begin)
        : path_(path), operations_(operations), begin_(begin) {
        so_far_.whole_bytes = begin;
    }

    void take(std::string_view bytes) {
        pending_.append(bytes);
        std::size_t begin = 0;
        for (;;) {
            const std::size_t end = pending_.find('\n', std::max(begin, searched_));
            if (end == std::string::npos) break;
            take_line(std::string_view(pending_).substr(begin, end - begin));
            begin = end + 1;
        }
        pending_.erase(0, begin);
        searched_ = pending_.size();
        if (pending_.size() > longest_line) refuse("this is longer than any record");
    }

    [[nodiscard]] const replayed& finish() {
        // Only what could be the rest of an append is taken for one, and may be cut off.
        if (!pending_.empty() && pending_.front() != '{' && pending_.front() != '\0') {
            refuse("this is not the journal of an operation tracker");
        }
        if (!pending_.empty() && so_far_.torn_bytes > 0) {
            refuse("this is damaged, and not the last record");
        }
        so_far_.torn_bytes += pending_.size();
        return so_far_;
    }

private:
    [[noreturn]] void refuse(const std::string& why) const {
        const std::string line = std::to_string(so_far_.records + 1);
        const std::string where =
            begin_ == 0 ? " line " + line : " byte " + std::to_string(so_far_.whole_bytes);
        throw std::runtime_error(path_ + where + ": " + why);
    }

    /// Nothing is appended before the last append was synced or cut off, so only the last
    /// record can be damaged. A sector of it that power did not last for reads as zeros, which
    /// no record has, and its end may be there all the same.
    void take_line(std::string_view line) {
        if (line.size() > longest_line) refuse("this is longer than any record");
        if (so_far_.torn_bytes > 0) refuse("this is damaged, and not the last record");
        if (line.find('\0') != std::string_view::npos) {
            so_far_.torn_bytes = line.size() + 1;
            return;
        }
        try {
            apply(operations_, read_record(line));
        } catch (const std::runtime_error& error) {
            refuse(error.what());
        }
        ++so_far_.records;
        so_far_.last_bytes = line.size() + 1;
        so_far_.whole_bytes += so_far_.last_bytes;
    }

    const std::string& path_;
    book& operations_;
    const std::uint64_t begin_;
    replayed so_far_;
    std::string pending_;      // the beginning of a line whose end has not come yet
    std::size_t searched_ = 0; // of these, without an end in them
};

} // namespace

toadstone::task<> write_last_again(toadstone::io::file& journal, const replayed& there) {
    std::string record(there.last_bytes, '\0');
    const std::uint64_t begin = there.whole_bytes - there.last_bytes;
    for (std::size_t have = 0; have < record.size();) {
        const std::size_t bytes =
            co_await journal.read_at(std::span<char>(record).subspan(have), begin + have);
        if (bytes == 0) throw std::runtime_error(journal.path() + " is being made shorter");
        have += bytes;
    }
    if (record.empty()) co_return;
    // Not through the journal itself, where every write goes to the end.
    toadstone::io::open_options how;
    how.write = true;
    toadstone::io::file beside = co_await toadstone::io::file::open(journal.path(), how);
    co_await beside.write_all_at(std::as_bytes(std::span<const char>(record)), begin);
    co_await beside.sync_data();
    co_await beside.close();
}

toadstone::task<replayed> replay(toadstone::io::file& journal, book& operations,
                                 std::uint64_t begin) {
    line_reader reader(journal.path(), operations, begin);
    std::vector<char> chunk(longest_line);
    for (std::uint64_t offset = begin;;) {
        const std::size_t bytes = co_await journal.read_at(std::span<char>(chunk), offset);
        if (bytes == 0) break;
        offset += bytes;
        reader.take(std::string_view(chunk.data(), bytes));
    }
    co_return reader.finish();
}

} // namespace tracker
