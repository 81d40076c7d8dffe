// The inside of a simulated world: descriptors, connections, files, and the kernels that serve
// the workers' rings.
#ifndef TOADSTONE_SIM_KERNEL_STATE_HPP
#define TOADSTONE_SIM_KERNEL_STATE_HPP

#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/runtime/uring/kernel.hpp>
#include <toadstone/sim/kernel/objects.hpp>
#include <toadstone/sim/world.hpp>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace toadstone::sim {

/// Everything of a world that is not one worker's.
class world::state final : public detail::socket_home {
public:
    state(world_options options, sim::choices& dice) : options_(options), dice_(dice) {}

    [[nodiscard]] detail::time_point now() const noexcept { return now_; }
    void set_now(detail::time_point to) noexcept {
        if (to > now_) now_ = to;
    }
    [[nodiscard]] const world_options& options() const noexcept { return options_; }
    [[nodiscard]] sim::choices& dice() noexcept { return dice_; }
    /// A hostile choice; the tame answer in a tame world.
    unsigned choose(unsigned n, choice about) {
        return options_.hostile ? dice_.choose(n, about) : 0;
    }
    bool network_fault(unsigned one_in) {
        return options_.network_faults && dice_.rarely(one_in);
    }
    bool disk_fault(unsigned one_in) { return options_.disk_faults && dice_.rarely(one_in); }

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

    // Network.
    [[nodiscard]] int bind(detail::socket_object& socket, std::uint16_t port);
    [[nodiscard]] int listen(const std::shared_ptr<detail::socket_object>& socket, int backlog);
    [[nodiscard]] int connect(detail::socket_object& socket, std::uint16_t port);
    /// Bytes taken, -errno, or -EAGAIN when the operation has to wait.
    [[nodiscard]] int send(detail::socket_object& socket, const std::byte* data,
                           std::size_t size);
    [[nodiscard]] int receive(detail::socket_object& socket, std::byte* into, std::size_t size,
                              bool peek_only);
    void send_fin(detail::connection& link, int side);
    [[nodiscard]] int shut_down(detail::socket_object& socket, int how);
    void socket_gone(detail::connection& link, int side) noexcept override;
    void reset(detail::connection& link) noexcept;
    void deliver() noexcept;
    void set_partitioned(bool on) noexcept { partitioned_ = on; }
    void reset_all() noexcept;
    [[nodiscard]] std::size_t open_connections() const noexcept;
    /// When something arrives next; max() if nothing is on its way.
    [[nodiscard]] detail::time_point next_arrival() const noexcept;

    // Files.
    [[nodiscard]] int open(std::string_view path, int flags);
    [[nodiscard]] int write(detail::file_object& file, const std::byte* data, std::size_t size,
                            std::uint64_t offset);
    [[nodiscard]] int read(detail::file_object& file, std::byte* into, std::size_t size,
                           std::uint64_t offset);
    [[nodiscard]] int sync(detail::file_object& file);
    void crash_disks();
    void fail_next_sync() noexcept { fail_sync_ = true; }
    [[nodiscard]] const detail::inode* file(std::string_view path) const;
    detail::inode& make_file(std::string_view path);

private:
    static constexpr int first_fd = 1 << 20; // a real call on one fails loudly

    world_options options_;
    sim::choices& dice_;
    detail::time_point now_{std::chrono::hours(24)};
    std::uint64_t hash_ = 0xcbf29ce484222325;
    std::vector<std::shared_ptr<detail::object>> descriptors_;
    std::vector<std::weak_ptr<detail::connection>> connections_;
    std::vector<std::weak_ptr<detail::socket_object>> listeners_;
    std::uint16_t next_port_ = 40000;
    std::uint64_t next_connection_ = 0;
    bool partitioned_ = false;
    std::map<std::string, std::shared_ptr<detail::inode>, std::less<>> directory_;
    bool fail_sync_ = false;
};

template <class T>
std::shared_ptr<T> world::state::find_as(int fd) const {
    return std::dynamic_pointer_cast<T>(find(fd));
}

namespace detail {

/// The kernel behind one worker's ring. Never blocks: when nothing can complete, the driver
/// moves the clock.
class sim_kernel final : public toadstone::detail::kernel {
public:
    explicit sim_kernel(world::state& world) noexcept;
    ~sim_kernel();

    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override;
    void teardown(io_uring& ring) noexcept override;
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override;
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override;
    std::chrono::steady_clock::time_point now() noexcept override { return world_.now(); }
    std::uint64_t entropy() noexcept override { return world_.choose(256, choice::timing); }

    /// Something submitted could complete now.
    [[nodiscard]] bool can_progress() noexcept;
    /// Operations that the runtime has handed over and that have not had their last completion.
    [[nodiscard]] std::size_t in_flight() const noexcept { return pending_.size(); }
    /// In a run that has to come to its end: no more delays.
    void be_prompt() noexcept { prompt_ = true; }

private:
    struct memory;
    /// What the kernel reads of a submission entry; it copies it, and so the entry is free
    /// again.
    struct submission {
        submission() = default;
        explicit submission(const io_uring_sqe& entry) noexcept
            : opcode(entry.opcode), fd(entry.fd), off(entry.off), addr(entry.addr),
              len(entry.len), flags(entry.rw_flags), user_data(entry.user_data) {}
        std::uint8_t opcode = IORING_OP_NOP;
        int fd = -1;
        std::uint64_t off = 0; ///< or a second address
        std::uint64_t addr = 0;
        std::uint32_t len = 0;
        int flags = 0;
        std::uint64_t user_data = 0;
    };
    struct request {
        std::shared_ptr<object> file;
        unsigned delays = 0;
        int forced = 0; // != 0: how it ends, whatever it could do
        submission entry;
    };

    [[nodiscard]] static bool known(std::uint8_t opcode) noexcept;
    void accept_entry(const io_uring_sqe& entry);
    void cancel(const io_uring_sqe& entry);
    void progress();
    /// True: it has completed, with `result`. `probe` only asks whether it could.
    [[nodiscard]] bool attempt(request& what, int& result, bool probe);
    [[nodiscard]] bool attempt_socket(request& what, int& result, bool probe);
    [[nodiscard]] bool attempt_file(request& what, int& result, bool probe);
    void post(std::uint64_t user_data, int result);
    void flush_overflow();

    world::state& world_;
    std::unique_ptr<memory> memory_;
    std::vector<request> pending_;
    bool prompt_ = false;
};

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
