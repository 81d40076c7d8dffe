// channel_closed: what a half of a channel gets when the other half is gone.
#ifndef TOADSTONE_SYNC_CHANNEL_CLOSED_HPP
#define TOADSTONE_SYNC_CHANNEL_CLOSED_HPP

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/closed_error.hpp>

#include <exception>
#include <source_location>

namespace toadstone::sync {

/// Thrown where a message cannot be sent because nobody will receive it, or cannot come because
/// nobody will send it: closed by close(), or the last other half is gone. A message that could
/// not be sent is untouched: it is moved from only when it is sent.
///
/// A channel that a sender has failed throws poison_error instead, with the cause.
class channel_closed : public closed_error {
public:
    /// With the usual sentence.
    channel_closed() : closed_error("the channel is closed") {}
    /// With a sentence of its own.
    explicit channel_closed(const char* what) : closed_error(what) {}
};

namespace detail {

/// The cause of a channel that a sender fails by an exception, made here: who, when, where.
/// Errors: std::bad_alloc.
[[nodiscard]] poison_cause failure_by(std::exception_ptr error, std::source_location where);

/// Throws poison_error if there is a cause, else channel_closed.
[[noreturn, gnu::cold]] void throw_closed(const poison_cause& cause);

} // namespace detail
} // namespace toadstone::sync

#endif
