// A parser for one HTTP request, fed with bytes as they come.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_HTTP_PARSER_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_HTTP_PARSER_HPP

#include "http_message.hpp"

#include <cstddef>
#include <memory>
#include <string_view>

namespace tracker {

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
    /// Errors: http_error for what is no HTTP, or exceeds a limit. The connection cannot go on.
    [[nodiscard]] std::size_t feed(std::string_view bytes);

    [[nodiscard]] bool head_complete() const noexcept { return head_complete_; }
    [[nodiscard]] bool complete() const noexcept;
    /// The client waits for "100 Continue" before it sends the body.
    [[nodiscard]] bool expects_continue() const noexcept;

    /// The request, once complete().
    [[nodiscard]] request take();

private:
    struct implementation;
    std::unique_ptr<implementation> inside_;
    bool head_complete_ = false;
};

} // namespace tracker

#endif
