// Folders: names are found, made, moved and removed, and errors say which.
#include <toadstone/io/folder.hpp>

#include <toadstone/runtime.hpp>

#include <support/counted_awaits.hpp>
#include <support/hand_pool.hpp>
#include <support/io.hpp>
#include <support/resources.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<> writes(io::folder& here, std::string name, std::string text) {
    auto made = co_await here.open_file(std::move(name), {.create = true, .append = true});
    co_await made.append(text);
    co_await made.close();
}
task<std::string> reads(io::folder& here, std::string name) {
    auto from = co_await here.open_file(std::move(name));
    std::string text(100, '\0');
    text.resize(co_await from.read_at(text, 0));
    co_return text;
}
task<std::string> names(io::folder& here) {
    const auto all = co_await here.list();
    std::string text;
    for (const auto& each : all) {
        text += each.name;
        if (each.kind == io::entry_kind::folder) text += '/';
        if (each.kind == io::entry_kind::link) text += '@';
        if (each.kind == io::entry_kind::other) text += '?';
        text += ' ';
    }
    co_return text;
}
// g++ 12 would await twice what stands in a CHECK.
void holds(bool claim) {
    CHECK(claim);
}
void holds_not(bool claim) {
    CHECK_FALSE(claim);
}
void is(const std::string& seen, const std::string& wanted) {
    CHECK(seen == wanted);
}
template <class T>
task<std::string> complaint(task<T> body) {
    try {
        co_await std::move(body);
    } catch (const std::exception& error) {
        co_return error.what();
    }
    co_return "none";
}

task<> works_with_names(std::string path) {
    auto here = co_await io::folder::open(path);
    CHECK(here.is_open());
    CHECK(here.path() == path);
    std::string found = co_await names(here);
    CHECK(found.empty());

    co_await writes(here, "a", "first");
    holds(co_await here.make_folder("f"));
    holds_not(co_await here.make_folder("f"));
    holds_not(co_await here.make_folder("a"));
    CHECK(::symlink("a", (path + "/l").c_str()) == 0);
    found = co_await names(here);
    CHECK(found == "a f/ l@ ");

    co_await here.rename("a", "b");
    is(co_await reads(here, "b"), "first");
    co_await writes(here, "c", "second");
    holds_not(co_await here.rename_new("c", "b"));
    is(co_await reads(here, "b"), "first");
    co_await here.rename("c", "b");
    is(co_await reads(here, "b"), "second");
    holds(co_await here.rename_new("b", "d"));

    auto inside = co_await here.open_folder("f");
    CHECK(inside.path() == path + "/f");
    co_await here.rename("d", inside, "e");
    is(co_await reads(inside, "e"), "second");
    // It is the same folder under whatever name.
    co_await here.rename("f", "g");
    is(co_await reads(inside, "e"), "second");
    co_await inside.sync();
    co_await here.sync();

    holds(co_await inside.remove("e"));
    holds_not(co_await inside.remove("e"));
    holds(co_await here.remove_folder("g"));
    holds_not(co_await here.remove_folder("g"));
    holds(co_await here.remove("l"));
    found = co_await names(here);
    CHECK(found.empty());
    co_await inside.close();
    co_await here.close();
    CHECK_FALSE(here.is_open());
}

task<> is_refused(std::string path) {
    auto here = co_await io::folder::open(path);
    co_await writes(here, "a", "text");
    holds(co_await here.make_folder("f"));
    co_await writes(here, "f/b", "text");
    std::string said = co_await complaint(io::folder::open(path + "/none"));
    CHECK(said == "open " + path + "/none: No such file or directory");
    said = co_await complaint(io::folder::open(path + "/a"));
    CHECK(said == "open " + path + "/a: Not a directory");
    said = co_await complaint(here.open_folder("none"));
    CHECK(said == "open " + path + "/none: No such file or directory");
    said = co_await complaint(here.open_file("none"));
    CHECK(said == "open " + path + "/none: No such file or directory");
    said = co_await complaint(here.rename("none", "x"));
    CHECK(said == "rename none to x in " + path + ": No such file or directory");
    auto inside = co_await here.open_folder("f");
    said = co_await complaint(inside.rename("c", here, "x"));
    CHECK(said == "rename c in " + path + "/f to x in " + path + ": No such file or directory");
    said = co_await complaint(here.remove("f"));
    CHECK(said == "remove " + path + "/f: Is a directory");
    said = co_await complaint(here.remove_folder("f"));
    CHECK(said == "remove " + path + "/f: Directory not empty");
    said = co_await complaint(here.make_folder("none/x"));
    CHECK(said == "make " + path + "/none/x: No such file or directory");
    const std::string with_zero("a\0b", 3);
    said = co_await complaint(here.remove(with_zero));
    CHECK(said.find("remove a\\0b: it contains a zero byte") != std::string::npos);
    co_await inside.close();
    said = co_await complaint(inside.list());
    CHECK(said == "list " + path + "/f: Bad file descriptor");
    said = co_await complaint(inside.sync());
    CHECK(said == "sync " + path + "/f: Bad file descriptor");
    said = co_await complaint(inside.remove("b"));
    CHECK(said == "remove " + path + "/f/b: Bad file descriptor");
    said = co_await complaint(here.rename("a", inside, "a"));
    CHECK(said.find("Bad file descriptor") != std::string::npos);
    is(co_await reads(here, "a"), "text");
    holds(co_await here.remove("f/b"));
    holds(co_await here.remove_folder("f"));
}

