// Child processes: what they get, how they end, and that none is left behind.
#include <toadstone/io/child_process.hpp>

#include <toadstone/io/buffered_reader.hpp>
#include <toadstone/io/readiness.hpp>
#include <toadstone/runtime.hpp>

#include <support/capture.hpp>
#include <support/io.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using io::child_process;
using io::child_stream;
using io::command;
using io::exit_status;

namespace {

command shell(std::string script) {
    return command("sh", {"-c", std::move(script)});
}
task<exit_status> run_to_end(command what) {
    child_process child = child_process::spawn(what);
    const exit_status end = co_await child.wait();
    co_return end;
}
task<std::string> all_of(io::pipe_reader& from) {
    std::string all;
    std::array<char, 4096> part{};
    for (;;) {
        const std::size_t count = co_await from.read_some(part);
        if (count == 0) co_return all;
        all.append(part.data(), count);
    }
}
task<std::string> output_of(command what) {
    what.output(child_stream::pipe);
    child_process child = child_process::spawn(what);
    std::string all = co_await all_of(child.output());
    co_await child.wait();
    co_return all;
}
/// No child of this process is left, alive or dead.
bool no_children() {
    return ::waitpid(-1, nullptr, WNOHANG) < 0 && errno == ECHILD;
}
bool exists(int id) {
    return ::kill(id, 0) == 0;
}
/// Says when it listens to signals, and does not end by SIGTERM.
command stubborn() {
    return shell("trap '' TERM; echo ready; while :; do sleep 1; done");
}

} // namespace

TEST_CASE("child_process: S460: a child ends with a code, or by a signal") {
    runtime rt({.workers = 1});
    CHECK(rt.block_on(run_to_end(command("true"))).success());
    const exit_status three = rt.block_on(run_to_end(shell("exit 3")));
    CHECK_FALSE(three.success());
    CHECK(three.code() == 3);
    CHECK_FALSE(three.signal());
    CHECK(three.to_string() == "exit code 3");
    const exit_status killed = rt.block_on(run_to_end(shell("kill -9 $$")));
    CHECK(killed.signal() == SIGKILL);
    CHECK_FALSE(killed.code());
    CHECK(killed.to_string() == "signal 9 (Killed)");
    CHECK(killed == exit_status::killed(SIGKILL));
    CHECK(no_children());
}

TEST_CASE("child_process: S460: its arguments, environment and working directory") {
    runtime rt({.workers = 1});
    const temporary_folder folder;
    ::setenv("TOADSTONE_TEST_INHERITED", "yes", 1);
    ::setenv("TOADSTONE_TEST_SET", "old", 1);
    command what = shell("printf '%s|' \"$1\" \"$2\" \"$TOADSTONE_TEST_INHERITED\" "
                         "\"$TOADSTONE_TEST_SET\"; pwd");
    what.argument("name").argument("two words").argument("");
    what.environment("TOADSTONE_TEST_SET", "new").working_directory(folder.path());
    CHECK(rt.block_on(output_of(what)) == "two words||yes|new|" + folder.path() + "\n");
    command bare("/usr/bin/env");
    bare.without_own_environment().environment("ONLY", "this");
    CHECK(rt.block_on(output_of(bare)) == "ONLY=this\n");
}

