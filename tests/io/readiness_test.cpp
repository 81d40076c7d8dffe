// Readiness: told when it is there, and nothing armed when nobody waits any more.
#include <toadstone/io/readiness.hpp>

#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <cerrno>
#include <chrono>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using io::events;

namespace {

/// A non-blocking pipe of somebody else's.
class foreign_pipe {
public:
    foreign_pipe() {
        if (::pipe2(ends_, O_CLOEXEC | O_NONBLOCK) != 0) {
            throw std::system_error(errno, std::generic_category(), "pipe2");
        }
    }
    foreign_pipe(const foreign_pipe&) = delete;
    foreign_pipe& operator=(const foreign_pipe&) = delete;
    ~foreign_pipe() {
        close_reader();
        close_writer();
    }
    [[nodiscard]] int reader() const noexcept { return ends_[0]; }
    [[nodiscard]] int writer() const noexcept { return ends_[1]; }
    void put() const { REQUIRE(::write(ends_[1], "x", 1) == 1); }
    void take() const {
        char byte = 0;
        REQUIRE(::read(ends_[0], &byte, 1) == 1);
    }
    void fill() const {
        const std::string much(65536, 'x');
        while (::write(ends_[1], much.data(), much.size()) > 0) {
        }
    }
    void close_reader() noexcept { close(ends_[0]); }
    void close_writer() noexcept { close(ends_[1]); }

private:
    static void close(int& which) noexcept {
        if (which >= 0) ::close(std::exchange(which, -1));
    }
    int ends_[2] = {-1, -1};
};

task<events> waits(int fd, events wanted) {
    const events came = co_await io::readiness(fd, wanted);
    co_return came;
}

/// Nothing of it is the kernel's any more, and nothing comes late.
void check_quiet(stepped& world, const foreign_pipe& of) {
    CHECK(world.worker().in_flight() == 0);
    of.put();
    world.settle();
    of.take();
    world.settle();
    CHECK(world.worker().in_flight() == 0);
    CHECK(world.worker().strays() == 0);
}

} // namespace

TEST_CASE("readiness: S430: a wait ends when the descriptor is ready, and says for what") {
    stepped world;
    foreign_pipe pipe;
    auto reading = world.spawn(waits(pipe.reader(), events::readable));
    world.settle();
    CHECK_FALSE(reading.done());
    pipe.put();
    world.settle();
    CHECK(world.end_of(reading).value() == events::readable);
    // It is a state, not an event: it is told again as long as it is so.
    CHECK(world.run(waits(pipe.reader(), events::readable)) == events::readable);
    pipe.take();
    CHECK(world.run(waits(pipe.writer(), events::writable | events::readable)) ==
          events::writable);
    check_quiet(world, pipe);
}

TEST_CASE("readiness: S430: hang-up and error are told whether they were wanted or not") {
    stepped world;
    foreign_pipe pipe;
    auto reading = world.spawn(waits(pipe.reader(), events::readable));
    world.settle();
    pipe.close_writer();
    world.settle();
    CHECK(contains(world.end_of(reading).value(), events::hang_up));

    foreign_pipe other;
    other.fill();
    auto writing = world.spawn(waits(other.writer(), events::writable));
    world.settle();
    CHECK_FALSE(writing.done());
    other.close_reader();
    world.settle();
    CHECK(contains(world.end_of(writing).value(), events::error));
}

TEST_CASE("readiness: S431: a bad descriptor, no event and what is no event are told at once") {
    stepped world;
    CHECK_THROWS_AS(world.run(waits(0, events::none)), std::invalid_argument);
    CHECK_THROWS_AS(world.run(waits(0, static_cast<events>(0x8000))), std::invalid_argument);
    auto stopped = world.spawn(waits(0, events::none)); // a request comes before that
    stopped.cancel();
    world.settle();
    CHECK(world.end_of(stopped).is_cancelled());
    int closed = -1;
    {
        const foreign_pipe gone;
        closed = gone.reader();
    }
    for (const int fd : {-1, closed}) {
        try {
            static_cast<void>(world.run(waits(fd, events::readable)));
            FAIL("a descriptor that is not open is ready");
        } catch (const std::system_error& error) {
            CHECK(error.code().value() == EBADF);
            CHECK(std::string(error.what()) ==
                  "wait for descriptor " + std::to_string(fd) + ": Bad file descriptor");
        }
    }
}

TEST_CASE("readiness: S432: cancelled before it begins, it asks the kernel for nothing") {
    stepped world;
    const foreign_pipe pipe;
    auto waiting = world.spawn(waits(pipe.reader(), events::readable));
    waiting.cancel();
    world.settle();
    CHECK(world.end_of(waiting).is_cancelled());
    check_quiet(world, pipe);
}

TEST_CASE("readiness: S432: cancelled while it waits, nothing stays armed") {
    stepped world;
    const foreign_pipe pipe;
    for (int steps = 1; steps < 5; ++steps) {
        auto waiting = world.spawn(waits(pipe.reader(), events::readable));
        for (int i = 0; i < steps; ++i) world.step();
        waiting.cancel();
        world.settle();
        CHECK(world.end_of(waiting).is_cancelled());
        check_quiet(world, pipe);
    }
}

