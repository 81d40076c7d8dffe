// A client of Redis by hiredis: redis_client [HOST [PORT]]
//
// Shows: a C library with a non-blocking descriptor, awaited by io::readiness(), and what to do
// about a command that is given up in the middle: its answer is still to come, and would be
// taken for that of the next command. The connection is in a mutex, which such an interruption
// poisons; whoever comes next gets it repaired, here by a new connection.
//
//     $ redis_client
//     set: OK
//     get: seven
//     incr: refused (ERR value is not an integer or out of range)
//     blpop: given up
//     get: connected again; seven
#include "connection.hpp"

#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct server {
    std::string host = "127.0.0.1";
    int port = 6379;
};

/// A client that many tasks may share.
class client {
public:
    client(server at, redis::connection&& first)
        : at_(std::move(at)), connection_(std::move(first)) {}

    task<std::string> ask(std::vector<std::string> words) {
        std::string text;
        auto reconnect = [&](redis::connection& broken, const poison_cause&) -> task<> {
            broken = co_await with_timeout(2s, redis::connection::connect(at_.host, at_.port));
            text = "connected again; ";
        };
        auto held = co_await connection_.lock_or_recover(reconnect);
        const redis::reply answer = co_await held->command(std::move(words));
        text += answer.refused ? "refused (" + answer.text + ")" : answer.text;
        co_return text;
    }

private:
    server at_;
    sync::mutex<redis::connection> connection_;
};

task<> says(client& from, std::vector<std::string> words, const char* name) {
    const std::string answer = co_await from.ask(std::move(words));
    std::printf("%s: %s\n", name, answer.c_str());
}

task<> story(server at) {
    redis::connection first =
        co_await with_timeout(2s, redis::connection::connect(at.host, at.port));
    client redis(at, std::move(first));
    const std::string key = "toadstone-example";
    std::vector<std::string> words{"SET", key, "seven"};
    co_await says(redis, words, "set");
    words = {"GET", key};
    co_await says(redis, words, "get");
    words = {"INCR", key};
    co_await says(redis, words, "incr");
    words = {"BLPOP", key + "-list", "0"}; // waits for ever
    const auto end = co_await try_with_timeout(20ms, redis.ask(words));
    std::printf("blpop: %s\n", end.has_value() ? "answered" : "given up");
    words = {"GET", key};
    co_await says(redis, words, "get");
}

} // namespace

int main(int argc, char** argv) {
    server at;
    if (argc > 1) at.host = argv[1];
    if (argc > 2) at.port = std::atoi(argv[2]);
    return run(story(at), {.workers = 1});
}
