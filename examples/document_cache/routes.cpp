// Requests become wishes and questions, and what comes of them answers.
#include "routes.hpp"

#include "formatter.hpp"
#include "page.hpp"

#include "http/browser.hpp"
#include "http/json.hpp"
#include "http/target.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace cache {
namespace {

using http::in_quotes;
using http::json_response;
using toadstone::task;

constexpr std::string_view collection = "/documents";
constexpr std::size_t for_one = 1024; // bytes of an answer, beside what it quotes

std::string checked_id(std::string id) {
    if (id.empty() || id.size() > longest_id) {
        throw http::error(400, "the id of a document has 1 to " + std::to_string(longest_id) +
                                   " bytes");
    }
    return id;
}

format checked_format(std::string_view name) {
    const std::optional<format> how = format_of(name);
    if (!how) {
        throw http::error(400, "the format is one of text, csv, markdown and json, not '" +
                                   std::string(name) + "'");
    }
    return *how;
}

std::string to_json(const document& what) {
    return "{\"id\":" + in_quotes(what.id) + ",\"version\":" + std::to_string(what.version) +
           ",\"format\":" + in_quotes(to_string(what.how)) +
           ",\"text\":" + in_quotes(what.body) + "}";
}

/// The status of a request whose only wish has come to that.
unsigned status_of(fate how) noexcept {
    switch (how) {
    case fate::stored:
        return 200;
    case fate::absent:
        return 404;
    case fate::quarantined:
        return 422;
    default:
        return 503;
    }
}
std::string_view name_of(fate how) noexcept {
    switch (how) {
    case fate::stored:
        return "stored";
    case fate::absent:
        return "absent";
    case fate::quarantined:
        return "quarantined";
    case fate::not_stored:
        return "not stored";
    default:
        return "unknown";
    }
}
std::string sentence_for(const verdict& said) {
    if (said.how == fate::absent) return "there is no such document";
    if (said.how == fate::quarantined) {
        return "this has failed twice in the middle of the index, and is not tried again: " +
               said.why;
    }
    if (said.how == fate::unknown) return said.why + "; it is unknown whether it has happened";
    return "this was not stored: " + said.why;
}

task<http::response> change_one(store& documents, wish what) {
    const std::string id = what.id;
    std::vector<wish> one;
    one.push_back(std::move(what));
    const std::vector<verdict> all = co_await documents.change(std::move(one));
    const verdict& said = all.front();
    const unsigned status = status_of(said.how);
    if (status != 200) {
        co_return json_response(status, http::error_to_json(sentence_for(said)));
    }
    co_return json_response(200, "{\"id\":" + in_quotes(id) +
                                     ",\"version\":" + std::to_string(said.version) + "}");
}

/// One JSON object on each line.
std::vector<wish> read_batch(std::string_view body) {
    std::vector<wish> all;
    while (!body.empty()) {
        const std::size_t end = std::min(body.find('\n'), body.size());
        const std::string_view line = body.substr(0, end);
        body.remove_prefix(std::min(end + 1, body.size()));
        if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
        if (all.size() == most_in_batch) {
            throw http::error(413, "a batch has at most " + std::to_string(most_in_batch) +
                                       " documents");
        }
        const http::json_object one(line);
        wish each;
        each.id = checked_id(one.text("id", longest_id));
        if (one.has("format")) each.how = checked_format(one.text("format", 16));
        each.body = one.text("text", line.size());
        all.push_back(std::move(each));
    }
    if (all.empty()) throw http::error(400, "there is no document in this batch");
    return all;
}

task<http::response> change_many(store& documents, std::vector<wish> wishes) {
    std::vector<std::string> ids;
    ids.reserve(wishes.size());
    for (const wish& each : wishes) ids.push_back(each.id);
    const std::vector<verdict> all = co_await documents.change(std::move(wishes));
    std::string text = "{\"documents\":[";
    bool refused = true; // by the disk, and all of them
    for (std::size_t i = 0; i < all.size(); ++i) {
        const verdict& said = all[i];
        if (i > 0) text += ',';
        text += "{\"id\":" + in_quotes(ids[i]) + ",\"status\":" + in_quotes(name_of(said.how));
        if (said.how == fate::stored) {
            text += ",\"version\":" + std::to_string(said.version) + "}";
        } else {
            text += ",\"error\":" + in_quotes(sentence_for(said)) + "}";
        }
        refused = refused && status_of(said.how) == 503;
    }
    co_return json_response(refused ? 503 : 200, text + "]}");
}

task<http::response> show(store& documents, std::string id) {
    const document_ref found = co_await documents.find(std::move(id));
    if (!found) throw http::error(404, "there is no such document");
    co_return json_response(200, to_json(*found));
}

struct question {
    std::string term;
    std::string after;
    std::size_t limit = 100;
};
question read_question(const http::request& from) {
    question asked;
    asked.term = only_term(http::parameter(from.target, "q").value_or(""));
    if (asked.term.empty()) throw http::error(400, "'q' is one word, such as /search?q=toad");
    asked.after = http::parameter(from.target, "after").value_or("");
    const std::uint64_t limit = http::number_in_query(from.target, "limit").value_or(100);
    if (limit == 0) throw http::error(400, "'limit' is 0, so nothing could be listed");
    asked.limit = static_cast<std::size_t>(std::min<std::uint64_t>(limit, longest_page));
    return asked;
}

task<http::response> search(store& documents, question asked) {
    const found_page found = co_await documents.search(asked.term, asked.after, asked.limit);
    std::string text = "{\"documents\":[";
    for (const hit& each : found.hits) {
        if (text.back() == '}') text += ',';
        text += "{\"id\":" + in_quotes(each.id) +
                ",\"version\":" + std::to_string(each.version) + "}";
    }
    text += "]";
    if (found.more) {
        text += ",\"next\":" + in_quotes("/search?q=" + http::escaped(asked.term) +
                                         "&limit=" + std::to_string(asked.limit) +
                                         "&after=" + http::escaped(found.hits.back().id));
    }
    co_return json_response(200, text + "}");
}

std::string_view name_of(on_poison strategy) noexcept {
    if (strategy == on_poison::terminate) return "terminate";
    return strategy == on_poison::ignore ? "ignore" : "restore";
}

} // namespace

