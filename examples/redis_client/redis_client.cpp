// A client of Redis by hiredis: redis_client [HOST [PORT]]
//
// Shows: a C library with a non-blocking descriptor, awaited by io::readiness(), and what to do
// about a command that is given up in the middle: its answer is still to come, and would be
// taken for that of the next command. The connection is in a mutex, which such an interruption
// poisons; whoever comes next gets it repaired, here by a new connection.
//
//     $ redis_client
//     SET: OK
//     GET: seven
//     INCR: refused (ERR value is not an integer or out of range)
//     BLPOP: given up
//     GET: connected again; seven
#include "connection.hpp"

#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <cstdlib>

using namespace toadstone;
using namespace std::chrono_literals;

/// A command for a connection that many tasks may share.
static task<> ask(sync::mutex<redis::connection>& shared, std::string host, int port,
                  std::vector<std::string> words) {
    const char* how = "";
    auto reconnect = [&](redis::connection& broken, const poison_cause&) -> task<> {
        broken = co_await with_timeout(2s, redis::connection::connect(host, port));
        how = "connected again; ";
    };
    auto held = co_await shared.lock_or_recover(reconnect);
    const redis::reply answer = co_await held->command(words);
    const std::string text = answer.refused ? "refused (" + answer.text + ")" : answer.text;
    std::printf("%s: %s%s\n", words.front().c_str(), how, text.c_str());
}

static task<> story(std::string host, int port) {
    auto first = co_await with_timeout(2s, redis::connection::connect(host, port));
    sync::mutex<redis::connection> shared(std::move(first));
    const std::string key = "toadstone-example";
    const std::vector<std::vector<std::string>> commands{
        {"SET", key, "seven"}, {"GET", key},
        {"INCR", key},         {"BLPOP", key + "-list", "0"}, // waits for ever
        {"GET", key},
    };
    for (const auto& words : commands) {
        const auto limit = words.front() == "BLPOP" ? 20ms : 20s;
        const auto end = co_await try_with_timeout(limit, ask(shared, host, port, words));
        if (end.is_cancelled()) std::printf("%s: given up\n", words.front().c_str());
        if (end.has_exception()) end.value(); // throws it
    }
}

int main(int argc, char** argv) {
    const char* const host = argc > 1 ? argv[1] : "127.0.0.1";
    return run(story(host, argc > 2 ? std::atoi(argv[2]) : 6379), {.workers = 1});
}