TEST_CASE(
    "readiness: S432: an event that comes with the cancellation is delivered or is left") {
    stepped world;
    const foreign_pipe pipe;
    int delivered = 0;
    for (int round = 0; round < 40; ++round) {
        auto waiting = world.spawn(waits(pipe.reader(), events::readable));
        world.settle();
        if (round % 2 == 0) {
            pipe.put();
            if (round % 4 == 0) world.step(); // the completion is there, the task has not run
            waiting.cancel();
        } else {
            waiting.cancel();
            pipe.put();
        }
        world.settle();
        delivered += world.end_of(waiting).has_value();
        // Nothing was consumed, whoever has won.
        CHECK(world.run(waits(pipe.reader(), events::readable)) == events::readable);
        pipe.take();
    }
    CHECK(delivered > 0);
    check_quiet(world, pipe);
}

TEST_CASE("readiness: S433: a time limit ends the wait, and what comes later is nobody's") {
    stepped world;
    const foreign_pipe pipe;
    auto limited = [](int fd) -> task<> {
        co_await with_timeout(10ms, io::readiness(fd, events::readable));
    };
    CHECK_THROWS_AS(world.run(limited(pipe.reader())), timeout_error);
    check_quiet(world, pipe);
}

TEST_CASE("readiness: S433: of two that race the loser is disarmed before the winner goes on") {
    stepped world;
    const foreign_pipe one;
    const foreign_pipe other;
    std::size_t in_flight = 7;
    auto race = [&](int first, int second) -> task<std::size_t> {
        const auto won = co_await when_any(io::readiness(first, events::readable),
                                           io::readiness(second, events::readable));
        in_flight = world.worker().in_flight();
        co_return won.index;
    };
    auto racing = world.spawn(race(one.reader(), other.reader()));
    world.settle();
    CHECK_FALSE(racing.done());
    other.put();
    world.settle();
    CHECK(world.end_of(racing).value() == 1);
    CHECK(in_flight == 0);
    other.take();
    check_quiet(world, one);
    check_quiet(world, other);
}

TEST_CASE("readiness: S434: several wait for one descriptor, and one of them leaves") {
    stepped world(2);
    const foreign_pipe pipe;
    auto first = world.spawn(waits(pipe.reader(), events::readable));
    auto leaving =
        world.spawn({.where = placement::worker(1)}, waits, pipe.reader(), events::readable);
    auto last =
        world.spawn({.where = placement::worker(1)}, waits, pipe.reader(), events::readable);
    world.settle();
    leaving.cancel();
    world.settle();
    CHECK(world.end_of(leaving).is_cancelled());
    CHECK_FALSE(first.done());
    CHECK_FALSE(last.done());
    pipe.put();
    world.settle();
    CHECK(world.end_of(first).value() == events::readable);
    CHECK(world.end_of(last).value() == events::readable);
    pipe.take();
    check_quiet(world, pipe);
}

TEST_CASE("readiness: S434: the number of a descriptor is used again after a cancelled wait") {
    stepped world;
    int number = -1;
    {
        const foreign_pipe pipe;
        number = pipe.reader();
        auto waiting = world.spawn(waits(number, events::readable));
        world.settle();
        waiting.cancel();
        world.settle();
        CHECK(world.end_of(waiting).is_cancelled());
    }
    const foreign_pipe next;
    REQUIRE(next.reader() == number);
    check_quiet(world, next);
}

TEST_CASE("readiness: S435: a runtime that ends ends the waits in it") {
    const foreign_pipe pipe;
    const std::size_t before = open_descriptors();
    {
        runtime rt({.workers = 2});
        for (int i = 0; i < 20; ++i) {
            rt.spawn(waits(pipe.reader(), events::readable)).detach();
        }
        const auto report = rt.shutdown(10s);
        CHECK(report.clean());
        CHECK(rt.operations_in_flight() == 0);
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("readiness: S435: another thread makes a descriptor ready, again and again") {
    const int fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    REQUIRE(fd >= 0);
    constexpr int rounds = 500;
    std::thread other;
    int seen = 0;
    {
        runtime rt({.workers = 1});
        auto body = [&](int from) -> task<> {
            std::uint64_t total = 0;
            while (total < rounds) {
                co_await io::readiness(from, events::readable);
                std::uint64_t count = 0;
                if (::read(from, &count, sizeof count) == sizeof count) total += count;
            }
            seen = static_cast<int>(total);
        };
        other = std::thread([fd] {
            const std::uint64_t one = 1;
            for (int i = 0; i < rounds; ++i) {
                while (::write(fd, &one, sizeof one) != sizeof one) std::this_thread::yield();
            }
        });
        rt.block_on(body(fd));
    }
    other.join();
    ::close(fd);
    CHECK(seen == rounds);
}
