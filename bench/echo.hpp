// The parts of the echo bench: a load generator, and the server that is the limit.
#ifndef TOADSTONE_BENCH_ECHO_HPP
#define TOADSTONE_BENCH_ECHO_HPP

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace bench {

/// How a load looks: connections, each with `depth` messages of `size` bytes under way.
struct load_shape {
    unsigned connections = 1;
    std::size_t size = 64;
    unsigned depth = 1;
};

/// Keeps connections to an echo server on this machine and drives requests through them, with
/// epoll: it shares nothing with what it measures. Ends the process with a sentence when a
/// server does not answer for ten seconds or answers wrongly.
class load_generator {
public:
    load_generator(std::uint16_t port, load_shape shape);
    ~load_generator();
    load_generator(const load_generator&) = delete;
    load_generator& operator=(const load_generator&) = delete;

    /// Sends `requests` messages, shared evenly, and waits for all replies.
    void run(std::uint64_t requests);

    /// The same in lock-step: a message on each connection, then their replies, and so on. A
    /// server that runs only while this waits serves all of them in each turn of its loop.
    void run_in_step(std::uint64_t requests);

private:
    struct connection {
        int fd = -1;
        std::uint64_t unsent = 0; ///< messages of this run
        std::uint64_t unanswered = 0;
        std::size_t partial = 0; ///< bytes of a message that has come in part
    };
    void send(connection& to, std::uint64_t messages);
    void receive(connection& from);
    void begin(connection& with, std::uint64_t messages);
    void await_replies();

    load_shape shape_;
    int poll_ = -1;
    std::vector<connection> connections_;
    std::vector<std::byte> out_;
    std::vector<std::byte> in_;
    unsigned busy_ = 0;
};

constexpr std::size_t echo_buffer = 16 * 1024; ///< per connection, in all servers

/// Where a server listens. A connection to `stop`, where that is not 0, ends it.
struct server_ports {
    std::uint16_t echo = 0;
    std::uint16_t stop = 0;
};
using ready_call = std::function<void(server_ports)>;

/// For a load: ends the server behind `port`, and returns when it has taken notice.
void stop_server(std::uint16_t port);

/// Servers, each in the thread that calls it. `ready` is told its ports; a server without one
/// for stopping returns when `connections` have come and closed. 0, or 1 with a sentence on
/// stderr.
using server = int (*)(unsigned connections, const ready_call& ready);

/// Nothing between it and the ring: plain recv and send, one ring, SINGLE_ISSUER |
/// DEFER_TASKRUN.
int serve_raw(unsigned connections, const ready_call& ready);
/// A loop of read_some and write_all: no serve(), no deadlines.
int serve_bare(unsigned connections, const ready_call& ready);
/// The same with recv(), which receives ahead.
int serve_received(unsigned connections, const ready_call& ready);
/// examples/echo_server.hpp with its defaults: limits, deadlines and draining. One worker.
int serve_shipped(unsigned connections, const ready_call& ready);
/// The same, but without deadlines.
int serve_without_deadlines(unsigned connections, const ready_call& ready);

/// From now on those of toadstone end the process from inside, for callgrind:
/// valgrind 3.19 runs one thread at a time and does not know that io_uring_enter(2) waits.
void leave_from_inside() noexcept;

} // namespace bench

#endif
