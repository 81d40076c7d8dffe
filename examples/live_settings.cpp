// A watch: settings that change while the program runs. Each change is whole or has not
// happened, and whoever follows sees the newest version, not every one.
//
//     $ live_settings
//     follower: limit 20
//     refused: no number: many
//     still 20
//     follower: limit 40
//     follower: no more changes
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

namespace {

using namespace toadstone;
namespace watch = sync::watch;

struct settings {
    std::string source;
    int limit = 0;
};

int number_in(const std::string& text) {
    if (text.find_first_not_of("0123456789") != std::string::npos) {
        throw std::invalid_argument("no number: " + text);
    }
    return std::stoi(text);
}

// The function works on a copy: if it throws, nobody ever sees what it has done so far.
void reload(const watch::sender<settings>& to, const std::string& text) {
    to.send_modify([&](settings& now) {
        now.source = text;
        now.limit = number_in(text);
    });
}

task<> follow(watch::receiver<settings> from) {
    for (;;) {
        const bool more = co_await from.changed();
        if (!more) break;
        const settings now = from.get_and_update();
        std::printf("follower: limit %d\n", now.limit);
    }
    std::puts("follower: no more changes");
}

task<> everything() {
    auto channel = watch::channel(settings{"10", 10});
    auto& current = channel.rx;
    auto follower = spawn(follow(current));
    co_await yield_now();
    reload(channel.tx, "20");
    co_await yield_now();
    try {
        reload(channel.tx, "many");
    } catch (const std::invalid_argument& error) {
        std::printf("refused: %s\n", error.what());
    }
    std::printf("still %d\n", current.get().limit);
    reload(channel.tx, "30"); // nobody has looked yet when the next one comes
    reload(channel.tx, "40");
    co_await yield_now();
    channel.tx.close();
    co_await follower;
}

} // namespace

int main() {
    run(everything());
}
