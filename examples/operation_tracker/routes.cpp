// From paths and methods to the store, and from its errors to status codes.
#include "routes.hpp"

#include "log.hpp"
#include "operation_json.hpp"

#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

namespace tracker {
namespace {

/// The path of "/path?query" and of "http://host/path".
std::string_view path_of(std::string_view target) noexcept {
    if (target.starts_with("http://")) {
        const std::size_t slash = target.find('/', std::string_view("http://").size());
        target = slash == std::string_view::npos ? "/" : target.substr(slash);
    }
    return target.substr(0, target.find('?'));
}

std::optional<operation_id> id_of(std::string_view text) noexcept {
    operation_id id = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, id);
    if (text.empty() || error != std::errc() || stop != end) return std::nullopt;
    return id;
}

void expect_get(const request& from) {
    if (from.method == "GET" || from.method == "HEAD") return;
    throw http_error(405, "only GET and HEAD are possible here", "GET, HEAD");
}

response json_response(unsigned status, std::string body) {
    response answer;
    answer.status = status;
    answer.body = std::move(body);
    answer.body += '\n';
    return answer;
}

} // namespace

route find_route(const request& from) {
    constexpr std::string_view collection = "/operations";
    constexpr std::string_view messages = "/messages";
    std::string_view path = path_of(from.target);
    route found;
    if (path == "/healthz" || path == "/metrics") {
        expect_get(from);
        found.what = path == "/healthz" ? route::kind::health : route::kind::metrics;
        return found;
    }
    if (path == collection) {
        found.what = from.method == "POST" ? route::kind::create : route::kind::list;
        if (from.method != "POST" && from.method != "GET" && from.method != "HEAD") {
            throw http_error(405, "only GET, HEAD and POST are possible here",
                             "GET, HEAD, POST");
        }
        return found;
    }
    if (path.starts_with("/operations/")) {
        path.remove_prefix(collection.size() + 1);
        const bool deeper = path.ends_with(messages);
        if (deeper) path.remove_suffix(messages.size());
        const auto id = id_of(path);
        if (id) {
            found.id = *id;
            found.what = deeper ? route::kind::advance : route::kind::show;
            if (!deeper) expect_get(from);
            if (deeper && from.method != "POST") {
                throw http_error(405, "only POST is possible here", "POST");
            }
            return found;
        }
    }
    throw http_error(404, "there is nothing at this path");
}

response answer_at_once(const service& all, const route& where) {
    if (where.what == route::kind::health) return json_response(200, R"({"status":"ok"})");
    response page;
    page.type = "text/plain; version=0.0.4";
    page.body = all.counts.page(all.around.live_tasks());
    return page;
}

toadstone::task<response> answer_from_store(const service& all, const request& from,
                                            route where) {
    switch (where.what) {
    case route::kind::create: {
        operation fresh = co_await all.operations.create(read_name(from.body));
        co_return json_response(201, to_json(fresh));
    }
    case route::kind::advance: {
        operation moved = co_await all.operations.advance(where.id, read_message(from.body));
        co_return json_response(200, to_json(moved));
    }
    case route::kind::show: {
        operation found = co_await all.operations.find(where.id);
        co_return json_response(200, to_json(found));
    }
    default: {
        std::vector<operation> found = co_await all.operations.list();
        co_return json_response(200, to_json(found));
    }
    }
}

response answer_to_failure(const std::exception_ptr& failure) {
    const auto error = [](unsigned status, std::string_view sentence) {
        return json_response(status, error_to_json(sentence));
    };
    try {
        std::rethrow_exception(failure);
    } catch (const http_error& why) {
        response answer = error(why.status(), why.what());
        answer.allow = why.allow();
        return answer;
    } catch (const bad_json& why) {
        return error(400, why.what());
    } catch (const no_such_operation& why) {
        return error(404, why.what());
    } catch (const illegal_move& why) {
        return error(409, why.what());
    } catch (const std::exception& why) {
        log(std::string("a request failed: ") + why.what());
    } catch (...) {
        log("a request failed with an exception of unknown type");
    }
    return error(500, "the server failed; it has written down why");
}

} // namespace tracker
