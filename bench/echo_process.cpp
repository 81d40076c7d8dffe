// Forks, pipes, and what the kernel tells of a process.
#include "echo_process.hpp"

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>

#include <dirent.h>
#include <linux/perf_event.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace bench {
namespace {

[[noreturn]] void give_up(const char* what) {
    std::perror(what);
    std::exit(1);
}

/// Forks. The child dies with its parent.
pid_t fork_child() {
    const pid_t pid = ::fork();
    if (pid < 0) give_up("bench_echo: fork");
    if (pid == 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

struct pipe_ends {
    pipe_ends() {
        int both[2];
        if (::pipe(both) != 0) give_up("bench_echo: pipe");
        from = both[0];
        to = both[1];
    }
    int from;
    int to;
};

clockid_t clock_of(pid_t pid) {
    clockid_t clock{};
    ::clock_getcpuclockid(pid, &clock);
    return clock;
}

// The number of a trace point, or -1.
long trace_point() {
    for (const char* const place : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
        const std::string name = std::string(place) + "/events/raw_syscalls/sys_enter/id";
        long number = -1;
        if (std::FILE* const file = std::fopen(name.c_str(), "re")) {
            if (std::fscanf(file, "%ld", &number) != 1) number = -1;
            std::fclose(file);
            return number;
        }
    }
    return -1;
}

} // namespace

server_process::server_process(server serve, unsigned connections) {
    const pipe_ends pipe;
    pid_ = fork_child();
    if (pid_ == 0) {
        const auto tell = [&](server_ports ports) {
            if (::write(pipe.to, &ports, sizeof ports) < 0) ::_exit(1);
        };
        ::_exit(serve(connections, tell));
    }
    ::close(pipe.to);
    if (::read(pipe.from, &ports_, sizeof ports_) != sizeof ports_) {
        std::fprintf(stderr, "bench_echo: a server did not start\n");
        std::exit(1);
    }
    ::close(pipe.from);
    clock_ = clock_of(pid_);
}

server_process::server_process(const std::string& program) : foreign_(true) {
    const pipe_ends pipe;
    pid_ = fork_child();
    if (pid_ == 0) {
        ::dup2(pipe.to, STDOUT_FILENO);
        ::close(pipe.from);
        ::close(pipe.to);
        ::execl("/bin/sh", "sh", "-c", ("exec " + program).c_str(), nullptr);
        ::_exit(127);
    }
    ::close(pipe.to);
    std::FILE* const out = ::fdopen(pipe.from, "r");
    unsigned port = 0;
    if (!out || std::fscanf(out, "%u", &port) != 1 || port == 0) {
        std::fprintf(stderr, "bench_echo: '%s' did not print a port\n", program.c_str());
        std::exit(1);
    }
    std::fclose(out);
    ports_.echo = static_cast<std::uint16_t>(port);
    clock_ = clock_of(pid_);
}

server_process::~server_process() {
    if (!ended_) static_cast<void>(end());
}

bool server_process::end() {
    ended_ = true;
    int status = 0;
    if (foreign_) {
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, &status, 0);
        return true;
    }
    if (ports_.stop != 0) stop_server(ports_.stop);
    for (int tries = 0; tries < 500; ++tries) {
        if (::waitpid(pid_, &status, WNOHANG) == pid_) {
            return WIFEXITED(status) && WEXITSTATUS(status) == 0;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, &status, 0);
    return false;
}

double server_process::cpu_ns() const noexcept {
    timespec used{};
    ::clock_gettime(clock_, &used);
    return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
}

double server_process::resident_bytes() const {
    const std::string name = "/proc/" + std::to_string(pid_) + "/statm";
    unsigned long pages = 0;
    if (std::FILE* const file = std::fopen(name.c_str(), "re")) {
        if (std::fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
        std::fclose(file);
    }
    return static_cast<double>(pages) * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

load_process::load_process(std::uint16_t port, load_shape shape) {
    const pipe_ends orders;
    const pipe_ends answers;
    pid_ = fork_child();
    if (pid_ == 0) {
        ::close(orders.to);
        ::close(answers.from);
        load_generator load(port, shape);
        std::int64_t requests = 0;
        do {
            if (requests > 0) load.run(static_cast<std::uint64_t>(requests));
            if (requests < 0) load.run_in_step(static_cast<std::uint64_t>(-requests));
            if (::write(answers.to, &requests, sizeof requests) < 0) ::_exit(1);
        } while (::read(orders.from, &requests, sizeof requests) == sizeof requests);
        ::_exit(0);
    }
    ::close(orders.from);
    ::close(answers.to);
    orders_ = orders.to;
    answers_ = answers.from;
    order(0); // returns when it is connected
}

load_process::~load_process() {
    ::close(orders_);
    ::close(answers_);
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
}

void load_process::order(std::int64_t requests) {
    std::int64_t answer = 0;
    if (requests != 0 && ::write(orders_, &requests, sizeof requests) < 0) {
        give_up("bench_echo: a load has gone");
    }
    if (::read(answers_, &answer, sizeof answer) != sizeof answer) {
        std::fprintf(stderr, "bench_echo: a load has failed\n");
        std::exit(1);
    }
}

void load_process::run(std::uint64_t requests) {
    order(static_cast<std::int64_t>(requests));
}

void load_process::run_in_step(std::uint64_t requests) {
    order(-static_cast<std::int64_t>(requests));
}

system_calls::system_calls(pid_t of) {
    const long number = trace_point();
    const std::string name = "/proc/" + std::to_string(of) + "/task";
    DIR* const threads = number < 0 ? nullptr : ::opendir(name.c_str());
    if (!threads) return;
    perf_event_attr what{};
    what.type = PERF_TYPE_TRACEPOINT;
    what.size = sizeof what;
    what.config = static_cast<std::uint64_t>(number);
    while (const dirent* const each = ::readdir(threads)) {
        const int thread = std::atoi(each->d_name);
        if (thread == 0) continue;
        const long fd = ::syscall(SYS_perf_event_open, &what, thread, -1, -1, 0);
        if (fd >= 0) counters_.push_back(static_cast<int>(fd));
    }
    ::closedir(threads);
}

system_calls::~system_calls() {
    for (const int each : counters_) ::close(each);
}

double system_calls::count() const {
    double sum = 0;
    for (const int each : counters_) {
        std::uint64_t value = 0;
        if (::read(each, &value, sizeof value) == sizeof value) {
            sum += static_cast<double>(value);
        }
    }
    return sum;
}

} // namespace bench
