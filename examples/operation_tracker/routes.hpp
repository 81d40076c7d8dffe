// Routes: what a request asks for, and how it is answered.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_ROUTES_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_ROUTES_HPP

#include "answer_budget.hpp"
#include "http_message.hpp"
#include "metrics.hpp"
#include "operation.hpp"
#include "options.hpp"
#include "server.hpp"
#include "store.hpp"

#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <exception>

namespace tracker {

/// What all connections share. Outlives them.
struct service {
    const options& chosen;
    metrics& counts;
    store& operations;
    answer_budget& answers;
    const surroundings& around;
};

struct route {
    enum class kind : unsigned char { health, metrics, list, create, show, advance };
    kind what = kind::health;
    operation_id id = 0;
    operation_id after = 0;  ///< for a list: those behind it,
    std::size_t limit = 100; ///< so many at most

    /// The answer comes from the store, so it may have to wait.
    [[nodiscard]] bool waits() const noexcept {
        return what != kind::health && what != kind::metrics;
    }
};

/// At most so many operations are listed at once, whatever the client asks for.
inline constexpr std::size_t longest_page = 1000;

/// Errors: http_error for a path that nothing is at, for a method or a query that it does not
///     take, and for what a web page of somebody else may have made a browser send.
[[nodiscard]] route find_route(const options& chosen, const request& from);

/// For routes that wait: what the answer may need, and should have of the budget before it is
/// made.
[[nodiscard]] std::size_t memory_for(const route& where) noexcept;

/// For routes that do not wait.
[[nodiscard]] response answer_at_once(const service& all, const route& where);

/// For routes that wait. Errors: as the store; bad_json.
/// Cancellation: see store.
[[nodiscard]] toadstone::task<response> answer_from_store(const service& all,
                                                          const request& from, route where);

/// The answer to a request that failed. What is not the client's fault is logged.
[[nodiscard]] response answer_to_failure(const std::exception_ptr& failure);

} // namespace tracker

#endif
