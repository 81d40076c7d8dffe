// Pipes: bytes in order, a read that loses none, a write that says when it was cut.
#include <toadstone/io/pipe.hpp>

#include <toadstone/io/buffered_reader.hpp>
#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<std::string> reads(io::pipe_reader& from, std::size_t most = 64) {
    std::string room(most, '\0');
    const std::size_t count = co_await from.read_some(room);
    room.resize(count);
    co_return room;
}
task<std::string> reads_all(io::pipe_reader& from) {
    std::string all;
    std::array<char, 4096> part{};
    for (;;) {
        const std::size_t count = co_await from.read_some(part);
        if (count == 0) co_return all;
        all.append(part.data(), count);
    }
}
task<> writes(io::pipe_writer& to, std::string text) {
    co_await to.write_all(text);
}
std::string much() {
    std::string text;
    while (text.size() < 300'000) text += std::to_string(text.size()) + ' ';
    return text;
}
template <class T>
int error_of(stepped& world, join_handle<T>& of) {
    try {
        world.end_of(of).value();
    } catch (const std::system_error& error) {
        return error.code().value();
    }
    return 0;
}
void set_nonblocking(int fd) {
    REQUIRE(::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) == 0);
}

} // namespace

TEST_CASE("pipe: S440: what is written is read, in order and to the end") {
    const std::size_t before = open_descriptors();
    {
        stepped world;
        for (const bool nonblocking : {false, true}) {
            auto [reader, writer] = io::pipe();
            if (nonblocking) {
                set_nonblocking(reader.native_handle());
                set_nonblocking(writer.native_handle());
            }
            auto reading = world.spawn(reads_all(reader));
            world.settle();
            auto writing = world.spawn(writes(writer, much()));
            world.settle();
            CHECK(writing.done());
            world.run(writer.close());
            CHECK(world.end_of(reading).value() == much());
            CHECK_FALSE(writer.is_open());
        }
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("pipe: S440: without a reader a write fails, and no signal comes") {
    const auto end = in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        runtime here({.workers = 1});
        auto body = []() -> task<int> {
            std::optional<io::pipe> ends(std::in_place);
            io::pipe_writer writer = std::move(ends->writer);
            ends.reset();
            for (int i = 0; i < 3; ++i) {
                try {
                    co_await writer.write_all("nobody");
                    co_return 10;
                } catch (const std::system_error& error) {
                    if (error.code().value() != EPIPE) co_return 11;
                    if (error.what() != std::string("write to a pipe: Broken pipe")) {
                        co_return 12;
                    }
                }
                if (writer.poisoned()) co_return 13;
            }
            co_return 0;
        };
        return here.block_on(body());
    });
    CHECK(end.exited);
    CHECK(end.code == 0);
}

namespace {

task<> writes_to_nobody() {
    std::optional<io::pipe> ends(std::in_place);
    io::pipe_writer writer = std::move(ends->writer);
    ends.reset();
    try {
        co_await writer.write_all("nobody");
    } catch (const std::system_error& error) {
        if (error.code().value() == EPIPE) co_return;
    }
    std::abort();
}
/// Waits for room until the reader has gone.
task<> fills(io::pipe_writer& writer, bool& refused) {
    const std::string more(1 << 20, 'x');
    try {
        co_await writer.write_all(more);
    } catch (const std::system_error& error) {
        refused = error.code().value() == EPIPE;
    }
}
bool sigpipe_is_blocked() {
    sigset_t now;
    sigemptyset(&now);
    pthread_sigmask(SIG_BLOCK, nullptr, &now);
    return sigismember(&now, SIGPIPE) == 1;
}

} // namespace

