// What simulated descriptors refer to: sockets, pipes, files, events.
#ifndef TOADSTONE_SIM_KERNEL_OBJECTS_HPP
#define TOADSTONE_SIM_KERNEL_OBJECTS_HPP

#include <toadstone/sim/kernel/address.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace toadstone::sim::detail {

struct connection;

/// Told of what a destroyed socket leaves behind.
class socket_home {
public:
    /// `abort`: without a goodbye, as by a socket that nobody accepted.
    virtual void socket_gone(connection& link, int side, bool abort) noexcept = 0;

protected:
    ~socket_home() = default;
};

using time_point = std::chrono::steady_clock::time_point;

/// An open file description. Descriptors and operations in flight share it, as in the kernel:
/// closing the descriptor ends nothing that is in flight.
struct object {
    enum class kind : unsigned char { event, socket, pipe, file };
    explicit object(kind what) noexcept : type(what) {}
    object(const object&) = delete;
    object& operator=(const object&) = delete;
    virtual ~object() = default;
    kind type;
};

struct event_object final : object {
    event_object() noexcept : object(kind::event) {}
    std::uint64_t count = 0;
};

struct segment {
    time_point arrives;
    std::vector<std::byte> bytes;
    enum class mark : unsigned char { none, fin, rst } last = mark::none;
};

/// One direction of a connection.
struct stream {
    std::chrono::nanoseconds latency{};
    std::deque<segment> in_flight;
    std::deque<std::byte> ready;
    std::size_t held = 0;      ///< bytes in flight and ready
    bool fin_sent = false;     ///< its writer has said that it is done
    bool fin_arrived = false;  ///< and its reader knows
    bool refused = false;      ///< its reader has shut it
    std::uint64_t sent = 0;    ///< bytes that ever went in
    std::uint64_t arrived = 0; ///< and that came to its end, or to nobody there
    // What a poll that goes on is told of.
    std::uint64_t arrivals = 0;  ///< times that its reader was woken
    std::uint64_t vacancies = 0; ///< times that its writer was
};

/// Both directions. Side 0 connected, side 1 accepted.
struct connection {
    stream to[2];        ///< to[i]: what side i receives
    bool closed[2] = {}; ///< that side's socket is gone
    bool reset[2] = {};  ///< that side knows that the connection is gone
    int error[2] = {};   ///< what the next call of that side reports, once
    std::uint64_t number = 0;

    /// Nothing of the first so many bytes to this side is on its way any more.
    [[nodiscard]] bool has_come_to(int side, std::uint64_t bytes) const noexcept {
        return to[side].in_flight.empty() || to[side].arrived >= bytes;
    }
};

struct socket_object final : object {
    socket_object(socket_home& of, int which) noexcept
        : object(kind::socket), home(of), family(which), own{any_host(which)} {}
    ~socket_object() override {
        if (link) home.socket_gone(*link, side, aborts);
        for (auto& each : arrivals) home.socket_gone(*each.link, 1, true);
    }

    enum class state : unsigned char { fresh, listening, connected };
    socket_home& home;
    int family; ///< AF_INET or AF_INET6
    state now = state::fresh;
    bool reuse_address = false;
    bool reuse_port = false;
    bool only_v6 = false; ///< "any" of IPv6 is not any of IPv4
    bool aborts = false;  ///< SO_LINGER with 0 seconds: closing it resets
    address own;          ///< without a port: not bound
    address peer;
    std::shared_ptr<connection> link;
    int side = 0;
    /// Of one that is connecting: who will have it. Of several at a port one is chosen once, as
    /// by a hash of the addresses; a full one is tried again and again.
    std::weak_ptr<socket_object> chosen;
    unsigned backlog = 0;
    /// Connections made and not accepted.
    struct arrival {
        std::shared_ptr<connection> link;
        address from;
        address to;
    };
    std::deque<arrival> arrivals;
    std::uint64_t wakes = 0; ///< of who polls it for connections
    /// Accepts that wait, each by its number, in order. Whoever comes wakes one, which is taken
    /// out; whatever becomes of that, no other one learns of the connection.
    std::vector<std::uint64_t> sleepers;
    std::uint64_t next_sleeper = 0;
    int error = 0; ///< of one that was disconnected: what the next call reports, once
    [[nodiscard]] bool is_full() const noexcept { return arrivals.size() >= backlog; }
    [[nodiscard]] bool sleeps(std::uint64_t number) const noexcept {
        return std::find(sleepers.begin(), sleepers.end(), number) != sleepers.end();
    }
};

/// What is in a pipe, and how many open file descriptions there are of each end.
struct pipe_buffer {
    std::deque<std::byte> bytes;
    unsigned readers = 0;
    unsigned writers = 0;
};

struct pipe_object final : object {
    pipe_object(std::shared_ptr<pipe_buffer> of, bool to_write, bool never_waits)
        : object(kind::pipe), buffer(std::move(of)), writes(to_write),
          nonblocking(never_waits) {
        ++(writes ? buffer->writers : buffer->readers);
    }
    ~pipe_object() override { --(writes ? buffer->writers : buffer->readers); }

    std::shared_ptr<pipe_buffer> buffer;
    bool writes;
    bool nonblocking;
};

/// A file: what readers see, and what a failure of power leaves.
struct file_object;
struct inode {
    static constexpr std::size_t page = 4096;
    std::vector<std::byte> cached;
    std::vector<std::byte> durable;
    /// Pages that are to be written back. A failed fsync forgets them, as Linux does: what they
    /// hold is seen until the power fails, and never gets to the disk unless written again.
    std::set<std::size_t> dirty;
    /// Open file descriptions that have it locked: one alone, or any number that share it.
    const file_object* locked_by = nullptr;
    std::set<const file_object*> shared_by;

    void touch(std::size_t from, std::size_t to) {
        for (std::size_t at = from / page; at * page < to; ++at) dirty.insert(at);
    }
    /// Calls `fn(begin, end)` for each dirty page that is within the file.
    template <class Fn>
    void for_each_dirty(Fn&& fn) const {
        for (const std::size_t each : dirty) {
            const std::size_t end = std::min((each + 1) * page, cached.size());
            if (each * page < end) fn(each * page, end);
        }
    }
};

struct file_object final : object {
    explicit file_object(std::shared_ptr<inode> of) noexcept
        : object(kind::file), node(std::move(of)) {}
    ~file_object() override { unlock(); }

    // The end of the description ends its lock, whatever descriptors it had.
    void unlock() noexcept {
        node->shared_by.erase(this);
        if (node->locked_by == this) node->locked_by = nullptr;
    }
    /// False: somebody else's lock is in the way, and nothing has changed.
    [[nodiscard]] bool lock(bool alone) {
        const bool others = node->shared_by.size() > node->shared_by.count(this);
        if (node->locked_by && node->locked_by != this) return false;
        if (alone && others) return false;
        unlock();
        if (alone) {
            node->locked_by = this;
        } else {
            node->shared_by.insert(this);
        }
        return true;
    }

    std::shared_ptr<inode> node;
    std::size_t position = 0;
    bool readable = true;
    bool writable = false;
    bool append = false;
    bool folder = false; ///< `node` is empty and nobody else's
    std::string path;    ///< of a folder
};

} // namespace toadstone::sim::detail

#endif
