// Clients of a real server: many queries, given up at random, while the server is killed once.
#ifndef TOADSTONE_TESTS_SUPPORT_CLIENT_STORM_HPP
#define TOADSTONE_TESTS_SUPPORT_CLIENT_STORM_HPP

#include <toadstone/runtime.hpp>

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {

/// Of a Client whose `echo(text)` gives the text, by way of the server.
template <class Client>
using clients_of = std::vector<std::unique_ptr<Client>>;

struct tally {
    unsigned answered = 0;
    unsigned given_up = 0;
    unsigned failed = 0;
    unsigned wrong = 0; ///< another one's answer
};

template <class Client>
task<> asks(clients_of<Client>& clients, unsigned seed, unsigned queries, tally& all) {
    std::minstd_rand dice(seed);
    for (unsigned i = 0; i < queries; ++i) {
        const auto text = std::to_string(seed) + "/" + std::to_string(i);
        const bool in_haste = dice() % 4 == 0;
        const auto limit = std::chrono::microseconds(in_haste ? dice() % 600 : 20'000'000);
        Client& which = *clients[dice() % clients.size()];
        auto end = co_await try_with_timeout(limit, which.echo(text));
        if (end.has_value()) {
            ++all.answered;
            all.wrong += end.value() != text;
        } else if (end.is_cancelled()) {
            ++all.given_up;
        } else {
            ++all.failed;
            co_await sleep_for(std::chrono::milliseconds(5)); // it is being started again
        }
    }
}

template <class Restart>
task<> restarts_after(unsigned queries, const tally& all, Restart& restart) {
    while (all.answered + all.given_up < queries) {
        co_await sleep_for(std::chrono::milliseconds(1));
    }
    co_await restart();
}

/// `restart()` is called in the middle of it.
template <class Client, class Restart>
task<> storm(clients_of<Client>& clients, Restart& restart, unsigned queries, tally& all) {
    std::vector<task<>> tasks;
    for (unsigned i = 0; i < 8; ++i) {
        tasks.push_back(asks(clients, i + 1, queries / 8, all));
    }
    tasks.push_back(restarts_after(queries / 2, all, restart));
    co_await when_all(std::move(tasks));
}

template <class Client>
task<> until_it_answers(Client& which) {
    for (bool answers = false; !answers;) {
        auto up = co_await as_outcome(which.echo("up"));
        answers = up.has_value();
        if (!answers) co_await sleep_for(std::chrono::milliseconds(20));
    }
}

/// TOADSTONE_CLIENT_QUERIES in the environment, or some.
inline unsigned how_many_queries() {
    const char* const more = std::getenv("TOADSTONE_CLIENT_QUERIES");
    return more ? static_cast<unsigned>(std::atoi(more)) : 2000;
}

inline void check(const tally& all, unsigned queries) {
    INFO(all.answered << " answered, " << all.given_up << " given up, " << all.failed
                      << " failed, " << all.wrong << " wrong");
    CHECK(all.wrong == 0);
    CHECK(all.answered + all.given_up + all.failed == queries / 8 * 8);
    CHECK(all.answered > 0);
    CHECK(all.given_up > 0);
    CHECK(all.failed > 0);
}

} // namespace toadstone::tests

#endif
