// What the simulated kernel answers is what the real one answers: files, and what has no
// descriptor.
#include "support/conformance_files.hpp"
#include "support/two_kernels.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

long size_of(int fd) {
    struct stat about = {};
    return detail::system().fstat(fd, &about) == 0 ? about.st_size : -errno;
}

// --- NOP ---

entry nop(unsigned flags = 0) {
    return entry([flags](io_uring_sqe* e) {
        io_uring_prep_nop(e);
        e->flags = static_cast<__u8>(flags);
    });
}
task<> nop_ok(lab& in) {
    in.same("a no-op", co_await in.run(nop()));
}
task<> nop_cancel(lab& in) {
    const auto end = co_await cancels(in, nop(IOSQE_ASYNC), true);
    in.one_of("a no-op, cancelled", end.to_string("itself"), ways_to_end,
              "it may be queued, running or over");
}

// --- READ ---

task<> read_ok(lab& in) {
    const int fd = co_await file_with(in, "read", "hello, world");
    in.same("from the start", co_await read_all(in, fd, 0));
    in.same("from within", co_await read_all(in, fd, 7));
    in.same("by position", co_await read_all(in, fd, own_position));
    in.same("and again", co_await read_all(in, fd, own_position));
    co_await closes(in, fd);
}
task<> read_short(lab& in) {
    const int fd = co_await file_with(in, "read", "hello");
    char* const to = in.buffer(16);
    const int count = co_await in.run(in.read(fd, to, 16, 2));
    in.holds("at most what is there", count >= 1 && count <= 3);
    const auto got = static_cast<std::size_t>(count);
    in.holds("the bytes of the file", std::string_view(to, got) == std::string("llo", got));
    in.holds("and no others",
             std::string_view(to + got, 16 - got) == std::string(16 - got, '.'));
    in.same("at the end", co_await in.run(in.read(fd, to, 16, 5)));
    in.same("beyond the end", co_await in.run(in.read(fd, to, 16, 1000)));
    in.same("nothing", co_await in.run(in.read(fd, to, 0, 0)));
    co_await closes(in, fd);
}
task<> read_error(lab& in) {
    co_await closes(in, co_await file_with(in, "read", "hello"));
    char* const to = in.buffer(4);
    const int fd = co_await in.run(in.open(in.path("read"), O_WRONLY | O_CLOEXEC));
    in.same("opened for writing", co_await in.run(in.read(fd, to, 4, 0)));
    co_await closes(in, fd);
    const int folder = co_await in.run(in.open(in.folder(), O_RDONLY | O_CLOEXEC));
    in.holds("a folder can be opened", folder >= 0);
    in.same("a folder", co_await in.run(in.read(folder, to, 4, 0)));
    co_await closes(in, folder);
    const int fresh = in.socket();
    in.same("a socket that is not connected", co_await in.run(in.read(fresh, to, 4, 0)));
    co_await closes(in, fresh);
    in.same("and all is left alone", std::string(to, 4));
}
task<> read_cancel(lab& in) {
    const int fd = co_await file_with(in, "read", "hello");
    char* const to = in.buffer(5);
    const auto end = co_await cancels(in, in.read(fd, to, 5, 0), true);
    in.one_of("of a file", end.to_string("itself"), ways_to_end, "it may be over");
    const auto got = static_cast<std::size_t>(std::max(0, end.result));
    in.holds("what is told is there",
             std::string(to, 5) == std::string("hello", got) + std::string(5 - got, '.'));
    co_await closes(in, fd);
    const auto pair = co_await in.connected();
    const auto waiting = co_await cancels(in, in.read(pair.client, to, 5, 0), false);
    in.one_of("of a socket", waiting.to_string(), ways_to_stop, "nothing would end it");
    co_await in.close_all(pair);
}
task<> read_close(lab& in) {
    const int fd = co_await file_with(in, "read", "hello");
    char* const to = in.buffer(5);
    co_await closes(in, fd);
    in.same("of a closed file", co_await in.run(in.read(fd, to, 5, 0)));
    in.same("of no file", co_await in.run(in.read(-1, to, 5, 0)));
    auto pair = co_await in.connected();
    flight& reading = in.start(in.read(pair.client, to, 5, 0));
    co_await in.submitted(reading);
    co_await closes(in, std::exchange(pair.client, -1));
    co_await in.quiet();
    in.holds("a close ends nothing that is in flight", !reading.handle->done());
    co_await in.send_all(pair.server, "x", 1);
    in.same("which gets its byte", co_await in.end_of(reading));
    in.same("the byte", std::string(to, 5));
    co_await in.close_all(pair);
}

