// closed_error: what a wait ends with when nobody will give what it waits for any more.
#ifndef TOADSTONE_SYNC_CLOSED_ERROR_HPP
#define TOADSTONE_SYNC_CLOSED_ERROR_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <stdexcept>
#include <string>
#include <string_view>

namespace toadstone::sync {

/// Thrown by who waits, or begins to wait, for something that was closed. what() names it. That
/// of channels is a channel_closed.
class closed_error : public std::runtime_error {
public:
    /// As the library throws it.
    explicit closed_error(const char* sentence) : std::runtime_error(sentence) {}
    /// `what`: "semaphore". `name`: what the user has called it; may be empty.
    closed_error(std::string_view what, std::string_view name)
        : std::runtime_error(text(what, name)) {}

private:
    static std::string text(std::string_view what, std::string_view name) {
        std::string made(what);
        if (!name.empty()) made.append(" '").append(name).append("'");
        return made.append(" is closed");
    }
};

} // namespace toadstone::sync

#endif
