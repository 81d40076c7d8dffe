// Runs of a scenario: what fails one, how it is reproduced, and that equal decisions are equal
// runs.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include "support/capture.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

using namespace toadstone;
using namespace std::chrono_literals;

namespace {

/// A variable of the environment, or its absence, until the end of the block.
class variable {
public:
    variable(const char* name, const char* value) : name_(name) {
        if (const char* text = std::getenv(name)) before_ = text;
        set(value);
    }
    variable(const variable&) = delete;
    variable& operator=(const variable&) = delete;
    ~variable() { set(before_ ? before_->c_str() : nullptr); }

private:
    void set(const char* value) {
        if (value) {
            ::setenv(name_, value, 1);
        } else {
            ::unsetenv(name_);
        }
    }
    const char* name_;
    std::optional<std::string> before_;
};

task<> holds(sync::mutex<int>& m, placement) {
    auto held = co_await m.lock();
    const int before = *held;
    co_await yield_now();
    *held = before + 1;
}

task<> two_workers(sim::world&) {
    sync::mutex<int> m;
    const auto body = [&m](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < 4; ++i) {
            const auto where = placement::worker(i);
            scope.spawn(holds(m, where), {.name = "worker", .where = where}).detach();
        }
        co_return;
    };
    co_await with_scope(body);
    auto held = co_await m.lock();
    if (*held != 4) throw std::runtime_error("an increment is lost");
}

// Not safe: two workers add up without a lock, with a suspension in between.
task<> adds(int& sum) {
    const int before = sum;
    co_await yield_now();
    sum = before + 1;
}
task<> loses_updates(sim::world&) {
    int sum = 0;
    const auto body = [&sum](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < 2; ++i) {
            scope.spawn(adds(sum), {.where = placement::worker(i)}).detach();
        }
        co_return;
    };
    co_await with_scope(body);
    if (sum != 2) throw std::runtime_error("an update is lost");
}

class alarm_clock final : public detail::timer_node {
    void expired() noexcept override {}
};

// Leaves its mark twice.
task<> notes(std::string& order, char mark) {
    order += mark;
    co_await yield_now();
    order += mark;
}

// A request to a task that waits goes through the inbox.
class posted_mark final : public detail::posted {
public:
    explicit posted_mark(std::string& order) : order_(order) {}

private:
    void run_posted() noexcept override { order_ += '!'; }
    std::string& order_;
};
task<> posts(posted_mark& what) {
    detail::executor::current()->post(what);
    co_return;
}

// Each of three workers has one task, and each of these leaves its mark twice.
task<> marks(std::string& order) {
    const auto inside = [&order](task_scope& scope) -> task<> {
        for (unsigned i = 0; i < 3; ++i) {
            scope
                .spawn(notes(order, static_cast<char>('a' + i)),
                       {.where = placement::worker(i)})
                .detach();
        }
        co_return;
    };
    co_await with_scope(inside);
}

} // namespace

TEST_CASE("simulate: an hour of sleep takes no time, and an hour of the world's") {
    const auto body = [](sim::world& world) -> task<> {
        const auto begun = world.now();
        co_await sleep_for(1h);
        if (world.now() - begun < 1h) throw std::runtime_error("too early");
    };
    const auto begun = std::chrono::steady_clock::now();
    const auto end = sim::simulate(body);
    INFO(end.failure);
    CHECK(end);
    CHECK(end.elapsed >= 1h);
    CHECK(std::chrono::steady_clock::now() - begun < 1h);
}

TEST_CASE("simulate: what the scenario throws fails the run and is told") {
    const auto end = sim::simulate([](sim::world&) -> task<> {
        co_await yield_now();
        throw std::runtime_error("the balance is wrong");
    });
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("the balance is wrong"));
}

TEST_CASE("S138: simulate: the log of a run is in its report, not on stderr") {
    const tests::stderr_capture err;
    const auto fails = []() -> task<> {
        co_await sleep_for(2ms);
        throw std::runtime_error("nobody caught this");
    };
    const auto body = [&](sim::world&) -> task<> {
        spawn(fails(), {.name = "lonely"}).detach();
        co_await sleep_for(5ms);
        log_line("at\tits end");
    };
    const auto end = sim::simulate(body);
    CHECK(end);
    CHECK_THAT(end.log, Catch::Contains(" ms: toadstone: task "));
    CHECK_THAT(end.log, Catch::Contains("'lonely' failed and nobody joined it: "
                                        "std::runtime_error: nobody caught this\n"));
    CHECK_THAT(end.log, Catch::Contains(" ms: at its end\n"));
    CHECK(tests::count_of(end.log, "\n") == 2);
    CHECK(err.text().empty());
    log_line("after the run");
    CHECK(err.text() == "after the run\n");
}

