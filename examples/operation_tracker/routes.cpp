// From paths and methods to the store, and from its errors to status codes.
#include "routes.hpp"

#include "log.hpp"
#include "operation_json.hpp"

#include <toadstone/io/endpoint.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/log.hpp>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>

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

/// A number of the query "a=1&b=2".
///
/// Errors: http_error for what is no number, or too large for one.
std::optional<std::uint64_t> number_in(std::string_view query, std::string_view name) {
    std::optional<std::uint64_t> found;
    while (!query.empty()) {
        std::string_view each = query.substr(0, query.find('&'));
        query.remove_prefix(std::min(query.size(), each.size() + 1));
        if (!each.starts_with(name) || each.substr(name.size(), 1) != "=") continue;
        found = id_of(each.substr(name.size() + 1));
        if (!found) throw http_error(400, "'" + std::string(name) + "' is not a number");
    }
    return found;
}

bool same(std::string_view one, std::string_view other) noexcept {
    const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? char(c - 'A' + 'a') : c; };
    return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                      [&](char a, char b) { return lower(a) == lower(b); });
}

/// A web page can make a browser send requests to this machine, and, once its own name leads
/// here (DNS rebinding), read the answers. Then the name in the Host header is the page's.
bool is_allowed(const options& chosen, std::string_view host) {
    const auto& names = chosen.allowed_hosts;
    if (std::find(names.begin(), names.end(), "*") != names.end()) return true;
    const std::size_t colon = host.rfind(':');
    const bool port = colon != std::string_view::npos && host.find(']', colon) == host.npos;
    const std::string_view name = port ? host.substr(0, colon) : host;
    if (same(name, chosen.host) || same(name, "localhost")) return true;
    for (const std::string& each : names) {
        if (same(name, each)) return true;
    }
    try {
        static_cast<void>(toadstone::io::endpoint::of(name, 0)); // an address
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

void check_host(const options& chosen, const request& from) {
    if (from.host.empty() && from.http_1_0) return; // no browser
    if (is_allowed(chosen, from.host)) return;
    throw http_error(421, "this server does not go by the name '" + from.host +
                              "', see --allow-host");
}

/// Forms, which browsers send anywhere without asking, cannot say application/json, and scripts
/// say where they come from.
void check_change(const request& from) {
    std::string_view origin = from.origin;
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (origin.starts_with(scheme)) origin.remove_prefix(scheme.size());
    }
    if (!origin.empty() && !same(origin, from.host)) {
        throw http_error(403,
                         "web pages of '" + from.origin + "' may not change anything here");
    }
    std::string_view type = std::string_view(from.type).substr(0, from.type.find(';'));
    while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
    if (!same(type, "application/json")) {
        throw http_error(415, "the body has to be JSON, with Content-Type: application/json");
    }
}

void read_query(const request& from, route& found) {
    const std::string_view target = from.target;
    const std::size_t mark = target.find('?');
    if (mark == std::string_view::npos) return;
    const std::string_view query = target.substr(mark + 1);
    found.after = number_in(query, "after").value_or(0);
    const std::uint64_t limit = number_in(query, "limit").value_or(found.limit);
    if (limit == 0) throw http_error(400, "'limit' is 0, so nothing could be listed");
    found.limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, longest_page));
}

response json_response(unsigned status, std::string body) {
    response answer;
    answer.status = status;
    answer.body = std::move(body);
    answer.body += '\n';
    return answer;
}

/// Long lists are written a part at a time, with others served in between.
toadstone::task<std::string> list_page(const service& all, route where) {
    constexpr std::size_t part = 64;
    const operation_page found =
        co_await all.operations.list(where.after, where.limit, page_bytes);
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

} // namespace

route find_route(const options& chosen, const request& from) {
    check_host(chosen, from);
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
        if (from.method == "POST") {
            check_change(from);
        } else {
            read_query(from, found);
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
            if (deeper) check_change(from);
            return found;
        }
    }
    throw http_error(404, "there is nothing at this path");
}

std::size_t memory_for(const route& where) noexcept {
    // A list: the operations, the text that they become, and the last one at its longest.
    constexpr std::size_t for_list = 2 * page_bytes + std::size_t{16} * 1024;
    constexpr std::size_t for_one = 1024;
    return where.what == route::kind::list ? for_list : for_one;
}

response answer_at_once(const service& all, const route& where) {
    if (where.what == route::kind::health) {
        const std::string failure = all.operations.failure();
        if (failure.empty()) return json_response(200, R"({"status":"ok"})");
        return json_response(503, error_to_json(failure));
    }
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
        std::string page = co_await list_page(all, where);
        co_return json_response(200, std::move(page));
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
        answer.retry_after = why.retry_after();
        return answer;
    } catch (const bad_json& why) {
        return error(400, why.what());
    } catch (const no_such_operation& why) {
        return error(404, why.what());
    } catch (const illegal_move& why) {
        return error(409, why.what());
    } catch (const no_more_changes& why) {
        return error(503, why.what());
    } catch (const std::exception& why) {
        log("a request failed: " + std::string(toadstone::what_of(why)));
    } catch (...) {
        log("a request failed with an exception of unknown type");
    }
    return error(500, "the server failed; it has written down why");
}

} // namespace tracker
