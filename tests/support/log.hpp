// A standard error that nobody reads until the test does.
#ifndef TOADSTONE_TESTS_SUPPORT_LOG_HPP
#define TOADSTONE_TESTS_SUPPORT_LOG_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/log.hpp>

#include <chrono>
#include <cstddef>
#include <string>
#include <vector>

#include <fcntl.h>
#include <unistd.h>

namespace toadstone::tests {

/// Descriptor 2 is a pipe, of 64 KiB as usual, while one lives. Its end drains it, so that the
/// log's thread comes back.
class piped_stderr {
public:
    piped_stderr() : saved_(::dup(STDERR_FILENO)) {
        flush_log(std::chrono::minutes(1));
        int ends[2] = {-1, -1};
        TOADSTONE_ASSERT(::pipe2(ends, O_CLOEXEC) == 0, "a test can make a pipe");
        reader_ = ends[0];
        ::dup2(ends[1], STDERR_FILENO);
        ::close(ends[1]);
    }
    ~piped_stderr() {
        // A write that has begun fails as soon as there is no reader.
        close_reader();
        flush_log(std::chrono::minutes(1));
        ::dup2(saved_, STDERR_FILENO);
        ::close(saved_);
    }
    piped_stderr(const piped_stderr&) = delete;
    piped_stderr& operator=(const piped_stderr&) = delete;

    void close_reader() {
        if (reader_ >= 0) ::close(reader_);
        reader_ = -1;
    }
    /// Reads up to the first line with `last` in it.
    [[nodiscard]] std::vector<std::string> lines_until(const std::string& last) {
        return lines_until_is(
            [&](const std::string& line) { return line.find(last) != std::string::npos; });
    }
    /// Reads up to the first line that is the last.
    template <class IsLast>
    [[nodiscard]] std::vector<std::string> lines_until_is(IsLast is_last) {
        std::vector<std::string> lines;
        std::string rest;
        char piece[4096];
        for (;;) {
            const auto count = ::read(reader_, piece, sizeof piece);
            if (count <= 0) return lines;
            rest.append(piece, static_cast<std::size_t>(count));
            for (auto end = rest.find('\n'); end != rest.npos; end = rest.find('\n')) {
                lines.push_back(rest.substr(0, end));
                rest.erase(0, end + 1);
                if (is_last(lines.back())) return lines;
            }
        }
    }

private:
    int saved_;
    int reader_ = -1;
};

} // namespace toadstone::tests

#endif // TOADSTONE_TESTS_SUPPORT_LOG_HPP
