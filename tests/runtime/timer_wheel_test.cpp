// The timer wheel against an oracle: a sorted map that does the same in the obvious way.
#include <toadstone/runtime/detail/timer_wheel.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

using namespace std::chrono_literals;
using toadstone::detail::timer_node;
using toadstone::detail::timer_wheel;
using time_point = timer_wheel::time_point;

namespace {

time_point at(std::chrono::nanoseconds since_start) {
    return time_point(since_start);
}

/// The end of time is no whole tick.
time_point point_of(std::uint64_t tick) {
    const auto last = static_cast<std::uint64_t>(time_point::max().time_since_epoch().count());
    return tick > last / 1000 ? time_point::max() : at(std::chrono::microseconds(tick));
}

class simple_timer final : public timer_node {
public:
    std::function<void()> action;
    int fired = 0;

private:
    void expired() noexcept override {
        ++fired;
        if (action) action();
    }
};

// The rule, by ticks of one microsecond: a deadline is rounded up, what is due already waits
// for the next tick, and a tick is reached when the whole of it is past.
class oracle {
public:
    void arm(timer_node& timer, time_point when) {
        const auto count = when.time_since_epoch().count();
        const std::uint64_t tick =
            count <= 0 ? 0 : (static_cast<std::uint64_t>(count) + 999) / 1000;
        waiting_.emplace(std::max(tick, now_ + 1), &timer);
    }
    bool disarm(timer_node& timer) {
        const auto found =
            std::find_if(waiting_.begin(), waiting_.end(),
                         [&](const auto& each) { return each.second == &timer; });
        if (found == waiting_.end()) return false;
        waiting_.erase(found);
        return true;
    }
    void begin_advance(time_point now) {
        const auto count = now.time_since_epoch().count();
        target_ = count <= 0 ? 0 : static_cast<std::uint64_t>(count) / 1000;
    }
    /// The wheel says that this one fires. Is that right?
    bool fire(timer_node& timer) {
        if (waiting_.empty()) return false;
        const std::uint64_t earliest = waiting_.begin()->first;
        const auto [first, last] = waiting_.equal_range(earliest);
        const auto found =
            std::find_if(first, last, [&](const auto& each) { return each.second == &timer; });
        if (found == last || earliest > target_) return false;
        waiting_.erase(found);
        now_ = std::max(now_, earliest);
        return true;
    }
    /// Is nothing left that should have fired?
    bool end_advance() {
        now_ = std::max(now_, target_);
        return waiting_.empty() || waiting_.begin()->first > target_;
    }
    [[nodiscard]] std::size_t size() const { return waiting_.size(); }
    [[nodiscard]] std::uint64_t earliest() const { return waiting_.begin()->first; }

private:
    std::multimap<std::uint64_t, timer_node*> waiting_;
    std::uint64_t now_ = 0;
    std::uint64_t target_ = 0;
};

/// The wheel and the oracle side by side, and timers that do things when they fire.
class pair_of_wheels {
public:
    explicit pair_of_wheels(unsigned seed, std::size_t timers) : random_(seed) {
        for (std::size_t i = 0; i < timers; ++i) {
            timers_.push_back(std::make_unique<simple_timer>());
            timers_.back()->action = [this, i] { fired(i); };
        }
    }
    ~pair_of_wheels() {
        for (auto& each : timers_) wheel_.disarm(*each);
    }

