// The inside of a simulated world: descriptors, connections, and files.
#ifndef TOADSTONE_SIM_KERNEL_STATE_HPP
#define TOADSTONE_SIM_KERNEL_STATE_HPP

#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/sim/kernel/names.hpp>
#include <toadstone/sim/kernel/objects.hpp>
#include <toadstone/sim/world.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace toadstone::sim {

/// Everything of a world that is not one worker's.
class world::state final : public detail::socket_home {
public:
    state(world_options options, sim::choices& dice) : options_(options), dice_(dice) {
        // Summed and multiplied below; a year is as good as never.
        constexpr std::chrono::nanoseconds longest = std::chrono::hours(24 * 365);
        options_.latency = std::clamp(options_.latency, std::chrono::nanoseconds(0), longest);
    }

    [[nodiscard]] detail::time_point now() const noexcept { return now_; }
    void set_now(detail::time_point to) noexcept {
        if (to > now_) now_ = to;
    }
    [[nodiscard]] const world_options& options() const noexcept { return options_; }
    [[nodiscard]] sim::choices& dice() noexcept { return dice_; }
    /// A hostile choice; the tame answer in a tame world.
    unsigned choose(unsigned n, choice about) {
        return options_.hostile && !calm() ? dice_.choose(n, about) : 0;
    }
    /// How much of a transfer that could be this long happens: all of it, one byte, half, all
    /// but one byte. None only of nothing.
    [[nodiscard]] std::size_t part_of(std::size_t size);
    bool network_fault(unsigned one_in) {
        return options_.network_faults && !calm() && dice_.rarely(one_in);
    }
    bool disk_fault(unsigned one_in) {
        return options_.disk_faults && !calm() && dice_.rarely(one_in);
    }
    /// The time of faults is over.
    [[nodiscard]] bool calm() const noexcept {
        return options_.calm_after.count() > 0 && now_ - begun_ >= options_.calm_after;
    }
    /// When it will be over; max() if it never ends, or is over.
    [[nodiscard]] detail::time_point next_calm() const noexcept {
        const bool comes = options_.calm_after.count() > 0 && !calm();
        return comes ? toadstone::detail::deadline_after(begun_, options_.calm_after)
                     : detail::time_point::max();
    }
    /// It has been over for longer than anybody may take to end.
    [[nodiscard]] bool late() const noexcept {
        return options_.calm_after.count() > 0 && calm() &&
               now_ - begun_ - options_.calm_after >= options_.settles_within;
    }

    void mix(std::uint64_t value) noexcept;
    void mix(std::string_view text) noexcept;
    [[nodiscard]] std::uint64_t hash() const noexcept { return hash_; }

    // Descriptors. The lowest free number is used again at once.
    int add(std::shared_ptr<detail::object> what);
    [[nodiscard]] std::shared_ptr<detail::object> find(int fd) const;
    template <class T>
    [[nodiscard]] std::shared_ptr<T> find_as(int fd) const;
    /// 0 or -EBADF.
    int close(int fd);
    [[nodiscard]] std::size_t descriptors() const noexcept;
    /// From then on a new one beyond these is refused with EMFILE; 0: none is.
    void limit_descriptors(std::size_t most) noexcept { options_.max_descriptors = most; }
    /// There is no number for another one: EMFILE.
    [[nodiscard]] bool full() const noexcept {
        return options_.max_descriptors > 0 && descriptors() >= options_.max_descriptors;
    }

    // Network. There is one machine, and every address is its own.
    [[nodiscard]] int bind(const std::shared_ptr<detail::socket_object>& socket,
                           const detail::address& to);
    [[nodiscard]] int listen(const std::shared_ptr<detail::socket_object>& socket, int backlog);
    /// 0, -errno, or -EAGAIN while nobody answers.
    [[nodiscard]] int connect(const std::shared_ptr<detail::socket_object>& socket,
                              const void* name, socklen_t length);
    /// What connect() to nobody does: resets, and ends what waits on the socket.
    [[nodiscard]] int disconnect(detail::socket_object& socket);
    /// connect() would not have to wait.
    [[nodiscard]] bool can_connect(const detail::socket_object& socket, const void* name,
                                   socklen_t length);
    /// The first connection that waits; there is one.
    [[nodiscard]] std::shared_ptr<detail::socket_object> accept(detail::socket_object& from);
    /// Bytes taken, -errno, or -EAGAIN when the operation has to wait.
    [[nodiscard]] int send(detail::socket_object& socket, const std::byte* data,
                           std::size_t size);
    [[nodiscard]] bool can_send(const detail::socket_object& socket) const;
    [[nodiscard]] int receive(detail::socket_object& socket, std::byte* into, std::size_t size);
    [[nodiscard]] bool can_receive(const detail::socket_object& socket) const;
    /// What poll(2) would report.
    [[nodiscard]] int events(const detail::socket_object& socket) const;
    /// Grows with all that would wake who polls it.
    [[nodiscard]] std::uint64_t wakes(const detail::socket_object& socket) const noexcept;
    void send_fin(detail::connection& link, int side);
    [[nodiscard]] int shut_down(detail::socket_object& socket, int how);
    void socket_gone(detail::connection& link, int side, bool abort) noexcept override;
    void deliver() noexcept;
    void set_partitioned(bool on) noexcept { partitioned_ = on; }
    [[nodiscard]] bool partitioned() const noexcept { return partitioned_ && !calm(); }
    /// Whether anything arrives at this side of this connection.
    void set_clogged(std::uint64_t connection, int side, bool on);
    /// Of all connections; `off` also for each by itself.
    void set_all_clogged(int side, bool on);
    /// Also those that are over.
    [[nodiscard]] std::uint64_t connections_made() const noexcept { return next_connection_; }
    void reset_all() noexcept;
    [[nodiscard]] std::size_t open_connections() const noexcept;
    /// When something arrives next; max() if nothing is on its way.
    [[nodiscard]] detail::time_point next_arrival() const noexcept;

