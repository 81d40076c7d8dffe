// The only file that knows Boost.Beast, of which it uses the parser alone.
#include "http_parser.hpp"

#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <cstdint>
#include <string>

namespace tracker {
namespace http = boost::beast::http;

struct request_parser::implementation {
    http::request_parser<http::string_body> parser;
};

namespace {

[[noreturn]] void refuse(boost::beast::error_code why) {
    if (why == http::error::header_limit) {
        throw http_error(431, "the head of the request is too long");
    }
    if (why == http::error::body_limit) {
        throw http_error(413, "the body of the request is too long");
    }
    if (why == http::error::bad_version) {
        throw http_error(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    throw http_error(400, "this is not a valid HTTP request: " + why.message());
}

/// What the parser lets pass, but RFC 9112 does not: without these checks a proxy in front of
/// the server could see other request boundaries than the server does.
void check_head(const http::request_parser<http::string_body>& parser) {
    const auto& head = parser.get();
    const auto hosts = head.equal_range(http::field::host);
    const auto count = std::distance(hosts.first, hosts.second);
    if (count > 1) throw http_error(400, "the request names more than one host");
    if (count == 0 && head.version() >= 11) throw http_error(400, "a Host header is missing");
    const auto encodings = head.equal_range(http::field::transfer_encoding);
    if (encodings.first == encodings.second) return;
    const bool only_chunked = std::distance(encodings.first, encodings.second) == 1 &&
                              boost::beast::iequals(encodings.first->value(), "chunked");
    if (!only_chunked) {
        throw http_error(501, "no transfer encoding but 'chunked' is understood here");
    }
    if (head.version() < 11) throw http_error(400, "HTTP/1.0 has no transfer encodings");
}

} // namespace

request_parser::request_parser(std::size_t max_header, std::size_t max_body)
    : inside_(std::make_unique<implementation>()) {
    inside_->parser.header_limit(static_cast<std::uint32_t>(max_header));
    inside_->parser.body_limit(max_body);
}

request_parser::~request_parser() = default;
request_parser::request_parser(request_parser&&) noexcept = default;
request_parser& request_parser::operator=(request_parser&&) noexcept = default;

std::size_t request_parser::feed(std::string_view bytes) {
    auto& parser = inside_->parser;
    std::size_t taken = 0;
    while (taken < bytes.size() && !complete()) {
        boost::beast::error_code error;
        const std::string_view rest = bytes.substr(taken);
        const std::size_t step =
            parser.put(boost::asio::const_buffer(rest.data(), rest.size()), error);
        taken += step;
        if (error && error != http::error::need_more) refuse(error);
        if (!head_complete_ && parser.is_header_done()) {
            head_complete_ = true;
            check_head(parser);
        }
        if (error || step == 0) break; // need_more: what is left is to be offered again
    }
    return taken;
}

bool request_parser::complete() const noexcept {
    return inside_->parser.is_done();
}

bool request_parser::expects_continue() const noexcept {
    const auto& head = inside_->parser.get();
    return boost::beast::iequals(head[http::field::expect], "100-continue");
}

request request_parser::take() {
    const auto& parser = inside_->parser;
    request taken;
    taken.keep_alive = parser.keep_alive();
    auto message = inside_->parser.release();
    taken.method = std::string(message.method_string());
    taken.target = std::string(message.target());
    taken.body = std::move(message.body());
    taken.http_1_0 = message.version() < 11;
    return taken;
}

} // namespace tracker