TEST_CASE(
    "pipe: S518: a thread that tasks have written on gets its signals back, and no more") {
    const child_end end = in_child([] {
        std::signal(SIGPIPE, SIG_DFL);
        sigset_t own; // whatever other tests have left
        sigemptyset(&own);
        sigaddset(&own, SIGPIPE);
        pthread_sigmask(SIG_UNBLOCK, &own, nullptr);
        runtime_options options;
        options.workers = 1;
        options.on_this_thread = true;
        runtime rt(options);
        for (int i = 0; i < 3; ++i) {
            rt.block_on(writes_to_nobody());
            if (sigpipe_is_blocked()) return 1;
        }
        {
            std::optional<io::pipe> ends(std::in_place);
            io::pipe_writer writer = std::move(ends->writer);
            bool refused = false;
            auto filling = rt.spawn(fills(writer, refused));
            rt.block_on(yield_now());
            ends.reset(); // while it is not lent
            if (sigpipe_is_blocked()) return 3;
            rt.block_on(std::move(filling));
            if (!refused || sigpipe_is_blocked()) return 4;
        }
        pthread_sigmask(SIG_BLOCK, &own, nullptr);
        rt.block_on(writes_to_nobody());
        return sigpipe_is_blocked() ? 17 : 2; // as it was
    });
    CHECK(end.signal == 0);
    CHECK(end.code == 17);
}

TEST_CASE("pipe: S440: no room and no data are done at once") {
    stepped world;
    auto [reader, writer] = io::pipe();
    CHECK(world.run(reads(reader, 0)).empty());
    world.run(writes(writer, ""));
    auto waiting = world.spawn(reads(reader));
    world.settle();
    CHECK_FALSE(waiting.done());
    waiting.cancel();
    world.settle();
}

TEST_CASE("pipe: S441: a cancelled read loses no byte") {
    stepped world;
    auto [reader, writer] = io::pipe();
    for (const bool nonblocking : {false, true}) {
        if (nonblocking) set_nonblocking(reader.native_handle());
        std::string got;
        std::string sent;
        for (int round = 0; round < 60; ++round) {
            auto reading = world.spawn(reads(reader));
            if (round % 5 != 0) world.settle();
            const auto text = std::to_string(round) + " ";
            if (round % 2 == 0) reading.cancel();
            if (round % 3 == 0) world.step();
            world.run(writes(writer, text));
            sent += text;
            reading.cancel();
            world.settle();
            REQUIRE(reading.done());
            auto end = world.end_of(reading);
            if (end.has_value()) got += std::move(end).value();
        }
        while (got.size() < sent.size()) got += world.run(reads(reader));
        CHECK(got == sent);
    }
    CHECK(world.worker().in_flight() == 0);
}

