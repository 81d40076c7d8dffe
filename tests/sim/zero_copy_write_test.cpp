// write_all() that lends its bytes, against a hostile kernel, and cancelled at each await: they
// are the kernel's until the notification, and a cut write poisons.
#include "support/hostile.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t piece = 300; // bytes: more than one short send takes

std::string pieces(std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count * piece; ++i) text += static_cast<char>('a' + i % 23);
    return text;
}

/// Changes what was lent as soon as its owner has it back, however that came about. If the
/// kernel still needed it, the simulation complains, and the peer gets what nobody wrote.
class spoils {
public:
    explicit spoils(std::string& what) noexcept : what_(what) {}
    spoils(const spoils&) = delete;
    spoils& operator=(const spoils&) = delete;
    ~spoils() { std::fill(what_.begin(), what_.end(), '!'); }

private:
    std::string& what_;
};
task<> lends(io::tcp_stream& to, std::string& room, std::string_view text) {
    for (std::size_t at = 0; at < text.size(); at += piece) {
        std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(at), piece, room.begin());
        const spoils afterwards(room);
        co_await to.write_all(room);
    }
}
task<> takes(sim::world& world, io::tcp_stream& from, std::string& got) {
    try {
        for (;;) {
            std::array<char, 70> buffer{};
            const std::size_t count = co_await from.read_some(std::span(buffer));
            if (count == 0) co_return;
            got.append(buffer.data(), count);
            if (pick_timing(world, 4) == 3) co_await a_while(world);
        }
    } catch (const std::system_error&) {
        // the reset of a poisoned stream
    }
}
task<> tears_as_it_says(sim::world& world) {
    connection_pair between;
    co_await between.open();
    between.here->set_zero_copy(1);
    const std::string text = pieces(3);
    std::string room(piece, ' ');
    std::string got;
    auto taking = spawn(takes(world, *between.there, got));
    auto lending = spawn(lends(*between.here, room, text),
                         {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
    co_await may_cancel(world, lending);
    const auto end = co_await lending.outcome();
    const bool poisoned = between.here->poisoned();
    expect(!end.has_value() || !poisoned, "poisoned, although all was written");
    between.here.reset();
    co_await taking;
    expect(text.compare(0, got.size(), got) == 0, "the peer got what nobody wrote");
    if (!poisoned) expect(got.size() % piece == 0, "half a piece, and no poison says so");
    if (end.has_value()) expect(got.size() == text.size(), "not all has come");
}

/// Whoever closes ends a write that waits for a peer which does not read.
task<> fills(io::tcp_stream& to, std::string& room) {
    const spoils afterwards(room);
    co_await to.write_all(room);
}
task<> ends_by_close(sim::world& world) {
    connection_pair between;
    co_await between.open();
    between.here->set_zero_copy(1);
    std::string room(1U << 20, 'x'); // more than a connection holds
    auto filling = spawn(fills(*between.here, room), {.name = "victim"});
    co_await a_while(world);
    if (pick_timing(world, 2) == 1) filling.cancel();
    co_await between.here->close();
    const auto end = co_await filling.outcome();
    expect(!end.has_value(), "more was written than a connection holds");
}

/// As many as there is room for lend; the others copy. Nobody waits for ever.
task<> lends_beside_many(sim::world& world) {
    connection_pair between[3];
    std::string room[3];
    std::string got[3];
    std::vector<join_handle<void>> tasks;
    const std::string text = pieces(1);
    for (int i = 0; i < 3; ++i) {
        co_await between[i].open();
        between[i].here->set_zero_copy(piece);
        room[i].assign(piece, ' ');
        tasks.push_back(spawn(takes(world, *between[i].there, got[i])));
        tasks.push_back(spawn(lends(*between[i].here, room[i], text), {.name = "victim"}));
    }
    for (int i = 0; i < 3; ++i) static_cast<void>(co_await tasks[2 * i + 1].outcome());
    for (int i = 0; i < 3; ++i) between[i].here.reset();
    for (int i = 0; i < 3; ++i) co_await tasks[2 * i];
    for (int i = 0; i < 3; ++i) expect(text.compare(0, got[i].size(), got[i]) == 0, "others");
}

} // namespace

// S173, S174.
TEST_CASE("zero copy: lent bytes are the kernel's until its notification; a cut poisons") {
    check_all(tears_as_it_says);
}

// S175.
TEST_CASE("zero copy: close ends a write to a peer that does not read") {
    check_all(ends_by_close, {.runs = 100, .worlds = 2});
}

// S176.
TEST_CASE("zero copy: several streams lend at the same time") {
    check_all(lends_beside_many, {.runs = 100, .worlds = 2});
}
