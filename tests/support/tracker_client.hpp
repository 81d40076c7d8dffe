// A client of the operation tracker, and a witness of all that the server has told anybody.
#ifndef TOADSTONE_TESTS_SUPPORT_TRACKER_CLIENT_HPP
#define TOADSTONE_TESTS_SUPPORT_TRACKER_CLIENT_HPP

#include "support/simulated.hpp"

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <map>

namespace toadstone::tests {

struct answer {
    unsigned status = 0; ///< 0: the connection broke
    std::string body{};
    bool keep_alive = true;
    [[nodiscard]] bool ok() const noexcept { return status == 200 || status == 201; }
};

/// The number that follows `key` in a text; 0 if there is none.
inline std::uint64_t number_after(std::string_view text, std::string_view key) {
    const std::size_t at = text.find(key);
    if (at == std::string_view::npos) return 0;
    std::uint64_t number = 0;
    std::from_chars(text.data() + at + key.size(), text.data() + text.size(), number);
    return number;
}

inline std::string http_text(std::string_view method, std::string_view path,
                             std::string_view body = {}) {
    std::string text(method);
    text.append(" ").append(path).append(" HTTP/1.1\r\nHost: localhost\r\n");
    if (!body.empty()) {
        text.append("Content-Type: application/json\r\nContent-Length: ")
            .append(std::to_string(body.size()))
            .append("\r\n");
    }
    return text.append("\r\n").append(body);
}

/// One connection.
class tracker_client {
public:
    explicit tracker_client(io::tcp_stream&& stream) : stream_(std::move(stream)) {}

    [[nodiscard]] task<> send(std::string text) { co_await stream_.write_all(text); }

    /// The next answer; status 0 at the end of the connection, at any place.
    [[nodiscard]] task<answer> receive() {
        answer got;
        std::size_t head = std::string::npos;
        std::size_t whole = 0;
        for (;;) {
            head = pending_.find("\r\n\r\n");
            if (head != std::string::npos) {
                whole = head + 4 + number_after(pending_, "Content-Length: ");
                if (pending_.size() >= whole) break;
            }
            char buffer[700];
            const std::size_t count = co_await stream_.read_some(std::span(buffer));
            if (count == 0) co_return got;
            pending_.append(buffer, count);
        }
        got.status = static_cast<unsigned>(number_after(pending_, "HTTP/1.1 "));
        got.keep_alive = pending_.find("Connection: close") > head;
        got.body = pending_.substr(head + 4, whole - head - 4);
        pending_.erase(0, whole);
        co_return got;
    }

    [[nodiscard]] task<answer> ask(std::string text) {
        co_await send(std::move(text));
        answer got = co_await receive();
        co_return got;
    }
    [[nodiscard]] io::tcp_stream& stream() noexcept { return stream_; }

private:
    io::tcp_stream stream_;
    std::string pending_;
};

/// Hears every answer. An operation that was once seen after its n-th message looks the same
/// whenever it is seen after its n-th message, and never again as it was before.
class witness {
public:
    /// What everybody knows of `id` by now: messages, plus one; 0 for nothing.
    [[nodiscard]] std::uint64_t known(std::uint64_t id) const {
        const auto found = seen_.find(id);
        return found == seen_.end() ? 0 : found->second.rbegin()->first + 1;
    }
    [[nodiscard]] std::size_t operations() const noexcept { return seen_.size(); }
    /// Answers that were 500.
    [[nodiscard]] unsigned errors() const noexcept { return errors_; }
    void count_error() noexcept { ++errors_; }
    [[nodiscard]] std::map<std::uint64_t, std::uint64_t> knowledge() const {
        std::map<std::uint64_t, std::uint64_t> all;
        for (const auto& [id, versions] : seen_) all[id] = known(id);
        return all;
    }

    /// `text` is {"id":...}; `before` is what was known() when the question was asked.
    void hear(std::string_view text, std::uint64_t before) {
        const std::uint64_t id = number_after(text, "{\"id\":");
        const std::uint64_t messages = number_after(text, "\"messages\":");
        expect(id != 0, "an answer without an operation: " + std::string(text));
        expect(messages + 1 >= before, "an operation went backwards: " + std::string(text) +
                                           " after " +
                                           (before ? seen_[id][before - 1] : std::string()));
        const auto [known, fresh] = seen_[id].try_emplace(messages, text);
        expect(known->second == text,
               "one operation has two pasts: " + std::string(text) + " and " + known->second);
    }

    /// `body` is {"operations":[...]}; `before` is knowledge() when the question was asked.
    void hear_list(std::string_view body,
                   const std::map<std::uint64_t, std::uint64_t>& before) {
        std::map<std::uint64_t, std::uint64_t> listed;
        for (std::size_t at = body.find("{\"id\":"); at != std::string_view::npos;
             at = body.find("{\"id\":", at + 1)) {
            const std::string_view each = body.substr(at, body.find('}', at) + 1 - at);
            const std::uint64_t id = number_after(each, "{\"id\":");
            const auto found = before.find(id);
            hear(each, found == before.end() ? 0 : found->second);
            listed[id] = 1;
        }
        for (const auto& [id, count] : before) {
            expect(listed.count(id) == 1,
                   "operation " + std::to_string(id) + " was acknowledged and is lost");
        }
    }

private:
    std::map<std::uint64_t, std::map<std::uint64_t, std::string>> seen_;
    unsigned errors_ = 0;
};

} // namespace toadstone::tests

#endif
