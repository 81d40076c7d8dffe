// resolve_error: why a name has no addresses, and what to do about it.
#ifndef TOADSTONE_IO_RESOLVE_ERROR_HPP
#define TOADSTONE_IO_RESOLVE_ERROR_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone::io {

/// What happened to a name.
enum class resolve_failure : std::uint8_t {
    not_found,     ///< there is no such name
    no_addresses,  ///< there is, and it has no address of the family that was asked for
    bad_name,      ///< it cannot be a name, or a service that is known here
    timed_out,     ///< no server has answered, in all tries
    unreachable,   ///< no server could be asked
    refused,       ///< the servers do not answer this machine, or not this question
    server_failed, ///< the servers could not find out
    malformed,     ///< what they have answered cannot be understood
};

/// "not found", "timed out", ...
[[nodiscard]] std::string_view to_string(resolve_failure failure) noexcept;

/// Thrown by resolver::resolve(): "resolve 'exmaple.org': there is no such name: check how it
/// is written, or add it to /etc/hosts".
class resolve_error : public std::runtime_error {
public:
    /// what() is "resolve 'NAME': STORY"; control characters of the name are shown as '?'.
    resolve_error(resolve_failure failure, std::string name, std::string_view story);

    /// What kind of failure it is.
    [[nodiscard]] resolve_failure failure() const noexcept { return failure_; }
    /// As it was asked for.
    [[nodiscard]] const std::string& name() const noexcept { return name_; }
    /// Later, or from another server, there may be an answer: neither not_found nor
    /// no_addresses nor bad_name.
    [[nodiscard]] bool is_temporary() const noexcept {
        return failure_ > resolve_failure::bad_name;
    }

private:
    resolve_failure failure_;
    std::string name_;
};

} // namespace toadstone::io

#endif
