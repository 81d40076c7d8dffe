// Reading requests, racing their handling against the client and the clock, answering.
#include "connection.hpp"

#include "http_parser.hpp"
#include "log.hpp"

#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/shield.hpp>
#include <toadstone/runtime/task_scope.hpp>
#include <toadstone/runtime/this_task.hpp>
#include <toadstone/runtime/with_timeout.hpp>
#include <toadstone/runtime/with_token.hpp>

#include <array>
#include <chrono>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>

namespace tracker {
namespace {

using toadstone::cancel_reason;
using toadstone::outcome;
using toadstone::task;
using clock = std::chrono::steady_clock;

class connection {
public:
    connection(const service& all, toadstone::io::tcp_stream&& stream,
               toadstone::cancellation_token&& draining)
        : all_(all), stream_(std::move(stream)), draining_(std::move(draining)) {
        all_.counts.connection_begins();
    }
    ~connection() { all_.counts.connection_ends(); }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    task<> converse();

private:
    [[nodiscard]] task<bool> fill();
    [[nodiscard]] task<bool> wait_for_request();
    [[nodiscard]] task<bool> read_head(request_parser& parser);
    [[nodiscard]] task<bool> read_body(request_parser& parser);
    [[nodiscard]] task<std::optional<request>> read_request();
    [[nodiscard]] task<std::optional<response>> handle(const request& from);
    [[nodiscard]] task<std::optional<response>> handle_in_time(const request& from,
                                                               route where);
    [[nodiscard]] task<std::optional<response>> one_request(framing& how);
    [[nodiscard]] task<> send(std::string text);
    [[nodiscard]] task<> part();

    void feed(request_parser& parser) { pending_.erase(0, parser.feed(pending_)); }
    [[nodiscard]] std::chrono::milliseconds time_left() const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline_ - toadstone::this_task::now());
    }

    const service& all_;
    toadstone::io::tcp_stream stream_;
    toadstone::cancellation_token draining_;
    std::string pending_;        // bytes that arrived and belong to no request yet
    clock::time_point deadline_; // of the request at hand
    std::array<char, 4096> chunk_;
};

/// Gives false at the end of the stream.
task<bool> connection::fill() {
    const std::size_t bytes = co_await stream_.read_some(std::span<char>(chunk_));
    pending_.append(chunk_.data(), bytes);
    co_return bytes > 0;
}

/// Gives false when none comes: the client left or was silent for too long, or we drain. An
/// empty line before a request is allowed, and skipped.
task<bool> connection::wait_for_request() {
    for (;;) {
        pending_.erase(0, pending_.find_first_not_of("\r\n"));
        if (!pending_.empty()) co_return true;
        auto read = toadstone::with_token(draining_, fill());
        const outcome<bool> more =
            co_await toadstone::try_with_timeout(all_.chosen.idle_timeout, std::move(read));
        if (more.is_cancelled() || !more.value()) co_return false;
    }
}

task<bool> connection::read_head(request_parser& parser) {
    for (;;) {
        feed(parser);
        if (parser.head_complete()) co_return true;
        const bool more = co_await fill();
        if (!more) co_return false;
    }
}

task<bool> connection::read_body(request_parser& parser) {
    if (!parser.complete() && parser.expects_continue()) {
        co_await stream_.write_all(std::string_view("HTTP/1.1 100 Continue\r\n\r\n"));
    }
    for (;;) {
        feed(parser);
        if (parser.complete()) co_return true;
        const bool more = co_await fill();
        if (!more) co_return false;
    }
}

/// Gives nothing when the client left in the middle of it. Errors: http_error.
task<std::optional<request>> connection::read_request() {
    request_parser parser(all_.chosen.max_header, all_.chosen.max_body);
    const outcome<bool> head =
        co_await toadstone::try_with_timeout(all_.chosen.header_timeout, read_head(parser));
    if (head.is_cancelled()) throw http_error(408, "the head of the request came too slowly");
    if (!head.value()) co_return std::nullopt;

    deadline_ = toadstone::this_task::now() + all_.chosen.request_timeout;
    const outcome<bool> body =
        co_await toadstone::try_with_timeout(time_left(), read_body(parser));
    if (body.is_cancelled()) throw http_error(408, "the body of the request came too slowly");
    if (!body.value()) co_return std::nullopt;
    co_return parser.take();
}

