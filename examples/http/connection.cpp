// Reading requests, racing their handling against the client and the clock, answering.
#include "connection.hpp"

#include "parser.hpp"

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/shield.hpp>
#include <toadstone/runtime/task_scope.hpp>
#include <toadstone/runtime/this_task.hpp>
#include <toadstone/runtime/with_timeout.hpp>
#include <toadstone/runtime/with_token.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <exception>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <variant>

namespace http {
namespace {

using toadstone::cancel_reason;
using toadstone::outcome;
using toadstone::task;
using clock = std::chrono::steady_clock;

// Answers go out in pieces, with others served in between.
constexpr std::size_t piece = std::size_t{16} * 1024;

class connection {
public:
    connection(site& all, toadstone::io::tcp_stream&& stream,
               toadstone::cancellation_token&& draining, toadstone::io::connection_place& place)
        : all_(all), stream_(std::move(stream)), draining_(std::move(draining)), place_(place),
          asked_to_leave_(place.asked_to_leave()) {
        all_.counts().connection_begins();
    }
    ~connection() { all_.counts().connection_ends(); }
    connection(const connection&) = delete;
    connection& operator=(const connection&) = delete;

    task<> converse();

private:
    [[nodiscard]] task<bool> fill();
    [[nodiscard]] task<bool> wait_for_bytes(bool begun);
    [[nodiscard]] task<bool> read_head(request_parser& parser);
    [[nodiscard]] task<bool> read_body(request_parser& parser);
    [[nodiscard]] task<std::optional<request>> read_request();
    [[nodiscard]] task<std::optional<response>> handle(const request& from);
    [[nodiscard]] task<std::optional<response>> handle_in_time(const request& from,
                                                               task<response> what);
    [[nodiscard]] task<std::optional<response>> one_request(framing& how);
    [[nodiscard]] task<> send_pieces(const response& answer, const framing& how);
    [[nodiscard]] task<> part();

    void feed(request_parser& parser) { pending_.erase(0, parser.feed(pending_)); }
    [[nodiscard]] std::chrono::milliseconds time_left() const {
        return std::chrono::duration_cast<std::chrono::milliseconds>(
            deadline_ - toadstone::this_task::now());
    }

