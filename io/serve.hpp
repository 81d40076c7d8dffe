// serve: accept on every worker, bound the connections, drain on shutdown.
#ifndef TOADSTONE_IO_SERVE_HPP
#define TOADSTONE_IO_SERVE_HPP

#include <toadstone/io/detail/idle_list.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/task.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <system_error>
#include <type_traits>
#include <utility>

namespace toadstone::io {

/// Where and how serve() listens.
struct listener_options {
    endpoint at = endpoint::loopback(0); ///< port 0: any that is free
    unsigned workers = 0;                ///< how many accept; 0: all of the runtime's
    int backlog = 4096;                  ///< per worker; capped by net.core.somaxconn
    bool v6_only = false;                ///< as in listen_options
};

/// How much a server takes on.
struct serve_limits {
    std::size_t max_connections = 10000; ///< handlers that run at the same time
    /// Of these, those of one IPv4 address, or of one IPv6 network of 64 bits; who comes beyond
    /// is closed at once. 0: no limit.
    std::size_t max_per_address = 0;
    std::chrono::milliseconds drain{
        5000}; ///< how long they may go on once `stop` was asked for
};

/// What a server has done, once it has ended.
struct serve_report {
    std::uint64_t accepted = 0; ///< connections
    /// Of these: closed unserved, because stop came first or their address had its share.
    std::uint64_t refused = 0;
    std::uint64_t failed = 0; ///< handlers that ended with an exception
    std::uint64_t cut = 0;    ///< handlers that the drain did not wait for
    std::size_t peak = 0;     ///< handlers that ran at the same time, at most
};

/// Nobody is accepted for a while, because descriptors or memory are short.
struct accept_trouble {
    endpoint at;           ///< where it listens
    std::error_code error; ///< such as EMFILE: "Too many open files"
};

/// A connection's place among those that a server may have. For handlers that take one.
///
/// Threads: the worker of its connection.
class connection_place {
public:
    /// Nothing would be lost if the connection ended now: it waits for a request. When somebody
    /// needs a place or a descriptor, the connection that has been idle for longest is asked to
    /// leave. Says nothing new when it is idle already.
    void idle() noexcept { entry_.idle(); }
    /// There is a request. The connection may have been asked to leave just before: then finish
    /// the request, and leave.
    void busy() noexcept { entry_.busy(); }

    /// Cancelled when the connection is asked to leave. For with_token(), around what waits for
    /// a request.
    [[nodiscard]] toadstone::cancellation_token asked_to_leave() const noexcept {
        return entry_.asked_to_go().token();
    }

    /// For the library.
    explicit connection_place(detail::idle_list& of) : entry_(of) {}

private:
    detail::idle_entry entry_;
};

/// The default for serve()'s `on_listening`.
struct tell_nobody {
    /// Does nothing.
    void operator()(const endpoint&) const noexcept {}
};
/// The default for serve()'s `on_failure`: one line in the log, standard error unless
/// set_log_sink() says otherwise, with the peer and the exception. None for a peer that has
/// reset its connection; serve_report::failed counts it like the others.
struct log_to_stderr {
    /// A handler has ended with an exception.
    void operator()(const endpoint& peer, const std::exception_ptr& error) const noexcept;
    /// Accepting has to wait.
    void operator()(const accept_trouble& why) const noexcept;
};

namespace detail {

/// A server's callbacks without their types.
class connection_handler {
public:
    virtual toadstone::task<>
    serve_one(tcp_stream stream, toadstone::cancellation_token draining, idle_list& idle) = 0;
    /// The handler says which connections are idle.
    [[nodiscard]] virtual bool knows_who_is_idle() const noexcept = 0;
    virtual toadstone::task<> listening(endpoint at) = 0;
    virtual void failed(const endpoint& peer, const std::exception_ptr& error) = 0;
    virtual void cannot_accept(const accept_trouble& why) = 0;

protected:
    ~connection_handler() = default;
};

[[nodiscard]] toadstone::task<serve_report>
serve_connections(listener_options options, connection_handler& handler, serve_limits limits,
                  toadstone::cancellation_token stop);

template <class Handler, class Listening, class Failure>
class typed_handler final : public connection_handler {
public:
    typed_handler(Handler& handler, Listening& listening, Failure& failure) noexcept
        : handler_(handler), listening_(listening), failure_(failure) {}

