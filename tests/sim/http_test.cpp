// The HTTP of the example servers: its parts byte by byte, and a small site on a simulated
// kernel.
#include "http/browser.hpp"
#include "http/json.hpp"
#include "http/parser.hpp"
#include "http/server.hpp"
#include "http/target.hpp"

#include "support/failing_new.hpp"
#include "support/simulated.hpp"
#include "support/tracker_client.hpp"

#include <catch2/catch.hpp>

#include <array>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

const std::string two_requests = "POST /a%20b?x=1 HTTP/1.1\r\nHost: localhost\r\n"
                                 "Content-Type: application/json\r\n"
                                 "Transfer-Encoding: chunked\r\n\r\n"
                                 "3\r\n{\"a\r\n4;x=y\r\n\":1}\r\n0\r\nT: t\r\n\r\n"
                                 "GET /next HTTP/1.0\r\n\r\n";

/// Parses two requests whose bytes arrive in pieces.
std::array<http::request, 2> parsed(std::string_view first, std::string_view second) {
    std::array<http::request, 2> found;
    std::string pending;
    std::size_t which = 0;
    http::request_parser parser(200, 100);
    for (const std::string_view piece : {first, second}) {
        pending += piece;
        for (;;) {
            pending.erase(0, parser.feed(pending));
            if (!parser.complete() || which == found.size()) break;
            found.at(which++) = parser.take();
            parser = http::request_parser(200, 100);
            if (which == found.size()) break;
        }
    }
    return found;
}

unsigned status_of(std::string_view text) {
    http::request_parser parser(200, 100);
    try {
        static_cast<void>(parser.feed(text));
        return parser.complete() ? 200 : 0;
    } catch (const http::error& why) {
        return why.status();
    }
}

/// What an http::error says.
template <class Fn>
std::string refusal(Fn fn) {
    try {
        static_cast<void>(fn());
        return {};
    } catch (const http::error& why) {
        return std::to_string(why.status()) + " " + why.what() +
               (why.allow().empty() ? "" : " [" + why.allow() + "]");
    }
}

/// Counts what it is asked to, a second long. Whoever is cut in the middle leaves it unsettled.
class counter final : public http::site {
public:
    explicit counter(const http::limits& chosen) : site(chosen) {}

    std::variant<http::response, http::work> answer(const http::request& from) override {
        http::check_host(bounds(), from);
        const std::string_view path = http::path_of(from.target);
        if (path == "/now") return http::json_response(200, std::to_string(done_));
        if (path == "/count") {
            http::expect_method(from, {"POST"});
            return http::work{1000, count()};
        }
        throw http::error(404, "there is nothing at this path");
    }
    http::response answer_to_failure(const std::exception_ptr& failure) override {
        return http::answer_to_any(*this, failure);
    }
    bool unsettled() const noexcept override { return in_the_middle_ > 0; }
    task<> settle() override {
        co_await sleep_for(10ms);
        in_the_middle_ = 0;
        ++settled_;
    }
    void log(std::string_view) noexcept override {}

    [[nodiscard]] unsigned done() const noexcept { return done_; }
    [[nodiscard]] unsigned settled() const noexcept { return settled_; }

private:
    task<http::response> count() {
        ++in_the_middle_;
        co_await sleep_for(1s);
        --in_the_middle_;
        co_return http::json_response(201, std::to_string(++done_));
    }

    unsigned in_the_middle_ = 0;
    unsigned done_ = 0;
    unsigned settled_ = 0;
};