TEST_CASE("child_process: S461: what could not be run, and why") {
    const std::size_t before = open_descriptors();
    const temporary_folder folder;
    const auto script = folder.file("no_program");
    ::close(::open(script.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
    const auto says = [](command what) -> std::string {
        what.input(child_stream::pipe).output(child_stream::pipe);
        try {
            static_cast<void>(child_process::spawn(what));
        } catch (const std::system_error& error) {
            return error.what();
        } catch (const std::invalid_argument& error) {
            return error.what();
        }
        return "started";
    };
    CHECK(says(command("toadstone-no-such-program")) ==
          "run toadstone-no-such-program: No such file or directory");
    CHECK(says(command(script)) == "run " + script + ": Permission denied");
    CHECK(says(command("true").working_directory("/nowhere")) ==
          "run true in /nowhere: No such file or directory");
    CHECK(says(command("true").working_directory(script)) ==
          "run true in " + script + ": Not a directory");
    CHECK(says(command("")) == "run a process: no program is named");
    CHECK(says(command("true", {std::string("a\0b", 3)})) ==
          "run true: a text for it contains a zero byte");
    CHECK(says(command("true").environment("A=B", "C")) ==
          "run a process: 'A=B' is no name of a variable");
    // Checked outside: UBSan looks at objects by way of a pipe.
    const auto says_with = [&says](rlim_t most) {
        const limit_scope few(RLIMIT_NOFILE, static_cast<rlim_t>(next_descriptor()) + most);
        return says(command("true"));
    };
    const std::string without_pipe = says_with(1);
    CHECK(without_pipe == "make a pipe for true: Too many open files");
    // The pipes fit, and the descriptor that watches the child does not.
    const std::string without_pidfd = says_with(4);
    CHECK(without_pidfd == "watch true: Too many open files");
    CHECK(open_descriptors() == before);
    CHECK(no_children());
}

TEST_CASE("child_process: S462: a child gets its standard descriptors and no others") {
    runtime rt({.workers = 2});
    int leaky[2];
    REQUIRE(::pipe(leaky) == 0); // not closed on exec, on purpose
    const int high = ::fcntl(leaky[0], F_DUPFD, 200);
    REQUIRE(high >= 200);
    command what("ls", {"/proc/self/fd"});
    what.input(child_stream::null).error(child_stream::pipe);
    // ls has the folder itself open as 3.
    CHECK(rt.block_on(output_of(what)) == "0\n1\n2\n3\n");
    ::close(high);
    ::close(leaky[0]);
    ::close(leaky[1]);
}

TEST_CASE("child_process: S462: a child has no signal blocked, and SIGPIPE as usual") {
    const auto end = in_child([] {
        std::signal(SIGPIPE, SIG_IGN);
        sigset_t all;
        sigfillset(&all);
        pthread_sigmask(SIG_BLOCK, &all, nullptr);
        runtime rt({.workers = 1});
        const auto text = rt.block_on(output_of(command("cat", {"/proc/self/status"})));
        if (text.find("SigBlk:\t0000000000000000") == std::string::npos) return 1;
        const auto ignored = text.find("SigIgn:\t");
        if (ignored == std::string::npos) return 2;
        const auto mask = std::strtoull(text.c_str() + ignored + 8, nullptr, 16);
        return mask >> (SIGPIPE - 1) & 1 ? 3 : 0;
    });
    CHECK(end.exited);
    CHECK(end.code == 0);
}

TEST_CASE("child_process: S463: what is written to its input comes out of it") {
    const std::size_t before = open_descriptors();
    runtime rt({.workers = 2});
    const std::size_t with_runtime = open_descriptors();
    auto body = []() -> task<std::size_t> {
        command what("cat");
        what.input(child_stream::pipe).output(child_stream::pipe);
        child_process child = child_process::spawn(what);
        auto feeds = [](child_process& to) -> task<> {
            const std::string part(10'000, 'x');
            for (int i = 0; i < 100; ++i) co_await to.input().write_all(part);
            co_await to.input().close();
        };
        auto feeding = spawn(feeds, std::ref(child));
        const std::string all = co_await all_of(child.output());
        co_await feeding;
        const exit_status end = co_await child.wait();
        const exit_status again = co_await child.wait();
        if (!end.success() || end != again) co_return 0;
        co_return all.size();
    };
    CHECK(rt.block_on(body()) == 1'000'000);
    CHECK(open_descriptors() == with_runtime);
    CHECK(before < with_runtime);
    child_process mute = child_process::spawn(command("true"));
    CHECK_THROWS_AS(mute.input(), std::logic_error);
    CHECK_THROWS_AS(mute.output(), std::logic_error);
    CHECK_THROWS_AS(mute.error(), std::logic_error);
}

TEST_CASE("child_process: S464: a cancelled wait ends the child by SIGTERM, and reaps it") {
    runtime rt({.workers = 1});
    auto body = []() -> task<int> {
        command what = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        what.output(child_stream::pipe).grace(1min);
        child_process child = child_process::spawn(what);
        io::buffered_reader lines(child.output());
        static_cast<void>(co_await lines.read_line());
        bool timed_out = false;
        try {
            co_await with_timeout(1ms, child.wait());
        } catch (const timeout_error&) {
            timed_out = true;
        }
        if (!timed_out) co_return 1;
        if (exists(child.id())) co_return 2;
        const exit_status end = co_await child.wait();
        co_return end.code() == 7 ? 0 : 3;
    };
    CHECK(rt.block_on(body()) == 0);
    CHECK(no_children());
}

TEST_CASE("child_process: S464: one that does not end by SIGTERM is killed after its grace") {
    runtime rt({.workers = 1});
    auto body = []() -> task<int> {
        command what = stubborn();
        what.output(child_stream::pipe).grace(60ms);
        child_process child = child_process::spawn(what);
        {
            io::buffered_reader lines(child.output());
            static_cast<void>(co_await lines.read_line());
        }
        auto waiting = spawn(child.wait());
        co_await yield_now();
        const auto asked = std::chrono::steady_clock::now();
        waiting.cancel();
        // It has not been killed before its time, however long a step takes here.
        bool alive = true;
        while (alive && std::chrono::steady_clock::now() - asked < 20ms) {
            alive = exists(child.id());
            co_await sleep_for(1ms);
        }
        const auto outcome = co_await waiting.outcome();
        const auto took = std::chrono::steady_clock::now() - asked;
        if (!outcome.is_cancelled()) co_return 1;
        if (!alive || took < 60ms) co_return 2;
        const exit_status end = co_await child.wait();
        if (end.signal() != SIGKILL) co_return 3;
        co_return exists(child.id()) ? 4 : 0;
    };
    CHECK(rt.block_on(body()) == 0);
}

TEST_CASE("child_process: S464: cancelled before it waits, the child is ended all the same") {
    runtime rt({.workers = 1});
    auto body = []() -> task<int> {
        child_process child = child_process::spawn(command("sleep", {"1000"}));
        auto waiting = spawn(child.wait());
        waiting.cancel();
        const auto outcome = co_await waiting.outcome();
        if (!outcome.is_cancelled()) co_return 1;
        const exit_status end = co_await child.wait();
        co_return end.signal() == SIGTERM ? 0 : 2;
    };
    CHECK(rt.block_on(body()) == 0);
    CHECK(no_children());
}

TEST_CASE("child_process: S464: an end that came with the cancellation is delivered or kept") {
    runtime rt({.workers = 1});
    auto body = []() -> task<int> {
        int bad = 0;
        for (int round = 0; round < 30; ++round) {
            command what("cat");
            what.input(child_stream::pipe).output(child_stream::null);
            child_process child = child_process::spawn(what);
            auto waiting = spawn(child.wait());
            co_await yield_now();
            co_await child.input().close(); // it ends about now
            if (round % 3 == 0)
                co_await io::readiness(child.native_handle(), io::events::readable);
            waiting.cancel();
            auto outcome = co_await waiting.outcome();
            const exit_status end = co_await child.wait();
            if (outcome.has_value() && outcome.value() != end) ++bad;
            if (!end.success() && end.signal() != SIGTERM) ++bad;
        }
        co_return bad;
    };
    CHECK(rt.block_on(body()) == 0);
    CHECK(no_children());
}

TEST_CASE("child_process: S465: one that nobody waited for is killed and reaped at its end") {
    const std::size_t before = open_descriptors();
    int id = 0;
    {
        command what = stubborn();
        what.output(child_stream::pipe).input(child_stream::pipe).error(child_stream::null);
        child_process child = child_process::spawn(what);
        id = child.id();
        CHECK(exists(id));
        child_process moved = std::move(child);
        CHECK(exists(id));
        CHECK(moved.id() == id);
        moved = child_process::spawn(command("sleep", {"1000"}));
        CHECK_FALSE(exists(id));
        id = moved.id();
    }
    CHECK_FALSE(exists(id));
    CHECK(no_children());
    CHECK(open_descriptors() == before);
}

TEST_CASE("child_process: S465: one task at a time waits; anybody may look after it") {
    runtime rt({.workers = 1});
    auto body = []() -> task<int> {
        command what("cat");
        what.input(child_stream::pipe);
        child_process child = child_process::spawn(what);
        if (child.try_wait()) co_return 1;
        auto waiting = spawn(child.wait());
        co_await yield_now();
        bool refused = false;
        try {
            static_cast<void>(co_await child.wait());
        } catch (const std::logic_error&) {
            refused = true;
        }
        if (!refused) co_return 2;
        if (!child.kill(SIGTERM)) co_return 3;
        const exit_status end = co_await waiting;
        if (child.try_wait() != end) co_return 4;
        if (child.kill(SIGTERM)) co_return 5; // it is gone, and nobody else was hit
        bool no_signal = false;
        child_process other = child_process::spawn(command("sleep", {"1000"}));
        try {
            other.kill(9999);
        } catch (const std::system_error&) {
            no_signal = true;
        }
        co_return no_signal ? 0 : 6;
    };
    CHECK(rt.block_on(body()) == 0);
}

TEST_CASE("child_process: S466: a runtime that ends, by force too, leaves no child") {
    const std::size_t before = open_descriptors();
    std::vector<int> ids;
    {
        runtime rt({.workers = 2, .grace = 100ms});
        std::atomic<int> waiting{0};
        auto waits = [&waiting](command what) -> task<> {
            child_process child = child_process::spawn(what);
            {
                io::buffered_reader lines(child.output());
                static_cast<void>(co_await lines.read_line());
            }
            waiting.fetch_add(1);
            co_await child.wait();
        };
        for (int i = 0; i < 3; ++i) {
            command what = stubborn();
            what.output(child_stream::pipe).grace(1h); // longer than anybody waits
            rt.spawn(waits(what)).detach();
        }
        while (waiting.load() < 3) std::this_thread::sleep_for(1ms);
    }
    CHECK(no_children());
    CHECK(open_descriptors() == before);
}

TEST_CASE("child_process: S466: many, on two workers, ended at any moment, leave nothing") {
    const std::size_t before = open_descriptors();
    {
        runtime rt({.workers = 2});
        std::atomic<int> ended{0};
        auto lives = [&ended](unsigned seed) -> task<> {
            std::minstd_rand dice(seed);
            command what = shell("sleep 0.0" + std::to_string(dice() % 5));
            what.input(child_stream::pipe).output(child_stream::pipe).grace(5ms);
            child_process child = child_process::spawn(what);
            const scope_exit counts([&ended] { ended.fetch_add(1); });
            const auto limit = std::chrono::milliseconds(dice() % 40);
            auto end = co_await try_with_timeout(limit, child.wait());
            if (end.has_value() && !end.value().success()) {
                throw std::runtime_error("nobody has ended it: " + end.value().to_string());
            }
        };
        auto all = [&]() -> task<> {
            for (unsigned round = 0; round < 10; ++round) {
                std::vector<join_handle<void>> some;
                for (unsigned i = 0; i < 10; ++i) {
                    some.push_back(
                        spawn({.where = placement::any()}, lives, round * 10 + i + 1));
                }
                for (auto& each : some) co_await each;
            }
        };
        rt.block_on(all());
        CHECK(ended.load() == 100);
    }
    CHECK(no_children());
    CHECK(open_descriptors() == before);
}
