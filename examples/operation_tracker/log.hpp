// Log lines: one event each, on stderr, with the time and the task.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_LOG_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_LOG_HPP

#include <string_view>

namespace tracker {

/// Writes `2026-05-04T11:22:33.123Z task 17 'conn 127.0.0.1:50412': event`. Line breaks and
/// other control characters in the event, which may quote a client, become spaces.
void log(std::string_view event) noexcept;

} // namespace tracker

#endif
