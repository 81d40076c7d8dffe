// The log: one thread writes, in a bounded queue lines wait for it, and nobody else waits.
#include <toadstone/runtime/log.hpp>

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/detail/log_queue.hpp>
#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/poison.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"
#include "support/log.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <iterator>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

namespace toadstone::tests {
namespace {

using namespace std::chrono_literals;

constexpr auto patience = std::chrono::minutes(1);

task<> fails(std::string what) {
    co_await yield_now();
    throw std::runtime_error(what);
}
task<> leaves_unobserved(std::string what) {
    auto handle = spawn(fails(std::move(what)), {.name = "lonely"});
    while (!handle.done()) co_await yield_now();
}

std::uint64_t dropped_of(const std::string& line) {
    const std::string before = "toadstone: ";
    const auto at = line.find(before);
    if (at == line.npos || line.find("lines of the log were dropped") == line.npos) return 0;
    return std::stoull(line.substr(at + before.size()));
}

} // namespace

TEST_CASE("log_queue: what does not fit is counted in front of the next line that does") {
    const auto queue = std::make_unique<detail::log_queue>();
    const auto line = std::make_unique<detail::log_queue::line>();
    const std::string text(1000, 'x');
    std::uint64_t in = 0;
    while (queue->push(1, text)) ++in;
    CHECK(in == detail::log_queue::capacity / (1000 + 24));
    CHECK_FALSE(queue->push(2, text));
    queue->pop(*line);
    CHECK(line->dropped == 0);
    REQUIRE(queue->push(3, "after"));
    for (std::uint64_t i = 1; i < in; ++i) queue->pop(*line);
    queue->pop(*line);
    CHECK(line->text() == "after");
    CHECK(line->when == 3);
    CHECK(line->dropped == 2);
    CHECK(queue->empty());
}

TEST_CASE("log_queue: lines come out whole and in order wherever the memory's end cuts them") {
    const auto queue = std::make_unique<detail::log_queue>();
    const auto line = std::make_unique<detail::log_queue::line>();
    std::uint64_t next = 0;
    const auto text = [](std::uint64_t i) {
        return std::to_string(i) + std::string(i * 7 % 3900, static_cast<char>('a' + i % 26));
    };
    for (std::uint64_t i = 0; i < 20'000; ++i) {
        while (!queue->push(static_cast<std::int64_t>(i), text(i))) {
            queue->pop(*line);
            const bool right =
                line->text() == text(next) && line->when == static_cast<std::int64_t>(next);
            if (!right) REQUIRE(line->text() == text(next));
            ++next;
        }
    }
    CHECK_FALSE(queue->push(0, std::string(detail::log_queue::longest + 1, 'x')));
}

TEST_CASE("printable: nothing that a terminal obeys is left, and what it shows stays") {
    CHECK(printable("plain, and Grüße, 日本, 😀") == "plain, and Grüße, 日本, 😀");
    CHECK(printable("a\tb\r\nc") == "a b  c");
    CHECK(printable("\x1b[31mred\x7f") == "?[31mred?");
    CHECK(printable(std::string_view("\0x", 2)) == "?x");
    CHECK(printable("\xc2\x9b"
                    "2J") == "?2J"); // C1: CSI
    CHECK(printable("\x9b"
                    "2J") == "?2J"); // its byte alone is no UTF-8
    CHECK(printable("a\xe2\x80\xa8"
                    "b\xe2\x80\xa9"
                    "c") == "a?b?c"); // U+2028, U+2029
    CHECK(printable("user\xe2\x80\xae"
                    "txt.exe") == "user?txt.exe"); // U+202E
    CHECK(printable("\xe2\x81\xa6"
                    "a\xe2\x81\xa9") == "?a?");                    // U+2066, U+2069
    CHECK(printable("\xe2\x80\x8f\xd8\x9c\xef\xbb\xbf") == "???"); // U+200F, U+061C, U+FEFF
    CHECK(printable("\xf3\xa0\x81\x81") == "?");                   // U+E0041, a tag
    CHECK(printable("\xc0\xaf \xed\xa0\x80 \xf5 \xe2\x82") == "?? ??? ? ??"); // no UTF-8
}

TEST_CASE("printable: more than 200 bytes are cut, at the end of a character") {
    CHECK(printable(std::string(200, 'x')) == std::string(200, 'x'));
    CHECK(printable(std::string(201, 'x')) == std::string(200, 'x') + "...");
    std::string umlauts = "x";
    for (int i = 0; i < 100; ++i) umlauts += "ü";
    CHECK(printable(umlauts) == umlauts.substr(0, 199) + "...");
    CHECK(printable("abc", 0) == "...");
    CHECK(printable("").empty());
}

TEST_CASE("log: a line is one line, with the time in front") {
    const stderr_capture err;
    const auto before =
        std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
    log_line("one\ntwo \x1b[2J");
    const std::string all = err.whole_text();
    CHECK(err.text() == "one two ?[2J\n");
    REQUIRE(all.size() == err.text().size() + 25);
    std::tm parts = {};
    REQUIRE(::strptime(all.c_str(), "%Y-%m-%dT%H:%M:%S", &parts));
    const auto stamp = std::chrono::system_clock::from_time_t(::timegm(&parts));
    CHECK(stamp >= before);
    CHECK(stamp <= std::chrono::system_clock::now());
    log_line("");
    log_line(std::string(5000, 'x'));
    CHECK(err.text() == "one two ?[2J\n\n" + std::string(3997, 'x') + "...\n");
}

TEST_CASE("S130: nobody waits for the reader of stderr; what was dropped is told later") {
    constexpr std::uint64_t lines = 20'000;
    std::vector<std::string> read;
    {
        piped_stderr err;
        for (std::uint64_t i = 0; i < lines; ++i) {
            log_line("line " + std::to_string(i) + std::string(100, '.'));
        }
        CHECK_FALSE(flush_log(20ms));
        CHECK((::fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK) == 0);
        std::thread reader([&] { read = err.lines_until("the end"); });
        flush_log(patience);
        log_line("the end");
        reader.join();
    }
    std::uint64_t written = 0;
    std::uint64_t dropped = 0;
    for (const auto& each : read) {
        dropped += dropped_of(each);
        written += each.find(" line ") == 24; // behind the time stamp
    }
    CHECK(dropped > 0);
    CHECK(written > 1000);
    CHECK(written + dropped == lines);
}

TEST_CASE("S130: the number of dropped lines comes even if no line comes behind them") {
    constexpr std::uint64_t lines = 20'000;
    piped_stderr err;
    for (std::uint64_t i = 0; i < lines; ++i) log_line(std::string(100, '.'));
    std::uint64_t dropped = 0;
    std::uint64_t written = 0;
    // It may be told in between, too: to the end every line is accounted for.
    std::thread reader([&] {
        static_cast<void>(err.lines_until_is([&](const std::string& line) {
            const std::uint64_t told = dropped_of(line);
            dropped += told;
            if (told == 0) ++written;
            return written + dropped == lines;
        }));
    });
    CHECK(flush_log(patience));
    reader.join();
    CHECK(dropped > 0);
    CHECK(written + dropped == lines);
}

TEST_CASE("S131: without a reader of stderr, no SIGPIPE; lines are dropped and counted") {
    const stderr_capture err;
    {
        piped_stderr closed;
        closed.close_reader();
        for (int i = 0; i < 3; ++i) log_line("nobody reads this");
        CHECK(flush_log(patience));
    }
    CHECK(err.text().empty());
    log_line("somebody reads this");
    CHECK(err.text() == "toadstone: 3 lines of the log were dropped\nsomebody reads this\n");
}

TEST_CASE("S131: with stderr closed, lines are dropped and counted") {
    const stderr_capture err;
    const int kept = ::dup(STDERR_FILENO);
    ::close(STDERR_FILENO);
    log_line("nobody reads this");
    const bool flushed = flush_log(patience);
    ::dup2(kept, STDERR_FILENO);
    ::close(kept);
    CHECK(flushed);
    CHECK(err.text().empty());
    log_line("somebody reads this");
    CHECK(err.text() == "toadstone: 1 lines of the log were dropped\nsomebody reads this\n");
}

TEST_CASE("log: a descriptor that another process has made non-blocking loses nothing") {
    piped_stderr err;
    ::fcntl(STDERR_FILENO, F_SETFL, O_WRONLY | O_NONBLOCK);
    constexpr std::size_t lines = 1500; // more than the pipe holds, less than the queue
    for (std::size_t i = 0; i < lines; ++i) log_line(std::string(100, '.'));
    CHECK_FALSE(flush_log(20ms));
    log_line("the end");
    CHECK(err.lines_until("the end").size() == lines + 1);
}

TEST_CASE("log: the sink gets the lines in order, on one thread that is not the caller's") {
    const stderr_capture err;
    std::vector<std::string> got;
    std::thread::id by;
    set_log_sink([&](std::string_view line) {
        got.emplace_back(line);
        by = std::this_thread::get_id();
    });
    for (int i = 0; i < 100; ++i) log_line("line\t" + std::to_string(i));
    CHECK(flush_log(patience));
    set_log_sink(nullptr);
    REQUIRE(got.size() == 100);
    CHECK(got[0] == "line 0");
    CHECK(got[99] == "line 99");
    CHECK(by != std::this_thread::get_id());
    CHECK(err.text().empty());
    log_line("not for the sink");
    CHECK(err.text() == "not for the sink\n");
}

TEST_CASE("log: a sink that blocks stops nobody, and one that throws loses no line") {
    const stderr_capture err;
    std::mutex gate;
    gate.lock();
    std::atomic<std::uint64_t> got = 0;
    std::uint64_t dropped = 0;
    set_log_sink([&](std::string_view line) {
        const std::lock_guard wait(gate);
        const auto said = dropped_of(std::string(line));
        dropped += said;
        if (said == 0) ++got;
    });
    for (int i = 0; i < 10'000; ++i) log_line(std::string(100, '.'));
    gate.unlock();
    CHECK(flush_log(patience));
    set_log_sink([](std::string_view) { throw std::runtime_error("no"); });
    CHECK(got + dropped == 10'000);
    CHECK(dropped > 0);
    log_line("shown all the same");
    CHECK(flush_log(patience));
    set_log_sink(nullptr);
    CHECK(err.text() == "shown all the same\n");
}

TEST_CASE("log: a replaced sink is not called any more, and may replace itself") {
    const stderr_capture err;
    for (int i = 0; i < 200; ++i) {
        auto alive = std::make_unique<int>(0);
        set_log_sink([&alive](std::string_view) { ++*alive; });
        log_line("one");
        log_line("two");
        set_log_sink(nullptr);
        alive.reset();
    }
    CHECK(flush_log(patience)); // lines of before
    set_log_sink([](std::string_view) { set_log_sink(nullptr); });
    log_line("ends the sink");
    CHECK(flush_log(patience));
    log_line("on stderr");
    CHECK(count_of(err.text(), "on stderr\n") == 1);
    CHECK(count_of(err.text(), "ends the sink") == 0);
}

TEST_CASE("log: flush_log() of a sink does not wait for itself") {
    std::atomic<int> flushed = -1;
    set_log_sink([&](std::string_view) { flushed = flush_log(patience); });
    log_line("one");
    CHECK(flush_log(patience));
    set_log_sink(nullptr);
    CHECK(flushed == 0);
}

TEST_CASE("S132: exit() writes what is queued") {
    const auto end = in_child([]() -> int {
        log_line("the last words");
        std::exit(3);
    });
    CHECK(end.code == 3);
    CHECK(without_stamps(end.err) == "the last words\n");
}

TEST_CASE("S132: what the end of a static says after that is written, too") {
    struct talks_at_its_end {
        ~talks_at_its_end() { log_line("after the end of the log"); }
    };
    const auto end = in_child([]() -> int {
        static const talks_at_its_end last;
        log_line("first"); // registers behind `last`, so the log ends before it
        std::exit(3);
    });
    CHECK(end.code == 3);
    CHECK_THAT(end.err, Catch::Contains("after the end of the log\n"));
}

TEST_CASE("S132: exit() does not wait for ever for a reader, nor for a sink") {
    const bool with_sink = GENERATE(false, true);
    const auto end = in_child([&]() -> int {
        piped_stderr unread;
        if (with_sink) set_log_sink([](std::string_view) { ::pause(); });
        for (int i = 0; i < 20'000; ++i) log_line(std::string(100, '.'));
        std::exit(3);
    });
    CHECK(end.code == 3);
}

TEST_CASE("S132: a sink is not called after the end of what it refers to") {
    const auto end = in_child([]() -> int {
        log_line("the log is older than what the sink refers to");
        static const auto owner = [] {
            struct closes {
                ~closes() { open = false; }
                bool open = true;
            };
            return std::make_unique<closes>();
        }();
        set_log_sink([](std::string_view) {
            if (!owner || !owner->open) ::_exit(9);
            ::usleep(1000);
        });
        for (int i = 0; i < 20; ++i) log_line("for the sink");
        std::exit(3);
    });
    CHECK(end.code == 3);
}

TEST_CASE("S133: a broken contract is told past the log, and ends without a reader") {
    SECTION("with what was said before in front") {
        const auto end = in_child([]() -> int {
            log_line("said before");
            TOADSTONE_ASSERT(false, "two and two are five");
            return 0;
        });
        CHECK(end.signal == SIGABRT);
        const std::string said = without_stamps(end.err);
        CHECK(said.find("said before\n") == 0);
        CHECK(count_of(said, "toadstone: two and two are five (") == 1);
    }
    SECTION("nobody reads") {
        const auto end = in_child([]() -> int {
            piped_stderr unread;
            for (int i = 0; i < 20'000; ++i) log_line(std::string(100, '.'));
            TOADSTONE_ASSERT(false, "two and two are five");
            return 0;
        });
        CHECK(end.signal == SIGABRT);
    }
    SECTION("in a sink") {
        const auto end = in_child([]() -> int {
            set_log_sink(
                [](std::string_view) { TOADSTONE_ASSERT(false, "two and two are five"); });
            log_line("for the sink");
            flush_log(patience);
            return 0;
        });
        CHECK(end.signal == SIGABRT);
        CHECK_THAT(end.err, Catch::Contains("two and two are five"));
    }
}

TEST_CASE("S134: after fork() parent and child have a log each, and no line comes twice") {
    stderr_capture err;
    std::string of_child;
    {
        piped_stderr unread;
        for (int i = 0; i < 2000; ++i) log_line("of the parent " + std::string(80, '.'));
        // in_child() would wait for these to be written.
        std::fflush(nullptr);
        int pipe_fds[2];
        REQUIRE(::pipe(pipe_fds) == 0);
        const pid_t child = ::fork();
        if (child == 0) {
            ::dup2(pipe_fds[1], STDERR_FILENO);
            ::close(pipe_fds[1]);
            // Not a thread of its own, which ThreadSanitizer forbids here.
            detail::write_to_stderr("", 0ms);
            if (!TOADSTONE_TSAN) {
                log_line("of the child");
                flush_log(patience);
            }
            ::_exit(0);
        }
        ::close(pipe_fds[1]);
        char piece[256];
        for (;;) {
            const auto count = ::read(pipe_fds[0], piece, sizeof piece);
            if (count <= 0) break;
            of_child.append(piece, static_cast<std::size_t>(count));
        }
        ::close(pipe_fds[0]);
        int status = 0;
        ::waitpid(child, &status, 0);
        CHECK(status == 0);
        log_line("the end");
        CHECK(unread.lines_until("the end").size() == 2001);
    }
    if (!TOADSTONE_TSAN) CHECK(without_stamps(of_child) == "of the child\n");
}

#if !TOADSTONE_ASAN && !TOADSTONE_TSAN
TEST_CASE("S135: without a thread, the lines come out at the end all the same") {
    const auto end = in_child([]() -> int {
        const rlimit none{1 << 20, 1 << 20}; // no stack fits any more
        ::setrlimit(RLIMIT_AS, &none);
        for (int i = 0; i < 3; ++i) log_line("line " + std::to_string(i));
        std::exit(3);
    });
    CHECK(end.code == 3);
    CHECK(without_stamps(end.err) == "line 0\nline 1\nline 2\n");
}
#endif

TEST_CASE("log: lines of many threads are whole, and each thread's are in order") {
    std::mutex lock;
    std::vector<std::string> got;
    set_log_sink([&](std::string_view line) {
        const std::lock_guard hold(lock);
        got.emplace_back(line);
    });
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([t] {
            for (int i = 0; i < 200; ++i) {
                log_line(std::to_string(t) + ":" + std::to_string(1000 + i));
            }
        });
    }
    for (auto& each : threads) each.join();
    CHECK(flush_log(patience));
    set_log_sink(nullptr);
    REQUIRE(got.size() == 800);
    for (const char thread : {'0', '1', '2', '3'}) {
        std::vector<std::string> own;
        std::copy_if(got.begin(), got.end(), std::back_inserter(own),
                     [&](const std::string& line) { return line[0] == thread; });
        CHECK(own.size() == 200);
        CHECK(std::is_sorted(own.begin(), own.end()));
    }
}

TEST_CASE("on_unobserved: is told instead of the log; if it throws, both are told") {
    const stderr_capture err;
    std::string told;
    on_unobserved([&](const unobserved_failure& failure) {
        told = std::string(failure.task_name) + std::string(failure.what) + ": " +
               detail::describe_exception(failure.error) + (failure.task_id ? "" : " no id");
    });
    runtime here({.workers = 1});
    here.block_on(leaves_unobserved("nobody caught this"));
    CHECK(told == "lonely failed and nobody joined it: std::runtime_error: nobody caught this");
    CHECK(err.text().empty());

    on_unobserved([](const unobserved_failure&) { throw std::logic_error("nor this"); });
    here.block_on(leaves_unobserved("nobody caught this"));
    on_unobserved(nullptr);
    CHECK(count_of(err.text(), "on_unobserved() failed: std::logic_error: nor this\n") == 1);
    CHECK(count_of(err.text(), "std::runtime_error: nobody caught this\n") == 1);
}

TEST_CASE("log: what an exception quotes of a peer cannot rule the log") {
    const stderr_capture err;
    runtime here({.workers = 1});
    here.block_on(leaves_unobserved("\x1b]0;owned\x07\n2026-01-01 all is well" +
                                    std::string(10'000, '!')));
    const std::string said = err.text();
    CHECK(count_of(said, "\n") == 1);
    CHECK(said.find('\x1b') == said.npos);
    CHECK(said.size() < 400);
    CHECK_THAT(said, Catch::Contains("?]0;owned? 2026-01-01"));
}

TEST_CASE("on_poison: is told of locks and data, with the cause, and not of its own") {
    std::vector<std::string> told;
    poison<int> data{1, "counter"};
    sync::mutex<int> lock{1, "ledger"};
    on_poison([&](const poison_cause& cause) {
        told.push_back(cause.to_string());
        poison<int> own{1, "own"};
        own.access().poison_now("by the function itself");
        if (told.size() == 2) throw std::runtime_error("no");
    });
    const stderr_capture err;
    data.access().poison_now("wrong sum");
    {
        auto held = lock.try_lock();
        held->poison("wrong balance");
    }
    on_poison(nullptr);
    data.access_anyway().poison_now("nobody listens");
    REQUIRE(told.size() == 2);
    CHECK_THAT(told[0], Catch::Contains("'counter' poisoned") && Catch::Contains("wrong sum"));
    CHECK_THAT(told[1], Catch::Contains("'ledger' poisoned"));
    CHECK(count_of(err.text(), "on_poison() failed: std::runtime_error: no\n") == 1);
}

TEST_CASE("S134: a fork while the log has nothing to do does not wait for its thread") {
    for (int i = 0; i < 20; ++i) {
        log_line("before a fork");
        flush_log();
        const pid_t child = ::fork();
        REQUIRE(child >= 0);
        if (child == 0) ::_exit(7);
        int status = 0;
        REQUIRE(::waitpid(child, &status, 0) == child);
        CHECK(WEXITSTATUS(status) == 7);
    }
}

TEST_CASE("run: a process without standard descriptors gets them on /dev/null") {
    const auto end = in_child([] {
        ::close(STDIN_FILENO);
        ::close(STDOUT_FILENO);
        const auto body = []() -> task<int> {
            char byte = 0;
            const bool ends = ::read(STDIN_FILENO, &byte, 1) == 0;
            co_return ends&& ::write(STDOUT_FILENO, "x", 1) == 1 ? 0 : 1;
        };
        return run(body(), {.workers = 1});
    });
    CHECK(end.exited);
    CHECK(end.code == 0);
}

} // namespace toadstone::tests
