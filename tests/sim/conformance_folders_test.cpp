// What the simulated kernel answers is what the real one answers: names in folders.
#include "support/conformance_files.hpp"
#include "support/two_kernels.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include <dirent.h>
#include <stdio.h> // RENAME_NOREPLACE

using namespace toadstone;
using namespace toadstone::tests;

namespace {

entry rename(lab& in, const char* from, const char* to, unsigned flags = 0) {
    const char* const old_path = in.path(from);
    const char* const new_path = in.path(to);
    return entry([=](io_uring_sqe* e) {
        io_uring_prep_renameat(e, AT_FDCWD, old_path, AT_FDCWD, new_path, flags);
    });
}
entry unlink(lab& in, const char* name, int flags = 0) {
    const char* const path = in.path(name);
    return entry([=](io_uring_sqe* e) { io_uring_prep_unlinkat(e, AT_FDCWD, path, flags); });
}
entry mkdir(lab& in, const char* name) {
    const char* const path = in.path(name);
    return entry([=](io_uring_sqe* e) { io_uring_prep_mkdirat(e, AT_FDCWD, path, 0700); });
}
task<std::string> content(lab& in, const char* name) {
    const int fd = co_await in.run(in.open(in.path(name), O_RDONLY | O_CLOEXEC));
    if (fd < 0) co_return name_of(fd);
    std::string all = co_await read_all(in, fd, 0);
    co_await closes(in, fd);
    co_return all;
}
task<> makes(lab& in, const char* name, std::string text) {
    co_await closes(in, co_await file_with(in, name, std::move(text)));
}
/// "name/" of a folder, each in its order.
std::string names_in(int fd) {
    std::vector<std::string> names;
    std::vector<char> records(512);
    for (;;) {
        const int size = lab::error(detail::system().getdents64(
            fd, records.data(), static_cast<unsigned>(records.size())));
        if (size < 0) return name_of(size);
        if (size == 0) break;
        for (int at = 0; at < size;) {
            const char* const record = records.data() + at;
            std::uint16_t length = 0;
            std::memcpy(&length, record + 16, sizeof length);
            names.push_back(std::string(record + 19) + (record[18] == DT_DIR ? "/" : ""));
            at += length;
        }
    }
    std::sort(names.begin(), names.end());
    std::string all;
    for (const auto& each : names) all += each + " ";
    return all;
}
task<std::string> names_at(lab& in, const char* path) {
    const int fd = co_await in.run(in.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0) co_return name_of(fd);
    std::string all = names_in(fd);
    co_await closes(in, fd);
    co_return all;
}

task<bool> is_there(lab& in, const char* name) {
    const int fd = co_await in.run(in.open(in.path(name), O_RDONLY | O_CLOEXEC));
    if (fd >= 0) static_cast<void>(co_await in.run(in.close(fd)));
    co_return fd >= 0;
}

task<> rename_ok(lab& in) {
    co_await makes(in, "a", "first");
    in.same("to a new name", co_await in.run(rename(in, "a", "b")));
    in.same("the old one", co_await content(in, "a"));
    in.same("the new one", co_await content(in, "b"));
    co_await makes(in, "c", "second");
    const int open = co_await in.run(in.open(in.path("b"), O_RDONLY | O_CLOEXEC));
    in.same("over another", co_await in.run(rename(in, "c", "b")));
    in.same("which is replaced", co_await content(in, "b"));
    in.same("but for who has it open", co_await read_all(in, open, 0));
    co_await closes(in, open);
    in.same("to itself", co_await in.run(rename(in, "b", "b")));
    in.same("a folder", co_await in.run(mkdir(in, "f")));
    in.same("into it", co_await in.run(rename(in, "b", "f/b")));
    in.same("with what is in it", co_await in.run(rename(in, "f", "g")));
    in.same("by its new path", co_await content(in, "g/b"));
    in.same("an empty folder", co_await in.run(mkdir(in, "h")));
    in.same("is replaced by a folder", co_await in.run(rename(in, "g", "h")));
    in.same("all", co_await names_at(in, in.folder()));
    in.same("and in it", co_await names_at(in, in.path("h")));
    in.same("if it is free", co_await in.run(rename(in, "h/b", "b", RENAME_NOREPLACE)));
}
task<> rename_error(lab& in) {
    co_await makes(in, "a", "a");
    co_await makes(in, "b", "b");
    in.same("a folder", co_await in.run(mkdir(in, "f")));
    in.same("another", co_await in.run(mkdir(in, "g")));
    co_await makes(in, "g/c", "c");
    in.same("of nothing", co_await in.run(rename(in, "none", "x")));
    in.same("to nowhere", co_await in.run(rename(in, "a", "none/x")));
    in.same("beneath a file", co_await in.run(rename(in, "a", "b/x")));
    in.same("that is taken", co_await in.run(rename(in, "a", "b", RENAME_NOREPLACE)));
    in.same("by itself", co_await in.run(rename(in, "a", "a", RENAME_NOREPLACE)));
    in.same("a file over a folder", co_await in.run(rename(in, "a", "f")));
    in.same("a folder over a file", co_await in.run(rename(in, "f", "a")));
    in.same("over one that is not empty", co_await in.run(rename(in, "f", "g")));
    in.same("into itself", co_await in.run(rename(in, "g", "g/x")));
    in.same("over what it is in", co_await in.run(rename(in, "g/c", "g")));
    in.same("a file as a folder", co_await in.run(rename(in, "a/", "x")));
    in.same("to no path", co_await in.run(entry([&](io_uring_sqe* e) {
        io_uring_prep_renameat(e, AT_FDCWD, in.path("a"), AT_FDCWD, "", 0);
    })));
    in.same("nothing has changed", co_await names_at(in, in.folder()));
}
task<> rename_cancel(lab& in) {
    co_await makes(in, "a", "text");
    const auto end = co_await cancels(in, rename(in, "a", "b"), true);
    in.one_of("a renaming, cancelled", end.to_string("itself"), ways_to_end,
              "a thread of the kernel does it, sooner or later");
    const bool old_name = co_await is_there(in, "a");
    const bool new_name = co_await is_there(in, "b");
    in.holds("done or not", new_name == (end.result == 0));
    in.holds("it has one name", old_name != new_name);
}
task<> rename_close(lab& in) {
    co_await makes(in, "a", "text");
    const int here = co_await in.run(in.open(in.folder(), O_RDONLY | O_CLOEXEC));
    const entry moving(
        [here](io_uring_sqe* e) { io_uring_prep_renameat(e, here, "a", here, "b", 0); });
    in.same("from an open folder", co_await in.run(moving));
    co_await closes(in, here);
    in.same("from a closed one", co_await in.run(moving));
    in.same("where it is", co_await content(in, "b"));
}

task<> unlink_ok(lab& in) {
    const int fd = co_await file_with(in, "a", "text");
    in.same("a file", co_await in.run(unlink(in, "a")));
    in.same("which is open still", co_await read_all(in, fd, 0));
    co_await closes(in, fd);
    in.same("a folder", co_await in.run(mkdir(in, "f")));
    in.same("is removed", co_await in.run(unlink(in, "f", AT_REMOVEDIR)));
    in.same("nothing is left", co_await names_at(in, in.folder()));
}
task<> unlink_error(lab& in) {
    co_await makes(in, "a", "text");
    in.same("a folder", co_await in.run(mkdir(in, "f")));
    co_await makes(in, "f/b", "text");
    in.same("of nothing", co_await in.run(unlink(in, "none")));
    in.same("a folder as a file", co_await in.run(unlink(in, "f")));
    in.same("a file as a folder", co_await in.run(unlink(in, "a", AT_REMOVEDIR)));
    in.same("no folder", co_await in.run(unlink(in, "none", AT_REMOVEDIR)));
    in.same("one that is not empty", co_await in.run(unlink(in, "f", AT_REMOVEDIR)));
    in.same("itself", co_await in.run(unlink(in, "f/.", AT_REMOVEDIR)));
    in.same("beneath a file", co_await in.run(unlink(in, "a/b")));
    in.same("flags that nobody knows", co_await in.run(unlink(in, "a", 1)));
    in.same("all is there", co_await names_at(in, in.path("f")));
}
task<> unlink_cancel(lab& in) {
    co_await makes(in, "a", "text");
    const auto end = co_await cancels(in, unlink(in, "a"), true);
    in.one_of("a removal, cancelled", end.to_string("itself"), ways_to_end,
              "a thread of the kernel does it, sooner or later");
    const bool there = co_await is_there(in, "a");
    in.holds("done or not", there == (end.result != 0));
}
task<> unlink_close(lab& in) {
    co_await makes(in, "a", "text");
    const int here = co_await in.run(in.open(in.folder(), O_RDONLY | O_CLOEXEC));
    co_await closes(in, here);
    in.same("from a closed folder", co_await in.run(entry([here](io_uring_sqe* e) {
        io_uring_prep_unlinkat(e, here, "a", 0);
    })));
    in.same("it is there", co_await content(in, "a"));
}

task<> mkdir_ok(lab& in) {
    in.same("a folder", co_await in.run(mkdir(in, "f")));
    in.same("in a folder", co_await in.run(mkdir(in, "f/g")));
    in.same("is there", co_await names_at(in, in.path("f")));
    in.same("and empty", co_await names_at(in, in.path("f/g")));
}
task<> mkdir_error(lab& in) {
    co_await makes(in, "a", "text");
    in.same("a folder", co_await in.run(mkdir(in, "f")));
    in.same("that is there", co_await in.run(mkdir(in, "f")));
    in.same("where a file is", co_await in.run(mkdir(in, "a")));
    in.same("nowhere", co_await in.run(mkdir(in, "none/f")));
    in.same("beneath a file", co_await in.run(mkdir(in, "a/f")));
    const int file = co_await in.run(in.open(in.path("a"), O_RDONLY | O_CLOEXEC));
    in.same("names of a file", names_in(file));
    co_await closes(in, file);
    in.same("names of what is closed", names_in(file));
}
task<> mkdir_cancel(lab& in) {
    const auto end = co_await cancels(in, mkdir(in, "f"), true);
    in.one_of("a new folder, cancelled", end.to_string("itself"), ways_to_end,
              "a thread of the kernel does it, sooner or later");
    const bool made = co_await is_there(in, "f");
    in.holds("made or not", made == (end.result == 0));
}
task<> mkdir_close(lab& in) {
    const int here = co_await in.run(in.open(in.folder(), O_RDONLY | O_CLOEXEC));
    co_await closes(in, here);
    in.same("in a closed folder", co_await in.run(entry([here](io_uring_sqe* e) {
        io_uring_prep_mkdirat(e, here, "f", 0700);
    })));
}

constexpr const char* no_bytes = "it moves no bytes";

constexpr cell cells[] = {
    {IORING_OP_RENAMEAT, how::ok, rename_ok},
    {IORING_OP_RENAMEAT, how::falls_short, nullptr, no_bytes},
    {IORING_OP_RENAMEAT, how::error, rename_error},
    {IORING_OP_RENAMEAT, how::cancel, rename_cancel},
    {IORING_OP_RENAMEAT, how::close, rename_close},

    {IORING_OP_UNLINKAT, how::ok, unlink_ok},
    {IORING_OP_UNLINKAT, how::falls_short, nullptr, no_bytes},
    {IORING_OP_UNLINKAT, how::error, unlink_error},
    {IORING_OP_UNLINKAT, how::cancel, unlink_cancel},
    {IORING_OP_UNLINKAT, how::close, unlink_close},

    {IORING_OP_MKDIRAT, how::ok, mkdir_ok},
    {IORING_OP_MKDIRAT, how::falls_short, nullptr, no_bytes},
    {IORING_OP_MKDIRAT, how::error, mkdir_error},
    {IORING_OP_MKDIRAT, how::cancel, mkdir_cancel},
    {IORING_OP_MKDIRAT, how::close, mkdir_close},
};

} // namespace

TEST_CASE("conformance: every opcode of names has a cell for each of its ends") {
    check_complete(cells, folder_opcodes);
}

TEST_CASE("conformance: names change on the simulated kernel as on the real one") {
    run_cells(cells);
}
