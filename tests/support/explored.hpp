// Scenarios under exploration: how often they are run, and the pieces that most of them share.
#ifndef TOADSTONE_TESTS_SUPPORT_EXPLORED_HPP
#define TOADSTONE_TESTS_SUPPORT_EXPLORED_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/runtime/detail/leaf.hpp>
#include <toadstone/sim.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <coroutine>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <initializer_list>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace toadstone::tests {

/// Ends the run as a failure unless the promise is kept.
inline void expect(bool kept, const char* otherwise) {
    if (!kept) throw std::runtime_error(otherwise);
}

/// What scenarios throw on purpose; never mistaken for what expect() throws.
class boom final : public std::exception {
public:
    [[nodiscard]] const char* what() const noexcept override { return "boom"; }
};

/// What was seen in some run or other: that an exploration reached what it is about.
class sightings {
public:
    void note(const char* what) { seen_.emplace(what); }
    [[nodiscard]] bool has(const char* what) const {
        return seen_.find(std::string_view(what)) != seen_.end();
    }

private:
    std::set<std::string, std::less<>> seen_;
};

/// An event that tasks of any worker wait for; or, by its switches, an operation in a kernel.
class event {
    class waiter : public detail::leaf {
    public:
        explicit waiter(event& at) noexcept : at_(&at) {}
        [[nodiscard]] bool await_ready() noexcept { return false; }
        template <class Promise>
        void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
            if (!suspend(frame)) return;
            if (at_->set_) {
                let_go();
            } else {
                at_->waiters_.push_back(this);
            }
        }
        void await_resume() const {
            if (at_->error) throw std::system_error(at_->error, std::generic_category(), "op");
        }
        bool cancel(cancel_reason, bool) noexcept override {
            return !at_->in_kernel && std::erase(at_->waiters_, this) == 1;
        }
        bool taken() noexcept override { return !at_->delivers; }
        void let_go() noexcept { ctx_->home().schedule(*ctx_); }

    private:
        event* at_;
    };

public:
    event() = default;
    event(const event&) = delete;
    event& operator=(const event&) = delete;

    using operation = detail::operation<waiter, event&>;
    [[nodiscard]] operation wait() noexcept { return operation(*this); }
    /// From any task; it happens once and stays.
    void set() noexcept {
        set_ = true;
        for (waiter* each : std::exchange(waiters_, {})) each->let_go();
    }
    [[nodiscard]] bool is_set() const noexcept { return set_; }
    [[nodiscard]] bool waited_for() const noexcept { return !waiters_.empty(); }

    bool in_kernel = false; ///< a cancelled wait ends by set() only
    bool delivers = false;  ///< its result counts although a request is pending
    int error = 0;          ///< not 0: the wait fails with it

private:
    bool set_ = false;
    std::vector<waiter*> waiters_;
};

/// Watches over one lock: one owner at a time, first come, first served. A task calls
/// arrives() right before it awaits lock(): between the two nothing else runs.
class line {
public:
    explicit line(std::size_t expected = 0) noexcept : expected_(expected) {}
    line(const line&) = delete;
    line& operator=(const line&) = delete;

    void arrives(int who) {
        waiting_.push_back(who);
        if (++arrived_ == expected_) everybody.set();
    }
    /// Others may pass him by: he was asked to leave, or is bound to fail.
    void excuse(int who) { excused_.insert(who); }

    /// Made by whoever has got the lock, destroyed before the guard is.
    class stay {
    public:
        stay(line& in, int who) : in_(in) {
            in_.enters(who);
            ++in_.inside_;
        }
        stay(const stay&) = delete;
        stay& operator=(const stay&) = delete;
        ~stay() {
            --in_.inside_;
            in_.last_left_ = in_.owner_;
            in_.owner_ = nobody;
        }

    private:
        line& in_;
    };

    static constexpr int nobody = -1;
    [[nodiscard]] int owner() const noexcept { return owner_; }
    [[nodiscard]] int last_left() const noexcept { return last_left_; }
    [[nodiscard]] std::size_t arrived() const noexcept { return arrived_; }
    [[nodiscard]] const std::vector<int>& entered() const noexcept { return entered_; }
    [[nodiscard]] bool has_entered(int who) const {
        return std::find(entered_.begin(), entered_.end(), who) != entered_.end();
    }
    /// The place in the line, from 0, of somebody who has not entered.
    [[nodiscard]] std::size_t place_of(int who) const {
        const auto found = std::find(waiting_.begin(), waiting_.end(), who);
        return static_cast<std::size_t>(found - waiting_.begin());
    }