// --- WRITE ---

task<> write_ok(lab& in) {
    const int fd = co_await file_with(in, "write", "0123456789");
    in.same("in the middle", co_await write_all(in, fd, "ab", 4));
    in.same("beyond the end", co_await write_all(in, fd, "c", 12));
    const std::string all = co_await read_all(in, fd, 0);
    in.holds("a hole is zeros", all == std::string("0123ab6789\0\0c", 13));
    in.same("by position", co_await write_all(in, fd, "xy", own_position));
    in.same("and on", co_await write_all(in, fd, "z", own_position));
    const std::string again = co_await read_all(in, fd, 0);
    in.holds("from the start", again == std::string("xyz3ab6789\0\0c", 13));
    in.same("nothing", co_await in.run(in.write(fd, "", 0, 0)));
    in.holds("leaves the size", size_of(fd) == 13);
    co_await closes(in, fd);
}
task<> write_appends(lab& in) {
    const int fd = co_await in.run(in.open(in.path("log"), read_write | O_APPEND));
    const int other = co_await file_with(in, "log", "first ");
    in.same("after the other", co_await write_all(in, fd, "second ", own_position));
    in.same("whatever the offset", co_await write_all(in, fd, "third ", 0));
    in.same("all", co_await read_all(in, fd, 0));
    in.same("the position is the end", co_await read_all(in, fd, own_position));
    co_await closes(in, fd);
    co_await closes(in, other);
}
task<> write_short(lab& in) {
    const int fd = co_await file_with(in, "write", "");
    const char* const text = "a text of some length";
    const auto size = static_cast<unsigned>(std::strlen(text));
    const int count = co_await in.run(in.write(fd, text, size, 0));
    in.holds("at least a byte, at most all", count >= 1 && count <= static_cast<int>(size));
    in.holds("what is told is there", size_of(fd) == count);
    const auto rest = static_cast<std::uint64_t>(count);
    const int more = co_await write_all(in, fd, text + rest, rest);
    in.holds("the rest goes on from there", count + more == static_cast<int>(size));
    in.same("all", co_await read_all(in, fd, 0));
    co_await closes(in, fd);
}
task<> write_error(lab& in) {
    co_await closes(in, co_await file_with(in, "write", "hello"));
    const int fd = co_await in.run(in.open(in.path("write"), O_RDONLY | O_CLOEXEC));
    in.same("opened for reading", co_await in.run(in.write(fd, "x", 1, 0)));
    in.same("cut, opened for reading", in.error(detail::system().ftruncate(fd, 1)));
    in.same("unharmed", co_await read_all(in, fd, 0));
    co_await closes(in, fd);
}
task<> write_cancel(lab& in) {
    const int fd = co_await file_with(in, "write", "");
    const auto end = co_await cancels(in, in.write(fd, "hello", 5, 0), true);
    in.one_of("of a file", end.to_string("itself"), ways_to_end, "it may be over");
    in.holds("what is told is there, and no more", size_of(fd) == std::max(0, end.result));
    co_await closes(in, fd);
}
task<> write_close(lab& in) {
    const int fd = co_await file_with(in, "write", "hello");
    flight& writing = in.start(in.write(fd, "J", 1, 0));
    co_await in.prepared(writing);
    const int closed = co_await in.run(in.close(fd));
    const int written = co_await in.end_of(writing);
    in.same("close", closed);
    in.same("a write before it, in the same batch", written);
    in.same("a write after it", co_await in.run(in.write(fd, "x", 1, 0)));
    const int again = co_await in.run(in.open(in.path("write"), O_RDONLY | O_CLOEXEC));
    in.same("the file", co_await read_all(in, again, 0));
    co_await closes(in, again);
}

// --- FSYNC ---