/// A site, as a task of the scenario.
class running {
public:
    explicit running(http::limits chosen = {}) : chosen_(std::move(chosen)), site_(chosen_) {
        serving_.emplace(spawn(serve(), {.name = "server"}));
    }
    [[nodiscard]] task<io::endpoint> listening() {
        const io::endpoint at = co_await at_.known();
        co_return at;
    }
    [[nodiscard]] task<> stop() {
        stop_.cancel(cancel_reason::shutdown);
        co_await *serving_;
        expect(site_.answers().taken() == 0, "memory for answers is not given back");
        http::page_writer page;
        site_.counts().write(page, "site");
        expect(page.finish().body.find("site_connections 0\n") != std::string::npos,
               "a connection is counted that is not there");
    }
    [[nodiscard]] counter& site() noexcept { return site_; }

private:
    task<> serve() {
        const auto ready = [this](const io::endpoint& at) { return listens(at); };
        co_await http::serve(site_, ready, stop_.token());
    }
    task<> listens(io::endpoint at) {
        at_.set(at);
        co_return;
    }

    const http::limits chosen_;
    counter site_;
    address at_;
    cancellation_source stop_;
    std::optional<join_handle<void>> serving_;
};

std::string post_count() {
    return http_text("POST", "/count", "{}");
}
task<answer> ask(io::endpoint at, std::string text) {
    std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
    expect(stream.has_value(), "the server cannot be reached");
    tracker_client client(std::move(*stream));
    answer got = co_await with_timeout(10min, client.ask(std::move(text)));
    co_return got;
}

/// A client that leaves after half a second, and one that asks behind it.
task<> sees_to_what_was_cut(sim::world&) {
    running server;
    const io::endpoint at = co_await server.listening();
    const auto left = co_await try_with_timeout(500ms, ask(at, post_count()));
    expect(left.is_cancelled(), "it was answered");
    co_await sleep_for(1s);
    expect(server.site().settled() == 1, "nobody has seen to it");
    expect(!server.site().unsettled(), "it is still in the middle");
    expect(server.site().done() == 0, "it went on without its client");
    const answer next = co_await ask(at, post_count());
    expect(next.status == 201 && next.body == "1\n", "the next one is not served");
    co_await server.stop();
}

/// Three at once, with memory for two: the third one is sent away, and later is not.
task<> keeps_its_budget(sim::world&) {
    http::limits few;
    few.max_answers = 2000;
    running server(few);
    const io::endpoint at = co_await server.listening();
    std::array<answer, 3> got;
    const auto one = [&](std::size_t i) -> task<> {
        co_await sleep_for(10ms * i);
        got.at(i) = co_await ask(at, post_count());
    };
    co_await when_all(one(0), one(1), one(2));
    expect(got[0].status == 201 && got[1].status == 201, "those that fit are not served");
    expect(got[2].status == 503, "there was no memory for the third");
    const answer again = co_await ask(at, post_count());
    expect(again.status == 201, "the memory is not given back");
    co_await server.stop();
}

/// A server that takes too long says so, and that nobody knows.
task<> runs_out_of_time(sim::world&) {
    http::limits hasty;
    hasty.request_timeout = 500ms;
    running server(hasty);
    const io::endpoint at = co_await server.listening();
    const answer got = co_await ask(at, post_count());
    expect(got.status == 503, "not 503");
    expect(got.body.find("unknown whether it has happened") != std::string::npos, got.body);
    expect(server.site().settled() == 1, "nobody has seen to it");
    co_await server.stop();
}

task<bool> is_served(io::endpoint at) {
    try {
        const answer got = co_await ask(at, post_count());
        co_return got.status == 201;
    } catch (const std::system_error&) {
        co_return false;
    }
}

/// One connection, and what it is asked for, with everything that can happen to it.
task<> one_client(sim::world&) {
    running server;
    const io::endpoint at = co_await server.listening();
    try {
        std::optional<io::tcp_stream> stream = co_await connect_in_time(at);
        expect(stream.has_value(), "the server cannot be reached");
        tracker_client client(std::move(*stream));
        std::string all = post_count();
        all.append(http_text("GET", "/now")).append(http_text("GET", "/else"));
        co_await client.send(all);
        static constexpr std::array<unsigned, 3> expected = {201, 200, 404};
        for (const unsigned each : expected) {
            const answer got = co_await with_timeout(10min, client.receive());
            if (got.status == 0 || got.status == 500) break; // what went wrong was here
            expect(got.status == each, "the wrong answer: " + got.body);
        }
    } catch (const std::system_error&) {
        // the connection was cut
    }
    bool served = false; // that one may be the one which is cut
    for (int tries = 0; tries < 3 && !served; ++tries) served = co_await is_served(at);
    expect(served, "the next connection is not served");
    co_await server.stop();
}

} // namespace

