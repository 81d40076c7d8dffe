// An operation: a state machine that messages move.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPERATION_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_OPERATION_HPP

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tracker {

using operation_id = std::uint64_t;
/// Numbers of JSON are exact up to here wherever they are read.
inline constexpr operation_id largest_id = (operation_id{1} << 53) - 1;

enum class state : unsigned char { pending, running, paused, completed, failed };
enum class event : unsigned char { start, progress, pause, resume, complete, fail };

[[nodiscard]] std::string_view to_string(state which) noexcept;
[[nodiscard]] std::string_view to_string(event which) noexcept;
[[nodiscard]] std::optional<state> state_of(std::string_view name) noexcept;
[[nodiscard]] std::optional<event> event_of(std::string_view name) noexcept;
/// "start, progress, pause, resume, complete, fail"
[[nodiscard]] std::string all_events();

/// What a client says about an operation.
struct message {
    event what = event::start;
    std::string note; ///< may be empty
};

/// The event does not fit the state; what() is a sentence for the client.
class illegal_move : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

struct operation {
    operation_id id = 0;
    std::string name;
    state now = state::pending;
    std::uint64_t messages = 0; ///< accepted so far
    std::string note;           ///< of the last message that had one

    /// The operation as it is after `what`.
    ///
    /// Errors: illegal_move.
    [[nodiscard]] operation after(const message& what) const;

    /// Nothing can happen to it any more.
    [[nodiscard]] bool ended() const noexcept {
        return now == state::completed || now == state::failed;
    }
};

} // namespace tracker

#endif