task<> fsync_ok(lab& in) {
    const int fd = co_await file_with(in, "sync", "hello");
    in.same("all", co_await in.run(in.fsync(fd)));
    in.same("data", co_await in.run(in.fsync(fd, IORING_FSYNC_DATASYNC)));
    co_await closes(in, fd);
    const int reader = co_await in.run(in.open(in.path("sync"), O_RDONLY | O_CLOEXEC));
    in.same("opened for reading", co_await in.run(in.fsync(reader)));
    co_await closes(in, reader);
    const int folder = co_await in.run(in.open(in.folder(), O_RDONLY | O_CLOEXEC));
    in.same("a folder", co_await in.run(in.fsync(folder)));
    co_await closes(in, folder);
}
task<> fsync_error(lab& in) {
    const int socket = in.socket();
    in.same("a socket", co_await in.run(in.fsync(socket)));
    in.same("flags that nobody knows", co_await in.run(in.fsync(socket, 0x80)));
    co_await closes(in, socket);
}
task<> fsync_cancel(lab& in) {
    const int fd = co_await file_with(in, "sync", "hello");
    const auto end = co_await cancels(in, in.fsync(fd), true);
    in.one_of("a sync, cancelled", end.to_string("itself"), ways_to_end,
              "a thread of the kernel does it, sooner or later");
    co_await closes(in, fd);
}
task<> fsync_close(lab& in) {
    const int fd = co_await file_with(in, "sync", "hello");
    flight& syncing = in.start(in.fsync(fd));
    co_await in.prepared(syncing);
    co_await closes(in, fd);
    const int result = co_await in.end_of(syncing);
    in.one_of("a sync before it, in the same batch", name_of(result), {"0", "EBADF"},
              "a thread of the kernel looks the descriptor up when it gets to it");
    in.same("a sync after it", co_await in.run(in.fsync(fd)));
}

// --- OPENAT ---

task<> open_ok(lab& in) {
    const char* const path = in.path("open");
    const int made = co_await in.run(in.open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC));
    in.holds("made", made >= 0);
    in.same("filled", co_await write_all(in, made, "hello", 0));
    const int found = co_await in.run(in.open(path, O_RDWR | O_CLOEXEC));
    in.holds("found", found >= 0 && found != made);
    in.same("with what is in it", co_await read_all(in, found, 0));
    const int emptied = co_await in.run(in.open(path, O_WRONLY | O_TRUNC | O_CLOEXEC));
    in.holds("emptied", emptied >= 0 && size_of(found) == 0);
    const int folder = co_await in.run(in.open(in.folder(), O_DIRECTORY | O_CLOEXEC));
    in.holds("a folder", folder >= 0);
    const int within = co_await in.run(in.open("open", O_RDONLY | O_CLOEXEC, folder));
    in.holds("a file in a folder", within >= 0);
    for (const int fd : {made, found, emptied, folder, within}) co_await closes(in, fd);
}
task<> open_error(lab& in) {
    co_await closes(in, co_await file_with(in, "open", "hello"));
    const char* const path = in.path("open");
    in.same("missing", co_await in.run(in.open(in.path("missing"), O_RDONLY)));
    in.same("empty", co_await in.run(in.open("", O_RDONLY)));
    in.same("there already", co_await in.run(in.open(path, read_write | O_EXCL)));
    in.same("in a file", co_await in.run(in.open(in.path("open/within"), O_RDONLY)));
    in.same("made in a file", co_await in.run(in.open(in.path("open/within"), read_write)));
    in.same("deep in a file", co_await in.run(in.open(in.path("open/a/b"), O_RDONLY)));
    in.same("a file with a slash", co_await in.run(in.open(in.path("open/"), O_RDONLY)));
    in.same("missing with a slash", co_await in.run(in.open(in.path("gone/"), O_RDONLY)));
    in.same("made with a slash", co_await in.run(in.open(in.path("gone/"), read_write)));
    in.same("a folder to write", co_await in.run(in.open(in.folder(), O_WRONLY)));
    in.same("a folder to make", co_await in.run(in.open(in.folder(), O_RDONLY | O_CREAT)));
    in.same("a file as a folder", co_await in.run(in.open(path, O_RDONLY | O_DIRECTORY)));
}
task<> opens(lab& in, const char* what, const char* path, int flags, int at = AT_FDCWD) {
    const int fd = co_await in.run(in.open(path, flags | O_CLOEXEC, at));
    in.same(what, fd < 0 ? name_of(fd) : "opened");
    if (fd >= 0) co_await closes(in, fd);
}
task<> open_in_folders(lab& in) {
    co_await closes(in, co_await file_with(in, "open", "hello"));
    const int folder = co_await in.run(in.open(in.folder(), O_RDONLY | O_CLOEXEC));
    co_await opens(in, "made in a missing folder", in.path("gone/new"), read_write);
    co_await opens(in, "in one of an open folder", "gone/new", read_write, folder);
    co_await opens(in, "deep in a missing folder", in.path("gone/a/b"), read_write);
    co_await opens(in, "found in a missing folder", in.path("gone/new"), O_RDONLY);
    co_await opens(in, "by way of a missing folder", in.path("gone/../open"), O_RDONLY);
    co_await opens(in, "by way of a file", in.path("open/../open"), O_RDONLY);
    co_await opens(in, "by way of dots", in.path("./.././../tmp/../open"), O_RDONLY);
    co_await opens(in, "with dots and slashes", in.path("/.//./open"), O_RDONLY);
    co_await opens(in, "from an open folder", ".//open", O_RDONLY, folder);
    co_await opens(in, "a file and a dot", in.path("open/."), O_RDONLY);
    co_await opens(in, "a file and a slash, made", in.path("open/"), read_write);
    co_await opens(in, "missing and a dot", in.path("gone/."), read_write);
    co_await opens(in, "the folder and a dot", in.path("."), O_RDONLY);
    co_await opens(in, "the folder to write", in.path("."), O_RDWR);
    co_await opens(in, "the folder around it", "..", O_RDONLY | O_DIRECTORY, folder);
    co_await opens(in, "the root", "/", O_RDONLY);
    co_await opens(in, "beyond the root", "/../..", O_RDONLY);
    co_await opens(in, "where temporary files go", "/tmp", O_RDONLY);
    co_await opens(in, "nothing was made", in.path("gone"), O_RDONLY);
    co_await closes(in, folder);
}
task<> open_cancel(lab& in) {
    const auto end = co_await cancels(in, in.open(in.path("open"), read_write), true);
    in.one_of("an open, cancelled", end.to_string("itself"), ways_to_end,
              "a thread of the kernel does it, sooner or later");
    if (end.result >= 0) static_cast<void>(co_await in.run(in.close(end.result))); // S70
}
task<> open_close(lab& in) {
    const int file = co_await file_with(in, "open", "hello");
    in.same("from a file", co_await in.run(in.open("open", O_RDONLY, file)));
    co_await closes(in, file);
    in.same("from a closed folder", co_await in.run(in.open("open", O_RDONLY, file)));
    const int again = co_await in.run(in.open(in.path("open"), O_RDONLY | O_CLOEXEC, file));
    in.holds("an absolute path needs none", again >= 0);
    co_await closes(in, again);
}