    // Pipes.
    /// 0 or -EMFILE.
    [[nodiscard]] int make_pipe(int ends[2], bool nonblocking);
    /// Bytes taken, -errno, or -EAGAIN when there is no room.
    [[nodiscard]] int write(detail::pipe_object& end, const std::byte* data, std::size_t size);
    [[nodiscard]] int read(detail::pipe_object& end, std::byte* into, std::size_t size);
    /// A write, or read, of so many bytes would not have to wait.
    [[nodiscard]] bool can_write(const detail::pipe_object& end, std::size_t size) const;
    [[nodiscard]] bool can_read(const detail::pipe_object& end, std::size_t size) const;
    /// What poll(2) would report.
    [[nodiscard]] int events(const detail::pipe_object& end) const;

    // Files.
    [[nodiscard]] int open_at(int folder, std::string_view path, int flags);
    [[nodiscard]] int write(detail::file_object& file, const std::byte* data, std::size_t size,
                            std::uint64_t offset);
    [[nodiscard]] int read(detail::file_object& file, std::byte* into, std::size_t size,
                           std::uint64_t offset);
    [[nodiscard]] int sync(detail::file_object& file);
    // Each: 0 or -errno. Names are looked up from a folder's descriptor, or AT_FDCWD.
    [[nodiscard]] int rename_at(int from_folder, std::string_view from, int to_folder,
                                std::string_view to, unsigned flags);
    [[nodiscard]] int remove_at(int folder, std::string_view path, unsigned flags);
    [[nodiscard]] int make_folder_at(int folder, std::string_view path);
    /// As getdents64(2), from the position of the folder on: bytes, 0 at the end, or -errno.
    [[nodiscard]] int list(detail::file_object& folder, std::byte* into, std::size_t size);
    void crash_disks();
    void fail_next_sync() noexcept { fail_sync_ = true; }
    [[nodiscard]] const detail::inode* file(std::string_view path) const;
    /// The file of that path is on the disk, with its name and the folders on its way.
    void sync_name(std::string_view path);
    /// With the folders on its way. Errors: std::invalid_argument when it is a folder.
    detail::inode& make_file(std::string_view path);
    /// As above. Errors: std::invalid_argument when a file is in the way.
    void make_folder(std::string_view path);
    void remove_file(std::string_view path);

private:
    static constexpr int first_fd = 1 << 20; // a real call on one fails loudly

    /// What a pipe takes all or not at all.
    [[nodiscard]] std::size_t whole_write() const noexcept {
        return std::min<std::size_t>(4096, options_.stream_capacity);
    }
    [[nodiscard]] std::size_t room_in(const detail::pipe_object& end) const noexcept {
        return options_.stream_capacity - end.buffer->bytes.size();
    }

    [[nodiscard]] bool conflicts(const detail::socket_object& socket, const detail::address& at,
                                 bool to_listen);
    [[nodiscard]] std::uint16_t free_port();
    [[nodiscard]] std::vector<std::shared_ptr<detail::socket_object>>
    listening_at(const detail::address& to);
    void send_rst(detail::connection& link, int side, bool overtakes);
    [[nodiscard]] std::chrono::nanoseconds some_latency();
    /// Behind what is on its way: a stream keeps its order. `slower`: so many times.
    void send_segment(detail::stream& way, std::vector<std::byte> bytes,
                      detail::segment::mark last, unsigned slower = 1);
    [[nodiscard]] bool clogged(const detail::connection& link, int side) const;
    void reset(detail::connection& link, int side) noexcept;
    /// Goes from the folder `name` to where `path` leads, which need not exist. 0 or -errno.
    [[nodiscard]] int walk(std::string_view path, std::string& name) const;
    /// Where it begins: the folder of a descriptor, or the root. 0 or -errno.
    [[nodiscard]] int start_of(int folder, std::string_view path, std::string& name) const;
    /// start_of() and walk().
    [[nodiscard]] int resolve(int folder, std::string_view path, std::string& name) const;
    [[nodiscard]] int rename(const std::string& from, const std::string& to, bool replaces);
    [[nodiscard]] int open_from(std::string name, std::string_view path, int flags);
    [[nodiscard]] int open_folder(std::string_view path, int flags);

    world_options options_;
    sim::choices& dice_;
    static constexpr detail::time_point begun_{std::chrono::hours(24)};
    detail::time_point now_ = begun_;
    std::uint64_t hash_ = 0xcbf29ce484222325;
    std::vector<std::shared_ptr<detail::object>> descriptors_;
    std::vector<std::weak_ptr<detail::connection>> connections_;
    std::vector<std::weak_ptr<detail::socket_object>> bound_; // and accepted
    std::uint16_t next_port_ = 40000;
    std::uint64_t next_connection_ = 0;
    bool partitioned_ = false;
    std::set<std::pair<std::uint64_t, int>> clogged_; // a connection, and the side not reached
    bool all_clogged_[2] = {};
    detail::names names_; // "/" is the working folder, too
    bool fail_sync_ = false;
};

template <class T>
std::shared_ptr<T> world::state::find_as(int fd) const {
    return std::dynamic_pointer_cast<T>(find(fd));
}

namespace detail {

/// Points the slow-path system calls of this thread at a world, for as long as it lives.
class use_world {
public:
    explicit use_world(world::state& world) noexcept;
    ~use_world();
    use_world(const use_world&) = delete;
    use_world& operator=(const use_world&) = delete;

private:
    world::state* outer_world_;
    const toadstone::detail::system_calls* outer_calls_;
};

} // namespace detail
} // namespace toadstone::sim

#endif
