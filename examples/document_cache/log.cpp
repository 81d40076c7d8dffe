// The log of the program.
#include "log.hpp"

#include "http/program.hpp"

namespace cache {

void say(std::string_view event) noexcept {
    http::log_of_task(event);
}

} // namespace cache
