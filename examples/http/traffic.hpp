// What clients have asked for, in numbers.
#ifndef TOADSTONE_EXAMPLES_HTTP_TRAFFIC_HPP
#define TOADSTONE_EXAMPLES_HTTP_TRAFFIC_HPP

#include "prometheus.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

namespace http {

/// Threads: everybody counts, from any worker. The counters say nothing about other data, so
/// all accesses are relaxed.
class traffic {
public:
    void count_answer(unsigned status) noexcept {
        if (status < answers_.size()) add(answers_[status]);
    }
    void count_unanswered() noexcept { add(unanswered_); }
    void connection_begins() noexcept { add(connections_); }
    void connection_ends() noexcept { add(connections_ended_); }

    /// Families `prefix`_requests_total, _requests_abandoned_total, _connections_total and
    /// _connections.
    void write(page_writer& page, const std::string& prefix) const;

private:
    using counter = std::atomic<std::uint64_t>;
    static void add(counter& which) noexcept { which.fetch_add(1, std::memory_order_relaxed); }

    std::array<counter, 600> answers_{};
    counter unanswered_{0};
    counter connections_{0};
    counter connections_ended_{0};
};

} // namespace http

#endif
