// The store of docs/tutorial.md: whoever finds it poisoned counts again.
#ifndef TOADSTONE_EXAMPLES_TUTORIAL_STORE_HPP
#define TOADSTONE_EXAMPLES_TUTORIAL_STORE_HPP

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

// What holds between two sections, made true again.
inline void count_again(contents& all, const toadstone::poison_cause&) {
    all.bytes = 0;
    for (const auto& [key, value] : all.values) all.bytes += value.size();
}

class store {
public:
    toadstone::task<> set(std::string key, std::string value,
                          toadstone::io::tcp_stream& client) {
        auto held = co_await all_.lock_or_recover(&count_again);
        std::string& place = held->values[key];
        held->bytes -= place.size();
        place = std::move(value);
        // With the lock, so that all are answered in the order of the changes.
        co_await client.write_all("stored\n");
        held->bytes += place.size();
    }

    toadstone::task<std::string> get(std::string key) {
        auto held = co_await all_.lock_or_recover(&count_again);
        const auto found = held->values.find(key);
        co_return found == held->values.end() ? "?" : found->second;
    }

    toadstone::task<std::size_t> bytes() {
        auto held = co_await all_.lock_or_recover(&count_again);
        co_return held->bytes;
    }

private:
    toadstone::sync::mutex<contents> all_{contents(), "notes"};
};

} // namespace notes

#endif
