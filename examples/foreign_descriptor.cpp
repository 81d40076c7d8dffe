// A library with a non-blocking descriptor of its own joins in.
//
// Shows: io::readiness(). The library here is the kernel's timer (timerfd), which is asked
// without waiting, says EAGAIN, and has a descriptor that tells when to ask again: libpq,
// hiredis, c-ares and libcurl have just that. The task waits, its worker does not; a time limit
// and a race end the wait and leave nothing armed.
//
//     $ foreign_descriptor
//     after 20 ms: the timer has expired once
//     within 5 ms: nothing
//     readable first: the pipe
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <system_error>

#include <sys/timerfd.h>
#include <unistd.h>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

/// What a C library gives: a handle, a call that may say "not yet", and a descriptor.
class foreign_timer {
public:
    explicit foreign_timer(std::chrono::nanoseconds after)
        : fd_(::timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC)) {
        const itimerspec once{{0, 0}, {0, static_cast<long>(after.count())}};
        if (fd_ < 0 || ::timerfd_settime(fd_, 0, &once, nullptr) != 0) {
            throw std::system_error(errno, std::generic_category(), "timerfd");
        }
    }
    foreign_timer(const foreign_timer&) = delete;
    foreign_timer& operator=(const foreign_timer&) = delete;
    ~foreign_timer() { ::close(fd_); }

    [[nodiscard]] int descriptor() const noexcept { return fd_; }
    /// How often it has expired; 0: not yet.
    [[nodiscard]] std::uint64_t ask() const noexcept {
        std::uint64_t times = 0;
        return ::read(fd_, &times, sizeof times) == sizeof times ? times : 0;
    }

private:
    int fd_;
};

task<std::uint64_t> expired(foreign_timer& timer) {
    std::uint64_t times = timer.ask();
    while (times == 0) {
        co_await io::readiness(timer.descriptor(), io::events::readable);
        times = timer.ask(); // it may still say "not yet"
    }
    co_return times;
}

task<> story() {
    foreign_timer soon(20ms);
    const std::uint64_t times = co_await expired(soon);
    std::printf("after 20 ms: the timer has expired %s\n", times == 1 ? "once" : "often");

    foreign_timer never(900ms);
    const outcome<std::uint64_t> limited = co_await try_with_timeout(5ms, expired(never));
    std::printf("within 5 ms: %s\n", limited.has_value() ? "it has expired" : "nothing");

    auto [reader, writer] = io::pipe();
    co_await writer.write_all("x");
    const auto first =
        co_await when_any(io::readiness(never.descriptor(), io::events::readable),
                          io::readiness(reader.native_handle(), io::events::readable));
    std::printf("readable first: %s\n", first.index == 1 ? "the pipe" : "the timer");
}

} // namespace

int main() {
    return run(story());
}
