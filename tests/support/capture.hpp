// What a piece of a test writes to stderr, and what becomes of a process that runs a piece.
#ifndef TOADSTONE_TESTS_SUPPORT_CAPTURE_HPP
#define TOADSTONE_TESTS_SUPPORT_CAPTURE_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/log_writer.hpp>
#include <toadstone/runtime/log.hpp>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>

#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

namespace toadstone::tests {

/// "text\n" of "2026-05-04T11:22:33.123Z text\n": what the log puts in front of its lines.
[[nodiscard]] inline std::string without_stamps(const std::string& text) {
    const std::string shape = "0000-00-00T00:00:00.000Z ";
    const auto stamped = [&](std::size_t at) {
        for (std::size_t i = 0; i < shape.size(); ++i) {
            if (at + i >= text.size()) return false;
            const char found = text[at + i];
            const bool digit = found >= '0' && found <= '9';
            if (shape[i] == '0' ? !digit : found != shape[i]) return false;
        }
        return true;
    };
    std::string rest;
    for (std::size_t at = 0; at < text.size();) {
        if (stamped(at)) at += shape.size();
        const std::size_t end = std::min(text.find('\n', at), text.size() - 1);
        rest.append(text, at, end + 1 - at);
        at = end + 1;
    }
    return rest;
}

/// Catches what goes to descriptor 2 while it lives, and hands it on at its end, so that the
/// report of a sanitizer is not lost. Lines of the log are there when log_line() has returned.
class stderr_capture {
public:
    stderr_capture() : saved_(::dup(2)), file_(::memfd_create("stderr", MFD_CLOEXEC)) {
        TOADSTONE_ASSERT(saved_ >= 0 && file_ >= 0, "a test can catch stderr");
        flush_log(std::chrono::minutes(1));
        ::dup2(file_, 2);
    }
    ~stderr_capture() {
        const std::string all = whole_text();
        ::dup2(saved_, 2);
        ::close(saved_);
        ::close(file_);
        std::fputs(all.c_str(), stderr);
    }
    stderr_capture(const stderr_capture&) = delete;
    stderr_capture& operator=(const stderr_capture&) = delete;

    /// Everything up to now, without the time stamps of the log.
    [[nodiscard]] std::string text() const { return without_stamps(whole_text()); }
    [[nodiscard]] std::string whole_text() const {
        std::fflush(stderr);
        flush_log(std::chrono::minutes(1));
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

/// Ends the log's thread until the next line: ThreadSanitizer takes no new threads in the child
/// of a process that has several.
inline void stop_log_thread() {
    using writer = toadstone::detail::log_writer;
    TOADSTONE_ASSERT(writer::the().stop(writer::clock::now() + std::chrono::minutes(1)),
                     "the log's thread ends");
}

/// Runs `fn` in a forked process, which ends with what `fn` returns. The test has no other
/// thread at that moment.
template <class Fn>
child_end in_child(Fn&& fn) {
    std::fflush(nullptr);
    child_end end;
    stderr_capture caught;
    stop_log_thread();
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
        flush_log(std::chrono::minutes(1));
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