TEST_CASE("S138: explore: a failure comes with the log of its run") {
    const auto body = [](sim::world&) -> task<> {
        log_line("this led to it");
        co_await yield_now();
        throw std::runtime_error("the balance is wrong");
    };
    const auto end = sim::explore({.random_runs = 1, .pct_runs = 0}, body);
    CHECK_THAT(end.to_string(),
               Catch::Contains("\n  log: ") && Catch::Contains(" ms: this led to it"));
}

TEST_CASE("simulate: a deadlock ends the run and names who waits where") {
    const auto end = sim::simulate([](sim::world&) -> task<> {
        sync::mutex<int> m;
        const auto body = [&m](task_scope& scope) -> task<> {
            auto held = co_await m.lock();
            auto waiter = scope.spawn(holds(m, {}), {.name = "stuck"});
            co_await waiter;
        };
        co_await with_scope(body);
    });
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("nobody can go on") && Catch::Contains("'stuck'") &&
                                Catch::Contains("simulate_test.cpp:"));
}

TEST_CASE("simulate: a timer that is left armed fails the run") {
    alarm_clock forgotten;
    const auto body = [&forgotten](sim::world& world) -> task<> {
        co_await yield_now();
        detail::executor::current()->arm(forgotten, world.now() + 1s);
    };
    const auto end = sim::simulate(body);
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("a timer is armed"));
}

TEST_CASE("simulate: a worker with a batch looks at what was posted only after it") {
    const auto order_with = [](unsigned batch) {
        sim::world_options options;
        options.hostile = false;
        options.batch = batch;
        std::string order;
        const auto body = [&order](sim::world&) -> task<> {
            posted_mark mark(order);
            co_await when_all(posts(mark), notes(order, 'a'), notes(order, 'b'));
        };
        const auto dice = sim::replayed_choices("");
        CHECK(sim::simulate(options, *dice, body));
        return order;
    };
    CHECK(order_with(1) == "!abab");
    CHECK(order_with(100) == "ab!ab");
}

TEST_CASE("simulate: a livelock ends the run after the steps it may take") {
    sim::world_options options;
    options.most_steps = 1000;
    const auto dice = sim::replayed_choices("");
    const auto end = sim::simulate(options, *dice, [](sim::world&) -> task<> {
        for (;;) co_await yield_now();
    });
    CHECK_FALSE(end);
    CHECK_THAT(end.failure, Catch::Contains("livelock"));
}

TEST_CASE("simulate: equal decisions are equal runs, other decisions other ones") {
    sim::world_options options;
    options.workers = 3;
    std::uint64_t different = 0;
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const auto one = sim::random_choices(seed);
        const auto two = sim::random_choices(seed);
        const auto other = sim::random_choices(seed + 1000);
        const auto first = sim::simulate(options, *one, two_workers);
        const auto second = sim::simulate(options, *two, two_workers);
        INFO(first.failure);
        CHECK(first);
        CHECK(first.hash == second.hash);
        CHECK(first.steps == second.steps);
        different += first.hash != sim::simulate(options, *other, two_workers).hash;
    }
    CHECK(different > 30);
}

TEST_CASE("explore: finds a lost update, shrinks it, and its one line reproduces it") {
    sim::explore_options options;
    options.world.workers = 2;
    const auto found = sim::explore(options, loses_updates);
    REQUIRE_FALSE(found);
    CHECK_THAT(found.to_string(), Catch::Contains("an update is lost") &&
                                      Catch::Contains("TOADSTONE_SIM_REPLAY=bytes="));
    CHECK(found.first_failure.trace.size() < 60);
    const auto again = sim::replayed_choices(found.first_failure.trace);
    CHECK_FALSE(sim::simulate(options.world, *again, loses_updates));
}