    site& all_;
    toadstone::io::tcp_stream stream_;
    toadstone::cancellation_token draining_;
    toadstone::io::connection_place& place_;
    toadstone::cancellation_token asked_to_leave_;
    std::string pending_;        // bytes that arrived and belong to no request yet
    clock::time_point deadline_; // of the head to come, then of the request at hand
    bool gone_ = false;          // in the middle of a request: nobody reads what we say
    std::array<char, 4096> chunk_;
};

/// Gives false at the end of the stream.
task<bool> connection::fill() {
    const std::size_t bytes = co_await stream_.read_some(std::span<char>(chunk_));
    pending_.append(chunk_.data(), bytes);
    co_return bytes > 0;
}

/// For the head of a request, which has `begun`, or none of it is there. Gives false when
/// nothing more of it comes: the client left, or has to leave.
///
/// Errors: error when it comes too slowly.
task<bool> connection::wait_for_bytes(bool begun) {
    // It may be so already: what counts is how long no request has been served.
    place_.idle();
    auto draining = begun ? toadstone::cancellation_token() : draining_;
    auto read = toadstone::with_token(asked_to_leave_, fill());
    auto both = toadstone::with_token(std::move(draining), std::move(read));
    const outcome<bool> more =
        co_await toadstone::try_with_timeout(time_left(), std::move(both));
    if (!more.is_cancelled()) co_return more.value();
    if (!begun || asked_to_leave_.cancelled()) co_return false;
    throw error(408, "the head of the request came too slowly");
}

/// The whole head has to be there before the deadline. Neither its single bytes nor the empty
/// lines that may come before it put that off.
task<bool> connection::read_head(request_parser& parser) {
    bool begun = false;
    for (;;) {
        if (!begun) pending_.erase(0, pending_.find_first_not_of("\r\n"));
        if (!begun && !pending_.empty()) {
            begun = true;
            deadline_ =
                std::min(deadline_, toadstone::this_task::now() + all_.bounds().header_timeout);
        }
        feed(parser);
        if (parser.head_complete()) co_return true;
        const bool more = co_await wait_for_bytes(begun);
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

/// Gives nothing when none comes: the client left, in the middle of it or before, was silent
/// for too long, has to make room, or we drain. Errors: error.
task<std::optional<request>> connection::read_request() {
    request_parser parser(all_.bounds().max_header, all_.bounds().max_body);
    const bool head = co_await read_head(parser);
    place_.busy();
    if (!head) co_return std::nullopt;

    deadline_ = toadstone::this_task::now() + all_.bounds().request_timeout;
    const outcome<bool> body =
        co_await toadstone::try_with_timeout(time_left(), read_body(parser));
    if (body.is_cancelled()) throw error(408, "the body of the request came too slowly");
    gone_ = !body.value();
    if (gone_) co_return std::nullopt;
    co_return parser.take();
}

/// Gives nothing when the client left meanwhile.
task<std::optional<response>> connection::handle(const request& from) {
    std::variant<response, work> how = all_.answer(from);
    if (auto* const at_once = std::get_if<response>(&how)) co_return std::move(*at_once);
    work& what = std::get<work>(how);
    std::optional<answer_budget::share> memory = all_.answers().take(what.bytes);
    if (!memory) {
        throw error(503, "too many answers are under way, come back a little later", {}, 1);
    }
    std::optional<response> answer = co_await handle_in_time(from, std::move(what.answer));
    if (answer) {
        memory->resize(answer->body.size());
        answer->memory = std::move(*memory);
    }
    co_return answer;
}

/// Ends, with everything in the scope, when the client has left.
task<> cancel_when_gone(toadstone::io::tcp_stream& client, toadstone::task_scope& scope) {
    co_await client.wait_closed();
    scope.cancel(cancel_reason::requested);
}

/// `answer` stays empty when the client has left.
task<> answer_unless_gone(toadstone::io::tcp_stream& client, task<response>& what,
                          toadstone::task_scope& scope, std::optional<response>& answer) {
    auto watch = scope.spawn(cancel_when_gone(client, scope));
    answer = co_await std::move(what);
    watch.cancel();
}

/// Nobody waits for the answer to a client that has left, or for longer than the deadline: the
/// work is cancelled then, wherever it is, and what it has left behind is seen to.
task<std::optional<response>> connection::handle_in_time(const request& from,
                                                         task<response> what) {
    std::optional<response> answer;
    const auto body = [&](toadstone::task_scope& scope) {
        return answer_unless_gone(stream_, what, scope, answer);
    };
    outcome<void> ended =
        co_await toadstone::try_with_timeout(time_left(), toadstone::with_scope(body));
    const bool gone = ended.has_value() && !answer;
    if (gone || ended.is_cancelled()) {
        all_.log((gone ? "the client left during " : "out of time: ") + from.method + " " +
                 from.target);
    }
    if (all_.unsettled()) co_await toadstone::shield(all_.settle());
    if (ended.is_cancelled()) {
        throw error(503, "this took too long; it is unknown whether it has happened");
    }
    ended.value(); // what it failed with
    co_return answer;
}

task<> connection::send_pieces(const response& answer, const framing& how) {
    std::string first = head_of(answer, how);
    std::string_view rest = how.head_only ? std::string_view() : std::string_view(answer.body);
    first.append(rest.substr(0, piece));
    rest.remove_prefix(std::min(rest.size(), piece));
    co_await stream_.write_all(first);
    while (!rest.empty()) {
        co_await toadstone::yield_now();
        co_await stream_.write_all(rest.substr(0, piece));
        rest.remove_prefix(std::min(rest.size(), piece));
    }
}

/// Closing with unread bytes resets the connection, and the client may lose the answer that is
/// still on its way. So its rest is read first, for a while, unless it has no end.
task<> connection::part() {
    stream_.shutdown_write();
    const auto until = toadstone::this_task::now() + std::chrono::seconds(1);
    constexpr std::size_t most = std::size_t{1} << 20;
    for (std::size_t read = 0; read < most; read += pending_.size()) {
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
    } catch (const error&) {
        failure = std::current_exception();
    }
    if (failure) co_return all_.answer_to_failure(failure);
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
    if (failure) co_return all_.answer_to_failure(failure);
    gone_ = !answer;
    if (gone_) all_.counts().count_unanswered();
    co_return answer;
}

task<> connection::converse() {
    for (;;) {
        deadline_ = toadstone::this_task::now() + all_.bounds().idle_timeout;
        framing how;
        const std::optional<response> answer = co_await one_request(how);
        if (!answer) break;
        if (draining_.cancelled() || asked_to_leave_.cancelled()) how.keep_alive = false;
        all_.counts().count_answer(answer->status);
        co_await toadstone::with_timeout(all_.bounds().request_timeout,
                                         send_pieces(*answer, how));
        if (!how.keep_alive) break;
    }
    if (!gone_ && !asked_to_leave_.cancelled()) co_await part();
}

} // namespace

task<> serve_client(site& all, toadstone::io::tcp_stream stream,
                    toadstone::cancellation_token draining,
                    toadstone::io::connection_place& place) {
    connection client(all, std::move(stream), std::move(draining), place);
    co_await client.converse();
}

} // namespace http
