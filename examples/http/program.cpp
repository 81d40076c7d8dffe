// Limits of the process, its signals and its log.
#include "program.hpp"

#include <toadstone/io/signal_set.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/task_scope.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <utility>

#include <sys/resource.h>

namespace http {

std::string raise_descriptor_limit(const limits& chosen) {
    constexpr rlim_t others = 64; // rings, listeners, files
    const rlim_t wanted = chosen.max_connections + others;
    rlimit limit = {};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) return {};
    limit.rlim_cur = std::min(wanted, limit.rlim_max);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur >= wanted) return {};
    return "no more than " + std::to_string(limit.rlim_cur) +
           " descriptors are allowed (ulimit -n), too few for --max-connections " +
           std::to_string(chosen.max_connections);
}

int run_program(const char* name, unsigned workers,
                std::function<toadstone::task<int>(toadstone::runtime&)> body) {
    // A limit on file sizes is an error like a full disk, and no reason to die; nor is a reader
    // of stdout that has left.
    std::signal(SIGXFSZ, SIG_IGN);
    std::signal(SIGPIPE, SIG_IGN);
    try {
        toadstone::runtime_options options;
        options.workers = workers;
        toadstone::runtime here(options);
        return here.block_on(body(here));
    } catch (const std::exception& error) {
        toadstone::log_line(std::string(name) + ": " + std::string(toadstone::what_of(error)));
        return 1;
    }
}

namespace {

/// The set is gone after the first signal.
toadstone::task<> stop_on_signal(toadstone::io::signal_set signals,
                                 toadstone::cancellation_source& stop,
                                 std::function<void(std::string_view)> log) {
    const int signal = co_await signals.wait();
    log("draining after " + std::string(signal == SIGINT ? "SIGINT" : "SIGTERM"));
    stop.cancel(toadstone::cancel_reason::shutdown);
}

} // namespace

toadstone::task<> serve_until_signal(std::function<toadstone::task<>()> serve,
                                     toadstone::cancellation_source& stop,
                                     std::function<void(std::string_view)> log) {
    toadstone::io::signal_set signals({SIGTERM, SIGINT});
    const auto body = [&](toadstone::task_scope& scope) -> toadstone::task<> {
        // A failure of the one, such as a port in use, cancels the other.
        auto signal = scope.spawn(stop_on_signal(std::move(signals), stop, log));
        co_await serve();
        signal.cancel();
    };
    co_await toadstone::with_scope(body);
}

void print_listening(const toadstone::io::endpoint& where) {
    std::printf("listening on %s\n", where.to_string().c_str());
    std::fflush(stdout);
}

void log_of_task(std::string_view event) noexcept {
    try {
        std::string line;
        if (const auto id = toadstone::this_task::id(); id != 0) {
            line += "task " + std::to_string(id);
            const std::string_view name = toadstone::this_task::name();
            if (!name.empty()) line.append(" '").append(name).append("'");
            line += ": ";
        }
        line.append(event);
        toadstone::log_line(line);
    } catch (...) {
        toadstone::log_line("a log line was lost for want of memory");
    }
}

} // namespace http
