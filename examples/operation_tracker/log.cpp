// A log line for the library's writer: which task says it.
#include "log.hpp"

#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <string>

namespace tracker {

void log(std::string_view event) noexcept {
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

} // namespace tracker
