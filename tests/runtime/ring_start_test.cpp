// The start of a runtime, when it cannot be: every failure comes out of the constructor, on the
// thread that called it, and says what failed and what to do. And options at their edges.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/resources.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

// Exit codes of the children.
constexpr int typed_error = 10; // plus the number of ring_unavailable::cause
constexpr int thread_error = 30;
constexpr int no_error = 50;
constexpr int cannot_set_up = 60;

task<int> seven() {
    co_await sleep_for(1ms);
    co_return 7;
}

int make_runtime(runtime_options options) {
    try {
        runtime here(options);
        return here.block_on(seven()) == 7 ? no_error : 99;
    } catch (const ring_unavailable& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return typed_error + static_cast<int>(error.why());
    } catch (const std::system_error& error) {
        std::fprintf(stderr, "%s\nerrno %d\n", error.what(), error.code().value());
        return thread_error;
    }
}

int code_of(ring_unavailable::cause why) {
    return typed_error + static_cast<int>(why);
}

/// A filter for all threads of this process: these calls fail with EPERM from here on.
class filter {
public:
    filter& forbid(long number) {
        add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1));
        add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
        return *this;
    }
    /// io_uring_register() with this opcode only.
    filter& forbid_register(unsigned opcode) {
        add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_register, 0, 4));
        add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[1])));
        add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, opcode, 0, 1));
        add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM));
        add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)));
        return *this;
    }
    [[nodiscard]] bool install() {
        add(BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW));
        const sock_fprog whole{static_cast<unsigned short>(program_.size()), program_.data()};
        return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               ::syscall(__NR_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC,
                         &whole) == 0;
    }

private:
    void add(sock_filter instruction) { program_.push_back(instruction); }
    std::vector<sock_filter> program_{
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr))};
};

/// What this process has mapped, in bytes.
rlim_t address_space() {
    unsigned long pages = 0;
    if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
        if (std::fscanf(file, "%lu", &pages) != 1) pages = 0;
        std::fclose(file);
    }
    return pages * 4096;
}

/// No more than this beyond what is mapped.
bool limit_address_space(rlim_t more) {
    const rlim_t now = address_space();
    const rlimit limit{.rlim_cur = now + more, .rlim_max = now + more};
    return now != 0 && ::setrlimit(RLIMIT_AS, &limit) == 0;
}

// Sanitizers map terabytes.
constexpr bool can_limit_address_space = !TOADSTONE_ASAN && !TOADSTONE_TSAN;

} // namespace

TEST_CASE("start: a worker that may not enable its ring is a typed error of the constructor") {
    const unsigned workers = GENERATE(1U, 3U);
    const auto end = in_child([workers] {
        const auto fds = open_descriptors();
        if (!filter().forbid_register(IORING_REGISTER_ENABLE_RINGS).install()) {
            return cannot_set_up;
        }
        const int code = make_runtime({.workers = workers});
        if (open_descriptors() != fds) std::fputs("leaked\n", stderr);
        return code;
    });
    CHECK(end.code == code_of(ring_unavailable::cause::forbidden));
    CHECK_THAT(end.err, Catch::Contains("io_uring_register(ENABLE_RINGS) failed") &&
                            Catch::Contains("seccomp") && !Catch::Contains("leaked"));
}

TEST_CASE("start: a filter that comes right after the constructor finds nothing to forbid") {
    const auto end = in_child([] {
        runtime here({.workers = 3});
        if (!filter().forbid(__NR_io_uring_setup).forbid(__NR_io_uring_register).install()) {
            return cannot_set_up;
        }
        return here.block_on(seven());
    });
    CHECK(end.exited);
    CHECK(end.code == 7);
    CHECK(end.err.empty());
}

TEST_CASE("start: a filter that comes in the middle is a typed error, or too late") {
    int failed = 0;
    for (int round = 0; round < 24; ++round) {
        const auto end = in_child([round] {
            std::atomic<bool> go{false};
            bool installed = false;
            std::thread other([&] {
                while (!go.load()) std::this_thread::yield();
                std::this_thread::sleep_for(round * 250us);
                installed = filter()
                                .forbid(__NR_io_uring_setup)
                                .forbid(__NR_io_uring_register)
                                .install();
            });
            go.store(true);
            const int code = make_runtime({.workers = 4});
            other.join();
            return installed ? code : cannot_set_up;
        });
        CAPTURE(end.err, end.signal);
        const bool forbidden = end.code == code_of(ring_unavailable::cause::forbidden);
        failed += forbidden ? 1 : 0;
        CHECK((forbidden || end.code == no_error));
        if (!forbidden) CHECK(end.err.empty());
    }
    CAPTURE(failed); // nearly always some, but that is up to the machine
}

