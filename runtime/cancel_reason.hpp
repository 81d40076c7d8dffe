// Why a task was asked to stop.
#ifndef TOADSTONE_RUNTIME_CANCEL_REASON_HPP
#define TOADSTONE_RUNTIME_CANCEL_REASON_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <string_view>

namespace toadstone {

/// The reason that a cancellation carries. The first request wins; later ones change nothing.
enum class cancel_reason : unsigned char {
    requested,      ///< somebody called cancel() or fired a token
    timeout,        ///< a deadline passed
    shutdown,       ///< the runtime is going away
    sibling_failed, ///< another child of the same scope failed
    lost_race,      ///< another branch of when_any finished first
    abandoned,      ///< the frame was destroyed by its owner although it had not finished
};

/// As it appears in causes: "timeout".
constexpr std::string_view to_string(cancel_reason reason) noexcept {
    switch (reason) {
    case cancel_reason::requested:
        return "requested";
    case cancel_reason::timeout:
        return "timeout";
    case cancel_reason::shutdown:
        return "shutdown";
    case cancel_reason::sibling_failed:
        return "sibling_failed";
    case cancel_reason::lost_race:
        return "lost_race";
    case cancel_reason::abandoned:
        return "abandoned";
    }
    return "unknown";
}

} // namespace toadstone

#endif
