// Four ways to be cancelled without harm: each task below is asked to stop while it waits.
//
//     $ cancel_safely
//     shield: stopped (timeout) after both halves were written
//     mark_consistent: stopped (timeout) in the section, which is healthy
//     defer: stopped (timeout) after the section, in which alice has 70 and bob 30
//     finally: stopped (timeout), and the connection was given back
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <string>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

struct accounts {
    int alice = 100;
    int bob = 0; // together always 100
};
using bank = sync::mutex<accounts>;

// shield: a piece of work that must not be cut runs to its end; the request takes effect at the
// next co_await behind it.
task<> write_both_halves(std::string& file) {
    file += "one ";
    co_await sleep_for(20ms);
    file += "two";
}
task<> write_record(std::string& file) {
    co_await shield(write_both_halves(file));
    co_await checkpoint();
    file += " and too much";
}

// mark_consistent: the guard spans a wait, but nothing has been changed yet. Leaving is safe.
task<> pay_what_is_asked(bank& money) {
    auto held = co_await money.lock();
    held.mark_consistent();
    co_await sleep_for(1h); // until we are told how much; the lock keeps the balance as it is
    held.mark_inconsistent();
    held->alice -= 30;
    held->bob += 30;
}

// on_cancel::defer: as long as the guard lives, a request waits.
task<> transfer(bank& money) {
    auto held = co_await money.lock(sync::on_cancel::defer);
    held->alice -= 30;
    co_await sleep_for(20ms);
    held->bob += 30;
    held.unlock();
    co_await checkpoint(); // the request is seen here
    std::puts("unreachable");
}

// finally: a cleanup that may itself wait, whichever way the body ends.
task<> use_connection() {
    co_await sleep_for(1h);
}
task<> give_back(bool& borrowed) {
    co_await sleep_for(1ms); // say goodbye
    borrowed = false;
}
task<> with_connection(bool& borrowed) {
    borrowed = true;
    co_await finally(use_connection(), give_back(borrowed));
}

/// "timeout": why it ended before its end.
std::string why(const outcome<>& end) {
    return end.is_cancelled() ? std::string(to_string(end.reason())) : "not at all";
}

task<> story() {
    std::string file;
    outcome<> end = co_await try_with_timeout(5ms, write_record(file));
    std::printf("shield: stopped (%s) after %s written\n", why(end).c_str(),
                file == "one two" ? "both halves were" : "something else was");

    bank money;
    end = co_await try_with_timeout(5ms, pay_what_is_asked(money));
    std::printf("mark_consistent: stopped (%s) in the section, which is %s\n", why(end).c_str(),
                money.is_poisoned() ? "poisoned" : "healthy");

    end = co_await try_with_timeout(5ms, transfer(money));
    {
        auto held = co_await money.lock();
        std::printf("defer: stopped (%s) after the section, in which alice has %d and bob %d\n",
                    why(end).c_str(), held->alice, held->bob);
    }

    bool borrowed = false;
    end = co_await try_with_timeout(5ms, with_connection(borrowed));
    std::printf("finally: stopped (%s), and the connection was %s\n", why(end).c_str(),
                borrowed ? "lost" : "given back");
}

} // namespace

int main() {
    return run(story());
}