TEST_CASE("explore: the environment makes the random runs more, or a part of them") {
    const auto runs_made = [](const char* times, const char* share) {
        const variable more("TOADSTONE_SIM_TIMES", times);
        const variable part("TOADSTONE_SIM_SHARE", share);
        sim::explore_options options;
        options.random_runs = 10;
        options.pct_runs = 4;
        options.repeat_percent = 0;
        options.exhaustive_bound = 0;
        return sim::explore(options, [](sim::world&) -> task<> { co_return; }).runs;
    };
    const auto all = runs_made(nullptr, nullptr);
    CHECK(runs_made("3", nullptr) == all + 28);
    CHECK(runs_made("3", "3") == all);
    CHECK(runs_made(nullptr, "3") == all - 14 + 4 + 2);
    CHECK(runs_made(nullptr, "1000") == all - 14 + 1 + 1);
    CHECK(runs_made(nullptr, "0") == all);
}

TEST_CASE("explore: priorities change inside a run, however short it is") {
    const variable all("TOADSTONE_SIM_SHARE", nullptr);
    sim::explore_options options;
    options.world = {.workers = 3, .hostile = false};
    options.random_runs = 0;
    options.pct_runs = 200;
    std::set<std::string> orders;
    const auto body = [&orders](sim::world&) -> task<> {
        std::string order;
        co_await marks(order);
        orders.insert(order);
    };
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(orders.size() > 20); // 90 are possible; fixed priorities would give 3
}

TEST_CASE("simulate: PCT's priorities are the workers', who keep them wherever they go on") {
    const sim::world_options options{.workers = 3, .hostile = false};
    std::set<std::string> orders;
    for (std::uint64_t seed = 1; seed <= 100; ++seed) {
        std::string order;
        const auto dice = sim::pct_choices(seed, 1);
        CHECK(sim::simulate(options, *dice, [&](sim::world&) { return marks(order); }));
        orders.insert(order);
    }
    CHECK(orders ==
          std::set<std::string>{"aabbcc", "aaccbb", "bbaacc", "bbccaa", "ccaabb", "ccbbaa"});
}

TEST_CASE("simulate: what PCT decided, its trace and its name decide again") {
    const sim::world_options options{.workers = 3};
    for (std::uint64_t seed = 1; seed <= 40; ++seed) {
        const auto dice = sim::pct_choices(seed, 3, 50);
        CHECK(dice->name() == "pct=" + std::to_string(seed) + "/3/50");
        const auto first = sim::simulate(options, *dice, two_workers);
        INFO(first.failure);
        CHECK(first);
        const auto again = sim::replayed_choices(first.trace);
        const auto second = sim::simulate(options, *again, two_workers);
        CHECK(first.hash == second.hash);
        CHECK(first.trace == second.trace);
        ::setenv("TOADSTONE_SIM_REPLAY", dice->name().c_str(), 1);
        const auto third = sim::explore({.world = options}, two_workers);
        ::unsetenv("TOADSTONE_SIM_REPLAY");
        CHECK(third.runs == 1);
        CHECK(third.first_failure.hash == first.hash);
    }
}

TEST_CASE("explore: finds a scenario that does not do the same every time") {
    int runs = 0;
    const auto body = [&runs](sim::world&) -> task<> {
        const int steps = ++runs;
        for (int i = 0; i < steps; ++i) co_await yield_now();
    };
    sim::explore_options options;
    options.repeat_percent = 100;
    const auto found = sim::explore(options, body);
    CHECK_FALSE(found);
    CHECK_THAT(found.to_string(), Catch::Contains("not deterministic"));
}

TEST_CASE("explore: the exhaustive search comes to its end where nothing is wrong") {
    sim::explore_options options;
    options.world.workers = 2;
    options.random_runs = 20;
    options.pct_runs = 20;
    options.exhaustive_bound = 1;
    const auto found = sim::explore(options, two_workers);
    INFO(found.to_string());
    CHECK(found);
    CHECK(found.exhausted);
    CHECK(found.exhaustive_runs > 100);
}

