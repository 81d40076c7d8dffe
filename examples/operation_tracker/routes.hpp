// Routes: what a request asks for, and how it is answered.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_ROUTES_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_ROUTES_HPP

#include "log.hpp"
#include "metrics.hpp"
#include "operation.hpp"
#include "options.hpp"
#include "server.hpp"
#include "store.hpp"

#include "http/site.hpp"

#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <exception>
#include <string_view>
#include <variant>

namespace tracker {

/// What all connections share. Outlives them.
class service final : public http::site {
public:
    service(const options& chosen, metrics& shown, store& operations,
            const surroundings& around)
        : site(chosen.clients), shown_(shown), operations_(operations), around_(around) {}

    std::variant<http::response, http::work> answer(const http::request& from) override;
    http::response answer_to_failure(const std::exception_ptr& failure) override;
    bool unsettled() const noexcept override { return operations_.poisoned(); }
    toadstone::task<> settle() override { return operations_.restore(); }
    void log(std::string_view event) noexcept override { tracker::log(event); }

private:
    [[nodiscard]] http::response health();

    metrics& shown_;
    store& operations_;
    const surroundings& around_;
};

struct route {
    enum class kind : unsigned char { health, metrics, list, create, show, advance };
    kind what = kind::health;
    operation_id id = 0;
    operation_id after = 0;  ///< for a list: those behind it,
    std::size_t limit = 100; ///< so many at most
};

/// At most so many operations are listed at once, whatever the client asks for.
inline constexpr std::size_t longest_page = 1000;

/// Errors: http::error for a path that nothing is at, for a method or a query that it does not
///     take, and for what a web page of somebody else may have made a browser send.
[[nodiscard]] route find_route(const http::limits& chosen, const http::request& from);

} // namespace tracker

#endif
