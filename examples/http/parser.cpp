// The only file that knows Boost.Beast, of which it uses the parser alone.
#include "parser.hpp"

#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>

#include <cstdint>
#include <iterator>
#include <string>

namespace http {
namespace beast = boost::beast;

struct request_parser::implementation {
    beast::http::request_parser<beast::http::string_body> parser;
};

namespace {

[[noreturn]] void refuse(beast::error_code why) {
    if (why == beast::http::error::header_limit) {
        throw error(431, "the head of the request is too long");
    }
    if (why == beast::http::error::body_limit) {
        throw error(413, "the body of the request is too long");
    }
    if (why == beast::http::error::bad_version) {
        throw error(505, "only HTTP/1.0 and HTTP/1.1 are spoken here");
    }
    throw error(400, "this is not a valid HTTP request: " + why.message());
}

using parser_type = beast::http::request_parser<beast::http::string_body>;

std::string_view view(beast::string_view text) noexcept {
    return {text.data(), text.size()};
}

/// The value of a field that may be there once.
std::string_view only(const parser_type& parser, beast::http::field name) {
    const auto all = parser.get().equal_range(name);
    if (all.first == all.second) return {};
    if (std::next(all.first) != all.second) {
        throw error(400, "the request has more than one " +
                             std::string(beast::http::to_string(name)) + " header");
    }
    return view(all.first->value());
}

/// What the parser lets pass, but RFC 9112 does not: without these checks a proxy in front of
/// the server could see other request boundaries than the server does.
void check_head(const parser_type& parser, std::string_view text) {
    // Such lines are obsolete, and proxies differ in what they make of them.
    if (text.find("\r\n ") != std::string_view::npos ||
        text.find("\r\n\t") != std::string_view::npos) {
        throw error(400, "a header of the request goes on in the next line");
    }
    const auto& head = parser.get();
    const auto hosts = head.equal_range(beast::http::field::host);
    const auto count = std::distance(hosts.first, hosts.second);
    if (count > 1) throw error(400, "the request names more than one host");
    if (count == 0 && head.version() >= 11) throw error(400, "a Host header is missing");
    const auto encodings = head.equal_range(beast::http::field::transfer_encoding);
    if (encodings.first == encodings.second) return;
    const bool only_chunked = std::distance(encodings.first, encodings.second) == 1 &&
                              beast::iequals(encodings.first->value(), "chunked");
    if (!only_chunked) {
        throw error(501, "no transfer encoding but 'chunked' is understood here");
    }
    if (head.version() < 11) throw error(400, "HTTP/1.0 has no transfer encodings");
}

/// The host of "http://host/path", which counts more than what the Host header says.
std::string_view host_of(std::string_view target, std::string_view header) {
    constexpr std::string_view scheme = "http://";
    if (!target.starts_with(scheme)) return header;
    target.remove_prefix(scheme.size());
    return target.substr(0, target.find_first_of("/?"));
}

} // namespace

request_parser::request_parser(std::size_t max_header, std::size_t max_body)
    : inside_(std::make_unique<implementation>()), max_header_(max_header) {
    inside_->parser.header_limit(static_cast<std::uint32_t>(max_header));
    inside_->parser.body_limit(max_body);
}

request_parser::~request_parser() = default;
request_parser::request_parser(request_parser&&) noexcept = default;
request_parser& request_parser::operator=(request_parser&&) noexcept = default;

/// `text` begins with the head, which the parser takes as a whole. Trailers, which it puts with
/// the headers later, are ignored this way.
void request_parser::take_head(std::string_view text) {
    const auto& parser = inside_->parser;
    const auto& head = parser.get();
    check_head(parser, text.substr(0, text.find("\r\n\r\n")));
    head_.method = std::string(head.method_string());
    head_.target = std::string(head.target());
    head_.host = std::string(host_of(head_.target, view(head[beast::http::field::host])));
    head_.origin = std::string(only(parser, beast::http::field::origin));
    head_.type = std::string(only(parser, beast::http::field::content_type));
    head_.keep_alive = parser.keep_alive();
    head_.http_1_0 = head.version() < 11;
    // A client of HTTP/1.0 cannot mean it, and would take the 100 for its answer.
    if (head_.http_1_0) return;
    const auto expectations = head.equal_range(beast::http::field::expect);
    for (auto each = expectations.first; each != expectations.second; ++each) {
        if (!beast::iequals(each->value(), "100-continue")) {
            throw error(417, "no expectation but '100-continue' is understood here");
        }
        expects_continue_ = true;
    }
}

std::size_t request_parser::feed(std::string_view bytes) {
    auto& parser = inside_->parser;
    std::size_t taken = 0;
    while (taken < bytes.size() && !complete()) {
        beast::error_code why;
        const std::string_view rest = bytes.substr(taken);
        const std::size_t step =
            parser.put(boost::asio::const_buffer(rest.data(), rest.size()), why);
        taken += step;
        if (why && why != beast::http::error::need_more) refuse(why);
        if (!head_complete_ && parser.is_header_done()) {
            take_head(rest);
            head_complete_ = true;
        } else if (head_complete_) {
            framing_ += step;
        }
        if (why || step == 0) break; // need_more: what is left is to be offered again
    }
    if (complete()) return taken;
    // The parser waits for the end of a line, and for all trailers: who never sends it must not
    // fill our memory meanwhile.
    if (bytes.size() - taken > max_header_) {
        throw error(head_complete_ ? 400 : 431,
                    head_complete_ ? "a chunk's header, or the trailers, are too long"
                                   : "the head of the request is too long");
    }
    // Nor keep us busy with chunks that hold next to nothing.
    constexpr std::size_t framing_per_byte = 16;
    const std::size_t body = parser.get().body().size();
    if (framing_ > max_header_ + (1 + framing_per_byte) * body) {
        throw error(400, "the chunks of the body are much longer than what is in them");
    }
    return taken;
}

bool request_parser::complete() const noexcept {
    return inside_->parser.is_done();
}

request request_parser::take() {
    head_.body = std::move(inside_->parser.get().body());
    return std::move(head_);
}

} // namespace http
