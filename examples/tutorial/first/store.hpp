// The store of docs/tutorial.md, as one writes it at first: poisoned, it stays so.
#ifndef TOADSTONE_EXAMPLES_TUTORIAL_FIRST_STORE_HPP
#define TOADSTONE_EXAMPLES_TUTORIAL_FIRST_STORE_HPP

#include <toadstone/io.hpp>
#include <toadstone/sync.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <utility>

namespace notes {

struct contents {
    std::map<std::string, std::string> values;
    std::size_t bytes = 0; // of all values together
};

class store {
public:
    toadstone::task<> set(std::string key, std::string value,
                          toadstone::io::tcp_stream& client) {
        auto held = co_await all_.lock();
        std::string& place = held->values[key];
        held->bytes -= place.size();
        place = std::move(value);
        // With the lock, so that all are answered in the order of the changes.
        co_await client.write_all("stored\n");
        held->bytes += place.size();
    }

    toadstone::task<std::string> get(std::string key) {
        auto held = co_await all_.lock();
        const auto found = held->values.find(key);
        co_return found == held->values.end() ? "?" : found->second;
    }

    toadstone::task<std::size_t> bytes() {
        auto held = co_await all_.lock();
        co_return held->bytes;
    }

private:
    toadstone::sync::mutex<contents> all_{contents(), "notes"};
};

} // namespace notes

#endif
