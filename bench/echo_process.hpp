// Servers and loads of the echo bench, each in a process of its own.
#ifndef TOADSTONE_BENCH_ECHO_PROCESS_HPP
#define TOADSTONE_BENCH_ECHO_PROCESS_HPP

#include "echo.hpp"

#include <cstdint>
#include <string>
#include <vector>

#include <sys/types.h>
#include <time.h>

namespace bench {

/// A server: a function of this program, or another program, which prints its port and serves
/// until it is killed. Made before this process has any thread. Ends the process with a
/// sentence when it does not start.
class server_process {
public:
    server_process(server serve, unsigned connections);
    explicit server_process(const std::string& program);
    server_process(const server_process&) = delete;
    server_process& operator=(const server_process&) = delete;
    ~server_process();

    /// Waits for its end, which the end of its last connection brings, or asks for it. False:
    /// it failed, or had to be killed. A program is always killed.
    [[nodiscard]] bool end();

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    [[nodiscard]] std::uint16_t port() const noexcept { return ports_.echo; }
    [[nodiscard]] double cpu_ns() const noexcept;
    /// In memory, private to the process and shared.
    [[nodiscard]] double resident_bytes() const;

private:
    pid_t pid_ = -1;
    bool ended_ = false;
    bool foreign_ = false;
    server_ports ports_;
    clockid_t clock_{};
};

/// A load_generator in a process of its own, which has the descriptors for it.
class load_process {
public:
    load_process(std::uint16_t port, load_shape shape);
    load_process(const load_process&) = delete;
    load_process& operator=(const load_process&) = delete;
    ~load_process();

    /// Returns when all replies have come; ends the process if they do not.
    void run(std::uint64_t requests);
    /// As load_generator::run_in_step().
    void run_in_step(std::uint64_t requests);

private:
    void order(std::int64_t requests);

    pid_t pid_ = -1;
    int orders_ = -1;
    int answers_ = -1;
};

/// Counts the system calls of a process while it lives, by the kernel's trace point; nothing of
/// it is slowed down. Not available without root, perf events and a mounted tracefs.
class system_calls {
public:
    explicit system_calls(pid_t of);
    system_calls(const system_calls&) = delete;
    system_calls& operator=(const system_calls&) = delete;
    ~system_calls();

    [[nodiscard]] bool available() const noexcept { return !counters_.empty(); }
    [[nodiscard]] double count() const;

private:
    std::vector<int> counters_; // one for each thread
};

} // namespace bench

#endif
