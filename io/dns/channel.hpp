// One of c-ares's channels, for one name at a time.
#ifndef TOADSTONE_IO_DNS_CHANNEL_HPP
#define TOADSTONE_IO_DNS_CHANNEL_HPP

#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/readiness.hpp>
#include <toadstone/io/resolve_error.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

struct ares_channeldata;
struct ares_addrinfo;

namespace toadstone::io {
struct resolver_options;
}

namespace toadstone::io::detail {

/// Asks the servers for the addresses of one name. It waits for nothing: whoever has it waits
/// for its sockets, for as long as it says, and lets it go on.
///
///     idle -> ask() -> waiting -> go_on()... -> answered -> reset() -> idle
///
/// Threads: one at a time, any.
/// Shape: on the heap, since c-ares has its address.
class channel {
public:
    struct socket {
        int fd;
        events wanted;
    };

    /// Reads resolv_conf, unless the options leave nothing to be read there.
    ///
    /// Errors: std::bad_alloc; std::system_error (EMFILE and what else keeps a file from being
    ///     read).
    explicit channel(const resolver_options& options);
    channel(const channel&) = delete;
    channel& operator=(const channel&) = delete;
    /// A query that is under way is given up: its sockets are closed.
    ~channel();

    /// Sends the first questions. The name has no zero byte.
    void ask(const std::string& name, endpoint::family of);
    [[nodiscard]] bool answered() const noexcept { return answered_; }
    /// To be waited for; they may change whenever it goes on.
    [[nodiscard]] std::span<const socket> sockets() const noexcept { return sockets_; }
    /// When it wants to go on, whatever the sockets say.
    [[nodiscard]] std::chrono::milliseconds time_left() const noexcept;
    /// A socket is ready; -1 where none is: time has passed.
    /// Errors: std::bad_alloc.
    void go_on(int fd, events came);

    /// Of one that is answered: nothing, or why there are no addresses.
    /// Errors: std::bad_alloc.
    [[nodiscard]] std::optional<resolve_failure> failure() const;
    /// Of one that is answered, in c-ares's order.
    [[nodiscard]] std::vector<endpoint> addresses(std::uint16_t port) const;

    /// Gives up what is under way, and forgets the answer. False: it is of no use any more.
    [[nodiscard]] bool reset() noexcept;

private:
    static void on_answer(void* self, int status, int timeouts, ares_addrinfo* found) noexcept;
    static void on_socket(void* self, int fd, int readable, int writable) noexcept;
    void watch(int fd, events wanted);
    void check_memory();

    ares_channeldata* channel_ = nullptr;
    std::vector<socket> sockets_;
    ares_addrinfo* found_ = nullptr;
    int status_ = 0;
    bool answered_ = false;
    bool no_memory_ = false; ///< for a socket that should be in the list
};

} // namespace toadstone::io::detail

#endif
