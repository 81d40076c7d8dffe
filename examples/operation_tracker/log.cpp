// Formatting a log line; written in one piece, so that lines of several workers do not mix.
#include "log.hpp"

#include <toadstone/runtime/this_task.hpp>

#include <chrono>
#include <cstdio>
#include <ctime>
#include <string>

namespace tracker {
namespace {

std::string now_as_text() {
    const auto now = std::chrono::system_clock::now();
    const auto since = now.time_since_epoch();
    const auto milliseconds =
        std::chrono::duration_cast<std::chrono::milliseconds>(since).count() % 1000;
    const std::time_t seconds = std::chrono::system_clock::to_time_t(now);
    std::tm parts = {};
    ::gmtime_r(&seconds, &parts);
    char text[40] = {};
    const std::size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    std::snprintf(text + length, sizeof text - length, ".%03dZ",
                  static_cast<int>(milliseconds));
    return text;
}

} // namespace

void log(std::string_view event) noexcept {
    try {
        std::string line = now_as_text();
        if (const auto id = toadstone::this_task::id(); id != 0) {
            line += " task " + std::to_string(id);
            const std::string_view name = toadstone::this_task::name();
            if (!name.empty()) line.append(" '").append(name).append("'");
        }
        line.append(": ").append(event);
        for (char& each : line) {
            if (static_cast<unsigned char>(each) < ' ' || each == '\x7f') each = ' ';
        }
        line += '\n';
        std::fwrite(line.data(), 1, line.size(), stderr);
    } catch (...) {
        std::fputs("a log line was lost for want of memory\n", stderr);
    }
}

} // namespace tracker
