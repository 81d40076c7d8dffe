// Limits of the process, its signals and its log.
#include "program.hpp"

#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <algorithm>
#include <csignal>
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

toadstone::task<> stop_on_signal(toadstone::io::signal_set signals,
                                 toadstone::cancellation_source& stop,
                                 std::function<void(std::string_view)> log) {
    const int signal = co_await signals.wait();
    log("draining after " + std::string(signal == SIGINT ? "SIGINT" : "SIGTERM"));
    stop.cancel(toadstone::cancel_reason::shutdown);
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
