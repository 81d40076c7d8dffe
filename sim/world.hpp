// The simulated world: a clock, a network and disks that a test commands.
#ifndef TOADSTONE_SIM_WORLD_HPP
#define TOADSTONE_SIM_WORLD_HPP

#include <toadstone/sim/choices.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace toadstone::sim {

/// How hostile a world is. Everything is legal: a real kernel may do it.
struct world_options {
    unsigned workers = 1; ///< simulated, on one thread
    /// Ready tasks that a worker runs before it looks at what others have posted to it. A real
    /// worker runs all that are ready; one at a time gives the most schedules.
    unsigned batch = 1;
    /// Completions late and out of order, short reads and writes, EINTR, partial submission,
    /// every end of a race between a cancellation and its target. Off: the tame kernel.
    bool hostile = true;
    /// Resets, refused connections, accept errors.
    bool network_faults = false;
    /// ENOSPC and EIO on writes, an fsync that fails once.
    bool disk_faults = false;
    /// What POSIX says, and Linux's own file systems are kinder than: a new file can be lost in
    /// a crash, however often it was synced, until its folder was.
    bool strict_folders = false;
    /// From one end of a connection to the other. In a hostile world it is another one for each
    /// direction of each connection, from a fifth to twenty times as long.
    std::chrono::nanoseconds latency{50'000};
    /// Bytes that a connection holds in each direction before a writer has to wait.
    std::size_t stream_capacity = 65536;
    unsigned listen_backlog = 128; ///< connections that wait to be accepted
    /// Descriptors that may be open at the same time, the clients' too; then sockets, files and
    /// accepts fail with EMFILE. 0: no limit.
    std::size_t max_descriptors = 0;
    /// From this virtual time on the world is tame: no faults, no delays, partitions healed,
    /// nothing clogged. The scenario then has to end within `settles_within`. Zero: never.
    std::chrono::nanoseconds calm_after{0};
    /// Of virtual time, once the world is calm.
    std::chrono::nanoseconds settles_within = std::chrono::minutes(1);
    /// At its end, every block that the tasks of a run have allocated has to be free again.
    /// Needs failing_new.hpp in the program; not for scenarios that keep what they find in
    /// variables outside, or that free something on another thread.
    bool all_memory_back = false;
    /// Turns after which a run counts as a livelock.
    std::uint64_t most_steps = 2'000'000;
};

/// One of the two ends of a connection, or both.
enum class side : unsigned char {
    connector, ///< who called connect()
    acceptor,  ///< whom accept() gives
    both,
};

/// What a scenario may do to its world, and see of it. One per run.
///
/// Threads: the simulation's one thread.
class world {
public:
    class state;
    /// For the library.
    explicit world(state& inside) noexcept : state_(inside) {}
    world(const world&) = delete;
    world& operator=(const world&) = delete;

    /// The virtual time.
    [[nodiscard]] std::chrono::steady_clock::time_point now() const noexcept;
    /// The run's decisions; a scenario that chooses by itself does it here.
    [[nodiscard]] sim::choices& choices() noexcept;
    /// Takes part in the hash that proves determinism.
    void note(std::string_view event) noexcept;

    /// Nothing arrives any more until heal().
    void partition() noexcept;
    /// Ends what partition() began.
    void heal() noexcept;
    /// From now on nothing arrives at `at` of one connection, while the others go on, until
    /// unclog() or until the world is calm. What is sent is on its way for so long, as much as
    /// a connection holds. Connections are numbered from 0 in the order in which they are made;
    /// one that is still to be made can be clogged, too.
    void clog(std::size_t connection, side at = side::both);
    /// Lets a clogged direction go on.
    void unclog(std::size_t connection, side at = side::both);
    /// Every connection, those too that are still to be made: making them is not held up.
    void clog_all(side at = side::both);
    /// Ends clog() and clog_all().
    void unclog_all(side at = side::both);
    /// Connections made so far, and so the number of the next one.
    [[nodiscard]] std::size_t connections_made() const noexcept;
    /// Resets every connection that is open; bytes on their way are lost.
    void reset_connections() noexcept;
    /// Connections that neither end has closed.
    [[nodiscard]] std::size_t open_connections() const noexcept;

    /// The content as a reader would see it now; nothing if there is no such file.
    [[nodiscard]] std::optional<std::string> file(std::string_view path) const;
    /// Makes the folders on its way, too. Errors: as make_folder().
    void put_file(std::string_view path, std::string_view content);
    /// Somebody else removes it, at once and durably. Who has it open goes on with it. Does
    /// nothing when there is none.
    void remove_file(std::string_view path);
    /// At first there are "/", which is the working folder, and "/tmp"; a file can only be made
    /// in a folder that exists. Makes those on its way, too. Errors: std::invalid_argument when
    /// a file is in the way.
    void make_folder(std::string_view path);
    /// Power fails: of what was not synced, each sector of 512 bytes is kept or lost by choice,
    /// and so is a file whose directory entry was never synced.
    void crash_disks();
    /// The next fsync fails with EIO. What it should have made durable can still be read, and
    /// is lost in a crash, whatever is synced later, unless it is written again.
    void fail_next_sync() noexcept;

    /// Descriptors that are open in the simulation.
    [[nodiscard]] std::size_t descriptors() const noexcept;

private:
    state& state_;
};

} // namespace toadstone::sim

#endif