    event everybody; ///< as many have arrived as were expected

private:
    void enters(int who) {
        expect(inside_ == 0, "two own the lock at the same time");
        const auto place = std::find(waiting_.begin(), waiting_.end(), who);
        expect(place != waiting_.end(), "somebody owns the lock who did not ask for it");
        const bool in_turn = std::all_of(waiting_.begin(), place, [this](int before) {
            return excused_.find(before) != excused_.end();
        });
        expect(in_turn, "the lock was not handed over in the order of arrival");
        waiting_.erase(place);
        entered_.push_back(who);
        owner_ = who;
    }

    std::size_t expected_;
    std::size_t arrived_ = 0;
    int inside_ = 0;
    int owner_ = nobody;
    int last_left_ = nobody;
    std::vector<int> waiting_;
    std::vector<int> entered_;
    std::set<int> excused_;
};

/// Spawn options for a task with a name on a worker.
inline spawn_options on(int worker, std::string_view name = {}) {
    return {.name = name, .where = placement::worker(static_cast<unsigned>(worker))};
}

/// One decision of the scenario, out of the same stream as the schedule.
inline unsigned pick(sim::world& world, unsigned n) {
    return world.choices().choose(n, sim::choice::schedule);
}

/// Not at once, but at some moment that the explorer picks.
inline task<> some_turns(sim::world& world, unsigned most) {
    for (unsigned left = pick(world, most + 1); left > 0; --left) co_await yield_now();
}

#if defined(__OPTIMIZE__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
inline constexpr unsigned bound_less = 0;
#else
inline constexpr unsigned bound_less = 1; // some ten times slower: one departure less
#endif

/// A bound for scenarios that are small enough to be run in every schedule that they have.
inline constexpr unsigned every = 1000;

/// Schedules of workers whose kernel is tame: a scenario without operations has no other
/// choices than who goes next and its own. `bound` counts the departures from the tame run.
inline sim::explore_options schedules(unsigned bound, unsigned workers = 3) {
    sim::explore_options options;
    options.world.workers = workers;
    options.world.hostile = false;
    options.random_runs = 150;
    options.pct_runs = 100;
    options.exhaustive_bound = std::max(1U, bound - std::min(bound, bound_less));
    options.most_exhaustive_runs = 100'000'000;
    return options;
}

using explored_body = task<> (*)(sim::world&, sightings&);

/// The body, on workers where every await goes through the ready queue, if `finely`.
inline task<> in_steps(sim::world& world, sightings& seen, explored_body body, unsigned workers,
                       bool finely) {
    for (unsigned i = 0; finely && i < workers; ++i) {
        detail::executor_for(placement::worker(i)).set_turn_budget(1);
    }
    co_await body(world, seen);
}

/// Explores three times: with the fast paths, with a suspension at every await, and with
/// workers that run what is ready before they look at what was posted to them. Checks that each
/// of `must_see` was noted in some run: a promise that holds because nothing happened is not
/// worth much.
inline void explored(sim::explore_options options, explored_body body,
                     std::initializer_list<const char*> must_see = {}) {
    enum class steps_are { coarse, fine, batched };
    sightings seen;
    for (const auto how : {steps_are::coarse, steps_are::fine, steps_are::batched}) {
        const bool finely = how != steps_are::coarse;
        options.world.batch = how == steps_are::batched ? 100 : 1;
        const auto found = sim::explore(options, [&](sim::world& world) {
            return in_steps(world, seen, body, options.world.workers, finely);
        });
        INFO("suspends everywhere: " << finely << ", runs all that is ready: "
                                     << (options.world.batch > 1) << ", " << found.to_string());
        REQUIRE(found);
        if (std::getenv("TOADSTONE_SIM_REPLAY")) return;
        REQUIRE((found.exhausted || options.exhaustive_bound == 0));
    }
    // A share of the random runs may miss what all of them reach.
    const char* const share = std::getenv("TOADSTONE_SIM_SHARE");
    if (share && std::atoi(share) > 1) return;
    for (const char* each : must_see) {
        INFO("never seen: " << each);
        CHECK(seen.has(each));
    }
}

} // namespace toadstone::tests

#endif
