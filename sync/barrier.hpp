// barrier: a number of parties that wait for each other, round after round.
#ifndef TOADSTONE_SYNC_BARRIER_HPP
#define TOADSTONE_SYNC_BARRIER_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/sync/detail/barrier_core.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <stdexcept>

namespace toadstone::sync {

/// Thrown by who waits at a barrier that breaks, or arrives at one that is broken: a round that
/// somebody has left will not be complete. what() says who left, and why.
class barrier_broken : public std::runtime_error {
public:
    /// As the library throws it.
    explicit barrier_broken(const detail::break_cause& why);
    /// Why whoever broke it left: what cancelled his task; timeout, if his own time was up.
    [[nodiscard]] cancel_reason reason() const noexcept { return reason_; }
    /// His task; 0 for break_now() and reset().
    [[nodiscard]] std::uint64_t task_id() const noexcept { return task_id_; }

private:
    cancel_reason reason_;
    std::uint64_t task_id_;
};

/// Lets nobody pass before all parties have arrived, and then all of them; and so on.
///
/// Cancellation: arrive_and_wait() is a cancellation point, looked at before it arrives. A
///     party that is stopped while it waits breaks the barrier: the others get barrier_broken,
///     and so does who arrives later, until reset(). A round that was complete by then is
///     delivered.
/// Poisoning: none: a broken barrier is its own kind of poison, with its cause.
/// Threads: any task, any thread. What came before each arrival is seen by all who pass.
/// Shape: constant-initialised; no allocation per wait.
/// Lifetime: not destroyed while somebody waits at it.
class barrier {
    using request = toadstone::detail::operation<detail::barrier_leaf, detail::barrier_core&>;
    using timed_request =
        toadstone::detail::operation<detail::timed_barrier_leaf, detail::barrier_core&,
                                     toadstone::detail::time_limit>;

public:
    /// `parties`: 0 is taken for 1.
    constexpr explicit barrier(std::size_t parties) noexcept : core_(parties) {}

    /// Arrives, and waits for the others. Returns: true for the last of the round, and for
    /// nobody else. Errors: barrier_broken.
    [[nodiscard]] request arrive_and_wait() noexcept { return request(core_); }
    /// For at most `limit`; whoever runs out of time breaks the barrier, and gets
    /// barrier_broken, too. Errors: barrier_broken; std::invalid_argument, at the call, when
    /// `limit` is NaN.
    template <class Rep, class Period>
    [[nodiscard]] timed_request arrive_and_wait_for(std::chrono::duration<Rep, Period> limit) {
        return timed_request(core_, toadstone::detail::time_limit(limit));
    }
    /// On a plain thread. Errors: barrier_broken; std::logic_error on a worker.
    bool blocking_arrive_and_wait() { return detail::arrive_here(core_); }

    /// Breaks it: for a party that will not come.
    void break_now() noexcept { core_.break_it({cancel_reason::requested, 0, true}); }
    /// As new. Those who wait get barrier_broken: their round is over.
    void reset() noexcept { core_.reset(); }
    /// Somebody left before all had come.
    [[nodiscard]] bool is_broken() const noexcept { return core_.is_broken(); }
    /// Parties that wait now: a hint.
    [[nodiscard]] std::size_t waiting() const noexcept { return core_.waiting(); }
    /// As it was made for.
    [[nodiscard]] std::size_t parties() const noexcept { return core_.parties(); }

private:
    detail::barrier_core core_;
};

} // namespace toadstone::sync

#endif
