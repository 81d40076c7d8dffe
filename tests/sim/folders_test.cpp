// Names in folders, when power fails and when whoever changes them is stopped.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include "support/explored.hpp"
#include "support/simulated.hpp"

#include <catch2/catch.hpp>

#include <cstddef>
#include <functional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

namespace toadstone::tests {
namespace {

std::string content(sim::world& world, std::string_view path) {
    return world.file(path).value_or("none");
}

/// What replaces a file whole, step by step; `steps` of them.
task<> replaces(int steps) {
    auto here = co_await io::folder::open("store");
    auto fresh = co_await here.open_file("new", {.create = true, .append = true});
    if (steps > 0) co_await fresh.append("fresh");
    if (steps > 1) co_await fresh.sync_all();
    co_await fresh.close();
    if (steps > 2) co_await here.rename("new", "data");
    if (steps > 3) co_await here.sync();
    co_await here.close();
}

using ends = std::set<std::string>;

/// The contents that the two names have after a failure of power at some step.
ends ends_of(int steps, bool strict) {
    ends seen;
    sim::explore_options options;
    options.world.strict_folders = strict;
    options.random_runs = 200;
    const auto found = sim::explore(options, [&](sim::world& world) -> task<> {
        world.put_file("store/data", "old");
        co_await replaces(steps);
        world.crash_disks();
        seen.insert(content(world, "store/data") + " " + content(world, "store/new"));
    });
    INFO(found.to_string());
    CHECK(found);
    return seen;
}

task<> makes_and_moves(sim::world& world) {
    world.make_folder("a");
    {
        auto top = co_await io::folder::open("/");
        auto a = co_await io::folder::open("a");
        expect(co_await a.make_folder("b"), "it was there");
        auto b = co_await a.open_folder("b");
        auto file = co_await b.open_file("f", {.create = true, .append = true});
        co_await file.append("text");
        co_await file.sync_all();
        co_await b.sync();
        co_await a.sync();
        co_await a.rename("b", top, "c");
        expect(co_await b.remove("none") == false, "it was nowhere");
        auto other = co_await b.open_file("g", {.create = true, .append = true});
        co_await other.append("more");
        co_await other.sync_all();
        co_await b.sync();
        co_await top.sync();
    }
    world.crash_disks();
    expect(content(world, "c/f") == "text", "what was synced is lost");
    expect(content(world, "c/g") == "more", "what was made in a folder that moved is lost");
    expect(content(world, "a/b/f") == "none", "it is in two places");
}

task<> moves_between_folders(sim::world& world) {
    world.make_folder("a");
    world.make_folder("b");
    auto a = co_await io::folder::open("a");
    auto b = co_await io::folder::open("b");
    auto file = co_await a.open_file("f", {.create = true, .append = true});
    co_await file.append("text");
    co_await file.sync_data();
    co_await a.rename("f", b, "f");
    co_await b.sync(); // and not the other
    world.crash_disks();
    expect(content(world, "b/f") == "text", "what was synced is lost");
    expect(content(world, "a/f") == "none",
           "a change has come after the one that builds on it");
}

task<> lists_in_order(sim::world& world) {
    world.make_folder("a/z");
    for (int i = 0; i < 40; ++i) {
        world.put_file("a/" + std::string(10 + i, static_cast<char>('a' + i % 20)), "x");
    }
    auto here = co_await io::folder::open("a");
    const auto all = co_await here.list();
    expect(all.size() == 41, "not all names");
    for (std::size_t i = 1; i < all.size(); ++i) {
        expect(all[i - 1].name < all[i].name, "not in order");
    }
    expect(all.back().name == std::string(49, 't') || all.back().name == "z", "the last");
}

/// Another process looks at any time.
task<> looks(sim::world& world, bool& over) {
    while (!over) {
        const std::string seen = content(world, "store/data");
        expect(seen == "old" || seen == "fresh", "a file that is neither old nor new");
        co_await yield_now();
    }
}
task<> replaces_once(bool& over) {
    const scope_exit ends([&over] { over = true; });
    try {
        co_await replaces(4);
    } catch (const std::system_error&) { // the disk's
    } catch (const std::bad_alloc&) {
    }
}
task<> whole_at_any_time(sim::world& world) {
    world.put_file("store/data", "old");
    bool over = false;
    auto body = [&](task_scope& scope) -> task<> {
        const scope_exit ends([&over] { over = true; });
        scope.spawn(replaces_once(over), {.name = "victim"});
        co_await looks(world, over);
    };
    try {
        co_await with_scope(body);
    } catch (const std::bad_alloc&) {
    }
    world.crash_disks();
    const std::string left = content(world, "store/data");
    expect(left == "old" || left == "fresh", "power failed, and half a file is left");
}

} // namespace

TEST_CASE(
    "folders: S523: a renamed file is the old one or the new one after a failure of power") {
    // Not even written: whatever is there of the new one, the old one is as it was.
    for (const std::string& each : ends_of(0, true)) CHECK(each.rfind("old ", 0) == 0);
    for (const std::string& each : ends_of(2, true)) CHECK(each.rfind("old ", 0) == 0);
    CHECK(ends_of(2, true) == ends{"old fresh", "old none"});
    CHECK(ends_of(2, false) == ends{"old fresh"});
    // Renamed, and nobody has synced the folder: either, never both and never neither.
    CHECK(ends_of(3, true) == ends{"fresh none", "old fresh", "old none"});
    CHECK(ends_of(3, false) == ends{"fresh none", "old fresh"});
    CHECK(ends_of(4, true) == ends{"fresh none"});
    CHECK(ends_of(4, false) == ends{"fresh none"});
}

TEST_CASE("folders: S524: what is in a folder that was renamed goes with it") {
    sim::explore_options options;
    options.world.strict_folders = true;
    const auto found = sim::explore(options, makes_and_moves);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("folders: S524: a file that went to another folder is in that alone") {
    sim::explore_options options;
    options.world.strict_folders = true;
    const auto found = sim::explore(options, moves_between_folders);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("folders: S525: the names of a folder come in their order") {
    const auto found = sim::explore({}, lists_in_order);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("folders: S526: a replacement that is stopped anywhere, by faults too, leaves a "
          "whole file") {
    auto options = everything_goes_wrong("victim", 12);
    options.world.strict_folders = true;
    options.world.disk_faults = true;
    const auto found = sim::cancel_at_every_await(options, whole_at_any_time);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.points.size() >= 7);
}

} // namespace toadstone::tests
