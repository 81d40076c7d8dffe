// Files: what is written is there, what fails says so for good, what is cut in two is poisoned.
#include <toadstone/io/file.hpp>

#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <system_error>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>

using namespace std::chrono_literals;
using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr io::open_options for_append{.create = true, .append = true};

task<std::string> read_whole(std::string path) {
    auto file = co_await io::file::open(path);
    std::string text;
    std::array<char, 1000> buffer{};
    for (;;) {
        const std::size_t count = co_await file.read_some(buffer);
        if (count == 0) break;
        text.append(buffer.data(), count);
    }
    co_return text;
}

template <class Error, class T>
task<std::string> message_of(task<T> body) {
    std::string text = "it did not fail";
    try {
        co_await std::move(body);
    } catch (const Error& error) {
        text = error.what();
    }
    co_return text;
}

/// A pipe with a name: opened for append it is a file that a slow reader can cut short.
class named_pipe {
public:
    explicit named_pipe(const std::string& path) {
        ::mkfifo(path.c_str(), 0600);
        // Both ends, so that opening either waits for nobody.
        fd_ = ::open(path.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC);
    }
    ~named_pipe() { ::close(fd_); }
    named_pipe(const named_pipe&) = delete;
    named_pipe& operator=(const named_pipe&) = delete;
    /// Reads all there is.
    std::size_t drain() const {
        std::array<char, 65536> buffer;
        std::size_t sum = 0;
        for (ssize_t count = 1; count > 0; sum += static_cast<std::size_t>(count)) {
            count = ::read(fd_, buffer.data(), buffer.size());
            if (count < 0) break;
        }
        return sum;
    }
    void write(const std::string& text) const {
        [[maybe_unused]] const auto n = ::write(fd_, text.data(), text.size());
    }

private:
    int fd_ = -1;
};

} // namespace

TEST_CASE("file: what was appended is read back, and every descriptor is closed") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    const auto before = open_descriptors();
    auto body = [](std::string path) -> task<> {
        auto log = co_await io::file::open(path, for_append);
        co_await log.append("one ");
        co_await log.append(std::string(200000, 'x'));
        co_await log.append(" three");
        co_await log.sync_data();
        co_await log.sync_all();
        CHECK(log.size() == 200010);
        CHECK_FALSE(log.poisoned());
        const std::string whole = co_await read_whole(path);
        CHECK(whole == "one " + std::string(200000, 'x') + " three");
    };
    rt.block_on(body(folder.file("log")));
    CHECK(open_descriptors() == before);
}

TEST_CASE("file: positional reads and writes leave the file's own position alone") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path) -> task<> {
        auto file = co_await io::file::open(path, {.write = true, .create = true});
        co_await file.write_all_at("0123456789", 0);
        co_await file.write_all_at("ab", 4);
        std::array<char, 4> part{};
        const std::size_t inside = co_await file.read_at(part, 3);
        CHECK(inside == 4);
        CHECK(std::string(part.data(), 4) == "3ab6");
        const std::size_t at_end = co_await file.read_at(part, 8);
        CHECK(at_end == 2);
        const std::size_t behind = co_await file.read_at(part, 10);
        CHECK(behind == 0);
        const std::size_t first = co_await file.read_some(part);
        CHECK(first == 4);
        CHECK(std::string(part.data(), 4) == "0123");
        file.truncate(3);
        CHECK(file.size() == 3);
    };
    rt.block_on(body(folder.file("data")));
}

TEST_CASE("file: an error names the operation, the path and the reason") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    const auto path = folder.file("none");
    CHECK(rt.block_on(message_of<std::system_error>(io::file::open(path))) ==
          "open " + path + ": No such file or directory");
    auto write_to_full = []() -> task<> {
        auto full = co_await io::file::open("/dev/full", {.write = true});
        co_await full.write_all_at("x", 0);
    };
    CHECK(rt.block_on(message_of<std::system_error>(write_to_full())) ==
          "write to /dev/full: No space left on device");
    auto read_folder = [](std::string where) -> task<> {
        auto file = co_await io::file::open(where);
        std::array<char, 4> buffer{};
        co_await file.read_some(buffer);
    };
    CHECK(rt.block_on(message_of<std::system_error>(read_folder("/tmp"))) ==
          "read from /tmp: Is a directory");
}

TEST_CASE("file: options that contradict each other are refused before anything is opened") {
    stepped world;
    const io::open_options wrong[] = {{.read = false},
                                      {.create = true},
                                      {.truncate = true},
                                      {.write = true, .exclusive = true}};
    for (const auto& options : wrong) {
        auto opening = io::file::open("x", options); // the call itself says nothing
        CHECK_THROWS_AS(world.run(std::move(opening)), std::invalid_argument);
    }
    CHECK_THROWS_AS(world.run(io::file::open(std::string("a\0b", 3))), std::invalid_argument);
}

