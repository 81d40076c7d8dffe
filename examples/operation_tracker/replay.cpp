// Reading the journal back, line by line.
#include "replay.hpp"

#include "operation_json.hpp"

#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace tracker {
namespace {

void apply(book& operations, const journal_record& record) {
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

[[noreturn]] void refuse(const replayed& so_far, const std::string& path,
                         const std::string& why) {
    throw std::runtime_error(path + " line " + std::to_string(so_far.records + 1) + ": " + why);
}

/// Nothing is appended before the last append was synced or cut off, so only the last record
/// can be damaged. A sector of it that power did not last for reads as zeros, which no record
/// has, and its end may be there all the same.
void apply_line(replayed& so_far, std::string_view line, const std::string& path) {
    if (so_far.torn_bytes > 0) refuse(so_far, path, "this is damaged, and not the last record");
    if (line.find('\0') != std::string_view::npos) {
        so_far.torn_bytes = line.size() + 1;
        return;
    }
    try {
        apply(so_far.operations, read_record(line));
    } catch (const std::runtime_error& error) {
        refuse(so_far, path, error.what());
    }
    ++so_far.records;
    so_far.last_bytes = line.size() + 1;
    so_far.whole_bytes += so_far.last_bytes;
}

} // namespace

toadstone::task<> write_last_again(toadstone::io::file& journal) {
    const replayed there = co_await replay(journal);
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

toadstone::task<replayed> replay(toadstone::io::file& journal) {
    replayed result;
    std::vector<char> chunk(std::size_t{64} * 1024);
    std::string pending; // the beginning of a line whose end is in the next chunk
    for (std::uint64_t offset = 0;;) {
        const std::size_t bytes = co_await journal.read_at(std::span<char>(chunk), offset);
        if (bytes == 0) break;
        offset += bytes;
        pending.append(chunk.data(), bytes);
        std::size_t begin = 0;
        for (;;) {
            const std::size_t end = pending.find('\n', begin);
            if (end == std::string::npos) break;
            apply_line(result, std::string_view(pending).substr(begin, end - begin),
                       journal.path());
            begin = end + 1;
        }
        pending.erase(0, begin);
    }
    // Only what could be the rest of an append is taken for one, and may be cut off.
    if (!pending.empty() && pending.front() != '{' && pending.front() != '\0') {
        refuse(result, journal.path(), "this is not the journal of an operation tracker");
    }
    if (!pending.empty() && result.torn_bytes > 0) {
        refuse(result, journal.path(), "this is damaged, and not the last record");
    }
    result.torn_bytes += pending.size();
    co_return result;
}

} // namespace tracker
