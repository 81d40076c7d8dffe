// The threads of a runtime for functions that block: made when they are needed, up to a bound,
// and ended when they have had nothing to do for a while.
#ifndef TOADSTONE_RUNTIME_BLOCKING_POOL_HPP
#define TOADSTONE_RUNTIME_BLOCKING_POOL_HPP

#include <toadstone/runtime/detail/blocking_call.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <thread>
#include <vector>

namespace toadstone::detail {

/// A mutex, a condition variable, a queue. Each thread has a number, the lowest that is free,
/// and its name from it.
///
/// Lifetime: every call has ended or been withdrawn when the pool is destroyed. The destructor
///     ends the threads and waits for them.
/// Fork: a child has none of the threads and leaves the pool alone. A function that forks and
///     returns in the child ends the child with a sentence.
class blocking_pool final : public blocking_service {
public:
    blocking_pool(unsigned most_threads, std::chrono::nanoseconds keep_alive);
    ~blocking_pool();
    blocking_pool(const blocking_pool&) = delete;
    blocking_pool& operator=(const blocking_pool&) = delete;

    void submit(blocking_call& call) override;
    [[nodiscard]] bool withdraw(blocking_call& call) noexcept override;

    /// Of a function that has not returned, or not begun.
    struct entry {
        std::optional<unsigned> thread; ///< its number; none: it waits for a thread
        std::uint64_t task_id = 0;
        std::string task_name;
        std::source_location where; ///< the co_await
        std::chrono::nanoseconds lasts{};
    };
    /// Those that run, and behind them those that wait. Any thread.
    [[nodiscard]] std::vector<entry> entries();
    /// At this moment. Any thread.
    [[nodiscard]] unsigned threads();

private:
    using clock = std::chrono::steady_clock;
    struct seat {
        std::thread thread;
        blocking_call* call = nullptr; ///< null: idle
    };

    void start_thread();
    void work(unsigned number) noexcept;
    [[nodiscard]] bool wait_for_call(std::unique_lock<std::mutex>& hold);
    void leave(unsigned number, std::unique_lock<std::mutex>& hold);

    const std::chrono::nanoseconds keep_alive_;
    const fork_mark made_in_;
    std::mutex lock_; // guards all that follows
    std::condition_variable more_;
    std::condition_variable last_left_;
    blocking_queue queue_;
    std::vector<seat> seats_; // as many as threads are allowed
    unsigned threads_ = 0;
    unsigned idle_ = 0; // threads without a call, also those that are just starting
    std::thread left_;  // the one that has ended last, which nobody has joined yet
    bool ending_ = false;
};

} // namespace toadstone::detail

#endif
