// Pipes end reads, writes and polls on the simulated kernel as they do on the real one.
#include <toadstone/sim.hpp>

#include "support/two_kernels.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <set>
#include <string>
#include <utility>

#include <fcntl.h>
#include <poll.h>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr std::uint64_t own_position = ~std::uint64_t{0};
constexpr std::size_t capacity = 65536; // bytes, of Linux and of the simulation

// A write without a reader raises it on the real ring.
void block_sigpipe() {
    sigset_t which;
    sigemptyset(&which);
    sigaddset(&which, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &which, nullptr);
}

struct ends {
    int reader = -1;
    int writer = -1;
};
ends made(lab& in, int flags = 0) {
    int both[2] = {-1, -1};
    in.same("pipe2", lab::error(toadstone::detail::system().pipe2(both, O_CLOEXEC | flags)));
    return {both[0], both[1]};
}
entry read_of(lab& in, int fd, char* to, std::size_t size) {
    return in.read(fd, to, static_cast<unsigned>(size), own_position);
}
entry write_of(lab& in, int fd, const char* from, std::size_t size) {
    return in.write(fd, from, static_cast<unsigned>(size), own_position);
}
task<std::string> text_of(lab& in, int fd, std::size_t size) {
    std::string all;
    char* const to = in.buffer(size);
    while (all.size() < size) {
        const int count = co_await in.run(read_of(in, fd, to, size - all.size()));
        if (count <= 0) all += name_of(count);
        if (count <= 0) break;
        all.append(to, static_cast<std::size_t>(count));
    }
    co_return all;
}
task<> closes_both(lab& in, ends which) {
    for (const int fd : {which.reader, which.writer}) {
        if (fd >= 0) co_await closes(in, fd);
    }
}
/// Until it has no room.
task<> fills(lab& in, int writer) {
    const char* const from = in.buffer(capacity, 'f');
    std::size_t sent = 0;
    while (sent < capacity) {
        const int count = co_await in.run(write_of(in, writer, from, capacity - sent));
        if (count <= 0) break;
        sent += static_cast<std::size_t>(count);
    }
    in.holds("it holds 64 kB", sent == capacity);
}

task<> passes_bytes_on(lab& in) {
    const ends pipe = made(in);
    flight& reading = in.start(read_of(in, pipe.reader, in.buffer(8), 1));
    co_await in.submitted(reading);
    in.holds("a read waits", !reading.handle->done());
    in.same("a write", co_await in.run(write_of(in, pipe.writer, "abcd", 4)));
    in.same("ends it", co_await in.end_of(reading));
    in.same("the rest", co_await text_of(in, pipe.reader, 3));
    in.same("nothing to write", co_await in.run(write_of(in, pipe.writer, "", 0)));
    in.same("nothing to read", co_await in.run(read_of(in, pipe.reader, in.buffer(8), 0)));
    co_await closes_both(in, pipe);
}

task<> ends_with_its_writers(lab& in) {
    ends pipe = made(in);
    in.same("a last word", co_await in.run(write_of(in, pipe.writer, "xy", 2)));
    co_await closes(in, std::exchange(pipe.writer, -1));
    in.same("is read", co_await text_of(in, pipe.reader, 2));
    in.same("the end", co_await in.run(read_of(in, pipe.reader, in.buffer(8), 8)));
    in.same("and again", co_await in.run(read_of(in, pipe.reader, in.buffer(8), 8)));
    co_await closes_both(in, pipe);

    ends other = made(in);
    flight& reading = in.start(read_of(in, other.reader, in.buffer(8), 8));
    co_await in.submitted(reading);
    co_await closes(in, std::exchange(other.writer, -1));
    in.same("the end of one that waits", co_await in.end_of(reading));
    co_await closes_both(in, other);
}

task<> breaks_without_readers(lab& in) {
    ends pipe = made(in);
    co_await fills(in, pipe.writer);
    flight& writing = in.start(write_of(in, pipe.writer, "z", 1));
    co_await in.submitted(writing);
    in.holds("a write waits for room", !writing.handle->done());
    co_await closes(in, std::exchange(pipe.reader, -1));
    in.same("and breaks", co_await in.end_of(writing));
    in.same("another one", co_await in.run(write_of(in, pipe.writer, "z", 1)));
    in.same("of nothing", co_await in.run(write_of(in, pipe.writer, "z", 0)));
    co_await closes_both(in, pipe);
}