TEST_CASE("http: S635: a request is the same wherever its bytes are divided") {
    for (std::size_t cut = 0; cut <= two_requests.size(); ++cut) {
        INFO("after " << cut << " bytes");
        const std::string_view all = two_requests;
        const auto [first, second] = parsed(all.substr(0, cut), all.substr(cut));
        CHECK(first.method == "POST");
        CHECK(first.target == "/a%20b?x=1");
        CHECK(first.host == "localhost");
        CHECK(first.type == "application/json");
        CHECK(first.body == "{\"a\":1}");
        CHECK(first.keep_alive);
        CHECK(second.target == "/next");
        CHECK(second.http_1_0);
        CHECK_FALSE(second.keep_alive);
    }
}

TEST_CASE("http: S635: what a proxy could read otherwise, or is without end, is refused") {
    const std::string head = "POST / HTTP/1.1\r\nHost: a\r\n";
    CHECK(status_of(head + "Content-Length: 1\r\n\r\nx") == 200);
    CHECK(status_of(head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx") == 400);
    CHECK(status_of(head + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n") == 400);
    CHECK(status_of(head + "Transfer-Encoding: gzip, chunked\r\n\r\n") == 501);
    CHECK(status_of(head + "Host: b\r\n\r\n") == 400);
    CHECK(status_of(head + "A: b\r\n c\r\n\r\n") == 400);
    CHECK(status_of(head + "Expect: more\r\n\r\n") == 417);
    CHECK(status_of(head + "Content-Length: 101\r\n\r\n") == 413);
    CHECK(status_of(head + "A: " + std::string(300, 'a')) == 431);
    CHECK(status_of("GET / HTTP/2.0\r\nHost: a\r\n\r\n") == 505);
    CHECK(status_of("GET / HTTP/1.1\r\n\r\n") == 400);
    std::string chunks = head + "Transfer-Encoding: chunked\r\n\r\n";
    for (int i = 0; i < 100; ++i) chunks += "000000000000000000000000000000001\r\nx\r\n";
    CHECK(status_of(chunks) == 400);
}

TEST_CASE("http: S636: paths, queries and methods") {
    CHECK(http::path_of("/a?b") == "/a");
    CHECK(http::path_of("http://host/a?b") == "/a");
    CHECK(http::path_of("http://host") == "/");
    CHECK(http::unescaped("a%20b+c%2Fd") == "a b+c/d");
    CHECK(http::unescaped("a+b", true) == "a b");
    CHECK(http::unescaped("%C3%a4") == "\xc3\xa4");
    CHECK(http::escaped("a b&\xc3\xa4") == "a%20b%26%C3%A4");
    std::string all;
    for (int byte = 0; byte < 256; ++byte) all += static_cast<char>(byte);
    CHECK(http::unescaped(http::escaped(all), true) == all);
    for (const char* text : {"%", "%4", "%zz", "a%4g"}) {
        INFO(text);
        CHECK(refusal([&] { return http::unescaped(text); }).substr(0, 3) == "400");
    }
    CHECK(http::parameter("/a?q=1&qq=2&q=x%26y", "q") == "x&y");
    CHECK(http::parameter("/a?qq=2", "q") == std::nullopt);
    CHECK(http::parameter("/a", "q") == std::nullopt);
    CHECK(http::parameter("/a?q=", "q") == "");
    CHECK(http::number_in_query("/a?n=18446744073709551615", "n") == 18446744073709551615u);
    for (const char* target : {"/a?n=", "/a?n=-1", "/a?n=18446744073709551616", "/a?n=1x"}) {
        INFO(target);
        CHECK(refusal([&] { return http::number_in_query(target, "n"); }) ==
              "400 'n' is not a number");
    }
    http::request from;
    from.method = "PUT";
    const auto expected = [&](std::initializer_list<std::string_view> possible) {
        return refusal([&] { return http::expect_method(from, possible), 0; });
    };
    CHECK(expected({"GET"}) == "405 only GET and HEAD are possible here [GET, HEAD]");
    CHECK(expected({"POST"}) == "405 only POST is possible here [POST]");
    CHECK(expected({"GET", "POST"}) ==
          "405 only GET, HEAD and POST are possible here [GET, HEAD, POST]");
    CHECK(expected({"PUT", "GET"}).empty());
    from.method = "HEAD";
    CHECK(expected({"GET"}).empty());
}

TEST_CASE("http: S637: who may ask, and for what") {
    http::limits chosen;
    chosen.host = "0.0.0.0";
    chosen.allowed_hosts = {"name.example"};
    const auto asked_of = [&](const char* host, const char* origin = "",
                              const char* type = "application/json; charset=utf-8") {
        http::request from;
        from.host = host;
        from.origin = origin;
        from.type = type;
        http::check_host(chosen, from);
        http::check_change(from);
        return 0;
    };
    for (const char* host : {"localhost", "LOCALHOST:80", "127.0.0.1", "[::1]:8080", "[::1]",
                             "name.example:1", "0.0.0.0"}) {
        INFO(host);
        CHECK(refusal([&] { return asked_of(host); }).empty());
    }
    for (const char* host : {"other.example", "name.example.org", "", "localhost.example"}) {
        INFO(host);
        CHECK(refusal([&] { return asked_of(host); }).substr(0, 3) == "421");
    }
    CHECK(refusal([&] { return asked_of("localhost", "http://localhost"); }).empty());
    CHECK(refusal([&] { return asked_of("localhost", "http://evil"); }).substr(0, 3) == "403");
    CHECK(refusal([&] { return asked_of("localhost", "null"); }).substr(0, 3) == "403");
    CHECK(refusal([&] { return asked_of("localhost", "", "text/plain"); }).substr(0, 3) ==
          "415");
}

TEST_CASE("http: S637: one object of JSON, whatever is in it") {
    const http::json_object object(R"({"a":"x","n":7,"nested":{"a":1,"b":[{}]},"a":"last"})");
    CHECK(object.text("a", 10) == "last");
    CHECK(object.number("n") == 7);
    CHECK(object.has("nested"));
    CHECK_FALSE(object.has("b"));
    CHECK(object.text("none", 10).empty());
    CHECK_THROWS_AS(object.text("a", 3), http::bad_json);
    CHECK_THROWS_AS(object.text("n", 10), http::bad_json);
    CHECK_THROWS_AS(object.number("a"), http::bad_json);
    for (const char* text : {"", "7", "[]", "{", R"({"a":1}x)", R"({"a":1e999})"}) {
        INFO(text);
        CHECK_THROWS_AS(http::json_object(text), http::bad_json);
    }
    CHECK_THROWS_AS(http::json_object(std::string(20, '[')), http::bad_json);
    CHECK(http::error_to_json("a \"b\" \xff") == "{\"error\":\"a \\\"b\\\" \xef\xbf\xbd\"}");
}

TEST_CASE("http: S638: a client that leaves cuts its work, and what that left is seen to") {
    const auto found = sim::explore(seeds(60, 10), sees_to_what_was_cut);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("http: S639: answers beyond the budget are sent away, and it is given back") {
    const auto found = sim::explore(seeds(60, 10), keeps_its_budget);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("http: S640: work beyond its time is cut, and seen to") {
    const auto found = sim::explore(seeds(60, 10), runs_out_of_time);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("http: S641: a connection cancelled, or out of memory, at any place harms no other") {
    const auto found =
        sim::cancel_at_every_await(everything_goes_wrong("conn ", 6), one_client);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() > 10);
    CHECK(found.allocations > 20);
}
