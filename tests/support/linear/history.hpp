// Histories: who called what, when, and how it ended; written by tasks and threads at once.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_HISTORY_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_HISTORY_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

namespace toadstone::tests::linear {

/// How a call ended. What it received, if it receives something, is `first_value` or more.
enum result : signed char {
    open = 0, ///< it has not
    ok,
    no,        ///< false, or nothing: it would have had to wait
    cancelled, ///< torn down
    timed_out,
    refused,  ///< by an error that says why: closed, broken
    poisoned, ///< the same; of a call that takes poisoned data, too: it has that
    failed,   ///< by what the caller's own function threw
    last,     ///< ok, and the last of a round
    first_value = 16,
};

/// One call. The times are of one counter for the whole history.
struct call {
    unsigned actor = 0; ///< who makes one call at a time
    int what = 0;       ///< the model knows
    int argument = 0;
    int end = open;
    unsigned begun = 0;
    unsigned ended = 0;
};
using history = std::vector<call>;

constexpr unsigned most_calls = 160;

/// A source of choices: cheap, and the same in every build.
class dice {
public:
    explicit dice(std::uint64_t seed) noexcept : state_(seed) {}
    [[nodiscard]] unsigned below(unsigned limit) noexcept {
        state_ += 0x9e3779b97f4a7c15;
        std::uint64_t mixed = state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return static_cast<unsigned>((mixed >> 33) % limit);
    }
    [[nodiscard]] bool one_in(unsigned limit) noexcept { return below(limit) == 0; }

private:
    std::uint64_t state_;
};

/// Writes a history. Each call is one actor's; actors are tasks and threads.
class recorder {
public:
    [[nodiscard]] unsigned begin(unsigned actor, int what, int argument) noexcept {
        const unsigned index = used_.fetch_add(1, std::memory_order_relaxed);
        TOADSTONE_ASSERT(index < most_calls, "a history is short");
        calls_[index] = {actor, what, argument, open, now(), 0};
        return index;
    }
    void end(unsigned index, int how) noexcept {
        calls_[index].end = how;
        calls_[index].ended = now();
    }
    [[nodiscard]] unsigned size() const noexcept { return used_.load(order); }
    /// How many calls have begun, and have ended.
    [[nodiscard]] unsigned events() const noexcept { return clock_.load(order); }
    /// When all actors are through.
    [[nodiscard]] history written() const {
        return {calls_.begin(), calls_.begin() + used_.load(order)};
    }

private:
    // ThreadSanitizer would take an ordering here for one of the code under test.
    static constexpr auto order =
        TOADSTONE_TSAN ? std::memory_order_relaxed : std::memory_order_seq_cst;
    [[nodiscard]] unsigned now() noexcept { return clock_.fetch_add(1, order); }

    std::atomic<unsigned> used_{0};
    std::atomic<unsigned> clock_{0};
    std::array<call, most_calls> calls_;
};

/// Who makes calls, one after the other.
class actor {
public:
    actor(recorder& log, unsigned number, std::uint64_t seed) noexcept
        : chance(seed), log_(&log), number_(number) {}

    void begin(int what, int argument = 0) noexcept {
        current_ = log_->begin(number_, what, argument);
        busy_ = true;
        ++made_;
    }
    void end(int how) noexcept {
        busy_ = false;
        log_->end(current_, how);
    }
    /// A call that was torn down, if it was in one.
    void end_cancelled() noexcept {
        if (busy_) end(cancelled);
    }
    [[nodiscard]] unsigned number() const noexcept { return number_; }
    /// How many it has begun.
    [[nodiscard]] unsigned made() const noexcept { return made_; }
    /// Another one each time, over all actors.
    [[nodiscard]] int new_value() noexcept {
        return first_value + static_cast<int>(number_ * 16 + values_++ % 16);
    }

    dice chance;

private:
    recorder* log_;
    unsigned number_;
    unsigned current_ = 0;
    unsigned values_ = 0;
    unsigned made_ = 0;
    bool busy_ = false;
};

/// "3..9  actor 1: try_lock(0) -> no", one a line.
template <class Model>
std::string to_text(const history& calls) {
    static constexpr const char* ends[] = {
        "open", "ok", "no", "cancelled", "timed out", "refused", "poisoned", "failed", "last"};
    std::string text;
    for (const call& each : calls) {
        text += std::to_string(each.begun) + ".." + std::to_string(each.ended) + "  actor " +
                std::to_string(each.actor) + ": " + Model::names[each.what] + "(" +
                std::to_string(each.argument) + ") -> " +
                (each.end >= first_value ? std::to_string(each.end) : ends[each.end]) + "\n";
    }
    return text;
}

} // namespace toadstone::tests::linear

#endif
