// Log lines: one event each, with the time and the task, through the library's log, which never
// keeps a worker waiting for the reader of stderr.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_LOG_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_LOG_HPP

#include <string_view>

namespace cache {

/// Writes `2026-05-04T11:22:33.123Z task 17 'conn 127.0.0.1:50412': event` to stderr. Control
/// characters in the event, which may quote a client, are replaced; toadstone::printable() cuts
/// what is quoted.
void say(std::string_view event) noexcept;

} // namespace cache

#endif
