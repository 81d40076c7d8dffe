// Routes: what a request asks for, and how it is answered.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_ROUTES_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_ROUTES_HPP

#include "log.hpp"
#include "metrics.hpp"
#include "options.hpp"
#include "server.hpp"
#include "store.hpp"

#include "http/site.hpp"

#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <exception>
#include <string>
#include <string_view>
#include <variant>

namespace cache {

/// What all connections share. Outlives them.
class service final : public http::site {
public:
    service(const options& chosen, metrics& shown, store& documents, const surroundings& around)
        : site(chosen.clients), chosen_(chosen), shown_(shown), documents_(documents),
          around_(around) {}

    std::variant<http::response, http::work> answer(const http::request& from) override;
    http::response answer_to_failure(const std::exception_ptr& failure) override;
    void log(std::string_view event) noexcept override { cache::say(event); }

private:
    [[nodiscard]] http::response health();
    [[nodiscard]] http::work work_for(const http::request& from);
    [[nodiscard]] toadstone::task<http::response> timed(toadstone::task<http::response> answer);
    [[nodiscard]] toadstone::task<http::response> status();

    const options& chosen_;
    metrics& shown_;
    store& documents_;
    const surroundings& around_;
};

/// At most so many documents are listed at once, whatever the client asks for.
inline constexpr std::size_t longest_page = 1000;
inline constexpr std::size_t most_in_batch = 1000;

} // namespace cache

#endif
