// JSON in and out: what clients send and get, and what the journal has.
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

/// A record of the journal: an operation was created, or a message moved it.
struct journal_record {
    operation_id id = 0;
    std::string name;            ///< of a new operation
    std::optional<message> what; ///< empty for a new operation
};

/// Errors: http::bad_json.
[[nodiscard]] journal_record read_record(std::string_view text);
[[nodiscard]] std::string to_json(const journal_record& record);
/// What to_json() writes, which is a line of a snapshot. Errors: http::bad_json.
[[nodiscard]] operation read_operation(std::string_view line);

} // namespace tracker

#endif
