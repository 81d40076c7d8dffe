// cancellable(): the hooks of an operation of one's own, and when each is called.
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// What an operation does, and what was asked of it.
struct script {
    event_log log;
    continuation then;
    bool is_ready = false;
    bool ends_at_once = false;
    bool start_throws = false;
    bool result_throws = false;
    bool withdraws = true;
    bool hands_back = false;
    join_handle<void>* stopped_inside = nullptr;
};

class scripted {
public:
    explicit scripted(script& by) noexcept : by_(by) {}
    scripted(const scripted&) = delete;
    scripted& operator=(const scripted&) = delete;
    ~scripted() { by_.log.push_back("gone"); }

    bool ready() noexcept {
        by_.log.push_back("ready");
        return by_.is_ready;
    }
    void start(continuation then) {
        by_.log.push_back("start");
        if (by_.start_throws) throw std::runtime_error("no start");
        by_.then = then;
        if (by_.stopped_inside) by_.stopped_inside->cancel();
        if (by_.ends_at_once) then.resume();
    }
    bool cancel(cancel_reason reason) noexcept {
        by_.log.push_back(std::string("cancel ") + std::string(to_string(reason)));
        return by_.withdraws;
    }
    bool taken() noexcept {
        by_.log.push_back("taken");
        return by_.hands_back;
    }
    int result() {
        by_.log.push_back("result");
        if (by_.result_throws) throw std::runtime_error("no result");
        return 7;
    }

private:
    script& by_;
};

task<> awaits(script& by, int& result) {
    try {
        result = co_await cancellable<scripted>(std::ref(by));
    } catch (const std::runtime_error& error) {
        by.log.push_back(error.what());
    }
    co_await checkpoint();
    by.log.push_back("next");
}

struct bench {
    explicit bench(script& of) : by(of), handle(w.spawn(awaits(of, result))) {}
    script& by;
    int result = 0;
    stepped w;
    join_handle<void> handle;
};

} // namespace

TEST_CASE(
    "S420: cancellable: ready at once, started and resumed, inside start() or later, from a "
    "thread") {
    script at_once;
    at_once.is_ready = true;
    bench one(at_once);
    one.w.settle();
    CHECK(at_once.log == event_log{"ready", "result", "gone", "next"});
    CHECK(one.result == 7);

    script inside;
    inside.ends_at_once = true;
    bench two(inside);
    two.w.settle();
    CHECK(inside.log == event_log{"ready", "start", "result", "gone", "next"});

    script later;
    bench three(later);
    three.w.settle();
    CHECK(later.log == event_log{"ready", "start"});
    std::thread([&later] { later.then.resume(); }).join();
    CHECK(later.log.size() == 2);
    three.w.settle();
    CHECK(later.log == event_log{"ready", "start", "result", "gone", "next"});
}

TEST_CASE("S420: cancellable: cancelled early, no hook is called, even if it is ready") {
    script by;
    by.is_ready = true;
    bench b(by);
    b.handle.cancel();
    b.w.settle();
    CHECK(by.log == event_log{"gone"});
    CHECK(b.w.end_of(b.handle).is_cancelled());
}

TEST_CASE(
    "S420: cancellable: withdrawn, it is gone at the worker's next turn; not withdrawn, it is "
    "waited for") {
    script by;
    bench b(by);
    b.w.settle();
    b.handle.cancel(cancel_reason::timeout);
    CHECK(by.log == event_log{"ready", "start", "cancel timeout"});
    b.w.settle();
    CHECK(by.log == event_log{"ready", "start", "cancel timeout", "gone"});

    for (const bool hands_back : {false, true}) {
        script waits;
        waits.withdraws = false;
        waits.hands_back = hands_back;
        bench c(waits);
        c.w.settle();
        c.handle.cancel();
        c.w.worker().stop_roots(cancel_reason::shutdown, true); // asked once
        c.w.settle();
        CHECK(waits.log == event_log{"ready", "start", "cancel requested"});
        waits.then.resume();
        c.w.settle();
        event_log all{"ready", "start", "cancel requested", "taken"};
        if (!hands_back) all.push_back("result");
        all.push_back("gone");
        CHECK(waits.log == all);
        CHECK(c.handle.done());
    }
}

TEST_CASE(
    "S420: cancellable: at the tie, resumed and then cancelled, it is asked all the same, and "
    "what it says must be that it is not withdrawn") {
    script by;
    by.withdraws = false;
    by.hands_back = true;
    bench b(by);
    b.w.settle();
    by.then.resume();
    b.handle.cancel();
    b.w.settle();
    CHECK(by.log == event_log{"ready", "start", "cancel requested", "taken", "gone"});
}

TEST_CASE("S420: cancellable: what start() and result() throw comes out of co_await") {
    script by;
    by.start_throws = true;
    bench b(by);
    b.w.settle();
    CHECK(by.log == event_log{"ready", "start", "gone", "no start", "next"});
    script other;
    other.ends_at_once = other.result_throws = true;
    bench c(other);
    c.w.settle();
    CHECK(other.log == event_log{"ready", "start", "result", "gone", "no result", "next"});
}

TEST_CASE(
    "S420: cancellable: under a time limit, which withdraws it, and around which the task "
    "goes on") {
    script by;
    stepped w;
    const auto limited = [](script& of) -> task<> {
        auto end = co_await try_with_timeout(1s, cancellable<scripted>(std::ref(of)));
        if (end.is_cancelled()) of.log.push_back("late");
    };
    auto handle = w.spawn(limited(by));
    w.settle();
    w.advance(2s);
    CHECK(by.log == event_log{"ready", "start", "cancel timeout", "gone", "late"});
    CHECK(handle.done());
}

TEST_CASE(
    "S423: cancellable: a start() that asks its own task to stop: cancel() is called when it "
    "has returned, also when it has resumed") {
    const auto frames = detail::live_frames();
    for (const bool resumes : {false, true}) {
        CHECK(detail::live_frames() == frames); // torn down once
        script by;
        by.ends_at_once = resumes;
        by.withdraws = !resumes;
        by.hands_back = true;
        bench b(by);
        by.stopped_inside = &b.handle;
        b.w.settle();
        event_log all{"ready", "start", "cancel requested"};
        if (resumes) all.push_back("taken");
        all.push_back("gone");
        CHECK(by.log == all);
        CHECK(b.handle.done());
    }
}

TEST_CASE(
    "cancellable: arguments are kept by value, move-only ones too, and it can be moved until "
    "it is awaited") {
    struct keeps {
        explicit keeps(std::unique_ptr<int> box) noexcept : box(std::move(box)) {}
        void start(continuation then) const noexcept { then.resume(); }
        bool cancel(cancel_reason) noexcept { return false; }
        bool taken() noexcept { return false; }
        std::unique_ptr<int> result() { return std::move(box); }
        std::unique_ptr<int> box;
    };
    static_assert(cancellable_operation<keeps> && cancellable_operation<scripted>);
    stepped w;
    const auto body = []() -> task<int> {
        auto op = cancellable<keeps>(std::make_unique<int>(4));
        auto moved = std::move(op);
        const std::unique_ptr<int> got = co_await std::move(moved);
        co_return *got;
    };
    CHECK(w.run(body()) == 4);
}
