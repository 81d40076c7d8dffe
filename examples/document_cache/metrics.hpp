// What the cache shows of itself: availability, how long answers and recoveries take, and the
// last recoveries with their causes.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_METRICS_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_METRICS_HPP

#include "shard.hpp"
#include "store.hpp"

#include "http/message.hpp"
#include "http/traffic.hpp"

#include <toadstone/runtime/this_task.hpp>

#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

namespace cache {

/// Times, counted in steps of a quarter of their size.
///
/// Threads: any. The counters say nothing about other data, so all accesses are relaxed.
class histogram {
public:
    void count(std::chrono::nanoseconds took) noexcept;
    /// An upper bound for that share of them, at most a quarter too high; 0: there are none.
    [[nodiscard]] std::chrono::nanoseconds quantile(double share) const noexcept;
    [[nodiscard]] std::uint64_t size() const noexcept;

private:
    std::array<std::atomic<std::uint64_t>, 256> counts_{};
};

/// Threads: any.
class metrics {
public:
    void count_answer(std::chrono::nanoseconds took) noexcept { answers_.count(took); }
    /// A request that nothing was wrong with was not served.
    void count_failure() noexcept { failures_.fetch_add(1, std::memory_order_relaxed); }
    void count_recovery(const recovery& what);

    /// For the page, as JSON.
    [[nodiscard]] std::string status(const store& all, std::string_view strategy,
                                     const std::vector<shard_status>& shards) const;
    /// For Prometheus.
    [[nodiscard]] http::response page(const http::traffic& counts, const store& all,
                                      std::size_t live_tasks) const;

private:
    struct past {
        recovery what;
        std::chrono::steady_clock::time_point when;
    };
    [[nodiscard]] std::string recoveries_to_json() const;
    [[nodiscard]] double availability() const noexcept;

    const std::chrono::steady_clock::time_point started_ = toadstone::this_task::now();
    histogram answers_;
    histogram recoveries_;
    std::atomic<std::uint64_t> failures_{0};
    mutable std::mutex lock_;
    std::deque<past> last_; // guarded by lock_; the newest first
};

} // namespace cache

#endif