    toadstone::task<> serve_one(tcp_stream stream, toadstone::cancellation_token draining,
                                idle_list& idle) override {
        if constexpr (takes_place) {
            return with_place(handler_, std::move(stream), std::move(draining), idle);
        } else if constexpr (std::is_invocable_v<Handler&, tcp_stream,
                                                 toadstone::cancellation_token>) {
            return handler_(std::move(stream), std::move(draining));
        } else {
            return handler_(std::move(stream));
        }
    }
    [[nodiscard]] bool knows_who_is_idle() const noexcept override { return takes_place; }
    toadstone::task<> listening(endpoint at) override {
        if constexpr (std::is_void_v<std::invoke_result_t<Listening&, const endpoint&>>) {
            listening_(at);
            co_return;
        } else {
            co_await listening_(at);
        }
    }
    void failed(const endpoint& peer, const std::exception_ptr& error) override {
        failure_(peer, error);
    }
    void cannot_accept(const accept_trouble& why) override {
        if constexpr (std::is_invocable_v<Failure&, const accept_trouble&>) {
            failure_(why);
        } else {
            failure_(why.at, std::make_exception_ptr(std::system_error(
                                 why.error, "accept on " + why.at.to_string())));
        }
    }

private:
    static constexpr bool takes_place =
        std::is_invocable_v<Handler&, tcp_stream, toadstone::cancellation_token,
                            connection_place&>;

    // The place outlives the handler's frame.
    static toadstone::task<> with_place(Handler& handler, tcp_stream stream,
                                        toadstone::cancellation_token draining,
                                        idle_list& idle) {
        connection_place mine(idle);
        co_await handler(std::move(stream), std::move(draining), mine);
    }

    Handler& handler_;
    Listening& listening_;
    Failure& failure_;
};

template <class Handler, class Listening, class Failure>
toadstone::task<serve_report>
serve_with(listener_options options, Handler handler, serve_limits limits,
           toadstone::cancellation_token stop, Listening on_listening, Failure on_failure) {
    typed_handler<Handler, Listening, Failure> typed(handler, on_listening, on_failure);
    serve_report report = co_await serve_connections(options, typed, limits, std::move(stop));
    co_return report;
}

} // namespace detail

/// A TCP server: accepts on every worker, through a listening socket each, and runs `handler`
/// for each connection on the worker that accepted it, as a task named "conn <peer>".
///
/// `handler` is task<>(tcp_stream), task<>(tcp_stream, cancellation_token draining), or
/// task<>(tcp_stream, cancellation_token draining, connection_place& mine). One copy of it
/// serves all connections, from all workers at the same time, and outlives them. The connection
/// ends when it returns. `draining` is cancelled as soon as `stop` is: finish the request at
/// hand, then return.
///
/// `on_listening(endpoint)` is called once, with the port that is really in use. It may be a
/// task, of work that has to be done with the port taken and before anybody is served: who
/// connects meanwhile waits in the kernel's backlog.
///
/// `on_failure(endpoint peer, std::exception_ptr)` is called, on the worker of the connection,
/// when a handler ends with an exception; the server goes on. `on_failure(accept_trouble)` is
/// called when accepting has to wait because descriptors or memory are short, at most once
/// every ten seconds. If it does not take that, it is called with the endpoint listened on and
/// a std::system_error instead.
///
/// Returns: what happened, after `stop`. Errors: std::system_error when it cannot listen, also
///     when another process listens there; std::invalid_argument for impossible limits; what
///     accept() cannot wait out. All connections have been cancelled and joined by then.
/// Cancellation: `stop` is the polite way: an `on_listening` under way is cancelled, accepting
///     ends and the listeners are closed; after
///     `limits.drain` the handlers that are left are cancelled with cancel_reason::shutdown and
///     joined. Cancelling the task that serves cancels and joins all at once.
/// Fairness: with max_connections handlers running, nobody accepts: new connections wait in the
///     kernel's backlog. Each worker may by then have accepted one more, which waits its turn.
///     With a handler that takes a connection_place, each worker accepts that one more at any
///     time, and the connection that has been idle for longest, or is the next to be idle, is
///     asked to leave for it. Likewise when descriptors are short.
/// Threads: the caller's worker, and those it starts on the others.
template <class Handler, class Listening = tell_nobody, class Failure = log_to_stderr>
[[nodiscard]] toadstone::task<serve_report>
serve(listener_options options, Handler&& handler, serve_limits limits = {},
      toadstone::cancellation_token stop = {}, Listening&& on_listening = {},
      Failure&& on_failure = {}) {
    toadstone::detail::check_closures<Handler, Listening, Failure>();
    return detail::serve_with<std::decay_t<Handler>, std::decay_t<Listening>,
                              std::decay_t<Failure>>(
        options, std::forward<Handler>(handler), limits, std::move(stop),
        std::forward<Listening>(on_listening), std::forward<Failure>(on_failure));
}

} // namespace toadstone::io

#endif