// --- CLOSE ---

task<> close_ok(lab& in) {
    const int fd = co_await file_with(in, "close", "hello");
    in.same("close", co_await in.run(in.close(fd)));
    in.holds("it is gone", size_of(fd) == -EBADF);
    const int again = co_await in.run(in.open(in.path("close"), O_RDONLY | O_CLOEXEC));
    in.holds("the number is used again at once", again == fd);
    co_await closes(in, again);
}
task<> close_error(lab& in) {
    const int fd = co_await file_with(in, "close", "hello");
    co_await closes(in, fd);
    in.same("twice", co_await in.run(in.close(fd)));
    in.same("nothing", co_await in.run(in.close(-1)));
    in.same("twice, by the slow path", in.error(detail::system().close(fd)));
}
// S64: why the library never cancels one.
task<> close_cancel(lab& in) {
    const int fd = co_await file_with(in, "close", "hello");
    // Else it is over before it can be cancelled.
    const entry closing = in.close(fd).with([](io_uring_sqe* e) { e->flags = IOSQE_ASYNC; });
    const auto end = co_await cancels(in, closing, true);
    in.one_of("a close, cancelled", end.to_string("itself"), ways_to_end,
              "a thread of the kernel does it, sooner or later");
    const bool open = size_of(fd) >= 0;
    in.holds("it is open if it was not closed", open == (end.result != 0));
    if (open) static_cast<void>(co_await in.run(in.close(fd)));
}
task<> close_close(lab& in) {
    const int fd = co_await file_with(in, "close", "hello");
    flight& first = in.start(in.close(fd));
    flight& second = in.start(in.close(fd));
    const int one = co_await in.end_of(first);
    const int two = co_await in.end_of(second);
    in.holds("one of two has closed it",
             std::minmax(one, two) == std::pair<const int&, const int&>(-EBADF, 0));
}

// --- ASYNC_CANCEL ---

