// signal_set: waiting for signals.
#ifndef TOADSTONE_IO_SIGNAL_SET_HPP
#define TOADSTONE_IO_SIGNAL_SET_HPP

#include <toadstone/runtime/task.hpp>

#include <initializer_list>
#include <memory>
#include <source_location>

namespace toadstone::io {

/// Catches some signals for as long as it lives: `signal_set set({SIGTERM, SIGINT});`
///
/// A handler is installed (with SA_RESTART), not a signalfd: that would need every thread of
/// the process, also those of other libraries, to block the signals. A signal that arrives
/// between two waits is remembered; several of the same kind count as one, as everywhere in
/// POSIX. Several sets may name the same signal: each gets it. When the last of them goes, the
/// action that was in force before the first comes back.
///
/// Errors: the constructor throws std::invalid_argument for what cannot be caught (SIGKILL,
///     SIGSTOP, numbers that are no signals) and when 64 sets exist already; std::system_error
///     when there is no descriptor left.
/// Threads: made and destroyed by any thread; one task at a time waits, on any worker.
/// Lifetime: outlives its wait().
class signal_set {
public:
    /// Catches these. Errors: see the class.
    explicit signal_set(std::initializer_list<int> signals);
    ~signal_set();
    signal_set(signal_set&& other) noexcept;
    signal_set& operator=(signal_set&&) = delete;

    /// Returns: a signal of the set, the lowest number first if several are there.
    /// Errors: std::logic_error while another task waits, and of a set that was moved from.
    /// Cancellation: a cancellation point; a signal that has arrived is delivered, or kept for
    ///     the next wait().
    [[nodiscard]] toadstone::task<int>
    wait(std::source_location where = std::source_location::current());

private:
    struct state;
    std::unique_ptr<state> state_;
};

} // namespace toadstone::io

#endif