TEST_CASE("start: a filter that takes io_uring_enter away later ends the process in words") {
    const auto end = in_child([] {
        runtime here({.workers = 1});
        if (!filter().forbid(__NR_io_uring_enter).install()) return cannot_set_up;
        return here.block_on(seven());
    });
    CHECK(end.signal == SIGABRT);
    CHECK_THAT(end.err, Catch::Contains("io_uring_enter failed: Operation not permitted") &&
                            Catch::Contains("a filter of system calls that is installed while "
                                            "a runtime is there allows io_uring_enter"));
}

TEST_CASE("start: a thread that cannot be started says whose, and which limit there is") {
    const auto end = in_child([] {
        const rlimit none{.rlim_cur = 0, .rlim_max = 0};
        if (::setrlimit(RLIMIT_NPROC, &none) != 0) return cannot_set_up;
        if (::geteuid() == 0 && (::setgid(65533) != 0 || ::setuid(65533) != 0)) {
            return cannot_set_up;
        }
        return make_runtime({.workers = 2, .max_operations = 64});
    });
    if (end.code == cannot_set_up) {
        WARN("this process may not lower its limits");
        return;
    }
    CHECK(end.code == thread_error);
    CHECK_THAT(end.err, Catch::Contains("the thread of worker 1 of 2 could not be started") &&
                            Catch::Contains("RLIMIT_NPROC is 0 (per user)") &&
                            Catch::Contains("errno " + std::to_string(EAGAIN)));
}

TEST_CASE("start: a thread whose stack has no room blames RLIMIT_AS") {
    if (!can_limit_address_space) return;
    const auto end = in_child([] {
        if (!limit_address_space(2U << 20)) return cannot_set_up;
        return make_runtime({.workers = 2, .max_operations = 64});
    });
    CHECK(end.code == thread_error);
    CHECK_THAT(end.err, Catch::Contains("no room for its stack") &&
                            Catch::Contains("RLIMIT_AS is ") && Catch::Contains("ulimit -v") &&
                            !Catch::Contains("RLIMIT_NPROC"));
}

TEST_CASE("start: a ring for which RLIMIT_AS leaves no room does not blame RLIMIT_MEMLOCK") {
    if (!can_limit_address_space) return;
    const auto end = in_child([] {
        if (!limit_address_space(0)) return cannot_set_up;
        return make_runtime({.workers = 1});
    });
    CHECK(end.code == code_of(ring_unavailable::cause::memory));
    CHECK_THAT(end.err, Catch::Contains("RLIMIT_AS is ") && Catch::Contains("ulimit -v") &&
                            !Catch::Contains("RLIMIT_MEMLOCK"));
}

TEST_CASE("start: any number of operations goes with any number of entries") {
    const unsigned operations = GENERATE(1U, 2U, 3U, 100U, 170U, 171U, 49152U);
    const unsigned entries = GENERATE(1U, 3U, 64U, 256U, 4096U);
    CAPTURE(operations, entries);
    runtime here({.workers = 1, .ring_entries = entries, .max_operations = operations});
    CHECK(here.block_on(seven()) == 7);
}

TEST_CASE("start: an option that cannot be is named, with what is possible") {
    using Catch::Contains;
    const auto refused = [](runtime_options options) -> std::string {
        try {
            const runtime here(options);
        } catch (const std::invalid_argument& error) {
            return error.what();
        }
        return "accepted";
    };
    CHECK_THAT(refused({.workers = 4097}),
               Contains("runtime_options::workers is 4097") && Contains("4096"));
    CHECK_THAT(refused({.workers = 1, .ring_entries = 32769}),
               Contains("runtime_options::ring_entries is 32769") && Contains("32768"));
    CHECK_THAT(refused({.workers = 1, .max_operations = 49153}),
               Contains("runtime_options::max_operations is 49153") && Contains("49152"));
    CHECK_THAT(refused({.workers = 1, .max_operations = ~0U}),
               Contains("runtime_options::max_operations is 4294967295"));
    CHECK(refused({.workers = 1, .ring_entries = 32768, .max_operations = 64}) == "accepted");
}
