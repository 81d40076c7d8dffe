// with_scope whose caller is asked to stop: when what was torn down inside counts as not done.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <latch>
#include <stdexcept>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

struct account {
    int alice = 100;
    int bob = 0;
};

task<> credit(int& to, std::chrono::milliseconds after) {
    co_await sleep_for(after);
    to += 30;
}
task<> fails(std::chrono::milliseconds after) {
    co_await sleep_for(after);
    throw std::runtime_error("child failed");
}
task<> holds(gate& at) {
    co_await at.pass();
}

struct story {
    poison<account> money{account{}};
    join_handle<> child; ///< of children_alone()
    gate at;             ///< of finishes_although_asked()
    bool went_on = false;
    unsigned worker = 0;
};

task<> transfer(story& s, std::chrono::milliseconds answer_takes) {
    auto access = s.money.access();
    access->alice -= 30;
    const auto body = [&](task_scope& scope) -> task<> {
        s.child = scope.spawn(credit(access->bob, answer_takes),
                              {.where = placement::worker(s.worker)});
        co_return;
    };
    co_await with_scope(body);
    s.went_on = true;
}
task<outcome<>> transfer_within(std::chrono::milliseconds limit, story& s) {
    auto end = co_await try_with_timeout(limit, transfer(s, 1h));
    co_return end;
}

task<> finishes_although_asked(story& s) {
    auto access = s.money.access();
    const auto body = [&](task_scope& scope) -> task<> {
        s.child = scope.spawn(holds(s.at));
        co_return;
    };
    co_await with_scope(body);
    s.went_on = true;
    co_await checkpoint();
}

task<> failing_child(story& s) {
    auto access = s.money.access();
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(holds(s.at)).detach();
        scope.spawn(fails(10ms)).detach();
        co_return;
    };
    co_await with_scope(body);
}

/// Torn down by the first request, and gone when the test lets it.
task<> goes_slowly(gate& at) {
    co_await finally(sleep_for(1h), holds(at));
}
task<> cancels_itself(story& s, bool child_is_torn) {
    const auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(child_is_torn ? goes_slowly(s.at) : holds(s.at)).detach();
        co_await yield_now(); // the child has begun
        scope.cancel(cancel_reason::lost_race);
        co_return;
    };
    co_await with_scope(body);
    s.went_on = true;
    co_await checkpoint();
}

} // namespace

TEST_CASE("S83: a request that finds only a scope's children stops the caller, too") {
    const unsigned place = GENERATE(0U, 1U);
    story s;
    stepped w(2);
    s.worker = place;
    auto handle = w.spawn(transfer(s, 1h));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    CHECK(w.end_of(handle).reason() == cancel_reason::timeout);
    CHECK_FALSE(s.went_on);
    CHECK(s.money.is_poisoned());
    CHECK(s.money.cause().reason() == cancel_reason::timeout);
}

TEST_CASE("S83: a time limit that finds only a scope's children is told as one") {
    story s;
    stepped w;
    const auto end = w.run(transfer_within(10ms, s));
    CHECK(end.is_cancelled());
    CHECK(end.reason() == cancel_reason::timeout);
    CHECK_FALSE(s.went_on);
    CHECK(s.money.is_poisoned());
}

TEST_CASE("S83: a child that was cancelled by its own handle before does not count") {
    story s;
    stepped w;
    auto handle = w.spawn(transfer(s, 1h));
    w.settle();
    s.child.cancel();
    handle.cancel(); // in the same turn
    w.settle();
    CHECK(s.went_on);
    CHECK_FALSE(s.money.is_poisoned());
    CHECK(w.end_of(handle).has_value()); // there was no cancellation point any more
}

TEST_CASE("S83: a scope whose children all finish although asked is delivered") {
    story s;
    s.at.holds_on_cancel = true;
    stepped w;
    auto handle = w.spawn(finishes_although_asked(s));
    w.settle();
    handle.cancel();
    w.settle();
    CHECK_FALSE(handle.done());
    s.at.open();
    w.settle();
    CHECK(s.went_on);
    CHECK(w.end_of(handle).is_cancelled()); // at the next cancellation point
    CHECK(s.money.is_poisoned());           // which was inside the section
}

TEST_CASE("S83: a child's failure that came first is thrown, whatever the caller is asked") {
    story s;
    s.at.holds_on_cancel = true;
    stepped w;
    auto handle = w.spawn(failing_child(s));
    w.settle();
    w.advance(10ms);
    handle.cancel();
    w.settle();
    s.at.open();
    const auto end = w.end_of(handle);
    CHECK(end.has_exception());
    CHECK(s.money.cause().kind() == poison_kind::exception);
}

