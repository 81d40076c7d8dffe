// Pipes and readiness against a hostile kernel, cancelled at each await.
#include "support/failing_new.hpp"
#include "support/hostile.hpp"

#include <toadstone/runtime/uring/system_calls.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include <fcntl.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Long enough that the pipe of such a world is full in between.
constexpr std::size_t room = 64;

std::string stream_of(unsigned messages) {
    std::string all;
    for (unsigned i = 0; i < messages; ++i) {
        all += std::to_string(i) + ":" + std::string(30 + 10 * i, static_cast<char>('a' + i));
    }
    return all;
}
bool starts(const std::string& whole, const std::string& with) {
    return whole.compare(0, with.size(), with) == 0;
}

/// As a descriptor of somebody else may be.
void set_nonblocking(int fd) {
    toadstone::detail::system().fcntl_flags(fd, F_SETFL, O_NONBLOCK);
}

struct talk {
    io::pipe ends;
    std::string read;
    unsigned written = 0; ///< messages
    bool at_end = false;
};

task<> writes_all(talk& in, unsigned messages) {
    std::size_t from = 0;
    for (unsigned i = 0; i < messages; ++i) {
        const std::string whole = stream_of(i + 1);
        co_await in.ends.writer.write_all(std::string_view(whole).substr(from));
        from = whole.size();
        ++in.written;
    }
    co_await in.ends.writer.close();
}
task<> reads_all(talk& in) {
    std::array<char, 16> part{};
    for (;;) {
        const std::size_t count = co_await in.ends.reader.read_some(part);
        if (count == 0) break;
        in.read.append(part.data(), count);
    }
    in.at_end = true;
}

/// A non-blocking descriptor is nobody's business but the library's.
template <class T>
void check_never_told_to_try_again(const outcome<T>& end) {
    if (!end.has_exception()) return;
    try {
        std::rethrow_exception(end.exception());
    } catch (const std::system_error& error) {
        expect(error.code().value() != EAGAIN, "told to try again");
    } catch (const std::exception&) {
        // an operation that was made to fail, or a want of memory
    }
}

// Whoever is cancelled, what has been read is the beginning of what was written, whole messages
// of it where the writer is not poisoned, and a reader that goes on gets the rest.
task<> s445(sim::world& world) {
    constexpr unsigned messages = 4;
    talk in;
    in.read.reserve(4096); // what was read must not be lost for want of memory
    if (pick_timing(world, 2) == 1) {
        set_nonblocking(in.ends.reader.native_handle());
        set_nonblocking(in.ends.writer.native_handle());
    }
    auto writing = spawn({.name = "victim", .where = placement::worker(pick_timing(world, 2))},
                         writes_all, std::ref(in), messages);
    auto reading = spawn({.name = "victim"}, reads_all, std::ref(in));
    co_await may_cancel(world, writing);
    co_await may_cancel(world, reading);
    while (!writing.done()) {
        std::array<char, 32> part{};
        if (!reading.done()) {
            co_await sleep_for(1ms);
            continue;
        }
        // It was stopped, and so nobody makes room.
        const auto count = co_await try_with_timeout(1ms, in.ends.reader.read_some(part));
        if (count.has_value()) in.read.append(part.data(), count.value());
    }
    check_never_told_to_try_again(co_await writing.outcome());
    const bool poisoned = in.ends.writer.poisoned();
    co_await in.ends.writer.close();
    auto rest = spawn(reads_all, std::ref(in));
    check_never_told_to_try_again(co_await reading.outcome());
    check_never_told_to_try_again(co_await rest.outcome());
    expect(starts(stream_of(messages), in.read), "bytes are lost, or come twice");
    const std::string whole = stream_of(in.written);
    if (poisoned && in.at_end) {
        expect(in.read.size() > whole.size(), "poisoned, and no message was cut");
        expect(in.written < messages, "poisoned, and all was written");
    } else if (in.at_end) {
        expect(in.read == whole, "a message was cut, and nothing says so");
    }
}