TEST_CASE(
    "cancel_at_every_await: the lock is free or poisoned, whenever its holder is stopped") {
    sim::cancel_options options;
    options.world.workers = 2;
    options.pairs = true;
    const auto checked = sim::cancel_at_every_await(options, [](sim::world&) -> task<> {
        sync::mutex<int> m;
        const auto inside = [&m](task_scope& scope) -> task<> {
            for (unsigned i = 0; i < 3; ++i) {
                const auto where = placement::worker(i);
                scope.spawn(as_outcome(holds(m, where)), {.where = where}).detach();
            }
            co_return;
        };
        co_await with_scope(inside);
        auto found = co_await m.lock_or_poison();
        const int value = *found.guard();
        if (value < 0 || value > 3) throw std::runtime_error("the data is neither old nor new");
    });
    INFO(checked.to_string());
    CHECK(checked);
    CHECK(checked.points.size() >= 6);
    CHECK(checked.runs > 100);
}

TEST_CASE("cancel_at_every_await: one cancellation hits one task, never its neighbour too") {
    const auto checked = sim::cancel_at_every_await({}, [](sim::world&) -> task<> {
        int ended = 0;
        const auto child = [](int& count) -> task<> {
            co_await yield_now();
            co_await yield_now();
            ++count;
        };
        const auto inside = [&](task_scope& scope) -> task<> {
            for (int i = 0; i < 3; ++i) scope.spawn(child(ended)).detach();
            co_return;
        };
        co_await with_scope(inside);
        if (ended < 2) throw std::runtime_error("two were cancelled");
    });
    INFO(checked.to_string());
    CHECK(checked);
}

namespace {

// Of the moments of an await, the one that fails an operation is none for a yield.
constexpr int moments = 6;

struct progress {
    std::map<int, int> stopped; ///< after so many steps: how often, over all runs
    int finished = 0;           ///< in this run
};
task<> takes_steps(progress& all) {
    int steps = 0;
    const auto note = [&] { ++all.stopped[steps]; };
    const scope_fail stopped(note);
    for (; steps < 4; ++steps) co_await yield_now();
    ++all.finished;
}
task<> two_take_steps(sim::world&, progress& all) {
    all.finished = 0;
    auto first = spawn(takes_steps(all), {.name = "first"});
    auto other = spawn(takes_steps(all), {.name = "other"});
    static_cast<void>(co_await first.outcome());
    static_cast<void>(co_await other.outcome());
}

} // namespace

TEST_CASE("cancel_at_every_await: reaches the last await as well as the first, in all ways") {
    progress all;
    const auto body = [&all](sim::world& world) { return two_take_steps(world, all); };
    const auto checked = sim::cancel_at_every_await({}, body);
    INFO(checked.to_string());
    CHECK(checked);
    for (int step = 0; step < 4; ++step) CHECK(all.stopped[step] == 2 * moments);
}

TEST_CASE("cancel_at_every_await: cancels only tasks whose names begin as it was told") {
    progress all;
    const auto body = [&all](sim::world& world) -> task<> {
        co_await two_take_steps(world, all);
        if (all.finished == 0) throw std::runtime_error("both were cancelled");
        auto bystander = spawn(takes_steps(all), {.name = "bystander"});
        co_await bystander; // would end the run, had it been cancelled
    };
    sim::cancel_options options;
    options.victims = "f";
    const auto checked = sim::cancel_at_every_await(options, body);
    INFO(checked.to_string());
    CHECK(checked);
    CHECK(checked.points.size() == 4);
    for (int step = 0; step < 4; ++step) CHECK(all.stopped[step] == moments);
}