task<> cancel_ok(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(4);
    const auto end = co_await cancels(in, in.recv(pair.client, to, 4), false);
    in.one_of("of a receive", end.to_string(), ways_to_stop, "it waits, so it can be stopped");
    in.same("sent afterwards", co_await in.send_all(pair.server, "late", 4));
    in.same("and there for the next", co_await in.receive(pair.client, 4));
    co_await in.close_all(pair);
}
task<> cancel_error(lab& in) {
    in.same("of nothing", co_await in.run(in.cancel(0x7777'0000'0001)));
    flight& over = in.start(nop());
    co_await in.prepared(over);
    in.same("a no-op", co_await in.end_of(over));
    in.same("of what is over", co_await in.run(in.cancel(over.tag)));
    const entry unknown =
        in.cancel(0x7777'0000'0001).with([](io_uring_sqe* e) { e->cancel_flags = 1U << 30; });
    in.same("with flags that nobody knows", co_await in.run(unknown));
}
task<> cancel_cancel(lab& in) {
    const auto end = co_await cancels(in, in.cancel(0x7777'0000'0001), true);
    in.same("a cancellation of a cancellation", end.answer);
    in.same("which finds nothing, as before", end.result);
}
task<> cancel_close(lab& in) {
    auto pair = co_await in.connected();
    char* const to = in.buffer(4);
    flight& receiving = in.start(in.recv(pair.client, to, 4));
    co_await in.submitted(receiving);
    co_await closes(in, std::exchange(pair.client, -1));
    cancelled end;
    end.answer = co_await in.run(in.cancel(receiving.tag));
    end.result = co_await in.end_of(receiving);
    in.one_of("of one whose descriptor is closed", end.to_string(), ways_to_stop,
              "it is found all the same");
    in.same("now the peer sees the end", co_await in.receive(pair.server, 4));
    co_await in.close_all(pair);
}

// --- locks, which have no opcode ---

int set_lock(int fd, int kind) {
    struct flock wanted = {};
    wanted.l_type = static_cast<short>(kind);
    wanted.l_whence = SEEK_SET;
    return lab::error(detail::system().fcntl_lock(fd, F_OFD_SETLK, &wanted));
}
task<> locks(lab& in) {
    const int one = co_await file_with(in, "locked", "text");
    const int two = co_await in.run(in.open(in.path("locked"), O_RDWR | O_CLOEXEC));
    const int reader = co_await in.run(in.open(in.path("locked"), O_RDONLY | O_CLOEXEC));
    in.same("locked", set_lock(one, F_WRLCK));
    in.same("locked again", set_lock(one, F_WRLCK));
    in.same("by somebody else", set_lock(two, F_WRLCK));
    in.same("to be shared", set_lock(two, F_RDLCK));
    in.same("unlocked by who has it not", set_lock(two, F_UNLCK));
    in.same("which changes nothing", set_lock(two, F_WRLCK));
    in.same("from now on shared", set_lock(one, F_RDLCK));
    in.same("by two", set_lock(two, F_RDLCK));
    in.same("by three", set_lock(reader, F_RDLCK));
    in.same("and no more alone", set_lock(one, F_WRLCK));
    co_await closes(in, reader);
    in.same("two left", set_lock(one, F_WRLCK));
    in.same("one leaves", set_lock(two, F_UNLCK));
    in.same("alone", set_lock(one, F_WRLCK));
    co_await closes(in, one);
    in.same("the end of the description is that of its lock", set_lock(two, F_WRLCK));
    co_await closes(in, two);
    const int deaf = co_await in.run(in.open(in.path("locked"), O_RDONLY | O_CLOEXEC));
    in.same("not open for writing", set_lock(deaf, F_WRLCK));
    const int dumb = co_await in.run(in.open(in.path("locked"), O_WRONLY | O_CLOEXEC));
    in.same("not open for reading", set_lock(dumb, F_RDLCK));
    in.same("a kind that nobody knows", set_lock(dumb, 77));
    co_await closes(in, deaf);
    co_await closes(in, dumb);
    in.same("closed", set_lock(dumb, F_WRLCK));
}
task<> tells_files_apart(lab& in) {
    const int one = co_await file_with(in, "one", "1");
    const int other = co_await file_with(in, "other", "2");
    struct stat by_descriptor = {};
    struct stat by_path = {};
    in.same("by descriptor", lab::error(detail::system().fstat(one, &by_descriptor)));
    in.same("by path", lab::error(detail::system().stat(in.path("one"), &by_path)));
    in.same("the same file", by_descriptor.st_ino == by_path.st_ino ? 1 : 0);
    in.same("by another path", lab::error(detail::system().stat(in.path("other"), &by_path)));
    in.same("another file", by_descriptor.st_ino == by_path.st_ino ? 1 : 0);
    in.same("a plain one", S_ISREG(by_path.st_mode) ? 1 : 0);
    in.same("by no path", lab::error(detail::system().stat(in.path("none"), &by_path)));
    co_await closes(in, one);
    co_await closes(in, other);
}