// Readiness is told to all, consumes nothing, and leaves nothing armed: the world would
// complain of a completion that belongs to nobody.
task<> waits_and_reads(io::pipe_reader& from, unsigned& got) {
    for (bool at_end = false; !at_end;) {
        const auto told = co_await io::readiness(from.native_handle(), io::events::readable);
        expect(told != io::events::none, "ready for nothing");
        char byte = 0;
        const std::size_t count = co_await from.read_some(std::span(&byte, 1));
        at_end = count == 0;
        if (!at_end) ++got;
    }
}
task<> waits_alone(io::pipe_reader& of, unsigned& told) {
    while (true) {
        const auto came = co_await io::readiness(of.native_handle(), io::events::readable);
        expect(came != io::events::none, "ready for nothing");
        ++told;
        if (contains(came, io::events::hang_up)) co_return;
        co_await sleep_for(1ms);
    }
}
task<> s436(sim::world& world) {
    io::pipe ends;
    unsigned got = 0;
    unsigned told = 0;
    auto reading = spawn({.name = "victim", .where = placement::worker(pick_timing(world, 2))},
                         waits_and_reads, std::ref(ends.reader), std::ref(got));
    auto waiting = spawn({.name = "victim", .where = placement::worker(pick_timing(world, 2))},
                         waits_alone, std::ref(ends.reader), std::ref(told));
    co_await may_cancel(world, pick_timing(world, 2) ? reading : waiting);
    for (int i = 0; i < 3; ++i) {
        co_await a_while(world);
        co_await ends.writer.write_all("x");
    }
    co_await a_while(world);
    co_await ends.writer.close();
    const auto read = co_await reading.outcome();
    const auto waited = co_await waiting.outcome();
    expect(got <= 3, "a byte was read twice");
    expect(!read.has_value() || got == 3, "a byte was lost");
    expect(!waited.has_value() || told > 0, "nobody was told of the end");
}

// close() by another task, on another worker.
task<> reads_until_closed(io::pipe_reader& from, bool& at_end) {
    char byte = 0;
    while (true) {
        const std::size_t count = co_await from.read_some(std::span(&byte, 1));
        if (count == 0) break;
    }
    at_end = true;
}
task<> writes_until_closed(io::pipe_writer& to, int& error) {
    try {
        while (true) co_await to.write_all("0123456789");
    } catch (const std::system_error& e) {
        error = e.code().value();
    }
}
task<> s443(sim::world& world) {
    io::pipe read_from;
    io::pipe written_to;
    bool at_end = false;
    int error = 0;
    auto reading = spawn({.name = "victim", .where = placement::worker(pick_timing(world, 2))},
                         reads_until_closed, std::ref(read_from.reader), std::ref(at_end));
    auto writing = spawn({.name = "victim", .where = placement::worker(pick_timing(world, 2))},
                         writes_until_closed, std::ref(written_to.writer), std::ref(error));
    co_await a_while(world);
    co_await read_from.writer.write_all("x");
    co_await a_while(world);
    co_await when_all(read_from.reader.close(), written_to.writer.close());
    const auto read = co_await reading.outcome();
    const auto wrote = co_await writing.outcome();
    expect(!read_from.reader.is_open() && !written_to.writer.is_open(), "closed and open");
    // A read that had not begun is refused.
    if (read.has_value()) expect(at_end, "it ended otherwise");
    if (wrote.has_value()) {
        expect(error == ECANCELED || error == EBADF || error == EIO,
               "the write failed with " + std::to_string(error));
    }
}

template <class Body>
void check_pipes(Body& body) {
    auto options = seeds(150, 30);
    options.world.stream_capacity = room;
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
    auto everywhere = everything_goes_wrong("victim", 4);
    everywhere.world.stream_capacity = room;
    const auto cancelled = sim::cancel_at_every_await(everywhere, body);
    INFO(cancelled.to_string());
    CHECK(cancelled);
    CHECK(!cancelled.points.empty());
}

} // namespace

TEST_CASE("S436: waits for readiness, cancelled anywhere, consume nothing and leave nothing") {
    check_pipes(s436);
}
TEST_CASE("S443: close() of a pipe ends what other workers do on it, cancelled or not") {
    check_pipes(s443);
}
TEST_CASE("S445: bytes of a pipe, its reader and its writer cancelled anywhere") {
    check_pipes(s445);
}