task<> holds_so_much(lab& in) {
    const ends pipe = made(in);
    co_await fills(in, pipe.writer);
    flight& small = in.start(write_of(in, pipe.writer, in.buffer(4096, 's'), 4096));
    co_await in.submitted(small);
    in.holds("a page waits for room", !small.handle->done());
    std::string first = co_await text_of(in, pipe.reader, 100);
    co_await in.quiet();
    in.holds("room for a part of it is not enough", !small.handle->done());
    first += co_await text_of(in, pipe.reader, 4096 - 100);
    in.holds("what was first", first == std::string(4096, 'f'));
    in.same("goes in whole", co_await in.end_of(small));
    const std::string middle = co_await text_of(in, pipe.reader, capacity - 4096);
    in.holds("in order", middle == std::string(capacity - 4096, 'f'));
    in.holds("to the last", co_await text_of(in, pipe.reader, 4096) == std::string(4096, 's'));
    co_await closes_both(in, pipe);
}

task<> has_two_ends(lab& in) {
    const ends pipe = made(in);
    in.same("reads the writer", co_await in.run(read_of(in, pipe.writer, in.buffer(8), 8)));
    in.same("writes the reader", co_await in.run(write_of(in, pipe.reader, "x", 1)));
    in.same("receives", co_await in.run(in.recv(pipe.reader, in.buffer(8), 8)));
    in.same("sends", co_await in.run(in.send(pipe.writer, "x", 1)));
    in.same("syncs", co_await in.run(in.fsync(pipe.writer)));
    in.same("accepts", co_await in.run(in.accept(pipe.reader)));
    co_await closes_both(in, pipe);
    in.same("read", co_await in.run(read_of(in, pipe.reader, in.buffer(8), 8)));
    in.same("write", co_await in.run(write_of(in, pipe.writer, "x", 1)));
}

/// "EAGAIN" of an operation that is told to try again, "waits" of one that is not.
task<std::string> told(lab& in, entry what) {
    flight& on_its_way = in.start(what);
    co_await in.submitted(on_its_way);
    co_await in.quiet();
    const bool waits = !on_its_way.handle->done();
    if (waits) static_cast<void>(co_await in.run(in.cancel(on_its_way.tag)));
    const int result = co_await in.end_of(on_its_way);
    co_return waits ? "waits" : name_of(result);
}
task<> does_not_block(lab& in) {
    const std::set<std::string> either = {"EAGAIN", "waits"};
    constexpr const char* why = "kernels have done both";
    const ends pipe = made(in, O_NONBLOCK);
    in.one_of("a read", co_await told(in, read_of(in, pipe.reader, in.buffer(8), 8)), either,
              why);
    in.same("a write", co_await in.run(write_of(in, pipe.writer, "x", 1)));
    in.same("there", co_await in.run(read_of(in, pipe.reader, in.buffer(8), 8)));
    co_await fills(in, pipe.writer);
    in.one_of("no room", co_await told(in, write_of(in, pipe.writer, "x", 1)), either, why);
    const auto& calls = toadstone::detail::system();
    const int flags = calls.fcntl_flags(pipe.writer, F_GETFL, 0);
    in.holds("it says so", (flags & O_NONBLOCK) && (flags & O_ACCMODE) == O_WRONLY);
    in.same("no longer", calls.fcntl_flags(pipe.writer, F_SETFL, flags & ~O_NONBLOCK));
    in.same("it waits", co_await told(in, write_of(in, pipe.writer, "x", 1)));
    co_await closes_both(in, pipe);
}