/// Gives nothing when the client left meanwhile.
task<std::optional<response>> connection::handle(const request& from) {
    const route where = find_route(from);
    if (!where.waits()) co_return answer_at_once(all_, where);
    std::optional<response> answer = co_await handle_in_time(from, where);
    co_return answer;
}

/// Ends, with everything in the scope, when the client has left.
task<> cancel_when_gone(toadstone::io::tcp_stream& client, toadstone::task_scope& scope) {
    co_await client.wait_closed();
    scope.cancel(cancel_reason::requested);
}

/// `answer` stays empty when the client has left.
task<> answer_unless_gone(const service& all, toadstone::io::tcp_stream& client,
                          const request& from, route where, toadstone::task_scope& scope,
                          std::optional<response>& answer) {
    auto watch = scope.spawn(cancel_when_gone(client, scope));
    answer = co_await answer_from_store(all, from, where);
    watch.cancel();
}

/// Nobody waits for the answer to a client that has left, or for longer than the deadline: the
/// handling is cancelled then, wherever it is, and the store repaired if it was at work in it.
task<std::optional<response>> connection::handle_in_time(const request& from, route where) {
    std::optional<response> answer;
    const auto body = [&](toadstone::task_scope& scope) {
        return answer_unless_gone(all_, stream_, from, where, scope, answer);
    };
    outcome<void> ended =
        co_await toadstone::try_with_timeout(time_left(), toadstone::with_scope(body));
    const bool gone = ended.has_value() && !answer;
    if (gone || ended.is_cancelled()) {
        log((gone ? "the client left during " : "out of time: ") + from.method + " " +
            from.target);
    }
    if (all_.operations.poisoned()) co_await toadstone::shield(all_.operations.restore());
    if (ended.is_cancelled()) {
        throw http_error(503, "this took too long; it is unknown whether it has happened");
    }
    ended.value(); // what it failed with
    co_return answer;
}

task<> connection::send(std::string text) {
    co_await toadstone::with_timeout(all_.chosen.request_timeout, stream_.write_all(text));
}

/// Closing with unread bytes resets the connection, and the client may lose the answer that is
/// still on its way. So its rest is read first, for a while.
task<> connection::part() {
    stream_.shutdown_write();
    const auto until = toadstone::this_task::now() + std::chrono::seconds(1);
    for (;;) {
        pending_.clear();
        const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
            until - toadstone::this_task::now());
        const outcome<bool> more = co_await toadstone::try_with_timeout(left, fill());
        if (!more.has_value() || !more.value()) co_return;
    }
}

/// Gives nothing when nobody is there any more to read an answer.
task<std::optional<response>> connection::one_request(framing& how) {
    how.keep_alive = false; // until it is known where the next request begins
    std::optional<request> next;
    std::exception_ptr failure;
    try {
        next = co_await read_request();
    } catch (const http_error&) {
        failure = std::current_exception();
    }
    if (failure) co_return answer_to_failure(failure);
    if (!next) co_return std::nullopt;
    how.keep_alive = next->keep_alive;
    how.http_1_0 = next->http_1_0;
    how.head_only = next->method == "HEAD";
    std::optional<response> answer;
    try {
        answer = co_await handle(*next);
    } catch (...) {
        failure = std::current_exception();
    }
    if (failure) co_return answer_to_failure(failure);
    if (!answer) all_.counts.count_unanswered();
    co_return answer;
}

task<> connection::converse() {
    for (;;) {
        const bool begun = co_await wait_for_request();
        if (!begun) break;
        framing how;
        const std::optional<response> answer = co_await one_request(how);
        if (!answer) co_return;
        if (draining_.cancelled()) how.keep_alive = false;
        all_.counts.count_answer(answer->status);
        co_await send(to_text(*answer, how));
        if (!how.keep_alive) break;
    }
    co_await part();
}

} // namespace

task<> serve_client(const service& all, toadstone::io::tcp_stream stream,
                    toadstone::cancellation_token draining) {
    connection client(all, std::move(stream), std::move(draining));
    co_await client.converse();
}

} // namespace tracker
