// The server behind serve(): listeners, accept loops, connections, and their end.
#include <toadstone/io/serve.hpp>

#include <toadstone/io/detail/per_address.hpp>
#include <toadstone/io/detail/places.hpp>
#include <toadstone/io/tcp_listener.hpp>
#include <toadstone/runtime/as_outcome.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/task_scope.hpp>
#include <toadstone/runtime/this_task.hpp>
#include <toadstone/runtime/with_timeout.hpp>
#include <toadstone/runtime/with_token.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <limits>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

namespace toadstone::io {
namespace {

// A peer that resets its connection is no news, and could fill the log with it.
bool peer_has_left(const std::exception_ptr& error) noexcept {
    try {
        std::rethrow_exception(error);
    } catch (const std::system_error& why) {
        const std::error_code code = why.code();
        return code.category() == std::generic_category() &&
               (code.value() == ECONNRESET || code.value() == EPIPE ||
                code.value() == ECONNABORTED);
    } catch (...) {
        return false;
    }
}

} // namespace

void log_to_stderr::operator()(const endpoint& peer,
                               const std::exception_ptr& error) const noexcept {
    if (peer_has_left(error)) return;
    try {
        toadstone::log_line("toadstone: the connection from " + peer.to_string() +
                            " failed with " + toadstone::detail::describe_for_log(error));
    } catch (...) {
        toadstone::log_line(
            "toadstone: a connection failed, and there is no memory to say why");
    }
}

void log_to_stderr::operator()(const accept_trouble& why) const noexcept {
    try {
        toadstone::log_line("toadstone: no connection can be accepted on " +
                            why.at.to_string() + " for now: " + why.error.message());
    } catch (...) {
        toadstone::log_line("toadstone: no connection can be accepted for now, and there is no "
                            "memory to say why");
    }
}

namespace detail {
namespace {

/// What all tasks of one server share. Outlives them: serve_connections() joins them.
struct server {
    server(connection_handler& callbacks, const serve_limits& limits)
        : handler(callbacks), room(limits.max_connections), addresses(limits.max_per_address) {}

    connection_handler& handler;
    places room;
    per_address addresses;
    idle_list idle;
    toadstone::cancellation_source draining;
    // Counters; read when everybody has been joined.
    toadstone::detail::atomic<std::uint64_t> accepted{0};
    toadstone::detail::atomic<std::uint64_t> served{0};
    toadstone::detail::atomic<std::uint64_t> failed{0};
    toadstone::detail::atomic<std::size_t> running{0};
    toadstone::detail::atomic<std::size_t> peak{0};
    /// When somebody is told next that accepting has to wait, on the clock's scale.
    toadstone::detail::atomic<std::int64_t> next_complaint{
        std::numeric_limits<std::int64_t>::min()};
};

/// Descriptors are short: who is idle has one to give. And somebody is told, now and then.
class watches_accept final : public accept_watcher {
public:
    explicit watches_accept(server& self) noexcept : self_(self) {}

