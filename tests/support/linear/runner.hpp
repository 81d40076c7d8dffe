// Runs random histories on two workers and this thread, with requests and time limits at any
// moment, and asks whether each of them is linearisable.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_RUNNER_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_RUNNER_HPP

#include <toadstone/runtime.hpp>

#include "support/linear/search.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests::linear {

/// A primitive under test, one for each history, behind a face that is compiled once.
class subject {
public:
    virtual ~subject() = default;
    /// One call by a task, or the few that belong together. It may be torn down anywhere.
    virtual task<> act(actor& by) = 0;
    /// The same by a plain thread.
    virtual void act_on_thread(actor& by) = 0;
    /// A call that ends waits; made again until nobody waits.
    virtual void unblock(actor& by) = 0;
    /// Calls when all are through that show whether anything was lost.
    virtual void at_rest(actor& by) = 0;
    /// Empty if it is; else the history.
    [[nodiscard]] virtual std::string complaint(const history& calls) const = 0;
};

/// Thrown out of sections and initialisers.
struct broken_off : std::runtime_error {
    broken_off() : std::runtime_error("broken off") {}
};

/// A limit that mostly is in the middle of things.
inline std::chrono::nanoseconds short_limit(actor& by) {
    return std::chrono::nanoseconds(by.chance.below(8) * 5000);
}

/// In a section: others come meanwhile. It may be torn down here.
inline task<> lingers(actor& by) {
    if (by.chance.one_in(3)) {
        co_await sleep_for(std::chrono::microseconds(by.chance.below(20)));
    } else {
        for (unsigned i = by.chance.below(4); i > 0; --i) co_await yield_now();
    }
}

namespace detail {

constexpr unsigned tasks = 3;
constexpr unsigned turns = 4;

/// One history that is being made.
struct run {
    explicit run(std::unique_ptr<subject> on) : what(std::move(on)) {}
    std::unique_ptr<subject> what;
    recorder log;
    std::array<std::array<cancellation_source, turns>, tasks> sources;
    std::array<std::atomic<unsigned>, tasks> turn{};
    std::array<join_handle<void>, tasks> handles;
    std::atomic<unsigned> here{0};
    std::atomic<unsigned> left{tasks + 1};
};

/// The last that an actor touches. A parameter: one that never begins has it, too.
class departure {
public:
    explicit departure(run& in) noexcept : in_(&in) {}
    departure(departure&& other) noexcept : in_(std::exchange(other.in_, nullptr)) {}
    departure& operator=(departure&&) = delete;
    ~departure() {
        if (in_) in_->left.fetch_sub(1, std::memory_order_release);
    }

private:
    run* in_;
};
/// The call that an actor is torn down in.
struct end_of_call {
    actor& self;
    ~end_of_call() { self.end_cancelled(); }
};

inline void cancel_somebody(run& in, dice& chance) {
    const unsigned who = chance.below(tasks);
    const unsigned now = in.turn[who].load(std::memory_order_relaxed);
    in.sources[who][std::min(now, turns - 1)].cancel();
}

inline task<> plays(run& in, unsigned number, std::uint64_t seed, departure) {
    actor self(in.log, number, seed);
    const end_of_call at_the_end{self};
    in.here.fetch_add(1, std::memory_order_relaxed);
    for (unsigned i = self.chance.below(4); i > 0; --i) co_await yield_now();
    for (unsigned i = 0; i < turns; ++i) {
        in.turn[number].store(i, std::memory_order_relaxed);
        auto step = in.what->act(self);
        switch (self.chance.below(4)) {
        case 0: {
            const auto limit = short_limit(self);
            static_cast<void>(co_await try_with_timeout(limit, std::move(step)));
            break;
        }
        case 1: {
            auto tied = with_token(in.sources[number][i].token(), std::move(step));
            static_cast<void>(co_await as_outcome(std::move(tied)));
            break;
        }
        default:
            co_await std::move(step);
        }
        self.end_cancelled();
        if (self.chance.one_in(4)) cancel_somebody(in, self.chance);
        if (self.chance.one_in(3)) co_await yield_now();
    }
}

inline void plays_on_thread(run& in, std::uint64_t seed) {
    actor self(in.log, tasks, seed);
    const departure last_of_all(in);
    // Begins with the tasks, or nearly.
    for (int i = 0; i < 1000 && in.here.load(std::memory_order_relaxed) == 0; ++i) {
        std::this_thread::yield();
    }
    for (unsigned i = 0; i < turns; ++i) {
        in.what->act_on_thread(self);
        if (self.chance.one_in(2)) std::this_thread::yield();
    }
}

inline task<> joins(run& in, join_handle<void>& end) {
    co_await end;
    for (auto& each : in.handles) static_cast<void>(co_await each.outcome());
}

/// Cancels now and then, and ends waits, until all are through. Its pauses decide nothing but
/// how much is seen to wait.
inline task<> ends_waits(run& in, std::uint64_t seed) {
    actor self(in.log, tasks + 1, seed);
    unsigned events = 0;
    unsigned quiet_for = 0;
    unsigned patience = 8;
    for (unsigned rounds = 0; in.left.load(std::memory_order_acquire) > 0; ++rounds) {
        if (self.chance.one_in(2)) cancel_somebody(in, self.chance);
        const bool stops = rounds == 1 && self.chance.one_in(8);
        if (stops) in.handles[self.chance.below(tasks)].cancel();
        // Once more helps only if somebody has done something since, or was between the
        // beginning of a call and its wait: histories stay short.
        const bool is_quiet = in.log.events() == events;
        const bool is_long = in.log.size() > most_calls / 2;
        quiet_for = is_quiet ? quiet_for + 1 : 0;
        const bool helps = is_quiet ? quiet_for >= patience : !is_long || rounds % 64 == 0;
        if (rounds >= 3 && helps) {
            if (is_quiet) patience *= 2;
            const unsigned before = in.log.events();
            const unsigned made = self.made();
            in.what->unblock(self);
            quiet_for = 0;
            events = before + 2 * (self.made() - made); // unless somebody else did something
        }
        if (rounds > 100000) {
            std::fputs("a wait has no end\n", stderr);
            std::abort();
        }
        co_await sleep_for(std::chrono::microseconds(rounds < 8 ? 10 : 100));
    }
    in.what->at_rest(self);
}

} // namespace detail

