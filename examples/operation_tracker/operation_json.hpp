// JSON in and out: what clients send and get, and the lines of the journal.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPERATION_JSON_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPERATION_JSON_HPP

#include "operation.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tracker {

/// Reads {"name": "..."}. Errors: http::bad_json.
[[nodiscard]] std::string read_name(std::string_view body);
/// Reads {"event": "...", "note": "..."}. Errors: http::bad_json.
[[nodiscard]] message read_message(std::string_view body);

[[nodiscard]] std::string to_json(const operation& which);
[[nodiscard]] std::string to_json(std::span<const operation> all);
/// A page is not much larger: by less than one operation, whose texts may need six bytes each.
inline constexpr std::size_t page_bytes = std::size_t{64} * 1024;

/// Writes {"operations":[...]}, one operation after the other.
class list_writer {
public:
    /// False, and nothing is written, when the page is full.
    [[nodiscard]] bool add(const operation& which);
    /// With `more`, says as "next" where the page of the next `limit` operations is.
    [[nodiscard]] std::string finish(bool more, std::size_t limit);

private:
    std::string text_ = "{\"operations\":[";
    operation_id last_ = 0;
};

/// One line of the journal: an operation was created, or a message moved it.
struct journal_record {
    operation_id id = 0;
    std::string name;            ///< of a new operation
    std::optional<message> what; ///< empty for a new operation
};

/// Reads a line, without its end. Errors: http::bad_json.
[[nodiscard]] journal_record read_record(std::string_view line);
/// Lines with their end.
[[nodiscard]] std::string line_for_new(operation_id id, std::string_view name);
[[nodiscard]] std::string line_for_message(operation_id id, const message& what);

} // namespace tracker

#endif
