// Requests and responses as values, and the text of a response.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_HTTP_MESSAGE_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_HTTP_MESSAGE_HPP

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace tracker {

struct request {
    std::string method;
    std::string target;
    std::string body;
    bool keep_alive = false; ///< the client would like to go on with this connection
    bool http_1_0 = false;
};

struct response {
    unsigned status = 200;
    std::string body;
    std::string_view type = "application/json"; ///< a literal
    std::string_view allow{};                   ///< a literal; the methods, for 405
};

/// A request that is answered with an error; what() is a sentence for the client.
class http_error : public std::runtime_error {
public:
    http_error(unsigned status, const std::string& sentence, std::string_view allow = {})
        : std::runtime_error(sentence), status_(status), allow_(allow) {}
    [[nodiscard]] unsigned status() const noexcept { return status_; }
    [[nodiscard]] std::string_view allow() const noexcept { return allow_; }

private:
    unsigned status_;
    std::string_view allow_;
};

/// How the connection goes on after a response.
struct framing {
    bool keep_alive = true;
    bool http_1_0 = false;
    bool head_only = false; ///< the answer to HEAD: all but the body
};

/// The bytes to send.
[[nodiscard]] std::string to_text(const response& answer, const framing& how);

} // namespace tracker

#endif
