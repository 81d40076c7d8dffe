// A pool of connections: borrowers that are cancelled, connections that break.
//
// Shows: a semaphore for how many may be borrowed, a mutex for those that are idle, and a lease
// that gives back by its destructor. Whoever waits for a connection and is cancelled leaves the
// line. Whoever is cancelled while he has one may have left a request on it without its answer:
// that connection is closed, and the next borrower gets a new one. The pool is poisoned by
// neither.
//
//     $ connection_pool
//     first borrows connection 1
//     second borrows connection 2
//     third waits, and is cancelled
//     second is cancelled with a request under way: connection 2 is closed
//     fourth borrows connection 3
//     first gives connection 1 back
//     fifth borrows connection 1
//     in the end: 2 idle, 3 opened, pool poisoned: no
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <utility>
#include <vector>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct connection {
    int number = 0;
};

class pool {
public:
    explicit pool(std::size_t most) : free_(most, "connections") {}

    /// A connection that goes back, or is closed if a request is under way on it.
    class lease {
    public:
        lease(pool& from, sync::semaphore::permit permit, connection which)
            : from_(&from), permit_(std::move(permit)), which_(which) {}
        lease(lease&& other) noexcept
            : from_(std::exchange(other.from_, nullptr)), permit_(std::move(other.permit_)),
              which_(other.which_), busy_(other.busy_) {}
        lease& operator=(lease&&) = delete;
        ~lease() {
            if (from_) from_->take_back(which_, busy_);
        }

        [[nodiscard]] int number() const { return which_.number; }
        task<> query(std::chrono::milliseconds answer_takes) {
            busy_ = true;
            co_await sleep_for(answer_takes);
            busy_ = false;
        }

    private:
        pool* from_;
        sync::semaphore::permit permit_;
        connection which_;
        bool busy_ = false;
    };

    task<lease> borrow() {
        auto permit = co_await free_.acquire();
        auto idle = co_await idle_.lock();
        connection which;
        if (idle->empty()) {
            which.number = ++opened_;
        } else {
            which = idle->back();
            idle->pop_back();
        }
        idle.unlock();
        co_return lease(*this, std::move(permit), which);
    }
    task<std::size_t> idle() {
        const auto held = co_await idle_.lock();
        co_return held->size();
    }
    [[nodiscard]] int opened() const { return opened_; }
    [[nodiscard]] bool poisoned() const { return idle_.is_poisoned(); }

private:
    // In a destructor: it does not wait. The section never suspends, so on one worker the lock
    // is free.
    void take_back(connection which, bool busy) noexcept {
        if (busy) {
            std::printf("connection %d is closed\n", which.number);
            return;
        }
        if (auto idle = idle_.try_lock()) (*idle)->push_back(which);
    }

    sync::semaphore free_;
    sync::mutex<std::vector<connection>> idle_;
    int opened_ = 0;
};

task<> client(pool& from, const char* name, std::chrono::milliseconds answer_takes) {
    auto mine = co_await from.borrow();
    std::printf("%s borrows connection %d\n", name, mine.number());
    co_await mine.query(answer_takes);
}

task<> story(pool& database) {
    auto first = spawn(client(database, "first", 30ms));
    auto second = spawn(client(database, "second", 24h));
    co_await sleep_for(5ms);
    auto third = spawn(client(database, "third", 1ms));
    co_await sleep_for(5ms);
    std::puts("third waits, and is cancelled");
    third.cancel();
    const outcome<> end_of_third = co_await third.outcome();

    std::printf("second is cancelled with a request under way: ");
    second.cancel();
    const outcome<> end_of_second = co_await second.outcome();
    co_await client(database, "fourth", 1ms);
    co_await first;
    std::puts("first gives connection 1 back");
    co_await client(database, "fifth", 1ms);

    const std::size_t idle = co_await database.idle();
    std::printf("in the end: %zu idle, %d opened, pool poisoned: %s\n", idle, database.opened(),
                database.poisoned() ? "yes" : "no");
}

} // namespace

int main() {
    pool database(2); // outlives all tasks, whatever ends them
    return run(story(database));
}