namespace {

// Its second lock is forgotten when a cancellation comes in between.
task<> forgets(bool& locked) {
    locked = true;
    co_await yield_now();
    co_await yield_now();
    locked = false;
}
task<> checks_afterwards(sim::world&) {
    bool locked = false;
    auto child = spawn(forgets(locked), {.name = "forgetful"});
    const outcome<> end = co_await child.outcome();
    static_cast<void>(end);
    if (locked) throw std::runtime_error("still locked");
}

// Without memory for the second task the scenario ends before the first does.
task<> allocates(std::shared_ptr<int> sum) {
    *sum += 1;
    co_await yield_now();
}
task<> allocates_often(sim::world&) {
    const auto sum = std::make_shared<int>(0);
    auto first = spawn(allocates(sum));
    auto second = spawn(allocates(sum));
    const outcome<> one = co_await first.outcome();
    const outcome<> two = co_await second.outcome();
    co_await allocates(sum);
    if (one.has_value() && two.has_value() && *sum != 3) throw std::runtime_error("not three");
}

task<> echoes_once(io::tcp_listener listener) {
    auto stream = co_await listener.accept();
    char buffer[16];
    const std::size_t count = co_await stream.read_some(std::span(buffer));
    co_await stream.write_all(std::string_view(buffer, count));
}
task<bool> reads(io::tcp_stream& stream, std::span<char> into) {
    const std::size_t count = co_await stream.read_some(into);
    co_return count > 0;
}
task<> asks_once(io::endpoint at) {
    auto stream = co_await io::tcp_stream::connect(at);
    co_await stream.write_all("question");
    char buffer[16];
    for (bool more = true; more;) {
        const bool another = co_await reads(stream, std::span(buffer));
        more = another;
    }
}
task<> asks_until_answered(sim::world&) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    const io::endpoint at = listener.local_endpoint();
    auto server = spawn(echoes_once(std::move(listener)), {.name = "server"});
    const outcome<> first = co_await as_outcome(asks_once(at));
    static_cast<void>(first);
    const outcome<> end = co_await server.outcome();
    if (end.has_value()) co_return;
    try {
        end.value();
    } catch (const std::system_error& error) {
        if (std::string(error.what()).find("Input/output error") == std::string::npos) throw;
    } catch (const task_cancelled&) {
        co_return;
    }
}

} // namespace

TEST_CASE("cancel_at_every_await: its one line brings the failing run back") {
    const auto found = sim::cancel_at_every_await({}, checks_afterwards);
    REQUIRE_FALSE(found);
    CHECK_THAT(found.to_string(), Catch::Contains("still locked") &&
                                      Catch::Contains("'forgetful' at simulate_test.cpp:") &&
                                      Catch::Contains("TOADSTONE_SIM_REPLAY=cancel="));
    ::setenv("TOADSTONE_SIM_REPLAY", found.reproduce.c_str(), 1);
    const auto again = sim::cancel_at_every_await({}, checks_afterwards);
    ::unsetenv("TOADSTONE_SIM_REPLAY");
    CHECK(again.runs <= 2);
    CHECK(again.failure == found.failure);
}

TEST_CASE("cancel_at_every_await: lets every allocation fail once, and nothing is left") {
    sim::cancel_options options;
    options.allocations = true;
    const auto checked = sim::cancel_at_every_await(options, allocates_often);
    INFO(checked.to_string());
    CHECK(checked);
    CHECK(checked.allocations >= 5); // three frames, two records
}

TEST_CASE("cancel_at_every_await: an operation that asks the kernel fails instead, once each") {
    const auto checked = sim::cancel_at_every_await({}, asks_until_answered);
    INFO(checked.to_string());
    CHECK(checked);
    CHECK(checked.points.size() >= 3);
}

TEST_CASE("simulate: once the world is calm, the scenario has to end in time") {
    sim::world_options options;
    options.calm_after = 10s;
    options.settles_within = 5s;
    const auto run = [&options](std::chrono::seconds sleeps) {
        const auto body = [sleeps](sim::world& world) -> task<> {
            world.partition();
            auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
            auto stream = co_await io::tcp_stream::connect(listener.local_endpoint());
            co_await sleep_for(sleeps);
        };
        const auto dice = sim::random_choices(1);
        return sim::simulate(options, *dice, body);
    };
    const auto in_time = run(2s);
    INFO(in_time.failure);
    CHECK(in_time);
    CHECK(in_time.elapsed >= 12s); // the partition was healed after 10
    CHECK_THAT(run(10s).failure, Catch::Contains("the world has been calm for long"));
}

TEST_CASE("simulate: a task that is on its way to another worker comes to its end, too") {
    std::uint64_t ended = 0;
    const auto body = [&ended](sim::world&) -> task<> {
        const auto child = [](std::uint64_t& count) -> task<> {
            ++count;
            co_return;
        };
        for (unsigned i = 0; i < 4; ++i) {
            spawn(child(ended), {.where = placement::worker(i)}).detach();
        }
        co_return;
    };
    sim::explore_options options;
    options.world.workers = 2;
    options.random_runs = 50;
    options.pct_runs = 0;
    options.repeat_percent = 0;
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
    CHECK(ended == 4 * found.runs);
}
