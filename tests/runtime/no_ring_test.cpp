// No io_uring: a filter forbids or hides it, or there is no descriptor left. One typed error
// that names the cause and the remedy, and from run() one line and exit code 1.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/resources.hpp"

#include <catch2/catch.hpp>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

// Exit codes of the children.
constexpr int typed_error = 10; // plus the number of ring_unavailable::cause
constexpr int no_error = 50;
constexpr int cannot_set_up = 60;

task<int> seven() {
    co_return 7;
}

int make_runtime() {
    try {
        const runtime here({.workers = 1});
        return no_error;
    } catch (const ring_unavailable& error) {
        std::fprintf(stderr, "%s\nerrno %d\n", error.what(), error.code().value());
        return typed_error + static_cast<int>(error.why());
    }
}

/// From here on, `number` fails with `error`.
bool forbid(long number, int error) {
    const auto data = static_cast<unsigned>(error) & SECCOMP_RET_DATA;
    sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(number), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | data),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog filter{.len = 4, .filter = program};
    return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

int code_of(ring_unavailable::cause why) {
    return typed_error + static_cast<int>(why);
}

/// UndefinedBehaviorSanitizer opens a pipe when it meets a type for the first time: it gets to
/// know those that it will meet without descriptors.
void meet_all_types() {
    const runtime here({.workers = 1});
    try {
        throw ring_unavailable(ring_unavailable::cause::other, EIO, "none");
    } catch (const ring_unavailable& error) {
        if (error.why() != ring_unavailable::cause::other || error.code().value() != EIO ||
            error.what() == nullptr) {
            std::abort();
        }
    }
}

/// Takes every descriptor that the limit leaves. Returns them.
std::vector<int> take_all_descriptors() {
    const rlimit few{.rlim_cur = 32, .rlim_max = 32};
    std::vector<int> taken;
    if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return taken;
    for (int fd = ::open("/dev/null", O_RDONLY); fd >= 0; fd = ::open("/dev/null", O_RDONLY)) {
        taken.push_back(fd);
    }
    return taken;
}

} // namespace

TEST_CASE("no ring: a seccomp filter that says EPERM is named, with what to allow") {
    const auto end = in_child(
        [] { return forbid(__NR_io_uring_setup, EPERM) ? make_runtime() : cannot_set_up; });
    CHECK(end.code == code_of(ring_unavailable::cause::forbidden));
    CHECK_THAT(end.err, Catch::Contains("io_uring_setup failed") &&
                            Catch::Contains("seccomp filter") &&
                            Catch::Contains("Allow io_uring_setup") &&
                            Catch::Contains("errno " + std::to_string(EPERM)));
}

TEST_CASE("no ring: ENOSYS, as from an old kernel or a filter that hides the call") {
    const auto end = in_child(
        [] { return forbid(__NR_io_uring_setup, ENOSYS) ? make_runtime() : cannot_set_up; });
    CHECK(end.code == code_of(ring_unavailable::cause::not_supported));
    CHECK_THAT(end.err, Catch::Contains("does not have io_uring") &&
                            Catch::Contains("Linux 6.1 or later") &&
                            Catch::Contains("errno " + std::to_string(ENOSYS)));
}

TEST_CASE("no ring: a filter that lets a ring be made but not registered is named as well") {
    const auto end = in_child(
        [] { return forbid(__NR_io_uring_register, EPERM) ? make_runtime() : cannot_set_up; });
    CHECK(end.code == code_of(ring_unavailable::cause::forbidden));
    CHECK_THAT(end.err, Catch::Contains("io_uring_register"));
}

TEST_CASE("no ring: a filter that lets a ring be made but not entered is named as well") {
    const int error = GENERATE(EPERM, ENOSYS);
    const auto end = in_child([error] {
        return forbid(__NR_io_uring_enter, error) ? make_runtime() : cannot_set_up;
    });
    CHECK(end.code == code_of(error == EPERM ? ring_unavailable::cause::forbidden
                                             : ring_unavailable::cause::not_supported));
    CHECK_THAT(end.err, Catch::Contains("io_uring_enter failed"));
}

TEST_CASE("no ring: other errors are told with their number") {
    const auto end = in_child(
        [] { return forbid(__NR_io_uring_setup, EIO) ? make_runtime() : cannot_set_up; });
    CHECK(end.code == code_of(ring_unavailable::cause::other));
    CHECK_THAT(end.err, Catch::Contains("Input/output error"));
}

TEST_CASE("no ring: out of descriptors, at the first, at any later one; nothing leaks") {
    const std::size_t free_ones = GENERATE(0U, 1U, 2U, 3U);
    const auto end = in_child([free_ones] {
        meet_all_types();
        auto taken = take_all_descriptors();
        if (taken.size() < 10) return cannot_set_up;
        for (std::size_t i = 0; i < free_ones; ++i) {
            ::close(taken.back());
            taken.pop_back();
        }
        int code = no_error;
        try {
            const runtime here({.workers = 2}); // needs four
        } catch (const ring_unavailable& error) {
            std::fprintf(stderr, "%s\n", error.what());
            code = typed_error + static_cast<int>(error.why());
        }
        std::size_t again = 0;
        while (::open("/dev/null", O_RDONLY) >= 0) ++again;
        if (again != free_ones) std::fprintf(stderr, "%zu came back\n", again);
        return code;
    });
    CHECK(end.code == code_of(ring_unavailable::cause::descriptors));
    CHECK_THAT(end.err, Catch::Contains("RLIMIT_NOFILE") && Catch::Contains("ulimit -n"));
    CHECK(count_of(end.err, "came back") == 0);
}

TEST_CASE("no ring: with enough descriptors again, the same process goes on") {
    const auto end = in_child([] {
        meet_all_types();
        const auto taken = take_all_descriptors();
        const int failed = make_runtime();
        for (const int fd : taken) ::close(fd);
        runtime here({.workers = 2});
        return failed == code_of(ring_unavailable::cause::descriptors) ? here.block_on(seven())
                                                                       : failed;
    });
    CHECK(end.code == 7);
}

TEST_CASE("no ring: run() prints one line and returns 1") {
    const auto end = in_child(
        [] { return forbid(__NR_io_uring_setup, EPERM) ? run(seven()) : cannot_set_up; });
    CHECK(end.code == 1);
    CHECK(count_of(end.err, "\n") == 1);
    CHECK(end.err.rfind("toadstone: io_uring is not available", 0) == 0);
}

TEST_CASE("no ring: an error while workers are made leaves no frame and no descriptor") {
    const auto end = in_child([] {
        const auto fds = open_descriptors();
        const auto frames = detail::live_frames();
        if (!forbid(__NR_io_uring_setup, EPERM)) return cannot_set_up;
        for (int i = 0; i < 10; ++i) static_cast<void>(make_runtime());
        return open_descriptors() == fds && detail::live_frames() == frames ? 0 : 1;
    });
    CHECK(end.code == 0);
}
