// The life of an operation in the ring: its frame and its buffer outlive it, whatever is asked.
#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include "support/pipe.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<int> reads(int fd, char* to, unsigned size) {
    const int count = co_await read_op(fd, to, size);
    co_return count;
}
task<> reads_into_frame(int fd, scope_end& end, std::string& got) {
    scope_probe probe(end);
    char buffer[32] = {};
    const int count = co_await read_op(fd, buffer, sizeof buffer);
    if (count > 0) got.assign(buffer, static_cast<std::size_t>(count));
    co_await checkpoint();
    got += " and went on";
}
task<int> writes(int fd, std::string_view text, scope_end& end) {
    scope_probe probe(end);
    const int count = co_await write_op(fd, text);
    co_return count;
}
task<> at_once() {
    co_return;
}
task<std::size_t> races_with_write(int fd, scope_end& end) {
    // The write is prepared, and in the same turn the other branch has won.
    const auto first = co_await when_any(writes(fd, "BAD", end), at_once());
    co_return first.index;
}
class stubborn_leaf : public detail::io_op {
public:
    stubborn_leaf(int fd, char* to) noexcept : fd_(fd), to_(to) { cancellable_ = false; }
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_read(&entry, fd_, to_, 1, static_cast<__u64>(-1));
    }
    int fd_;
    char* to_;
};
using stubborn_read = detail::operation<stubborn_leaf, int, char*>;
task<int> stubborn(int fd, scope_end& end) {
    scope_probe probe(end);
    char letter = 0;
    const int count = co_await stubborn_read(fd, &letter);
    co_return count;
}

} // namespace

TEST_CASE("operation: completes with its count, with 0 at the end, with -errno") {
    stepped w;
    test_pipe pipe;
    char buffer[8] = {};
    pipe.write("abc");
    CHECK(w.run(reads(pipe.reader(), buffer, sizeof buffer)) == 3);
    CHECK(std::string(buffer) == "abc");
    pipe.close_writer();
    CHECK(w.run(reads(pipe.reader(), buffer, sizeof buffer)) == 0);
    CHECK(w.run(reads(-1, buffer, sizeof buffer)) == -EBADF);
    CHECK(w.worker().in_flight() == 0);
    CHECK(w.worker().strays() == 0);
}

TEST_CASE("operation: the worker knows how many the kernel has") {
    stepped w;
    test_pipe pipes[3];
    char letters[3] = {};
    std::vector<join_handle<int>> handles;
    for (int i = 0; i < 3; ++i) {
        handles.push_back(w.spawn(reads(pipes[i].reader(), &letters[i], 1)));
    }
    w.settle();
    CHECK(w.worker().in_flight() == 3);
    pipes[1].write("x");
    w.settle();
    CHECK(w.worker().in_flight() == 2);
    CHECK(w.end_of(handles[1]).value() == 1);
    handles[0].cancel();
    handles[2].cancel();
    w.settle();
    CHECK(w.worker().in_flight() == 0);
    CHECK(w.end_of(handles[0]).is_cancelled());
}

TEST_CASE("S57: the frame with the buffer goes only after the kernel's last completion") {
    stepped w;
    test_pipe pipe;
    scope_end end;
    std::string got;
    const auto frames = detail::live_frames();
    {
        auto handle = w.spawn(reads_into_frame(pipe.reader(), end, got));
        w.settle();
        REQUIRE(w.worker().in_flight() == 1);
        w.kernel().stalled = true;
        handle.cancel();
        for (int i = 0; i < 20; ++i) w.step();
        CHECK(end.times == 0); // asked, and waited for
        CHECK(w.worker().in_flight() == 1);
        w.kernel().stalled = false;
        w.settle();
        CHECK(end.times == 1);
        CHECK(end.torn_down);
        CHECK(w.worker().in_flight() == 0);
        CHECK(w.end_of(handle).is_cancelled());
    }
    CHECK(got.empty());
    pipe.write("for the next");
    CHECK(pipe.drain() == "for the next"); // nobody reads behind the task's back
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S59: data that arrived is delivered although the read is being cancelled, and the "
          "next cancellation point ends the task") {
    const bool reaped = GENERATE(false, true);
    stepped w;
    test_pipe pipe;
    scope_end end;
    std::string got;
    auto handle = w.spawn(reads_into_frame(pipe.reader(), end, got));
    w.settle();
    pipe.write("late");
    if (reaped) w.step(); // the completion is there; else the request overtakes it
    handle.cancel();
    w.settle();
    CHECK(end.times == 1);
    CHECK(w.end_of(handle).is_cancelled());
    // Not a byte is lost: it was delivered, or it is still in the pipe.
    const std::string left = pipe.drain();
    CHECK(got + left == "late");
    if (reaped) CHECK(got == "late");
}

