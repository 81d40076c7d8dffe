// An awaitable of one's own that takes part in cancellation: tickets, handed out in order.
//
// Shows: cancellable<Op>() and its hooks. An operation that waits in a list leaves it when its
// task is cancelled; one that has been given a ticket, and whose task has to stop before it
// could go on, hands the ticket to the next in line; any thread may bring tickets; a time limit
// needs nothing more. tests/sim/cancel_doors_test.cpp cancels these tasks at every await.
//
//     $ own_awaitable
//     alice has a ticket
//     carol has a ticket
//     bob was cancelled (requested) in the line
//     erin has a ticket
//     dave was cancelled (requested) with that ticket in his hand
//     frank gave up after 10 ms
//     tickets left: 0, waiting: 0
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

class ticket_office {
public:
    // The operation of one wait. It is made in the frame of the task that waits, and stays
    // there: its address is its place in the line.
    class wait {
    public:
        explicit wait(ticket_office& at) noexcept : at_(at) {}
        wait(const wait&) = delete;
        wait& operator=(const wait&) = delete;

        // Not called if the task was cancelled before.
        void start(continuation then) {
            const std::lock_guard hold(at_.lock_);
            then_ = then;
            if (at_.tickets_ > 0) {
                --at_.tickets_;
                then_.resume(); // only makes the task ready
            } else {
                at_.line_.push_back(this); // resume() may come from now on
            }
        }
        // Under the lock that resume() is called under: it is still in the line, and will never
        // be resumed, or it has been.
        bool cancel(cancel_reason) noexcept {
            const std::lock_guard hold(at_.lock_);
            return at_.line_.remove(this) == 1;
        }
        // It has a ticket, and its task has to stop.
        bool taken() noexcept {
            at_.add(1);
            return true;
        }
        void result() const noexcept {}

    private:
        friend class ticket_office;
        ticket_office& at_;
        continuation then_;
    };

    // co_await office.ticket();
    auto ticket() { return cancellable<wait>(std::ref(*this)); }

    // From any thread.
    void add(int count) noexcept {
        const std::lock_guard hold(lock_);
        for (tickets_ += count; tickets_ > 0 && !line_.empty(); --tickets_) {
            wait* const first = line_.front();
            line_.pop_front();
            first->then_.resume(); // behind this, *first may be gone
        }
    }
    [[nodiscard]] int tickets() const {
        const std::lock_guard hold(lock_);
        return tickets_;
    }
    [[nodiscard]] std::size_t waiting() const {
        const std::lock_guard hold(lock_);
        return line_.size();
    }

private:
    mutable std::mutex lock_; // held for a few instructions: no task waits under it
    int tickets_ = 0;         // 0 while anybody waits
    std::list<wait*> line_;
};

task<> visitor(ticket_office& office, std::string_view name) {
    co_await office.ticket();
    std::printf("%s has a ticket\n", name.data());
}

task<> hasty(ticket_office& office) {
    try {
        co_await with_timeout(10ms, office.ticket());
    } catch (const timeout_error&) {
        std::puts("frank gave up after 10 ms");
    }
}

task<> story() {
    ticket_office office;
    auto alice = spawn(visitor(office, "alice"));
    auto bob = spawn(visitor(office, "bob"));
    auto carol = spawn(visitor(office, "carol"));
    while (office.waiting() < 3) co_await yield_now();

    // From a thread that the runtime knows nothing of; bob has left the line.
    bob.cancel();
    std::thread([&office] { office.add(2); }).join();
    co_await alice;
    co_await carol;
    const outcome<> left = co_await bob.outcome();
    if (left.is_cancelled()) {
        std::printf("bob was cancelled (%s) in the line\n",
                    std::string(to_string(left.reason())).c_str());
    }

    // At the tie: the ticket is given, and the task cancelled before it runs.
    auto dave = spawn(visitor(office, "dave"));
    auto erin = spawn(visitor(office, "erin"));
    while (office.waiting() < 2) co_await yield_now();
    office.add(1);
    dave.cancel();
    const outcome<> torn = co_await dave.outcome();
    if (torn.is_cancelled()) {
        std::printf("dave was cancelled (%s) with that ticket in his hand\n",
                    std::string(to_string(torn.reason())).c_str());
    }
    co_await erin;

    co_await hasty(office);
    std::printf("tickets left: %d, waiting: %zu\n", office.tickets(), office.waiting());
}

} // namespace

int main() {
    runtime_options options;
    options.workers = 1;
    return run(story(), options);
}
