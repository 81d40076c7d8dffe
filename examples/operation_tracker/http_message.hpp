// Requests and responses as values, and the text of a response.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_HTTP_MESSAGE_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_HTTP_MESSAGE_HPP

#include "answer_budget.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace tracker {

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
    std::string_view allow{};                   ///< a literal; the methods, for 405
    unsigned retry_after = 0;                   ///< seconds; 0: says nothing of it
    answer_budget::share memory{};              ///< what it has of the budget, until it is sent
};

/// A request that is answered with an error; what() is a sentence for the client.
class http_error : public std::runtime_error {
public:
    http_error(unsigned status, const std::string& sentence, std::string_view allow = {},
               unsigned retry_after = 0)
        : std::runtime_error(sentence), status_(status), allow_(allow),
          retry_after_(retry_after) {}
    [[nodiscard]] unsigned status() const noexcept { return status_; }
    [[nodiscard]] std::string_view allow() const noexcept { return allow_; }
    [[nodiscard]] unsigned retry_after() const noexcept { return retry_after_; }

private:
    unsigned status_;
    std::string_view allow_;
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

} // namespace tracker

#endif
