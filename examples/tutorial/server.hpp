// The server of docs/tutorial.md, without its main(): a line is a request, a line is an answer.
#ifndef TOADSTONE_EXAMPLES_TUTORIAL_SERVER_HPP
#define TOADSTONE_EXAMPLES_TUTORIAL_SERVER_HPP

#include "store.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <chrono>
#include <optional>
#include <sstream>
#include <string>
#include <utility>

namespace notes {

// One request: "set KEY VALUE", "get KEY" or "bytes".
inline toadstone::task<> answer(std::string line, store& all,
                                toadstone::io::tcp_stream& client) {
    std::istringstream words(line);
    std::string verb, key, value;
    words >> verb >> key;
    std::getline(words >> std::ws, value);
    if (verb == "set" && !value.empty()) {
        co_await all.set(key, value, client);
    } else if (verb == "get") {
        const std::string found = co_await all.get(key);
        co_await client.write_all(found + "\n");
    } else if (verb == "bytes") {
        const std::size_t bytes = co_await all.bytes();
        co_await client.write_all(std::to_string(bytes) + "\n");
    } else {
        co_await client.write_all("set KEY VALUE, get KEY, or bytes\n");
    }
}

// One client, until it is done or keeps quiet, or does not read, for half a minute.
inline toadstone::task<> serve_client(toadstone::io::tcp_stream client, store& all) {
    using namespace std::chrono_literals;
    toadstone::io::buffered_reader lines(client);
    for (;;) {
        std::optional<std::string> line =
            co_await toadstone::with_timeout(30s, lines.read_line(4096));
        if (!line) co_return;
        co_await toadstone::with_timeout(30s, answer(std::move(*line), all, client));
    }
}

} // namespace notes

#endif
