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

private:
    struct connection {
        int fd = -1;
        std::uint64_t unsent = 0; ///< messages of this run
        std::uint64_t unanswered = 0;
        std::size_t partial = 0; ///< bytes of a message that has come in part
    };
    void send(connection& to, std::uint64_t messages);
    void receive(connection& from);

    load_shape shape_;
    int poll_ = -1;
    std::vector<connection> connections_;
    std::vector<std::byte> out_;
    std::vector<std::byte> in_;
    unsigned busy_ = 0;
};

constexpr std::size_t echo_buffer = 16 * 1024; ///< per connection, in both servers

/// Echoes with nothing between it and the ring: plain recv and send, one ring, SINGLE_ISSUER |
/// DEFER_TASKRUN. Accepts `connections`, tells `ready` its port, and returns when all of them
/// have closed. 0, or 1 with a sentence on stderr.
int serve_raw(unsigned connections, const std::function<void(std::uint16_t)>& ready);

} // namespace bench

#endif