TEST_CASE("file: create, exclusive, truncate and mode do what open(2) says") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path) -> task<> {
        {
            auto made = co_await io::file::open(
                path, {.write = true, .create = true, .exclusive = true, .mode = 0600});
            co_await made.write_all_at("text", 0);
            CHECK((::fcntl(made.native_handle(), F_GETFD) & FD_CLOEXEC) != 0);
        }
        struct stat about{};
        ::stat(path.c_str(), &about);
        CHECK((about.st_mode & 0777) == 0600);
        const std::string again = co_await message_of<std::system_error>(
            io::file::open(path, {.write = true, .create = true, .exclusive = true}));
        CHECK(again == "open " + path + ": File exists");
        auto emptied = co_await io::file::open(path, {.write = true, .truncate = true});
        CHECK(emptied.size() == 0);
    };
    rt.block_on(body(folder.file("made")));
}

TEST_CASE("file: append wants a file that was opened for it") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path) -> task<> {
        auto file = co_await io::file::open(path, {.write = true, .create = true});
        co_await file.append("x");
    };
    CHECK(rt.block_on(message_of<std::logic_error>(body(folder.file("f"))))
              .find("append = true") != std::string::npos);
}

TEST_CASE("file: an append that failed half-way poisons, and truncate mends") {
    const temporary_folder folder;
    ::signal(SIGXFSZ, SIG_IGN);
    stepped world;
    auto body = [](std::string path) -> task<> {
        auto log = co_await io::file::open(path, for_append);
        co_await log.append("good\n");
        std::string why;
        {
            const limit_scope small(RLIMIT_FSIZE, 4096);
            why = co_await message_of<std::system_error>(log.append(std::string(9000, 'x')));
        }
        CHECK(why == "append to " + path + ": File too large");
        CHECK(log.size() == 4096);
        CHECK(log.poisoned());
        CHECK(log.cause().kind() == poison_kind::exception);
        const std::string later = co_await message_of<poison_error>(log.append("more"));
        CHECK(later.find("file '" + path + "' poisoned") == 0);
        CHECK(later.find("File too large") != std::string::npos);
        CHECK(log.size() == 4096);
        log.truncate(5);
        CHECK_FALSE(log.poisoned());
        co_await log.append("again\n");
        const std::string whole = co_await read_whole(path);
        CHECK(whole == "good\nagain\n");
    };
    world.run(body(folder.file("log")));
}

TEST_CASE("file: a write that failed with nothing written does not poison") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = []() -> task<> {
        auto full = co_await io::file::open("/dev/full", {.append = true});
        const std::string why = co_await message_of<std::system_error>(full.append("x"));
        CHECK(why == "append to /dev/full: No space left on device");
        CHECK_FALSE(full.poisoned());
    };
    rt.block_on(body());
}

TEST_CASE("S59: an append cut by a cancellation poisons, with the cause") {
    const temporary_folder folder;
    const named_pipe pipe(folder.file("pipe"));
    stepped world;
    std::optional<io::file> log = world.run(io::file::open(folder.file("pipe"), for_append));
    auto body = [](io::file& to) -> task<> {
        const std::string data(1 << 20, 'x');
        co_await to.append(data);
    };
    auto writer = world.spawn(body(*log), {.name = "writer"});
    world.settle();
    REQUIRE_FALSE(writer.done());
    writer.cancel(cancel_reason::timeout);
    world.settle();
    REQUIRE(writer.done());
    REQUIRE(log->poisoned());
    CHECK(log->cause().kind() == poison_kind::cancelled);
    CHECK(log->cause().reason() == cancel_reason::timeout);
    CHECK(log->cause().task_name() == "writer");
    CHECK(pipe.drain() < (1 << 20));
    CHECK(world.run(message_of<poison_error>(log->append("more"))).find("writer") !=
          std::string::npos);
    CHECK(pipe.drain() == 0);
}

TEST_CASE("file: an append cancelled before its first byte does not poison") {
    const temporary_folder folder;
    const named_pipe pipe(folder.file("pipe"));
    stepped world;
    std::optional<io::file> log = world.run(io::file::open(folder.file("pipe"), for_append));
    pipe.write(std::string(1 << 20, 'x')); // as much as fits: it is full now
    auto writer = world.spawn(log->append("record"));
    world.settle();
    REQUIRE_FALSE(writer.done());
    writer.cancel();
    world.settle();
    REQUIRE(writer.done());
    CHECK_FALSE(log->poisoned());
    pipe.drain();
    world.run(log->append("record"));
    CHECK(pipe.drain() == 6);
}