    void step() {
        switch (pick(8)) {
        case 0:
        case 1:
        case 2:
            arm_some();
            break;
        case 3:
            disarm_some();
            break;
        case 4:
            advance(now_ + span());
            break;
        case 5:
            if (!wheel_.empty() && wheel_.next() < now_ + 100000h) advance(wheel_.next());
            break;
        default:
            advance(now_ + std::chrono::nanoseconds(pick(5000)));
        }
        check();
    }
    [[nodiscard]] bool right() const { return right_; }
    [[nodiscard]] std::uint64_t fired() const { return fired_; }

private:
    std::uint64_t pick(std::uint64_t below) { return random_() % below; }
    /// Any order of magnitude between a nanosecond and a decade.
    std::chrono::nanoseconds span() {
        return std::chrono::nanoseconds(random_() >> (6 + pick(58)));
    }
    void arm_some() {
        auto& timer = *timers_[pick(timers_.size())];
        if (timer.armed()) return;
        time_point when = now_ + span();
        switch (pick(8)) {
        case 0:
            when = now_; // due already
            break;
        case 1:
            when = now_ - span();
            break;
        case 2:
            when = last_deadline_; // the same tick as another
            break;
        case 3:
            when = pick(4) ? when : time_point::max();
            break;
        default:
            break;
        }
        last_deadline_ = when;
        wheel_.arm(timer, when);
        oracle_.arm(timer, when);
    }
    void disarm_some() {
        auto& timer = *timers_[pick(timers_.size())];
        const bool armed = timer.armed();
        wheel_.disarm(timer);
        right_ = right_ && oracle_.disarm(timer) == armed && !timer.armed();
    }
    void advance(time_point to) {
        now_ = std::max(now_, to);
        oracle_.begin_advance(now_);
        fired_now_ = 0;
        right_ = right_ && wheel_.advance(now_) == fired_now_ && oracle_.end_advance();
    }
    void fired(std::size_t index) {
        ++fired_;
        ++fired_now_;
        right_ = right_ && !timers_[index]->armed() && oracle_.fire(*timers_[index]);
        // From inside expired(): arm again, arm others, take neighbours away.
        for (auto actions = pick(3); actions > 0; --actions) {
            if (pick(2)) {
                arm_some();
            } else {
                disarm_some();
            }
        }
    }
    void check() {
        right_ = right_ && wheel_.armed() == oracle_.size();
        right_ = right_ && wheel_.empty() == (oracle_.size() == 0);
        if (wheel_.empty()) {
            right_ = right_ && wheel_.next() == time_point::max();
            right_ = right_ && wheel_.next_or_before() == time_point::max();
        } else {
            right_ = right_ && wheel_.next_or_before() <= point_of(oracle_.earliest());
            right_ = right_ && wheel_.next() == point_of(oracle_.earliest());
        }
    }

    std::mt19937_64 random_;
    timer_wheel wheel_;
    oracle oracle_;
    std::vector<std::unique_ptr<simple_timer>> timers_;
    time_point now_ = at(1h);
    time_point last_deadline_ = at(1h);
    bool right_ = true;
    std::uint64_t fired_ = 0;
    unsigned fired_now_ = 0;
};

} // namespace

TEST_CASE(
    "timer wheel: does what a sorted map does, whatever is armed, disarmed and advanced") {
    std::uint64_t fired = 0;
    for (unsigned seed = 1; seed <= 60; ++seed) {
        pair_of_wheels both(seed, seed % 3 == 0 ? 3 : 40);
        for (int i = 0; i < 2000; ++i) {
            both.step();
            if (!both.right()) FAIL("seed " << seed << ", step " << i);
        }
        fired += both.fired();
    }
    CHECK(fired > 10000);
}

TEST_CASE("timer wheel: never early, on time at every distance") {
    for (std::uint64_t distance = 1; distance < (std::uint64_t{1} << 50); distance *= 3) {
        timer_wheel wheel;
        wheel.advance(at(1h));
        simple_timer timer;
        const auto deadline = at(1h) + std::chrono::microseconds(distance);
        wheel.arm(timer, deadline);
        wheel.advance(deadline - 1ns);
        REQUIRE(timer.fired == 0);
        REQUIRE(wheel.next() == deadline);
        wheel.advance(deadline);
        REQUIRE(timer.fired == 1);
        REQUIRE(wheel.empty());
    }
}

TEST_CASE("S148: next() is the first deadline, and that of what follows when it is disarmed") {
    const auto distance = GENERATE(64us, 4096us, 1000000us, 1000000000us, 86400000000us);
    timer_wheel wheel;
    wheel.advance(at(1h + 17us));
    simple_timer first;
    simple_timer second;
    simple_timer third;
    wheel.arm(second, at(1h + distance + 3us));
    wheel.arm(third, at(1h + distance + 5us));
    wheel.arm(first, at(1h + distance + 1500ns));
    CHECK(wheel.next() == at(1h + distance + 2us));
    wheel.disarm(first);
    CHECK(wheel.next() == at(1h + distance + 3us));
    wheel.disarm(second);
    CHECK(wheel.next() == at(1h + distance + 5us));
    CHECK(wheel.advance(wheel.next() - 1ns) == 0);
    CHECK(wheel.advance(wheel.next()) == 1);
    CHECK(third.fired == 1);
    CHECK(wheel.next() == time_point::max());
}

