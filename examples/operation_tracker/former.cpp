// Reading a former journal, line by line.
#include "former.hpp"

#include "history.hpp"
#include "operation_json.hpp"

#include <toadstone/io/file.hpp>

#include <algorithm>
#include <optional>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace tracker {
namespace {

// A name and a note at their longest, each byte of them escaped, need less than a third of it.
// What is longer is no record, and is not kept to see where it ends.
constexpr std::size_t longest_line = std::size_t{64} * 1024;

void take_record(std::map<operation_id, operation>& operations, const journal_record& record) {
    if (record.id == 0 || record.id > largest_id) {
        throw std::runtime_error("the id is not between 1 and " + std::to_string(largest_id));
    }
    std::optional<operation> before;
    const auto found = operations.find(record.id);
    if (found != operations.end()) before = found->second;
    operations.insert_or_assign(record.id, after(before, record));
}

/// Takes a journal's bytes as they come.
class line_reader {
public:
    explicit line_reader(std::string path) : path_(std::move(path)) {}

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

    [[nodiscard]] former_journal finish() {
        // Only what could be the rest of an append is taken for one, and may be cut off.
        if (!pending_.empty() && pending_.front() != '{' && pending_.front() != '\0') {
            refuse("this is not the journal of an operation tracker");
        }
        if (!pending_.empty() && so_far_.torn_bytes > 0) {
            refuse("this is damaged, and not the last record");
        }
        so_far_.torn_bytes += pending_.size();
        return std::move(so_far_);
    }

private:
    [[noreturn]] void refuse(const std::string& why) const {
        throw std::runtime_error(path_ + " line " + std::to_string(records_ + 1) + ": " + why);
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
            take_record(so_far_.operations, read_record(line));
        } catch (const std::runtime_error& error) {
            refuse(error.what());
        }
        ++records_;
    }

    const std::string path_;
    former_journal so_far_;
    std::size_t records_ = 0;
    std::string pending_;      // the beginning of a line whose end has not come yet
    std::size_t searched_ = 0; // of these, without an end in them
};

} // namespace

toadstone::task<former_journal> read_former(std::string path) {
    // For a lock it has to be open for writing.
    toadstone::io::file former = co_await toadstone::io::file::open(path, {.write = true});
    if (!former.is_regular()) throw std::runtime_error(path + " is not an ordinary file");
    if (!former.try_lock()) {
        throw std::runtime_error(path + " belongs to another server: stop that one first");
    }
    line_reader reader(std::move(path));
    std::vector<char> chunk(longest_line);
    for (std::uint64_t offset = 0;;) {
        const std::size_t bytes = co_await former.read_at(std::span<char>(chunk), offset);
        if (bytes == 0) break;
        offset += bytes;
        reader.take(std::string_view(chunk.data(), bytes));
    }
    co_await former.close();
    co_return reader.finish();
}

} // namespace tracker