TEST_CASE("S83: after cancel() of the scope itself its caller goes on to the next cancellation "
          "point, asked or not") {
    story s;
    s.at.holds_on_cancel = true;
    stepped w;
    auto handle = w.spawn(cancels_itself(s, GENERATE(false, true)));
    w.settle();
    handle.cancel(cancel_reason::timeout);
    w.settle();
    s.at.open();
    w.settle();
    CHECK(s.went_on);
    const auto end = w.end_of(handle);
    CHECK(end.is_cancelled());
    CHECK(end.reason() == cancel_reason::timeout);
}

TEST_CASE("S83: a shutdown that reaches a scope's children before its caller stops the caller, "
          "too") {
    const unsigned place = GENERATE(0U, 1U);
    story s;
    stepped w(2);
    s.worker = place;
    auto handle = w.spawn(transfer(s, 1h));
    w.settle();
    w.worker(place).stop_roots(cancel_reason::shutdown, false);
    w.settle();
    CHECK(handle.done());
    CHECK_FALSE(s.went_on);
    CHECK(s.money.is_poisoned());
    CHECK(s.money.cause().reason() == cancel_reason::shutdown);
}

namespace {

/// Says that something has been posted, and keeps the poster until it is let go.
class slow_waker final : public detail::waker {
public:
    slow_waker() { asleep.store(true, std::memory_order_relaxed); }
    void notify() noexcept override {
        posted.count_down();
        let_go.wait();
    }
    std::latch posted{1};
    std::latch let_go{1};
};

/// A worker without a ring, from which and to which a test spawns.
class bare_worker final : public detail::executor {
public:
    bare_worker(slow_waker& waker, executor* spawns_to) noexcept
        : executor(waker), spawns_to_(spawns_to) {}
    ~bare_worker() override = default;

    template <class Fn>
    void as_its_thread(Fn&& fn) {
        executor* const outer = bind_thread(this);
        fn();
        bind_thread(outer);
    }
    void step() {
        as_its_thread([this] {
            const detail::slice_scope nobody(nullptr);
            take_inbox();
            run_ready(~0U);
        });
    }
    [[nodiscard]] clock::time_point now() const noexcept override { return {}; }
    [[nodiscard]] executor& place(placement) noexcept override { return *spawns_to_; }
    [[nodiscard]] unsigned peer_count() const noexcept override { return 1; }

private:
    executor* spawns_to_;
};

struct many {
    task_scope* scope = nullptr;
    cancellation_token oldest;
    std::array<gate, 33> gates; // one more than are asked at a time
    bool went_on = false;
};

task<> holds_as_oldest(many& m) {
    // Its own state, which does not follow the caller's: it is told in its turn.
    m.oldest = cancellation_token(detail::current_context()->shared_extras());
    co_await m.gates.front().pass();
}
task<> waits_for_many(many& m) {
    const auto body = [&m](task_scope& scope) -> task<> {
        m.scope = &scope;
        scope.spawn(holds_as_oldest(m)).detach();
        for (std::size_t i = 1; i < m.gates.size(); ++i)
            scope.spawn(holds(m.gates[i])).detach();
        co_return;
    };
    co_await with_scope(body);
    m.went_on = true;
}

} // namespace

// All finish although asked, but one. It comes when the oldest has been asked, and its spawn()
// returns only when all have been.
TEST_CASE("S83: a child that is asked before its spawn() returns counts, too") {
    many m;
    for (gate& each : m.gates) each.holds_on_cancel = true;
    slow_waker waker;
    bare_worker to(waker, nullptr);
    bare_worker from(waker, &to);
    stepped w;
    auto handle = w.spawn(waits_for_many(m));
    w.settle();
    std::latch go(1);
    std::thread spawner([&] {
        go.wait();
        from.as_its_thread(
            [&] { m.scope->spawn(sleep_for(1h), {.where = placement::worker(0)}).detach(); });
    });
    const cancellation_callback on_request(m.oldest, [&](cancel_reason) {
        go.count_down();
        waker.posted.wait();
    });
    handle.cancel();
    w.settle();
    waker.let_go.count_down();
    spawner.join();
    for (gate& each : m.gates) each.open();
    w.settle();
    CHECK_FALSE(handle.done());
    to.step();
    CHECK(w.end_of(handle).is_cancelled());
    CHECK_FALSE(m.went_on);
}
