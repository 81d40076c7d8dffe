// Writing responses.
#include "message.hpp"

#include <ctime>

namespace http {
namespace {

std::string_view reason_phrase(unsigned status) noexcept {
    switch (status) {
    case 200:
        return "OK";
    case 201:
        return "Created";
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 408:
        return "Request Timeout";
    case 409:
        return "Conflict";
    case 413:
        return "Content Too Large";
    case 415:
        return "Unsupported Media Type";
    case 417:
        return "Expectation Failed";
    case 421:
        return "Misdirected Request";
    case 422:
        return "Unprocessable Content";
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    case 507:
        return "Insufficient Storage";
    default:
        return "Internal Server Error";
    }
}

std::string date() {
    const std::time_t now = std::time(nullptr);
    std::tm parts = {};
    ::gmtime_r(&now, &parts);
    char text[40] = {};
    const std::size_t length =
        std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts);
    return std::string(text, length);
}

} // namespace

response json_response(unsigned status, std::string body) {
    response answer;
    answer.status = status;
    answer.body = std::move(body);
    answer.body += '\n';
    return answer;
}

std::string head_of(const response& answer, const framing& how) {
    std::string text = "HTTP/1.1 " + std::to_string(answer.status) + " ";
    text.append(reason_phrase(answer.status)).append("\r\nDate: ").append(date());
    text.append("\r\nContent-Type: ").append(answer.type);
    text.append("\r\nContent-Length: ").append(std::to_string(answer.body.size()));
    if (!answer.allow.empty()) text.append("\r\nAllow: ").append(answer.allow);
    if (answer.retry_after > 0) {
        text.append("\r\nRetry-After: ").append(std::to_string(answer.retry_after));
    }
    if (!how.keep_alive) {
        text.append("\r\nConnection: close");
    } else if (how.http_1_0) {
        text.append("\r\nConnection: keep-alive");
    }
    return text.append("\r\n\r\n");
}

} // namespace http
