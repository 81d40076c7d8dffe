// journal_check: what a journal holds, whether it is whole, and what of it can be saved.
//
// Shows: the files of a journal, read by a program of its own while nobody writes them.
//
//     journal_check FOLDER SNAPSHOTS                        verifies all, prints a summary
//     journal_check --print FOLDER SNAPSHOTS                and each record
//     journal_check --salvage FOLDER SNAPSHOTS INTO INTO_SNAPSHOTS
//
// The last one copies what is good, up to where the journal is damaged, into two empty folders,
// where the journal can be opened again. Exits with 1 if it is damaged, with 2 if it could not
// be read.
#include "journal.hpp"

#include <toadstone/runtime.hpp>

#include <cstdio>
#include <exception>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace {

using toadstone::task;
namespace io = toadstone::io;

void print_record(const journal::record& one) {
    std::printf("record %llu type %u: ", static_cast<unsigned long long>(one.sequence),
                one.type);
    for (const char c : one.payload) {
        const bool plain = c >= ' ' && c <= '~' && c != '\\';
        if (plain) {
            std::putchar(c);
        } else {
            std::printf("\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
        }
    }
    std::putchar('\n');
}

int report(const journal::survey& found, bool records) {
    const journal::contents& good = found.good;
    if (records) {
        for (const auto& each : good.records) print_record(each);
    }
    for (const auto& each : good.notes) std::printf("note: %s\n", each.c_str());
    std::printf("snapshots: %zu, the newest stands for record %llu, %zu bytes\n",
                found.snapshots.size(), static_cast<unsigned long long>(good.state_at.sequence),
                good.state.size());
    std::printf("segments: %zu, records behind that snapshot: %zu, the last one is %llu\n",
                found.segments.size(), good.records.size(),
                static_cast<unsigned long long>(good.end.sequence));
    if (!found.broken) {
        std::puts("the journal is whole");
        return 0;
    }
    std::printf("damaged: %s\n", journal::damaged_journal(*found.broken).what());
    return 1;
}

task<io::folder> empty_folder(std::string path) {
    io::folder opened = co_await io::folder::open(std::move(path));
    const auto there = co_await opened.list();
    if (!there.empty()) throw std::runtime_error(opened.path() + " is not empty");
    co_return opened;
}

task<int> check(std::vector<std::string> arguments) {
    const std::string option = arguments[0].rfind("--", 0) == 0 ? arguments[0] : "";
    if (!option.empty()) arguments.erase(arguments.begin());
    io::folder segments = co_await io::folder::open(arguments.at(0));
    io::folder snapshots = co_await io::folder::open(arguments.at(1));
    io::file lock = co_await segments.open_file("lock", {.write = true, .create = true});
    if (!lock.try_lock()) {
        throw journal::journal_in_use(segments.path() + " is open in another process");
    }
    if (option == "--salvage") {
        io::folder into = co_await empty_folder(arguments.at(2));
        io::folder snapshots_into = co_await empty_folder(arguments.at(3));
        const journal::survey found =
            co_await journal::salvage(segments, snapshots, into, snapshots_into);
        co_return report(found, false);
    }
    const journal::survey found =
        co_await journal::look_through(segments, snapshots, journal::how_much::everything);
    co_return report(found, option == "--print");
}

task<int> guarded(std::vector<std::string> arguments) {
    int code = 2;
    try {
        code = co_await check(std::move(arguments));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "journal_check: %s\n", error.what());
    }
    co_return code;
}

} // namespace

int main(int count, char** values) {
    std::vector<std::string> arguments(values + 1, values + count);
    const bool salvage = count == 6 && arguments[0] == "--salvage";
    const bool print = count == 4 && arguments[0] == "--print";
    if (!salvage && !print && (count != 3 || arguments[0].rfind("--", 0) == 0)) {
        std::fputs("usage: journal_check [--print] FOLDER SNAPSHOTS\n"
                   "       journal_check --salvage FOLDER SNAPSHOTS INTO INTO_SNAPSHOTS\n",
                   stderr);
        return 2;
    }
    return toadstone::run(guarded(std::move(arguments)));
}
