// The life of a thread for functions that block, and who is given which call.
#include <toadstone/runtime/blocking/pool.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

#include <pthread.h>

namespace toadstone::detail {

blocking_pool::blocking_pool(unsigned most_threads, std::chrono::nanoseconds keep_alive)
    : keep_alive_(keep_alive), seats_(most_threads) {}

blocking_pool::~blocking_pool() {
    {
        std::unique_lock hold(lock_);
        TOADSTONE_ASSERT(queue_.empty(), "no function waits for a thread of a pool that ends");
        ending_ = true;
        more_.notify_all();
        last_left_.wait(hold, [this] { return threads_ == 0; });
    }
    if (left_.joinable()) left_.join();
}

void blocking_pool::submit(blocking_call& call) {
    const std::lock_guard hold(lock_);
    call.set_since(clock::now());
    queue_.push(call);
    if (idle_ < queue_.size() && threads_ < seats_.size()) {
        try {
            start_thread();
        } catch (...) {
            // With one thread at least, it waits for that.
            if (threads_ == 0 && queue_.remove(call)) throw;
        }
    }
    more_.notify_one();
}

// Under the lock: the thread finds its seat filled.
void blocking_pool::start_thread() {
    const auto free = std::find_if(seats_.begin(), seats_.end(),
                                   [](const seat& each) { return !each.thread.joinable(); });
    const auto number = static_cast<unsigned>(free - seats_.begin());
    try {
        free->thread = std::thread([this, number] { work(number); });
    } catch (const std::system_error& error) {
        throw std::system_error(error.code(),
                                "a thread for spawn_blocking() could not be started");
    }
    ++threads_;
    ++idle_;
}

bool blocking_pool::withdraw(blocking_call& call) noexcept {
    const std::lock_guard hold(lock_);
    return queue_.remove(call);
}

void blocking_pool::work(unsigned number) noexcept {
    char name[16];
    std::snprintf(name, sizeof name, "block-%u", number % 100000);
    pthread_setname_np(pthread_self(), name);
    std::unique_lock hold(lock_);
    while (wait_for_call(hold)) {
        blocking_call& call = *queue_.pop();
        call.set_since(clock::now());
        seats_[number].call = &call;
        --idle_;
        hold.unlock();
        call.run();
        TOADSTONE_ASSERT(!made_in_.forked(),
                         "a function of spawn_blocking() that forks does not return in the "
                         "child, which has no worker to take its result");
        hold.lock();
        seats_[number].call = nullptr; // no report finds it when it is gone
        ++idle_;
        hold.unlock();
        call.finish();
        hold.lock();
    }
    leave(number, hold);
}

// False: the thread ends, because nothing came for long, or will come any more.
bool blocking_pool::wait_for_call(std::unique_lock<std::mutex>& hold) {
    const auto until = deadline_after(clock::now(), keep_alive_);
    more_.wait_until(hold, until, [this] { return !queue_.empty() || ending_; });
    return !queue_.empty();
}

// Joins the one that has left before, so that no more than one is left to be joined.
void blocking_pool::leave(unsigned number, std::unique_lock<std::mutex>& hold) {
    std::thread before = std::exchange(left_, std::move(seats_[number].thread));
    --idle_;
    if (--threads_ == 0) last_left_.notify_all();
    hold.unlock(); // *this may be gone
    if (before.joinable()) before.join();
}

std::vector<blocking_pool::entry> blocking_pool::entries() {
    std::vector<entry> all;
    const auto now = clock::now();
    const auto add = [&](const blocking_call& call, std::optional<unsigned> thread) {
        entry& one = all.emplace_back();
        one.thread = thread;
        one.task_id = call.task_id();
        one.task_name = call.task_name();
        one.where = call.where();
        one.lasts = std::max(now - call.since(), clock::duration(0));
    };
    const std::lock_guard hold(lock_);
    for (std::size_t i = 0; i < seats_.size(); ++i) {
        if (seats_[i].call) add(*seats_[i].call, static_cast<unsigned>(i));
    }
    queue_.for_each([&](const blocking_call& call) { add(call, std::nullopt); });
    return all;
}

unsigned blocking_pool::threads() {
    const std::lock_guard hold(lock_);
    return threads_;
}

} // namespace toadstone::detail