task<> is_polled(lab& in) {
    ends pipe = made(in);
    const auto polled = [&in](int fd, unsigned mask) { return in.run(in.poll(fd, mask)); };
    in.same("room", name_of_events(co_await polled(pipe.writer, POLLOUT | POLLIN)));
    flight& reading = in.start(in.poll(pipe.reader, POLLIN));
    co_await in.submitted(reading);
    in.holds("nothing to read", !reading.handle->done());
    in.same("a byte", co_await in.run(write_of(in, pipe.writer, "x", 1)));
    in.same("is seen", name_of_events(co_await in.end_of(reading)));
    in.same("and again", name_of_events(co_await polled(pipe.reader, POLLIN | POLLHUP)));
    in.same("and read", co_await text_of(in, pipe.reader, 1));
    co_await fills(in, pipe.writer);
    flight& writing = in.start(in.poll(pipe.writer, POLLOUT));
    co_await in.submitted(writing);
    in.holds("no room", !writing.handle->done());
    in.holds("a page is read",
             co_await text_of(in, pipe.reader, 4096) == std::string(4096, 'f'));
    in.same("room again", name_of_events(co_await in.end_of(writing)));
    co_await closes(in, std::exchange(pipe.writer, -1));
    in.same("with the last of it", name_of_events(co_await polled(pipe.reader, POLLIN)));
    static_cast<void>(co_await text_of(in, pipe.reader, capacity - 4096));
    in.same("hung up", name_of_events(co_await polled(pipe.reader, POLLIN)));
    co_await closes_both(in, pipe);

    ends other = made(in);
    co_await closes(in, std::exchange(other.reader, -1));
    in.same("without a reader", name_of_events(co_await polled(other.writer, POLLOUT)));
    co_await closes_both(in, other);
}

task<> is_cancelled(lab& in) {
    const ends pipe = made(in);
    const auto read = co_await cancels(in, read_of(in, pipe.reader, in.buffer(8), 8), false);
    in.one_of("a read", read.to_string(), ways_to_stop, "nothing would end it");
    const auto poll = co_await cancels(in, in.poll(pipe.reader, POLLIN), false);
    in.one_of("a poll", poll.to_string(), ways_to_stop, "nothing would end it");
    co_await fills(in, pipe.writer);
    const auto write = co_await cancels(in, write_of(in, pipe.writer, "x", 1), false);
    in.one_of("a write", write.to_string(), ways_to_stop, "nothing would end it");
    in.holds("and has written nothing",
             co_await text_of(in, pipe.reader, capacity) == std::string(capacity, 'f'));
    co_await closes_both(in, pipe);
}

task<> outlives_a_close(lab& in) {
    ends pipe = made(in);
    flight& reading = in.start(read_of(in, pipe.reader, in.buffer(8), 8));
    co_await in.submitted(reading);
    co_await closes(in, std::exchange(pipe.reader, -1));
    co_await in.quiet();
    in.holds("a close does not end it", !reading.handle->done());
    in.same("it still has a reader", co_await in.run(write_of(in, pipe.writer, "x", 1)));
    in.same("who reads", co_await in.end_of(reading));
    in.same("and was the last", co_await in.run(write_of(in, pipe.writer, "x", 1)));
    co_await closes_both(in, pipe);
}

} // namespace

TEST_CASE("conformance: S446: a pipe passes bytes on, in order, and ends with its writers") {
    block_sigpipe();
    same_on_both_kernels(passes_bytes_on);
    same_on_both_kernels(ends_with_its_writers);
}
TEST_CASE("conformance: S446: a pipe without readers breaks") {
    block_sigpipe();
    same_on_both_kernels(breaks_without_readers);
}
TEST_CASE("conformance: S446: a pipe holds 64 kB, and takes a page whole") {
    same_on_both_kernels(holds_so_much);
}
TEST_CASE("conformance: S446: each end of a pipe does what it is for") {
    same_on_both_kernels(has_two_ends);
}
TEST_CASE("conformance: S446: a non-blocking pipe waits in the ring, or says that it would") {
    same_on_both_kernels(does_not_block);
}
TEST_CASE("conformance: S446: polls of both ends of a pipe") {
    same_on_both_kernels(is_polled);
}
TEST_CASE("conformance: S446: reads, writes and polls of a pipe are cancelled") {
    same_on_both_kernels(is_cancelled);
}
TEST_CASE("conformance: S446: an operation in flight outlives the descriptor of a pipe") {
    block_sigpipe();
    same_on_both_kernels(outlives_a_close);
}