TEST_CASE("file: a failed sync is final: it is not tried again, and nothing is written after") {
    runtime rt({.workers = 1});
    auto body = []() -> task<> {
        // A device that cannot be synced fails as a disk does, with another number.
        auto file = co_await io::file::open("/dev/null", {.append = true});
        co_await file.append("fine");
        const std::string first =
            co_await message_of<std::system_error>(detail::as_task(file.sync_data()));
        CHECK(first == "sync /dev/null: Invalid argument");
        const std::string again =
            co_await message_of<std::system_error>(detail::as_task(file.sync_all()));
        CHECK(again.find("has failed before") != std::string::npos);
        CHECK(again.find("Invalid argument") != std::string::npos);
        const std::string append = co_await message_of<std::system_error>(file.append("x"));
        CHECK(append.find("append to /dev/null") == 0);
        CHECK(append.find("has failed before") != std::string::npos);
        const std::string write =
            co_await message_of<std::system_error>(file.write_all_at("x", 0));
        CHECK(write.find("has failed before") != std::string::npos);
    };
    rt.block_on(body());
}

TEST_CASE("file: close reports, waits for what is in flight, and may be repeated") {
    const temporary_folder folder;
    const named_pipe pipe(folder.file("pipe"));
    stepped world;
    std::optional<io::file> file = world.run(io::file::open(folder.file("pipe")));
    auto read = [](io::file& from) -> task<std::size_t> {
        std::array<char, 10> buffer{};
        const std::size_t count = co_await from.read_some(buffer);
        co_return count;
    };
    auto reader = world.spawn(read(*file));
    world.settle();
    auto closer = world.spawn(file->close());
    world.settle();
    CHECK_FALSE(reader.done());
    CHECK_FALSE(closer.done());
    CHECK(world.run(message_of<std::system_error>(read(*file))).find("Bad file descriptor") !=
          std::string::npos);
    pipe.write("text");
    world.settle();
    CHECK(reader.done());
    CHECK(closer.done());
    CHECK_FALSE(file->is_open());
    world.run(file->close());
}

TEST_CASE(
    "file: a task that is cancelled before its close began leaves the file to its owner") {
    const temporary_folder folder;
    stepped world;
    const auto before = open_descriptors();
    {
        std::optional<io::file> file =
            world.run(io::file::open(folder.file("f"), {.write = true, .create = true}));
        auto closer = world.spawn(file->close());
        closer.cancel();
        world.settle();
        CHECK(closer.done());
        CHECK(file->is_open());
    }
    CHECK(open_descriptors() == before);
}

TEST_CASE("file: a sync that came while somebody was about to close says nothing of the data") {
    const temporary_folder folder;
    const named_pipe pipe(folder.file("pipe"));
    stepped world;
    std::optional<io::file> file = world.run(io::file::open(folder.file("pipe")));
    auto read = [](io::file& from) -> task<> {
        std::array<char, 10> buffer{};
        static_cast<void>(co_await from.read_some(buffer));
    };
    auto sync = [](io::file& what) -> task<> { co_await what.sync_all(); };
    auto reader = world.spawn(read(*file));
    world.settle();
    auto closer = world.spawn(file->close());
    world.settle();
    CHECK(world.run(message_of<std::system_error>(sync(*file))).find("Bad file descriptor") !=
          std::string::npos);
    closer.cancel();
    pipe.write("text");
    world.settle();
    REQUIRE(file->is_open());
    // The kernel is asked; a pipe is nothing that can be synced.
    const std::string later = world.run(message_of<std::system_error>(sync(*file)));
    CHECK(later.find("Invalid argument") != std::string::npos);
    CHECK(later.find("failed before") == std::string::npos);
}

TEST_CASE("S64: a close that has begun is not cancelled, and closes") {
    const temporary_folder folder;
    stepped world;
    const auto before = open_descriptors();
    std::optional<io::file> file =
        world.run(io::file::open(folder.file("f"), {.write = true, .create = true}));
    auto race = [](io::file& what) -> task<std::size_t> {
        // Cancelled after the close was prepared and before it was submitted.
        auto won = co_await when_any(what.close(), checkpoint());
        co_return won.index;
    };
    CHECK(world.run(race(*file)) == 1);
    CHECK_FALSE(file->is_open());
    CHECK(open_descriptors() == before);
}

TEST_CASE("S70: an open that succeeded although it was cancelled leaves no descriptor behind") {
    const temporary_folder folder;
    runtime rt({.workers = 2});
    const auto before = open_descriptors();
    unsigned opened = 0;
    auto body = [](std::string path, unsigned& count) -> task<> {
        for (int i = 0; i < 500; ++i) {
            auto handle = spawn(io::file::open(path, {.write = true, .create = true}));
            if (i % 3 != 0) co_await yield_now();
            handle.cancel();
            auto end = co_await handle.outcome();
            if (end.has_value()) ++count;
        }
    };
    rt.block_on(body(folder.file("f"), opened));
    CHECK(open_descriptors() == before);
    INFO(opened << " of 500 were opened all the same");
    CHECK(rt.operations_in_flight() == 0);
}