constexpr const char* no_bytes = "it moves no bytes";

constexpr cell cells[] = {
    {IORING_OP_NOP, how::ok, nop_ok},
    {IORING_OP_NOP, how::falls_short, nullptr, no_bytes},
    {IORING_OP_NOP, how::error, nullptr, "a no-op that asks for nothing cannot fail"},
    {IORING_OP_NOP, how::cancel, nop_cancel},
    {IORING_OP_NOP, how::close, nullptr, "it has no descriptor"},

    {IORING_OP_READ, how::ok, read_ok},
    {IORING_OP_READ, how::falls_short, read_short},
    {IORING_OP_READ, how::error, read_error},
    {IORING_OP_READ, how::cancel, read_cancel},
    {IORING_OP_READ, how::close, read_close},

    {IORING_OP_WRITE, how::ok, write_ok},
    {IORING_OP_WRITE, how::falls_short, write_short},
    {IORING_OP_WRITE, how::error, write_error},
    {IORING_OP_WRITE, how::cancel, write_cancel},
    {IORING_OP_WRITE, how::close, write_close},

    {IORING_OP_FSYNC, how::ok, fsync_ok},
    {IORING_OP_FSYNC, how::falls_short, nullptr, no_bytes},
    {IORING_OP_FSYNC, how::error, fsync_error},
    {IORING_OP_FSYNC, how::cancel, fsync_cancel},
    {IORING_OP_FSYNC, how::close, fsync_close},

    {IORING_OP_OPENAT, how::ok, open_ok},
    {IORING_OP_OPENAT, how::falls_short, nullptr, no_bytes},
    {IORING_OP_OPENAT, how::error, open_error},
    {IORING_OP_OPENAT, how::cancel, open_cancel},
    {IORING_OP_OPENAT, how::close, open_close},

    {IORING_OP_CLOSE, how::ok, close_ok},
    {IORING_OP_CLOSE, how::falls_short, nullptr, no_bytes},
    {IORING_OP_CLOSE, how::error, close_error},
    {IORING_OP_CLOSE, how::cancel, close_cancel},
    {IORING_OP_CLOSE, how::close, close_close},

    {IORING_OP_ASYNC_CANCEL, how::ok, cancel_ok},
    {IORING_OP_ASYNC_CANCEL, how::falls_short, nullptr, no_bytes},
    {IORING_OP_ASYNC_CANCEL, how::error, cancel_error},
    {IORING_OP_ASYNC_CANCEL, how::cancel, cancel_cancel},
    {IORING_OP_ASYNC_CANCEL, how::close, cancel_close},
};

} // namespace

TEST_CASE("conformance: every opcode in use belongs to one of the tables of cells") {
    for (const std::uint8_t opcode : detail::opcodes_in_use) {
        INFO(detail::opcode_name(opcode));
        CHECK(std::count(std::begin(file_opcodes), std::end(file_opcodes), opcode) +
                  std::count(std::begin(folder_opcodes), std::end(folder_opcodes), opcode) +
                  std::count(std::begin(socket_opcodes), std::end(socket_opcodes), opcode) ==
              1);
    }
}

TEST_CASE("conformance: every opcode of files has a cell for each of its ends") {
    check_complete(cells, file_opcodes);
}

TEST_CASE("conformance: files end on the simulated kernel as on the real one") {
    run_cells(cells);
}

TEST_CASE("conformance: a path leads through folders that exist, or nowhere") {
    same_on_both_kernels(open_in_folders);
}

TEST_CASE("conformance: a file opened for appending is written to at its end") {
    same_on_both_kernels(write_appends);
}

TEST_CASE("conformance: a lock of a file keeps out other descriptions until its own ends") {
    same_on_both_kernels(locks);
}

TEST_CASE("conformance: a file can be told from another by what stat says") {
    same_on_both_kernels(tells_files_apart);
}
