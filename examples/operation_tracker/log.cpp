// The log of the program.
#include "log.hpp"

#include "http/program.hpp"

namespace tracker {

void log(std::string_view event) noexcept {
    http::log_of_task(event);
}

} // namespace tracker
