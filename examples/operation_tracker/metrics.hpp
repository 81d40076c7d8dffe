// Counters, and the page that tells them to Prometheus.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_METRICS_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_METRICS_HPP

#include "http/traffic.hpp"

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace tracker {

/// Threads: everybody counts, from any worker. The counters say nothing about other data, so
/// all accesses are relaxed.
class metrics {
public:
    void count_poisoning(const toadstone::poison_cause& cause) noexcept;
    void count_recovery(std::chrono::steady_clock::duration took) noexcept;
    void journal_fails() noexcept { journal_failed_.store(1, std::memory_order_relaxed); }
    void show_operations(std::size_t all, std::size_t live) noexcept;

    /// The page for Prometheus, with what clients have asked for.
    [[nodiscard]] http::response page(const http::traffic& counts,
                                      std::size_t live_tasks) const;

private:
    using counter = std::atomic<std::uint64_t>;
    static void add(counter& which, std::uint64_t amount = 1) noexcept {
        which.fetch_add(amount, std::memory_order_relaxed);
    }

    static constexpr std::size_t reasons = 8; // six of cancellations, exception, declared

    std::chrono::steady_clock::time_point started_ = toadstone::this_task::now();
    std::array<counter, reasons> poisonings_{};
    counter recoveries_{0};
    counter recovery_nanoseconds_{0};
    counter operations_{0};
    counter live_operations_{0};
    counter journal_failed_{0};
};

} // namespace tracker

#endif