TEST_CASE("S66: cancelled while prepared, the entry becomes a no-op; the descriptor, by then "
          "another's, is not touched") {
    stepped w;
    test_pipe mine;
    test_pipe theirs;
    scope_end end;
    w.kernel().stalled = true;
    auto handle = w.spawn(writes(mine.writer(), "BAD", end));
    for (int i = 0; i < 3; ++i) w.step();
    REQUIRE(w.worker().in_flight() == 1);
    handle.cancel();
    for (int i = 0; i < 3; ++i) w.step();
    CHECK(end.times == 0); // the no-op has a completion too, and it is waited for
    ::dup2(theirs.writer(), mine.writer());
    w.kernel().stalled = false;
    w.settle();
    CHECK(end.times == 1);
    CHECK(w.end_of(handle).is_cancelled());
    CHECK(mine.drain().empty());
    CHECK(theirs.drain().empty());
    CHECK(w.worker().in_flight() == 0);
    CHECK(w.worker().strays() == 0);
}

TEST_CASE(
    "S66: a race decided in the turn in which the loser prepared its write writes nothing") {
    stepped w;
    test_pipe pipe;
    scope_end end;
    CHECK(w.run(races_with_write(pipe.writer(), end)) == 1);
    CHECK(end.reason == cancel_reason::lost_race);
    CHECK(pipe.drain().empty());
}

TEST_CASE("S65: a completion of an earlier generation is counted and dropped; the operation "
          "that has the slot now does not notice") {
    stepped w;
    test_pipe pipe;
    char letter = 0;
    pipe.write("a");
    auto first = w.spawn(reads(pipe.reader(), &letter, 1));
    w.step();
    REQUIRE(w.kernel().last_submitted.size() == 1);
    const auto old_tag = w.kernel().last_submitted.front();
    CHECK(w.end_of(first).value() == 1);
    auto second = w.spawn(reads(pipe.reader(), &letter, 1));
    w.step();
    REQUIRE(w.kernel().last_submitted.size() == 1);
    const auto new_tag = w.kernel().last_submitted.front();
    CHECK(old_tag != new_tag);
    CHECK((old_tag & 0xffffffff) == (new_tag & 0xffffffff)); // the same slot
    const std::uint64_t unknown = (new_tag & ~std::uint64_t{0xffffffff}) | 12345;
    w.kernel().extra_completions = {old_tag, unknown, old_tag};
    w.settle();
    CHECK(w.worker().strays() == 3);
    CHECK(w.worker().in_flight() == 1);
    CHECK_FALSE(second.done());
    pipe.write("b");
    w.settle();
    CHECK(w.end_of(second).value() == 1);
    CHECK(letter == 'b');
}

TEST_CASE("S65: a request to a task that ended meanwhile is dropped with it") {
    stepped w;
    test_pipe pipe;
    char letter = 0;
    auto first = w.spawn(reads(pipe.reader(), &letter, 1));
    w.settle();
    pipe.write("a");
    w.step();
    first.cancel(); // on its way while the task ends and the next one takes its memory
    w.step();
    first.detach();
    auto second = w.spawn(reads(pipe.reader(), &letter, 1));
    w.settle();
    CHECK_FALSE(second.done());
    pipe.write("b");
    w.settle();
    CHECK(w.end_of(second).value() == 1);
}

