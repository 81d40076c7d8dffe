// A database library whose callbacks wait: SQLite on a fiber.
//
// Shows: run_fiber() around SQLite. While another connection holds its lock, the busy handler
// sleeps as a task does; and each sync of the file goes to a thread for functions that block,
// through a VFS that passes everything else on. The worker runs other tasks meanwhile. A
// cancellation is a value in a callback: SQLite is told SQLITE_INTERRUPT or SQLITE_IOERR, rolls
// back by itself, and the connection is whole.
//
//     $ fiber_sqlite
//     waited for the other connection, and wrote: 1 row
//     the worker had other turns meanwhile: yes
//     cancelled while it waited: 1 row
//     the same connection, again: 2 rows
#include <toadstone/runtime.hpp>

#include <sqlite3.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>

#include <unistd.h>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

// The VFS: SQLite's own, but for its files' xSync. What a file needs for that lies behind what
// the original has there: journals and databases have methods of different kinds.
struct behind_file {
    sqlite3_io_methods methods;
    const sqlite3_io_methods* original;
};
sqlite3_vfs& original_vfs() {
    static sqlite3_vfs* const vfs = sqlite3_vfs_find(nullptr);
    return *vfs;
}
int offset_behind() {
    constexpr int alignment = alignof(behind_file);
    return (original_vfs().szOsFile + alignment - 1) / alignment * alignment;
}
behind_file& behind(sqlite3_file* file) {
    return *reinterpret_cast<behind_file*>(reinterpret_cast<char*>(file) + offset_behind());
}

int syncs = 0;

int sync_elsewhere(sqlite3_file* file, int flags) {
    const fiber::no_unwind between_c_frames;
    ++syncs;
    auto blocks = [=] { return behind(file).original->xSync(file, flags); };
    const auto done = fiber::try_await(spawn_blocking(blocks));
    // Cancelled, it is not known what has reached the disk: SQLite rolls back.
    return done ? done.value() : SQLITE_IOERR_FSYNC;
}
int open_file(sqlite3_vfs*, const char* name, sqlite3_file* file, int flags, int* out) {
    const int code = original_vfs().xOpen(&original_vfs(), name, file, flags, out);
    if (code == SQLITE_OK) {
        behind_file& mine = behind(file);
        mine = {*file->pMethods, file->pMethods};
        mine.methods.xSync = sync_elsewhere;
        file->pMethods = &mine.methods;
    }
    return code;
}
sqlite3_vfs& waiting_vfs() {
    static sqlite3_vfs vfs = [] {
        sqlite3_vfs made = original_vfs();
        made.zName = "waiting";
        made.szOsFile = offset_behind() + static_cast<int>(sizeof(behind_file));
        made.xOpen = open_file;
        return made;
    }();
    return vfs;
}

/// Called while somebody else holds the lock: 0 gives up.
int wait_a_little(void*, int) {
    const fiber::no_unwind between_c_frames;
    return fiber::try_await(sleep_for(1ms)).has_value() ? 1 : 0;
}

struct close_connection {
    void operator()(sqlite3* connection) const noexcept { sqlite3_close(connection); }
};
using connection = std::unique_ptr<sqlite3, close_connection>;

connection open(const std::string& path) {
    sqlite3* raw = nullptr;
    // No mutex of its own: a connection belongs to one task at a time.
    constexpr int how = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    const int code = sqlite3_open_v2(path.c_str(), &raw, how, "waiting");
    connection made(raw);
    if (code != SQLITE_OK) throw std::runtime_error(sqlite3_errstr(code));
    sqlite3_busy_handler(raw, wait_a_little, nullptr);
    return made;
}

/// On a fiber.
void execute(const connection& on, const char* statement) {
    char* message = nullptr;
    const int code = sqlite3_exec(on.get(), statement, nullptr, nullptr, &message);
    const std::string text = message ? message : "";
    sqlite3_free(message);
    fiber::await(checkpoint()); // where a task that was asked to stop ends
    if (code != SQLITE_OK) throw std::runtime_error(text);
}
task<> execute_on_fiber(const connection& on, const char* statement) {
    auto body = [&] { execute(on, statement); };
    co_await run_fiber(body);
}
task<int> count_rows(const connection& on) {
    int rows = 0;
    auto body = [&] {
        const auto count = [](void* to, int, char** text, char**) {
            *static_cast<int*>(to) = std::atoi(text[0]);
            return 0;
        };
        sqlite3_exec(on.get(), "SELECT count(*) FROM t", count, &rows, nullptr);
    };
    co_await run_fiber(body);
    co_return rows;
}

task<> lets_go_later(const connection& other) {
    co_await sleep_for(10ms);
    co_await execute_on_fiber(other, "COMMIT");
}
task<> counts_turns(int& turns) {
    for (;;) {
        co_await sleep_for(1ms);
        ++turns;
    }
}

task<> show(std::string path) {
    const connection mine = open(path);
    const connection other = open(path);
    co_await execute_on_fiber(mine, "CREATE TABLE t(x)");

    int turns = 0;
    co_await execute_on_fiber(other, "BEGIN EXCLUSIVE");
    co_await when_any(counts_turns(turns), [](auto& held, auto& writes) -> task<> {
        co_await when_all(lets_go_later(held),
                          execute_on_fiber(writes, "INSERT INTO t VALUES (1)"));
    }(other, mine));
    std::printf("waited for the other connection, and wrote: %d row\n",
                co_await count_rows(mine));
    std::printf("the worker had other turns meanwhile: %s\n",
                turns > 0 && syncs > 0 ? "yes" : "no");

    co_await execute_on_fiber(other, "BEGIN EXCLUSIVE");
    const auto cut =
        co_await try_with_timeout(10ms, execute_on_fiber(mine, "INSERT INTO t VALUES (2)"));
    co_await execute_on_fiber(other, "COMMIT");
    std::printf("cancelled while it waited: %d row\n",
                cut.is_cancelled() ? co_await count_rows(mine) : -1);

    co_await execute_on_fiber(mine, "INSERT INTO t VALUES (3)");
    std::printf("the same connection, again: %d rows\n", co_await count_rows(mine));
}

} // namespace

int main() {
    sqlite3_vfs_register(&waiting_vfs(), 0);
    std::string folder = "/tmp/fiber_sqlite.XXXXXX";
    if (!mkdtemp(folder.data())) return 1;
    const std::string path = folder + "/db";
    run(show(path));
    unlink(path.c_str());
    rmdir(folder.c_str());
}
