// Functions that block, beside tasks that must not: a driver without an asynchronous form.
//
// Shows: spawn_blocking() runs a function on a thread of its own kind, while the worker serves
// others; results and exceptions come back; a task that is cancelled while its function runs
// waits for it and gets its result, one whose function has not begun never calls it; a function
// that is handed the task's token can end early by itself.
//
//     $ blocking_calls
//     query 1: 10 rows, from thread block-0
//     meanwhile the worker has served others
//     query 2 failed: table is locked
//     cancelled in its function: the rows came all the same, then the task ended
//     cancelled in the queue: the driver was not called
//     asked to stop: gave up after 1 of 1000 pages
#include <toadstone/runtime.hpp>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>

#include <pthread.h>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

/// A driver as many are: every call blocks its thread.
class driver {
public:
    int query(const std::string& table) {
        ++calls_;
        if (table == "locked") throw std::runtime_error("table is locked");
        answered_.wait(false); // the database takes its time
        return 10;
    }
    void answer() {
        answered_ = true;
        answered_.notify_all();
    }
    void be_slow() { answered_ = false; }
    [[nodiscard]] int calls() const { return calls_; }

private:
    std::atomic<bool> answered_{false};
    std::atomic<int> calls_{0};
};

std::string thread_name() {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    return name;
}

task<> first_query(driver& db) {
    std::string from;
    const int rows = co_await spawn_blocking([&db, &from] {
        from = thread_name();
        return db.query("accounts");
    });
    std::printf("query 1: %d rows, from thread %s\n", rows, from.c_str());
}

task<> second_query(driver& db) {
    try {
        co_await spawn_blocking([&db] { return db.query("locked"); });
    } catch (const std::runtime_error& error) {
        std::printf("query 2 failed: %s\n", error.what());
    }
}

task<> until_called(const driver& db, int times) {
    while (db.calls() < times) co_await sleep_for(1ms);
}

// Its rows are delivered although it has been asked to stop: they may be worth something.
task<> keeps_rows(driver& db, int& rows) {
    rows = co_await spawn_blocking([&db] { return db.query("accounts"); });
    co_await checkpoint(); // here it ends
    std::puts("unreachable: it was cancelled");
}

// One of two is in the driver, the other one waits for the only thread that there is.
task<> cancelled_queries(driver& db) {
    db.be_slow();
    const int before = db.calls();
    int rows = 0;
    int none = 0;
    auto busy = spawn(keeps_rows(db, rows));
    co_await until_called(db, before + 1);
    auto queued = spawn(keeps_rows(db, none));
    co_await yield_now();
    busy.cancel();
    queued.cancel();
    const outcome<> never = co_await queued.outcome(); // at once
    db.answer();
    const outcome<> late = co_await busy.outcome();
    if (late.is_cancelled() && rows == 10) {
        std::puts("cancelled in its function: the rows came all the same, then the task ended");
    }
    if (never.is_cancelled() && db.calls() == before + 1) {
        std::puts("cancelled in the queue: the driver was not called");
    }
}

// A function that looks at a token between two pages.
task<> copies_pages(std::atomic<int>& pages) {
    const cancellation_token stop = this_task::token();
    co_await spawn_blocking([&pages, &stop] {
        do {
            ++pages;
            while (pages == 1 && !stop.cancelled()) std::this_thread::yield();
        } while (pages < 1000 && !stop.cancelled());
    });
}

task<> story() {
    driver db;
    auto query = spawn(first_query(db));
    co_await until_called(db, 1);
    db.answer(); // this task ran while the other's function blocked
    co_await query;
    std::puts("meanwhile the worker has served others");
    co_await second_query(db);
    co_await cancelled_queries(db);
    std::atomic<int> pages{0};
    auto copy = spawn(copies_pages(pages));
    while (pages == 0) co_await sleep_for(1ms);
    copy.cancel();
    co_await copy; // it has no await behind its function, and so it ends by itself
    std::printf("asked to stop: gave up after %d of 1000 pages\n", pages.load());
}

} // namespace

int main() {
    runtime_options options;
    options.workers = 1;
    options.blocking_threads = 1; // as many as the driver has connections
    return run(story(), options);
}