TEST_CASE("operation: beyond the limit they wait for their turn, and are served in order") {
    stepped w(1, 1);
    test_pipe pipe;
    std::deque<char> letters(6, 0);
    std::vector<join_handle<int>> handles;
    for (auto& each : letters) handles.push_back(w.spawn(reads(pipe.reader(), &each, 1)));
    w.settle();
    CHECK(w.worker().in_flight() == 1);
    for (int i = 0; i < 6; ++i) {
        pipe.write(std::string(1, static_cast<char>('a' + i)));
        w.settle();
    }
    std::string all(letters.begin(), letters.end());
    CHECK(all == "abcdef");
    for (auto& each : handles) CHECK(w.end_of(each).value() == 1);
}

TEST_CASE("operation: cancelled while it waits for its turn, it leaves at once; front, middle "
          "and back of the queue") {
    const std::size_t which = GENERATE(0U, 1U, 2U);
    stepped w(1, 1);
    test_pipe pipe;
    scope_end ends[4];
    std::string got[4];
    std::vector<join_handle<void>> handles;
    for (int i = 0; i < 4; ++i) {
        handles.push_back(w.spawn(reads_into_frame(pipe.reader(), ends[i], got[i])));
    }
    w.settle();
    CHECK(w.worker().in_flight() == 1);
    w.kernel().stalled = true; // nothing of it needs the kernel
    handles[which + 1].cancel();
    for (int i = 0; i < 4; ++i) w.step();
    CHECK(ends[which + 1].times == 1);
    w.kernel().stalled = false;
    for (int i = 0; i < 3; ++i) {
        pipe.write(std::string(1, static_cast<char>('a' + i)));
        w.settle();
    }
    std::string order;
    for (std::size_t i = 0; i < 4; ++i) {
        if (i != which + 1) order += got[i].substr(0, 1);
    }
    CHECK(order == "abc");
}

TEST_CASE("operation: more in one turn than the submission queue has room for") {
    std::deque<test_pipe> pipes(200);
    std::deque<char> letters(200, 0);
    std::vector<join_handle<int>> handles;
    stepped w;
    for (std::size_t i = 0; i < pipes.size(); ++i) {
        handles.push_back(w.spawn(reads(pipes[i].reader(), &letters[i], 1)));
    }
    w.settle();
    CHECK(w.worker().in_flight() == 200);
    for (std::size_t i = 0; i < pipes.size(); i += 2) pipes[i].write("x");
    w.settle();
    CHECK(w.worker().in_flight() == 100);
    for (auto& each : handles) each.cancel(); // a hundred cancel requests at once
    w.settle();
    CHECK(w.worker().in_flight() == 0);
    for (std::size_t i = 0; i < pipes.size(); ++i) {
        const auto end = w.end_of(handles[i]);
        CHECK(end.has_value() == (i % 2 == 0));
    }
}

TEST_CASE("operation: more in flight than the completion queue is sized for wait outside") {
    stepped w(1, 100000); // the ring has 1024 completions
    test_pipe pipe;
    std::deque<char> letters(1500, 0);
    std::vector<join_handle<int>> handles;
    for (auto& each : letters) handles.push_back(w.spawn(reads(pipe.reader(), &each, 1)));
    w.settle();
    CHECK(w.worker().in_flight() < 1024);
    CHECK(w.worker().in_flight() >= 512);
    pipe.close_writer(); // all of them end
    w.settle();
    for (auto& each : handles) REQUIRE(w.end_of(each).value() == 0);
}

TEST_CASE("S64: an operation that must not be cancelled is not, and its result is delivered") {
    stepped w;
    test_pipe pipe;
    scope_end end;
    auto handle = w.spawn(stubborn(pipe.reader(), end));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK(end.times == 0);
    CHECK(w.worker().in_flight() == 1);
    pipe.write("x");
    w.settle();
    CHECK(w.end_of(handle).value() == 1);
}

TEST_CASE("S68: a ring goes only after everything in flight has come back") {
    test_pipe pipe;
    char outlives[16] = {};
    scope_end end;
    std::string got;
    {
        stepped w;
        auto a = w.spawn(reads(pipe.reader(), outlives, sizeof outlives));
        auto b = w.spawn(reads_into_frame(pipe.reader(), end, got));
        w.settle();
        REQUIRE(w.worker().in_flight() == 2);
    }
    CHECK(end.times == 1);
    pipe.write("after the end");
    CHECK(std::strlen(outlives) == 0);
    CHECK(pipe.drain() == "after the end");
}
