// What a piece of a test writes to stderr, and what becomes of a process that runs a piece.
#ifndef TOADSTONE_TESTS_SUPPORT_CAPTURE_HPP
#define TOADSTONE_TESTS_SUPPORT_CAPTURE_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <csignal>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace toadstone::tests {

/// Catches what goes to descriptor 2 while it lives, and hands it on at its end, so that the
/// report of a sanitizer is not lost.
class stderr_capture {
public:
    stderr_capture() : saved_(::dup(2)), file_(::memfd_create("stderr", MFD_CLOEXEC)) {
        TOADSTONE_ASSERT(saved_ >= 0 && file_ >= 0, "a test can catch stderr");
        ::dup2(file_, 2);
    }
    ~stderr_capture() {
        const std::string all = text();
        ::dup2(saved_, 2);
        ::close(saved_);
        ::close(file_);
        std::fputs(all.c_str(), stderr);
    }
    stderr_capture(const stderr_capture&) = delete;
    stderr_capture& operator=(const stderr_capture&) = delete;

    /// Everything up to now.
    [[nodiscard]] std::string text() const {
        std::fflush(stderr);
        std::string all;
        char piece[1024];
        for (;;) {
            const auto count =
                ::pread(file_, piece, sizeof piece, static_cast<off_t>(all.size()));
            if (count <= 0) return all;
            all.append(piece, static_cast<std::size_t>(count));
        }
    }

private:
    int saved_;
    int file_;
};

[[nodiscard]] inline std::size_t count_of(const std::string& text, const std::string& what) {
    std::size_t count = 0;
    for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) {
        ++count;
    }
    return count;
}

/// How a child process ended, and what it wrote to stderr.
struct child_end {
    bool exited = false;
    int code = -1;  ///< if it exited
    int signal = 0; ///< if it did not
    std::string err;
};

/// Runs `fn` in a forked process, which ends with what `fn` returns. The test has no other
/// thread at that moment.
template <class Fn>
child_end in_child(Fn&& fn) {
    std::fflush(nullptr);
    child_end end;
    stderr_capture caught;
    const pid_t child = ::fork();
    TOADSTONE_ASSERT(child >= 0, "a test can fork");
    if (child == 0) {
        for (const int each : {SIGABRT, SIGSEGV, SIGTERM}) std::signal(each, SIG_DFL);
        int code = 99;
        try {
            code = std::forward<Fn>(fn)();
        } catch (...) {
            std::fputs("the child of a test ended with an exception\n", stderr);
        }
        std::fflush(nullptr);
        ::_exit(code);
    }
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
        // A signal; the child is still there.
    }
    end.exited = WIFEXITED(status);
    if (end.exited) end.code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) end.signal = WTERMSIG(status);
    end.err = caught.text();
    return end;
}

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_CAPTURE_HPP
