// Routes: what a request asks for, and how it is answered.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_ROUTES_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_ROUTES_HPP

#include "http_message.hpp"
#include "metrics.hpp"
#include "operation.hpp"
#include "options.hpp"
#include "server.hpp"
#include "store.hpp"

#include <toadstone/runtime/task.hpp>

#include <exception>

namespace tracker {

/// What all connections share. Outlives them.
struct service {
    const options& chosen;
    metrics& counts;
    store& operations;
    const surroundings& around;
};

struct route {
    enum class kind : unsigned char { health, metrics, list, create, show, advance };
    kind what = kind::health;
    operation_id id = 0;

    /// The answer comes from the store, so it may have to wait.
    [[nodiscard]] bool waits() const noexcept {
        return what != kind::health && what != kind::metrics;
    }
};

/// Errors: http_error for a path that nothing is at, and for a method that it does not take.
[[nodiscard]] route find_route(const request& from);

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