    void backs_off(const endpoint& at, int error) noexcept override {
        self_.idle.shed_one();
        constexpr std::chrono::steady_clock::duration pause = std::chrono::seconds(10);
        const std::int64_t now = toadstone::this_task::now().time_since_epoch().count();
        std::int64_t next = self_.next_complaint.load(std::memory_order_relaxed);
        if (now < next || !self_.next_complaint.compare_exchange_strong(
                              next, now + pause.count(), std::memory_order_relaxed)) {
            return;
        }
        const accept_trouble why{at, std::error_code(error, std::generic_category())};
        try {
            self_.handler.cannot_accept(why);
        } catch (...) {
            log_to_stderr()(why);
        }
    }

private:
    server& self_;
};

/// A handler that runs, from its first moment to the end of its frame. Not the same as a place:
/// accept loops take those for a moment, too.
class running_one {
public:
    explicit running_one(server& self) noexcept : self_(self) {
        const std::size_t now = self_.running.fetch_add(1, std::memory_order_relaxed) + 1;
        std::size_t peak = self_.peak.load(std::memory_order_relaxed);
        while (now > peak &&
               !self_.peak.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
        }
    }
    ~running_one() { self_.running.fetch_sub(1, std::memory_order_relaxed); }
    running_one(const running_one&) = delete;
    running_one& operator=(const running_one&) = delete;

private:
    server& self_;
};

// Both are given back after the handler's frame, and with it the stream, is gone.
toadstone::task<> run_connection(server& self, tcp_stream stream,
                                 [[maybe_unused]] share_of_address share,
                                 [[maybe_unused]] place held) {
    const running_one counted(self);
    const endpoint peer = stream.peer();
    std::exception_ptr error;
    try {
        co_await self.handler.serve_one(std::move(stream), self.draining.token(), self.idle);
    } catch (...) {
        error = std::current_exception();
    }
    if (!error) co_return;
    self.failed.fetch_add(1, std::memory_order_relaxed);
    try {
        self.handler.failed(peer, error);
    } catch (...) {
        // The server's word was that a failure does not stop it, whoever logs it.
        log_to_stderr()(peer, std::current_exception());
    }
}

/// Waits for a place; with somebody idle, at most until that connection has left.
toadstone::task<place> find_place(server& self) {
    std::optional<demand> wanted;
    if (self.handler.knows_who_is_idle()) {
        std::optional<place> free = self.room.try_enter();
        if (free) co_return std::move(*free);
        wanted.emplace(self.idle);
    }
    place held = co_await self.room.enter();
    co_return held;
}

toadstone::task<> accept_loop(server& self, tcp_listener& listener, task_scope& connections) {
    watches_accept watcher(self);
    for (;;) {
        if (!self.handler.knows_who_is_idle()) {
            // Nobody is accepted before there is room, but no place is kept meanwhile: the next
            // connection may come to another worker.
            const place free = co_await self.room.enter();
        }
        tcp_stream stream =
            co_await listener.accept_watched(&watcher, std::source_location::current());
        self.accepted.fetch_add(1, std::memory_order_relaxed);
        share_of_address share = self.addresses.enter(stream.peer());
        if (!share.admitted()) continue;
        place held = co_await find_place(self);
        const std::string name = "conn " + stream.peer().to_string();
        auto handle = connections.spawn(
            run_connection(self, std::move(stream), std::move(share), std::move(held)),
            {.name = name});
        handle.detach(); // the scope waits for it
        self.served.fetch_add(1, std::memory_order_relaxed);
    }
}

std::vector<tcp_listener> listen_on(const listener_options& options, unsigned workers) {
    std::vector<tcp_listener> listeners;
    listeners.reserve(workers);
    listen_options how;
    how.backlog = options.backlog;
    how.reuse_port = workers > 1;
    how.first_of_port = true;
    how.v6_only = options.v6_only;
    endpoint at = options.at;
    for (unsigned i = 0; i < workers; ++i) {
        listeners.push_back(tcp_listener::bind(at, how));
        at = listeners.front().local_endpoint();
        how.first_of_port = false;
    }
    return listeners;
}

toadstone::task<> accept_everywhere(server& self, std::vector<tcp_listener>& listeners,
                                    task_scope& connections) {
    auto body = [&](task_scope& acceptors) -> toadstone::task<> {
        for (unsigned i = 0; i < listeners.size(); ++i) {
            auto loop = accept_loop(self, listeners[i], connections);
            acceptors
                .spawn(std::move(loop),
                       {.name = "accept", .where = toadstone::placement::worker(i)})
                .detach();
        }
        co_return;
    };
    co_await toadstone::with_scope(body);
}

} // namespace

toadstone::task<serve_report> serve_connections(listener_options options,
                                                connection_handler& handler,
                                                serve_limits limits,
                                                toadstone::cancellation_token stop) {
    if (limits.max_connections == 0) {
        throw std::invalid_argument("serve: max_connections is 0, so nobody could be served");
    }
    const unsigned there = toadstone::detail::executor::current()->peer_count();
    const unsigned workers = options.workers == 0 ? there : std::min(options.workers, there);
    std::vector<tcp_listener> listeners = listen_on(options, workers);
    server self(handler, limits);

    serve_report report;
    const outcome<void> prepared = co_await toadstone::as_outcome(
        toadstone::with_token(stop, handler.listening(listeners.front().local_endpoint())));
    if (prepared.is_cancelled()) co_return report;
    prepared.value(); // what it failed with
    auto body = [&](task_scope& connections) -> toadstone::task<> {
        auto accepting = connections.spawn(accept_everywhere(self, listeners, connections),
                                           {.name = "accept", .token = stop});
        // Its failure is the scope's, which ends the server; so this is `stop`.
        auto stopped = co_await accepting.outcome();
        if (stopped.has_exception()) co_return;
        listeners.clear();
        self.draining.cancel(toadstone::cancel_reason::shutdown);
        auto drained = co_await toadstone::try_with_timeout(limits.drain, self.room.emptied());
        if (drained.is_cancelled()) report.cut = connections.size();
        connections.cancel(toadstone::cancel_reason::shutdown);
    };
    co_await toadstone::with_scope(body);

    report.accepted = self.accepted.load(std::memory_order_relaxed);
    report.refused = report.accepted - self.served.load(std::memory_order_relaxed);
    report.failed = self.failed.load(std::memory_order_relaxed);
    report.peak = self.peak.load(std::memory_order_relaxed);
    co_return report;
}

} // namespace detail
} // namespace toadstone::io