// The wheel has to look for the first in a coarse slot each time.
TEST_CASE("S148: of 100,000 timers in one slot the first is found without looking at all") {
    constexpr std::size_t count = 100000;
    timer_wheel wheel;
    wheel.advance(at(1h));
    std::mt19937_64 random(4);
    std::vector<std::uint64_t> ticks(count);
    std::vector<simple_timer> timers(count);
    const unsigned order = GENERATE(0U, 1U, 2U); // of arming, by deadline
    for (std::size_t i = 0; i < count; ++i) {
        ticks[i] = order == 0 ? i : order == 1 ? count - i : random() % 4000000;
        wheel.arm(timers[i], at(2h + std::chrono::microseconds(ticks[i])));
    }
    std::vector<std::size_t> by_deadline(count);
    std::iota(by_deadline.begin(), by_deadline.end(), std::size_t{0});
    std::sort(by_deadline.begin(), by_deadline.end(),
              [&](std::size_t a, std::size_t b) { return ticks[a] < ticks[b]; });
    bool right = true;
    SECTION("each disarmed, and the next asked for") {
        for (const std::size_t i : by_deadline) {
            right = right && wheel.next() == at(2h + std::chrono::microseconds(ticks[i]));
            wheel.disarm(timers[i]);
        }
        CHECK(wheel.looked_at() < 10 * count);
    }
    SECTION("one armed before the first and disarmed again, one armed behind it") {
        simple_timer first;
        by_deadline.resize(count / 5);
        for (const std::size_t i : by_deadline) {
            wheel.arm(first, at(2h - 1us));
            right = right && wheel.next() == at(2h - 1us);
            wheel.disarm(first);
            right = right && wheel.next() == at(2h + std::chrono::microseconds(ticks[i]));
            wheel.disarm(timers[i]);
            wheel.arm(timers[i], at(2h + 4s + std::chrono::microseconds(random() % 1000)));
        }
        CHECK(wheel.looked_at() < 1000 * by_deadline.size()); // about twice the root of all
        for (auto& each : timers) wheel.disarm(each);
    }
    CHECK(right);
    CHECK(wheel.empty());
}

TEST_CASE("timer wheel: timers of one tick fire in the order in which they were armed") {
    std::vector<std::size_t> fired;
    std::vector<simple_timer> timers(500);
    timer_wheel wheel;
    std::mt19937_64 random(4);
    std::map<std::uint64_t, std::vector<std::size_t>> expected;
    for (std::size_t i = 0; i < timers.size(); ++i) {
        timers[i].action = [&fired, i] { fired.push_back(i); };
        const std::uint64_t tick = 5000000 + random() % 10;
        expected[tick].push_back(i);
        wheel.arm(timers[i], at(std::chrono::microseconds(tick)));
    }
    simple_timer first; // so that the slot is put in order
    wheel.arm(first, at(4999999us));
    wheel.disarm(first);
    CHECK(wheel.next() == at(5000000us));
    wheel.advance(at(1h));
    std::vector<std::size_t> all;
    for (const auto& [tick, some] : expected) all.insert(all.end(), some.begin(), some.end());
    CHECK(fired == all);
}

TEST_CASE("timer wheel: a timer that fires may take away others of the same tick") {
    timer_wheel wheel;
    simple_timer timers[3];
    for (auto& each : timers) {
        each.action = [&] {
            for (auto& other : timers) wheel.disarm(other);
        };
        wheel.arm(each, at(5us));
    }
    CHECK(wheel.advance(at(1s)) == 1);
    CHECK(timers[0].fired + timers[1].fired + timers[2].fired == 1);
    CHECK(wheel.empty());
}

TEST_CASE("timer wheel: a timer armed again while it fires, for now, fires in a later tick") {
    timer_wheel wheel;
    simple_timer timer;
    timer.action = [&] {
        if (timer.fired < 3) wheel.arm(timer, at(0us));
    };
    wheel.arm(timer, at(5us));
    CHECK(wheel.advance(at(5us)) == 1);
    CHECK(timer.armed());
    CHECK(wheel.advance(at(6us)) == 1);
    CHECK(wheel.advance(at(1s)) == 1);
    CHECK_FALSE(timer.armed());
}

TEST_CASE("timer wheel: a deadline of never does not fire and does not overflow") {
    timer_wheel wheel;
    simple_timer timer;
    wheel.arm(timer, time_point::max());
    CHECK(wheel.advance(at(std::chrono::hours(24 * 365 * 200))) == 0);
    CHECK(timer.armed());
    CHECK(wheel.next() > at(std::chrono::hours(24 * 365 * 200)));
    wheel.disarm(timer);
    wheel.disarm(timer); // once more does nothing
    CHECK(wheel.empty());
}