inline unsigned from_environment(const char* name, unsigned otherwise) {
    const char* const text = std::getenv(name);
    return text ? static_cast<unsigned>(std::strtoul(text, nullptr, 10)) : otherwise;
}

struct figures {
    unsigned long histories = 0;
    unsigned long calls = 0;
    unsigned long at_once = 0; ///< calls that began while others went on
    unsigned long cancelled = 0;
    unsigned long timed_out = 0;
    unsigned long falsified = 0; ///< histories with one end changed
    unsigned long noticed = 0;   ///< those of them that have no order

    void count(const history& of) {
        ++histories;
        calls += of.size();
        unsigned until = 0;
        for (const call& each : of) { // in the order of their beginnings, or nearly
            at_once += each.begun < until;
            until = std::max(until, each.ended);
            cancelled += each.end == linear::cancelled;
            timed_out += each.end == linear::timed_out;
        }
    }
};

/// The same history but for how one call ended.
inline history falsified(history calls, dice& chance) {
    call& one = calls[chance.below(static_cast<unsigned>(calls.size()))];
    if (one.end >= first_value) {
        ++one.end;
    } else {
        one.end = one.end == ok ? no : ok;
    }
    return calls;
}

/// `make(dice&)` gives a new subject. Each history has to have an order; one in eight is
/// falsified as well, and often has none then.
///
/// TOADSTONE_LINEAR_HISTORIES is another number of them, and has the figures printed;
/// TOADSTONE_LINEAR_SEED is where to begin.
template <class Make>
figures check_histories(Make make) {
    constexpr unsigned usual = TOADSTONE_TSAN || TOADSTONE_ASAN ? 500 : 1000;
    const unsigned count = from_environment("TOADSTONE_LINEAR_HISTORIES", usual);
    const unsigned first = from_environment("TOADSTONE_LINEAR_SEED", 1);
    figures seen;
    runtime here({.workers = 2});
    for (unsigned seed = first; seed < first + count; ++seed) {
        dice chance(seed);
        auto in = std::make_unique<detail::run>(make(chance));
        for (unsigned i = 0; i < detail::tasks; ++i) {
            const auto where = placement::worker(chance.below(2));
            in->handles[i] = here.spawn(
                detail::plays(*in, i, chance.below(1u << 30), detail::departure(*in)),
                {.where = where});
        }
        const auto where = placement::worker(chance.below(2));
        auto end =
            here.spawn(detail::ends_waits(*in, chance.below(1u << 30)), {.where = where});
        detail::plays_on_thread(*in, chance.below(1u << 30));
        here.block_on(detail::joins(*in, end));
        const history calls = in->log.written();
        const std::string complaint = in->what->complaint(calls);
        INFO("seed " << seed << ":\n" << complaint);
        REQUIRE(complaint.empty());
        seen.count(calls);
        if (seed % 8 == 0 && !calls.empty()) {
            ++seen.falsified;
            seen.noticed += !in->what->complaint(falsified(calls, chance)).empty();
        }
    }
    if (std::getenv("TOADSTONE_LINEAR_HISTORIES")) {
        std::printf("%lu histories, %lu calls, %lu at once, %lu cancelled, %lu timed out; "
                    "%lu falsified, %lu of them noticed\n",
                    seen.histories, seen.calls, seen.at_once, seen.cancelled, seen.timed_out,
                    seen.falsified, seen.noticed);
    }
    CHECK(seen.cancelled + seen.timed_out > 0);
    CHECK(seen.noticed * 4 > seen.falsified);
    return seen;
}

template <class Model>
[[nodiscard]] std::string complaint_of(const Model& model, const history& calls) {
    if (is_linearisable(model, calls)) return {};
    return "no order of these calls is one of the model\n" + to_text<Model>(calls);
}

} // namespace toadstone::tests::linear

#endif
