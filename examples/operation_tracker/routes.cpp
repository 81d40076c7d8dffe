// From paths and methods to the store, and from its errors to status codes.
#include "routes.hpp"

#include "operation_json.hpp"

#include "http/browser.hpp"
#include "http/json.hpp"
#include "http/target.hpp"

#include <toadstone/runtime/checkpoint.hpp>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace tracker {
namespace {

using http::json_response;
using http::number_in_query;
using toadstone::task;

void read_query(const http::request& from, route& found) {
    found.after = number_in_query(from.target, "after").value_or(0);
    const std::uint64_t limit = number_in_query(from.target, "limit").value_or(found.limit);
    if (limit == 0) throw http::error(400, "'limit' is 0, so nothing could be listed");
    found.limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, longest_page));
}

/// Long lists are written a part at a time, with others served in between.
toadstone::task<std::string> list_page(store& operations, route where) {
    constexpr std::size_t part = 64;
    const operation_page found = co_await operations.list(where.after, where.limit, page_bytes);
    list_writer text;
    std::size_t written = 0;
    for (const operation& each : found.operations) {
        if (written > 0 && written % part == 0) co_await toadstone::yield_now();
        if (!text.add(each)) break;
        ++written;
    }
    const bool more = found.more || written < found.operations.size();
    co_return text.finish(more, where.limit);
}

/// For routes that wait: what the answer may need, and should have of the budget before it is
/// made.
std::size_t memory_for(const route& where) noexcept {
    // A list: the operations, the text that they become, and the last one at its longest.
    constexpr std::size_t for_list = 2 * page_bytes + std::size_t{16} * 1024;
    constexpr std::size_t for_one = 1024;
    return where.what == route::kind::list ? for_list : for_one;
}

/// Errors: as the store; http::bad_json.
/// Cancellation: see store.
task<http::response> answer_from_store(store& operations, const http::request& from,
                                       route where) {
    switch (where.what) {
    case route::kind::create: {
        operation fresh = co_await operations.create(read_name(from.body));
        co_return json_response(201, to_json(fresh));
    }
    case route::kind::advance: {
        operation moved = co_await operations.advance(where.id, read_message(from.body));
        co_return json_response(200, to_json(moved));
    }
    case route::kind::show: {
        operation found = co_await operations.find(where.id);
        co_return json_response(200, to_json(found));
    }
    default: {
        std::string page = co_await list_page(operations, where);
        co_return json_response(200, std::move(page));
    }
    }
}

} // namespace

route find_route(const http::limits& chosen, const http::request& from) {
    http::check_host(chosen, from);
    constexpr std::string_view collection = "/operations";
    constexpr std::string_view messages = "/messages";
    std::string_view path = http::path_of(from.target);
    route found;
    if (path == "/healthz" || path == "/metrics") {
        http::expect_method(from, {"GET"});
        found.what = path == "/healthz" ? route::kind::health : route::kind::metrics;
        return found;
    }
    if (path == collection) {
        http::expect_method(from, {"GET", "POST"});
        found.what = from.method == "POST" ? route::kind::create : route::kind::list;
        if (from.method == "POST") {
            http::check_change(from);
        } else {
            read_query(from, found);
        }
        return found;
    }
    if (path.starts_with("/operations/")) {
        path.remove_prefix(collection.size() + 1);
        const bool deeper = path.ends_with(messages);
        if (deeper) path.remove_suffix(messages.size());
        const auto id = http::number_of(path);
        if (id) {
            found.id = *id;
            found.what = deeper ? route::kind::advance : route::kind::show;
            http::expect_method(from, {deeper ? "POST" : "GET"});
            if (deeper) http::check_change(from);
            return found;
        }
    }
    throw http::error(404, "there is nothing at this path");
}

std::variant<http::response, http::work> service::answer(const http::request& from) {
    const route where = find_route(bounds(), from);
    if (where.what == route::kind::health) return health();
    if (where.what == route::kind::metrics) return shown_.page(counts(), around_.live_tasks());
    return http::work{memory_for(where), answer_from_store(operations_, from, where)};
}

http::response service::health() {
    const std::string failure = operations_.failure();
    if (failure.empty()) return json_response(200, R"({"status":"ok"})");
    return json_response(503, http::error_to_json(failure));
}

http::response service::answer_to_failure(const std::exception_ptr& failure) {
    const auto error = [](unsigned status, std::string_view sentence) {
        return json_response(status, http::error_to_json(sentence));
    };
    try {
        std::rethrow_exception(failure);
    } catch (const no_such_operation& why) {
        return error(404, why.what());
    } catch (const illegal_move& why) {
        return error(409, why.what());
    } catch (const no_more_changes& why) {
        return error(503, why.what());
    } catch (...) {
        return http::answer_to_any(*this, failure);
    }
}

} // namespace tracker