task<> makes_many(std::string path, int count) {
    auto here = co_await io::folder::open(path);
    for (int i = 0; i < count; ++i) {
        const std::string name = "a name that takes some room " + std::to_string(i);
        auto made = co_await here.open_file(name, {.write = true, .create = true});
    }
    const auto all = co_await here.list();
    CHECK(all.size() == static_cast<std::size_t>(count));
    const auto by_name = [](const auto& one, const auto& other) {
        return one.name < other.name;
    };
    CHECK(std::is_sorted(all.begin(), all.end(), by_name));
    const auto again = co_await here.list();
    CHECK(again.size() == all.size());
}

task<std::string> replaces(std::string path) {
    auto here = co_await io::folder::open(std::move(path));
    auto fresh =
        co_await here.open_file("new", {.write = true, .create = true, .truncate = true});
    co_await fresh.write_all_at(std::string_view("fresh"), 0);
    co_await fresh.sync_all();
    co_await fresh.close();
    co_await here.rename("new", "data");
    co_await here.sync();
    const auto all = co_await here.list();
    co_return all.front().name;
}

/// Runs what is asked of it when the test says so.
class pool_by_hand {
public:
    explicit pool_by_hand(stepped& of) { of.calls = &pool_; }
    void run() {
        while (pool_.waiting() > 0) {
            pool_.begin();
            pool_.end();
        }
        std::this_thread::yield();
    }

private:
    hand_pool pool_;
};

} // namespace

TEST_CASE("folder: S520: names are made, listed, moved and removed, by whatever name it has") {
    const std::size_t before = open_descriptors();
    {
        const temporary_folder place;
        runtime rt({.workers = 1});
        rt.block_on(works_with_names(place.path()));
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE(
    "folder: S521: what goes wrong says what was to be done to what, and changes nothing") {
    const temporary_folder place;
    runtime rt({.workers = 1});
    rt.block_on(is_refused(place.path()));
}

TEST_CASE("folder: S520: a long list comes whole and in order") {
    const temporary_folder place;
    runtime rt({.workers = 1});
    rt.block_on(makes_many(place.path(), 3000));
}

TEST_CASE(
    "folder: S522: a replacement is cancelled at each await: the old file or the new one") {
    const std::size_t before = open_descriptors();
    {
        const temporary_folder place;
        std::optional<pool_by_hand> threads;
        stepped world;
        threads.emplace(world);
        counted_awaits awaits(world);
        bool stopped = true;
        for (unsigned n = 1; stopped; ++n) {
            REQUIRE(n < 100);
            {
                runtime rt({.workers = 1});
                const auto put = [](std::string path) -> task<> {
                    auto here = co_await io::folder::open(std::move(path));
                    static_cast<void>(co_await here.remove("data"));
                    co_await writes(here, "data", "old");
                };
                rt.block_on(put(place.path()));
            }
            auto end = awaits.run(replaces(place.path()), n, [&threads] { threads->run(); });
            stopped = end.is_cancelled();
            if (!stopped) CHECK(end.value() == "data");
            const auto look = [](std::string path) -> task<std::string> {
                auto here = co_await io::folder::open(std::move(path));
                co_return co_await reads(here, "data");
            };
            runtime rt({.workers = 1});
            const std::string found = rt.block_on(look(place.path()));
            CHECK((found == "fresh" || (stopped && found == "old")));
        }
        CHECK(world.worker().in_flight() == 0);
    }
    CHECK(open_descriptors() == before);
}
