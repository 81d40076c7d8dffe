// The simulated world: its network and its disks, as code written for real ones meets them.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>

#include <catch2/catch.hpp>

#include <cerrno>
#include <chrono>
#include <functional>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using namespace toadstone;
using namespace std::chrono_literals;

namespace {

void expect(bool claim, const char* what) {
    if (!claim) throw std::runtime_error(what);
}

task<std::string> read_all(io::tcp_stream& from) {
    std::string text;
    char buffer[100];
    for (;;) {
        const std::size_t count = co_await from.read_some(std::span(buffer));
        if (count == 0) break;
        text.append(buffer, count);
    }
    co_return text;
}

task<> answers(io::tcp_listener& listener) {
    auto stream = co_await listener.accept();
    const std::string text = co_await read_all(stream);
    co_await stream.write_all(text + text);
    co_await stream.close();
}

task<> asks(sim::world&) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto server = spawn(answers(listener), {.name = "server"});
    auto stream = co_await io::tcp_stream::connect(listener.local_endpoint());
    const std::string question(10'000, 'q');
    co_await stream.write_all(question);
    stream.shutdown_write();
    const std::string answer = co_await read_all(stream);
    expect(answer == question + question, "the answer is not the question, twice");
    co_await server;
    co_await stream.close();
    co_await listener.close();
}

task<> keeps_a_journal(sim::world& world) {
    auto file = co_await io::file::open("journal", {.create = true, .append = true});
    const std::string record(700, 'r');
    co_await file.append(record);
    co_await file.sync_data();
    co_await file.append("lost or not");
    co_await file.close();
    world.crash_disks();
    const auto after = world.file("journal");
    expect(after.has_value() && after->compare(0, record.size(), record) == 0,
           "what was synced is lost");
}

// Only a descriptor of its own gets a second sync to the kernel: the first one gives up.
task<> syncs_again(sim::world& world) {
    auto file = co_await io::file::open("journal", {.create = true, .append = true});
    co_await file.append("a record");
    world.fail_next_sync();
    bool failed = false;
    try {
        co_await file.sync_data();
    } catch (const std::system_error&) {
        failed = true;
    }
    expect(failed, "the sync did not fail");
    co_await file.close();
    auto other = co_await io::file::open("journal", {.append = true});
    co_await other.sync_data();
    co_await other.close();
    world.crash_disks();
    const auto after = world.file("journal");
    expect(after.has_value(), "the second sync has made the file durable, whatever is in it");
    expect(after->find("record") == after->npos, "it has written what the first one lost");
}

// Which errno the opening of this file fails with; 0 if it does not.
task<int> error_of_making(std::string path) {
    try {
        auto file = co_await io::file::open(path, {.create = true, .append = true});
        co_await file.close();
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}
task<> makes_folders(sim::world& world) {
    int error = co_await error_of_making("/tmp/one");
    expect(error == 0, "there is no /tmp");
    error = co_await error_of_making("data/one");
    expect(error == ENOENT, "a file was made in a folder that is not there");
    expect(!world.file("data/one"), "and even can be found");
    world.make_folder("data/of/today");
    for (const char* each : {"data/one", "/data/of/two", "data/of/today/three"}) {
        error = co_await error_of_making(each);
        expect(error == 0, "a folder was not made");
    }
    world.put_file("more/data/one", "1");
    error = co_await error_of_making("more/data/two");
    expect(error == 0, "a file was put where there is no folder");
    expect(world.file("/more/./data/../data//one") == "1", "one file has many names");
    error = co_await error_of_making("more/data/one/within");
    expect(error == ENOTDIR, "a file was taken for a folder");
}
bool refuses(const std::function<void()>& call) {
    try {
        call();
    } catch (const std::invalid_argument&) {
        return true;
    }
    return false;
}
task<> mixes_them_up(sim::world& world) {
    co_await yield_now();
    world.put_file("file", "");
    world.make_folder("folder");
    expect(refuses([&] { world.make_folder("file/within"); }), "made a folder in a file");
    expect(refuses([&] { world.put_file("file/within", ""); }), "put a file into a file");
    expect(refuses([&] { world.put_file("folder", ""); }), "put a file upon a folder");
}

} // namespace

TEST_CASE("world: a file can be made in a folder that exists, and nowhere else") {
    const auto found = sim::explore({}, makes_folders);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("world: what would make a file a folder is refused") {
    const auto end = sim::simulate(mixes_them_up);
    INFO(end.failure);
    CHECK(end);
}

TEST_CASE("world: a question and its answer over a hostile network") {
    sim::explore_options options;
    options.world.workers = 2;
    const auto found = sim::explore(options, asks);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("world: with strict folders a new file can be lost until its folder is synced") {
    unsigned lost = 0;
    const auto body = [&lost](sim::world& world, bool folder) -> task<> {
        auto file = co_await io::file::open("new", {.create = true, .append = true});
        co_await file.append("x");
        co_await file.sync_data();
        if (folder) {
            auto here = co_await io::file::open(".");
            co_await here.sync_all();
        }
        world.crash_disks();
        lost += !world.file("new").has_value();
    };
    sim::explore_options options;
    options.world.strict_folders = true;
    const auto without = [&](sim::world& world) { return body(world, false); };
    const auto with = [&](sim::world& world) { return body(world, true); };
    CHECK(sim::explore(options, without));
    CHECK(lost > 0);
    lost = 0;
    CHECK(sim::explore(options, with));
    CHECK(lost == 0);
}

TEST_CASE("world: what was synced survives a crash of the disks") {
    const auto found = sim::explore({}, keeps_a_journal);
    INFO(found.to_string());
    CHECK(found);
}

TEST_CASE("world: what a failed sync has lost, no later one brings back") {
    const auto found = sim::explore({}, syncs_again);
    INFO(found.to_string());
    CHECK(found);
}