TEST_CASE("pipe: S441: one task at a time reads, and one at a time writes") {
    stepped world;
    auto [reader, writer] = io::pipe();
    auto reading = world.spawn(reads(reader));
    auto writing = world.spawn(writes(writer, std::string(100'000, 'x')));
    world.settle();
    auto reading_all = world.spawn(reads_all(reader));
    auto second = world.spawn(reads(reader));
    world.settle();
    CHECK_THROWS_AS(world.end_of(second).value(), std::logic_error);
    auto [other_reader, other_writer] = io::pipe();
    auto full = world.spawn(writes(other_writer, std::string(100'000, 'x')));
    world.settle();
    CHECK_FALSE(full.done());
    CHECK_THROWS_AS(world.run(writes(other_writer, "y")), std::logic_error);
    full.cancel();
    reading_all.cancel();
    world.settle();
    CHECK(reading.done());
    CHECK(writing.done());
}

TEST_CASE("pipe: S442: a write that is cut poisons, and says where") {
    stepped world;
    for (const bool nonblocking : {false, true}) {
        auto [reader, writer] = io::pipe();
        if (nonblocking) set_nonblocking(writer.native_handle());
        auto writing = world.spawn(writes(writer, std::string(100'000, 'x')));
        world.settle();
        CHECK_FALSE(writing.done());
        writing.cancel();
        world.settle();
        CHECK(world.end_of(writing).is_cancelled());
        REQUIRE(writer.poisoned());
        CHECK(writer.cause().kind() == poison_kind::cancelled);
        CHECK(writer.cause().to_string().find("pipe_test.cpp:") != std::string::npos);
        CHECK_THROWS_AS(world.run(writes(writer, "more")), poison_error);
    }
}

TEST_CASE("pipe: S442: a write that is cancelled before its first byte poisons nothing") {
    stepped world;
    auto [reader, writer] = io::pipe();
    world.run(writes(writer, std::string(65536, 'x'))); // it is full
    for (int steps = 0; steps < 4; ++steps) {
        auto writing = world.spawn(writes(writer, std::string(steps % 2 ? 100'000 : 10, 'y')));
        for (int i = 0; i < steps; ++i) world.step();
        writing.cancel();
        world.settle();
        CHECK(world.end_of(writing).is_cancelled());
        CHECK_FALSE(writer.poisoned());
    }
    world.run(reads(reader, 65536));
    world.run(writes(writer, "z"));
    CHECK(world.run(reads(reader)) == "z");
}

TEST_CASE("pipe: S442: a reader that goes in the middle of a write poisons it") {
    stepped world;
    std::optional<io::pipe> ends(std::in_place);
    io::pipe_writer writer = std::move(ends->writer);
    auto writing = world.spawn(writes(writer, std::string(100'000, 'x')));
    world.settle();
    CHECK_FALSE(writing.done());
    ends.reset();
    world.settle();
    CHECK(error_of(world, writing) == EPIPE);
    REQUIRE(writer.poisoned());
    CHECK(writer.cause().kind() == poison_kind::exception);
}

TEST_CASE("pipe: S443: close() ends what other tasks do, on any worker") {
    for (const unsigned elsewhere : {0U, 1U}) {
        stepped world(2);
        auto [reader, writer] = io::pipe();
        auto reading =
            world.spawn({.where = placement::worker(elsewhere)}, reads, std::ref(reader), 9U);
        auto writing = world.spawn({.where = placement::worker(elsewhere)}, writes,
                                   std::ref(writer), std::string(10, 'x'));
        world.settle();
        CHECK(world.end_of(reading).value().size() == 9);
        REQUIRE(world.run(reads(reader)).size() == 1);

        auto waiting =
            world.spawn({.where = placement::worker(elsewhere)}, reads, std::ref(reader), 9U);
        auto full = world.spawn({.where = placement::worker(elsewhere)}, writes,
                                std::ref(writer), std::string(100'000, 'x'));
        world.settle();
        CHECK(waiting.done());
        auto rest =
            world.spawn({.where = placement::worker(elsewhere)}, reads, std::ref(reader), 9U);
        world.settle();
        CHECK_FALSE(full.done());
        world.run(writer.close());
        CHECK(error_of(world, full) == ECANCELED);
        CHECK(writer.poisoned());
        CHECK_FALSE(writer.is_open());

        io::pipe other;
        auto idle = world.spawn({.where = placement::worker(elsewhere)}, reads,
                                std::ref(other.reader), 9U);
        world.settle();
        CHECK_FALSE(idle.done());
        world.run(other.reader.close());
        CHECK(world.end_of(idle).value().empty());
        auto late = world.spawn(reads(other.reader));
        CHECK(error_of(world, late) == EBADF);
        world.run(other.reader.close()); // again: nothing to do
        CHECK(world.worker(0).in_flight() == 0);
        CHECK(world.worker(1).in_flight() == 0);
    }
}

TEST_CASE("pipe: S443: close() on one worker, a read and a write on another, again and again") {
    runtime rt({.workers = 2});
    auto round = [](unsigned number) -> task<bool> {
        io::pipe read_from;
        io::pipe written_to;
        auto reading =
            spawn({.where = placement::worker(1)}, reads_all, std::ref(read_from.reader));
        auto writing = spawn({.where = placement::worker(1)}, writes,
                             std::ref(written_to.writer), std::string(100'000, 'x'));
        for (unsigned i = 0; i < number % 7; ++i) co_await yield_now();
        if (number % 5 == 0) reading.cancel();
        co_await when_all(read_from.reader.close(), written_to.writer.close());
        auto read = co_await reading.outcome();
        auto wrote = co_await writing.outcome();
        // A read that had not begun, and every write, is told.
        co_return wrote.has_exception() && !read_from.reader.is_open();
    };
    unsigned told = 0;
    for (unsigned i = 0; i < 300; ++i) told += rt.block_on(round, i);
    CHECK(told == 300);
    CHECK(rt.operations_in_flight() == 0);
}

TEST_CASE("pipe: S443: a task that is asked to stop while close() ends its read stops") {
    stepped world;
    io::pipe ends;
    auto reading = world.spawn(reads(ends.reader));
    world.settle();
    auto closing = world.spawn(ends.reader.close());
    reading.cancel();
    world.settle();
    CHECK(closing.done());
    CHECK(reading.done());
    CHECK_FALSE(ends.reader.is_open());
}

TEST_CASE("pipe: S444: time limits and races leave both ends as they were") {
    stepped world;
    auto [reader, writer] = io::pipe();
    auto limited = [](io::pipe_reader& from) -> task<> {
        std::array<char, 8> room{};
        co_await with_timeout(5ms, from.read_some(room));
    };
    CHECK_THROWS_AS(world.run(limited(reader)), timeout_error);
    auto race = [](io::pipe_reader& from) -> task<std::size_t> {
        std::array<char, 8> room{};
        const auto won = co_await when_any(from.read_some(room), sleep_for(1ms));
        co_return won.index;
    };
    CHECK(world.run(race(reader)) == 1);
    world.run(writes(writer, "whole"));
    CHECK(world.run(reads(reader)) == "whole");
}

TEST_CASE("pipe: S444: a runtime that ends ends reads and writes in it") {
    const std::size_t before = open_descriptors();
    {
        io::pipe ends;
        io::pipe full;
        runtime rt({.workers = 2});
        rt.spawn(reads, std::ref(ends.reader), 5U).detach();
        rt.spawn(writes, std::ref(full.writer), std::string(100'000, 'x')).detach();
        CHECK(rt.shutdown(10s).clean());
        CHECK(rt.operations_in_flight() == 0);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("pipe: S447: a buffered reader gives the lines of a pipe") {
    stepped world;
    auto [reader, writer] = io::pipe();
    io::buffered_reader lines(reader, 64);
    world.run(writes(writer, "one\ntwo\r\nthr"));
    CHECK(world.run(lines.read_line()) == "one");
    CHECK(world.run(lines.read_line()) == "two");
    auto third = world.spawn(lines.read_line());
    world.settle();
    CHECK_FALSE(third.done());
    third.cancel(); // loses nothing
    world.settle();
    world.run(writes(writer, "ee\nrest"));
    world.run(writer.close());
    CHECK(world.run(lines.read_line()) == "three");
    std::array<char, 65> too_much{};
    CHECK_THROWS_AS(world.run(lines.read_exactly(too_much)), std::invalid_argument);
    CHECK_THROWS_AS(world.run(lines.read_line()), io::unexpected_end);
    CHECK(lines.buffered() == "rest");
}

TEST_CASE("pipe: S448: no descriptor left: the constructor says so and leaves none") {
    const std::size_t before = open_descriptors();
    int error = 0;
    {
        const limit_scope few(RLIMIT_NOFILE, static_cast<rlim_t>(next_descriptor()) + 1);
        try {
            const io::pipe ends;
        } catch (const std::system_error& failure) {
            error = failure.code().value();
        }
    }
    CHECK(error == EMFILE);
    CHECK(open_descriptors() == before);
}

namespace {

/// For its extent descriptor 0, or 1, is another one.
class standard_is {
public:
    standard_is(int which, int fd) : which_(which), saved_(::dup(which)) { ::dup2(fd, which); }
    standard_is(const standard_is&) = delete;
    standard_is& operator=(const standard_is&) = delete;
    ~standard_is() {
        ::dup2(saved_, which_);
        ::close(saved_);
    }

private:
    int which_;
    int saved_;
};

} // namespace

TEST_CASE("pipe: S454: standard input is read like a pipe, and stays open") {
    stepped world;
    io::pipe ends;
    const standard_is here(STDIN_FILENO, ends.reader.native_handle());
    {
        io::pipe_reader input = io::standard_input();
        auto reading = world.spawn(reads(input));
        world.settle();
        reading.cancel();
        world.settle();
        CHECK(world.end_of(reading).is_cancelled());
        world.run(writes(ends.writer, "first"));
        CHECK(world.run(reads(input)) == "first");
        auto waiting = world.spawn(reads(input));
        world.settle();
        world.run(input.close());
        CHECK(world.end_of(waiting).value().empty());
        CHECK_FALSE(input.is_open());
    }
    CHECK(::fcntl(STDIN_FILENO, F_GETFD) >= 0);
    {
        io::pipe_reader again = io::standard_input();
        world.run(writes(ends.writer, "second"));
        CHECK(world.run(reads(again)) == "second");
        CHECK(again.name() == "standard input");
    }
    CHECK(::fcntl(STDIN_FILENO, F_GETFD) >= 0); // it was not closed before it went
}

TEST_CASE(
    "pipe: S454: standard input may be a file, or a terminal, whose read can be stopped") {
    stepped world;
    const temporary_folder folder;
    {
        const int file = ::open(folder.file("lines").c_str(), O_RDWR | O_CREAT, 0600);
        REQUIRE(::write(file, "in a file", 9) == 9);
        ::lseek(file, 3, SEEK_SET);
        const standard_is here(STDIN_FILENO, file);
        ::close(file);
        io::pipe_reader input = io::standard_input();
        CHECK(world.run(reads_all(input)) == "a file");
    }
    int far = -1;
    int terminal = -1;
    REQUIRE(::openpty(&far, &terminal, nullptr, nullptr, nullptr) == 0);
    {
        const standard_is here(STDIN_FILENO, terminal);
        io::pipe_reader input = io::standard_input();
        auto reading = world.spawn(reads(input));
        world.settle();
        REQUIRE(::write(far, "half", 4) == 4);
        world.settle();
        CHECK_FALSE(reading.done()); // no line yet
        reading.cancel();
        world.settle();
        CHECK(world.end_of(reading).is_cancelled());
        REQUIRE(::write(far, " a line\n", 8) == 8);
        CHECK(world.run(reads(input)) == "half a line\n");
    }
    ::close(far);
    ::close(terminal);
}

TEST_CASE("pipe: S455: standard output is written to, and stays open") {
    stepped world;
    io::pipe ends;
    {
        const standard_is there(STDOUT_FILENO, ends.writer.native_handle());
        io::pipe_writer output = io::standard_output();
        world.run(writes(output, "said"));
        world.run(output.close());
        CHECK(::fcntl(STDOUT_FILENO, F_GETFD) >= 0);
    }
    CHECK(world.run(reads(ends.reader)) == "said");
}

TEST_CASE("pipe: S455: a process without standard descriptors is told so") {
    const auto end = in_child([] {
        ::close(0);
        ::close(1);
        try {
            static_cast<void>(io::standard_input());
            return 1;
        } catch (const std::system_error& error) {
            if (error.code().value() != EBADF) return 2;
        }
        try {
            static_cast<void>(io::standard_output());
            return 3;
        } catch (const std::system_error& error) {
            return error.code().value() == EBADF ? 0 : 4;
        }
    });
    CHECK(end.exited);
    CHECK(end.code == 0);
}
