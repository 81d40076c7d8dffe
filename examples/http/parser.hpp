// A parser for one HTTP request, fed with bytes as they come.
#ifndef TOADSTONE_EXAMPLES_HTTP_PARSER_HPP
#define TOADSTONE_EXAMPLES_HTTP_PARSER_HPP

#include "message.hpp"

#include <cstddef>
#include <memory>
#include <string_view>

namespace http {

/// Does no I/O. Every request takes a new parser.
class request_parser {
public:
    request_parser(std::size_t max_header, std::size_t max_body);
    ~request_parser();
    request_parser(request_parser&&) noexcept;
    request_parser& operator=(request_parser&&) noexcept;

    /// Takes bytes from the front of what has arrived.
    ///
    /// Returns: how many were taken; the rest is to be offered again, with what comes after it,
    ///     or belongs to the next request when complete().
    /// Errors: error for what is no HTTP, or exceeds a limit. The connection cannot go on.
    ///     What was not taken and is to be offered again is never more than `max_header` bytes
    ///     and what came with the last of them.
    [[nodiscard]] std::size_t feed(std::string_view bytes);

    [[nodiscard]] bool head_complete() const noexcept { return head_complete_; }
    [[nodiscard]] bool complete() const noexcept;
    /// The client waits for "100 Continue" before it sends the body.
    [[nodiscard]] bool expects_continue() const noexcept { return expects_continue_; }

    /// The request, once complete().
    [[nodiscard]] request take();

private:
    struct implementation;
    void take_head(std::string_view text);

    std::unique_ptr<implementation> inside_;
    std::size_t max_header_;
    std::size_t framing_ = 0; ///< bytes that were taken after the head
    request head_;            ///< what the head says, without what trailers say later
    bool head_complete_ = false;
    bool expects_continue_ = false;
};

} // namespace http

#endif