http::work service::work_for(const http::request& from) {
    const std::string_view path = http::path_of(from.target);
    if (path == "/status") {
        http::expect_method(from, {"GET"});
        return {std::size_t{64} << 10, status()};
    }
    if (path == "/search") {
        http::expect_method(from, {"GET"});
        question asked = read_question(from);
        const std::size_t bytes = asked.limit * (longest_id + 32) + for_one;
        return {bytes, timed(search(documents_, std::move(asked)))};
    }
    if (path == collection) {
        http::expect_method(from, {"POST"});
        http::check_change(from);
        std::vector<wish> batch = read_batch(from.body);
        const std::size_t bytes = from.body.size() + batch.size() * for_one;
        return {bytes, timed(change_many(documents_, std::move(batch)))};
    }
    if (!path.starts_with("/documents/")) throw http::error(404, "there is nothing there");
    http::expect_method(from, {"GET", "PUT", "DELETE"});
    wish what;
    what.id = checked_id(http::unescaped(path.substr(collection.size() + 1)));
    if (from.method != "PUT" && from.method != "DELETE") {
        return {2 * chosen_.clients.max_body + for_one, timed(show(documents_, what.id))};
    }
    http::check_origin(from);
    what.remove = from.method == "DELETE";
    if (!what.remove) {
        what.how = checked_format(http::parameter(from.target, "format").value_or("text"));
        what.body = from.body;
    }
    return {for_one, timed(change_one(documents_, std::move(what)))};
}

std::variant<http::response, http::work> service::answer(const http::request& from) {
    http::check_host(bounds(), from);
    const std::string_view path = http::path_of(from.target);
    if (path == "/" || path == "/healthz" || path == "/metrics") {
        http::expect_method(from, {"GET"});
        if (path == "/metrics") return shown_.page(counts(), documents_, around_.live_tasks());
        if (path == "/healthz") return health();
        http::response page;
        page.body = status_page;
        page.type = "text/html; charset=utf-8";
        return page;
    }
    return work_for(from);
}

/// A shard whose journal has failed opens it again with the next change, if the disk lets it.
http::response service::health() {
    const std::string failure = documents_.failure();
    if (failure.empty()) return json_response(200, R"({"status":"ok"})");
    return json_response(503, http::error_to_json(failure));
}

task<http::response> service::timed(task<http::response> answer) {
    const auto begun = toadstone::this_task::now();
    http::response made = co_await std::move(answer);
    if (made.status >= 500) {
        shown_.count_failure();
    } else {
        shown_.count_answer(toadstone::this_task::now() - begun);
    }
    co_return made;
}

task<http::response> service::status() {
    const std::vector<shard_status> shards = co_await documents_.status();
    co_return json_response(200, shown_.status(documents_, name_of(chosen_.strategy), shards));
}

http::response service::answer_to_failure(const std::exception_ptr& failure) {
    http::response said = http::answer_to_any(*this, failure);
    if (said.status >= 500) shown_.count_failure();
    return said;
}

} // namespace cache