TEST_CASE("contract: a second appender, or a truncate under one, gets an error") {
    const temporary_folder folder;
    const named_pipe pipe(folder.file("pipe"));
    stepped world;
    auto log = world.run(io::file::open(folder.file("pipe"), for_append));
    const std::string much(1 << 20, 'x'); // more than a pipe holds
    auto first = world.spawn(log.append(much));
    world.settle();
    REQUIRE_FALSE(first.done());
    CHECK(world.run(message_of<std::logic_error>(log.append("y"))) ==
          "append to " + log.path() + ": another task appends to it, and one at a time may");
    CHECK_THROWS_AS(log.truncate(0), std::logic_error);
    first.cancel();
    world.settle();
}

TEST_CASE("file: whatever holds bytes can be written, and reading into nothing gives 0") {
    const temporary_folder folder;
    stepped world;
    auto body = [](std::string path) -> task<> {
        auto file = co_await io::file::open(path, {.create = true, .append = true});
        const std::vector<char> chars{'a', 'b'};
        co_await file.append(chars);
        co_await file.append(std::span<const char>(chars));
        co_await file.append(std::string("cd"));
        const std::size_t none = co_await file.read_at(std::span<char>(), 0);
        CHECK(none == 0);
        std::vector<char> back(6);
        const std::size_t all = co_await file.read_at(back, 0);
        CHECK(all == 6);
        CHECK(std::string(back.data(), back.size()) == "ababcd");
    };
    world.run(body(folder.file("f")));
}

TEST_CASE("file: a lock keeps out others of the same process, too, and ends with its file") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path) -> task<> {
        auto first = co_await io::file::open(path, for_append);
        auto second = co_await io::file::open(path, for_append);
        CHECK(first.try_lock());
        CHECK(first.try_lock());
        CHECK_FALSE(second.try_lock());
        CHECK_FALSE(second.try_lock_shared());
        first.unlock();
        CHECK(second.try_lock());
        CHECK_FALSE(first.try_lock());
        co_await second.close();
        CHECK(first.try_lock());
        {
            const io::file moved = std::move(first);
            auto third = co_await io::file::open(path, for_append);
            CHECK_FALSE(third.try_lock()); // it moved with its file
        }
        auto fourth = co_await io::file::open(path, for_append);
        CHECK(fourth.try_lock());
    };
    rt.block_on(body(folder.file("locked")));
}

TEST_CASE("file: a shared lock is shared, and keeps out who wants it alone") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path) -> task<> {
        auto first = co_await io::file::open(path, for_append);
        auto second = co_await io::file::open(path);
        CHECK(first.try_lock_shared());
        CHECK(second.try_lock_shared());
        CHECK_FALSE(first.try_lock()); // but it still shares
        second.unlock();
        CHECK(first.try_lock());
        CHECK_FALSE(second.try_lock_shared());
    };
    rt.block_on(body(folder.file("shared")));
}

TEST_CASE("file: a lock that cannot be is an error with the path, not a lock that is held") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path) -> task<> {
        auto made = co_await io::file::open(path, for_append);
        auto reader = co_await io::file::open(path);
        CHECK_THROWS_WITH(reader.try_lock(), "lock " + path + ": Bad file descriptor");
        co_await made.close();
        CHECK_THROWS_WITH(made.try_lock(), "lock " + path + ": Bad file descriptor");
    };
    rt.block_on(body(folder.file("read_only")));
}

TEST_CASE("file: it knows when its path leads to another file, or to none") {
    const temporary_folder folder;
    runtime rt({.workers = 1});
    auto body = [](std::string path, std::string elsewhere) -> task<> {
        auto opened = co_await io::file::open(path, for_append);
        CHECK(opened.is_regular());
        CHECK(opened.is_at_path());
        REQUIRE(::rename(path.c_str(), elsewhere.c_str()) == 0);
        CHECK_FALSE(opened.is_at_path());
        {
            auto replacement = co_await io::file::open(path, for_append);
            CHECK_FALSE(opened.is_at_path());
            CHECK(replacement.is_at_path());
        }
        REQUIRE(::rename(elsewhere.c_str(), path.c_str()) == 0);
        CHECK(opened.is_at_path());
        REQUIRE(::unlink(path.c_str()) == 0);
        CHECK_FALSE(opened.is_at_path());
        auto device = co_await io::file::open("/dev/null");
        CHECK_FALSE(device.is_regular());
    };
    rt.block_on(body(folder.file("here"), folder.file("there")));
}
