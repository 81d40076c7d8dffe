// Requests and responses as values, and the text of a response.
#ifndef TOADSTONE_EXAMPLES_HTTP_MESSAGE_HPP
#define TOADSTONE_EXAMPLES_HTTP_MESSAGE_HPP

#include "answer_budget.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace http {

struct request {
    std::string method;
    std::string target;
    std::string host;   ///< whom it is meant for: of the target, else of the Host header
    std::string origin; ///< the web page that sent it, if it is from a browser
    std::string type;   ///< of the body, as the client says
    std::string body;
    bool keep_alive = false; ///< the client would like to go on with this connection
    bool http_1_0 = false;
};

struct response {
    unsigned status = 200;
    std::string body;
    std::string_view type = "application/json"; ///< a literal
    std::string allow{};                        ///< the methods, for 405
    unsigned retry_after = 0;                   ///< seconds; 0: says nothing of it
    answer_budget::share memory{};              ///< what it has of the budget, until it is sent
};

/// An answer of JSON, with the end of a line behind it.
[[nodiscard]] response json_response(unsigned status, std::string body);

/// A request that is answered with an error; what() is a sentence for the client.
class error : public std::runtime_error {
public:
    error(unsigned status, const std::string& sentence, std::string allow = {},
          unsigned retry_after = 0)
        : std::runtime_error(sentence), status_(status), allow_(std::move(allow)),
          retry_after_(retry_after) {}
    [[nodiscard]] unsigned status() const noexcept { return status_; }
    [[nodiscard]] const std::string& allow() const noexcept { return allow_; }
    [[nodiscard]] unsigned retry_after() const noexcept { return retry_after_; }

private:
    unsigned status_;
    std::string allow_;
    unsigned retry_after_;
};

/// How the connection goes on after a response.
struct framing {
    bool keep_alive = true;
    bool http_1_0 = false;
    bool head_only = false; ///< the answer to HEAD: all but the body
};

/// The bytes to send before the body.
[[nodiscard]] std::string head_of(const response& answer, const framing& how);

} // namespace http

#endif
