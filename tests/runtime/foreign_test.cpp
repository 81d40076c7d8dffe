// foreign(): awaitables as other libraries make them, awaited by tasks.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <atomic>
#include <chrono>
#include <coroutine>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// A lazy task in cppcoro's manner: started by whoever awaits it, which it goes on with at its
/// end, both by symmetric transfer.
template <class T>
class lazy {
public:
    struct promise_type {
        lazy get_return_object() {
            return lazy(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct back {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> self) noexcept {
                return self.promise().continuation;
            }
            void await_resume() noexcept {}
        };
        back final_suspend() noexcept { return {}; }
        void return_value(T given) { value.emplace(std::move(given)); }
        void unhandled_exception() { error = std::current_exception(); }

        std::coroutine_handle<> continuation;
        std::optional<T> value;
        std::exception_ptr error;
    };

    lazy(lazy&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    lazy& operator=(lazy&&) = delete;
    ~lazy() {
        if (frame_) frame_.destroy();
    }

private:
    struct awaiter_base {
        explicit awaiter_base(std::coroutine_handle<promise_type> frame) : of(frame) {}
        bool await_ready() const noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<> by) const noexcept {
            of.promise().continuation = by;
            return of;
        }
        std::coroutine_handle<promise_type> of;
    };

public:
    // As cppcoro: by reference of one that stays, as an rvalue of one that is given away.
    auto operator co_await() const& noexcept {
        struct awaiter : awaiter_base {
            using awaiter_base::awaiter_base;
            T& await_resume() {
                if (this->of.promise().error) std::rethrow_exception(this->of.promise().error);
                return *this->of.promise().value;
            }
        };
        return awaiter(frame_);
    }
    auto operator co_await() const&& noexcept {
        struct awaiter : awaiter_base {
            using awaiter_base::awaiter_base;
            T&& await_resume() {
                if (this->of.promise().error) std::rethrow_exception(this->of.promise().error);
                return std::move(*this->of.promise().value);
            }
        };
        return awaiter(frame_);
    }

private:
    explicit lazy(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};

lazy<int> gives(int value) {
    co_return value;
}
lazy<int> adds(int left, int right) {
    co_return co_await gives(left) + co_await gives(right);
}
lazy<int> fails() {
    throw std::runtime_error("no answer");
    co_return 0;
}
lazy<std::unique_ptr<int>> boxes(int value) {
    co_return std::make_unique<int>(value);
}

/// Keeps the handle for the test, as std::suspend_always would if it could.
struct parking {
    std::coroutine_handle<> handle;
    int started = 0;

    struct awaiter {
        explicit awaiter(parking& in) noexcept : at(in) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> by) const noexcept {
            ++at.started;
            at.handle = by;
        }
        int await_resume() const noexcept { return 7; }
        parking& at;
    };
    awaiter park() noexcept { return awaiter(*this); }
    void resume() { std::exchange(handle, nullptr).resume(); }
};

struct story {
    int result = 0;
    bool went_on = false;
    bool passed_next_await = false;
    scope_end end;
};
task<> parks(parking& at, story& s) {
    const scope_probe probe(s.end);
    s.result = co_await foreign(at.park());
    s.went_on = true;
    co_await checkpoint();
    s.passed_next_await = true;
}

/// Resumes on a thread of its own; the handle goes on while that thread is still inside.
class elsewhere {
public:
    explicit elsewhere(std::thread& on) noexcept : on_(&on) {}
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> by) {
        *on_ = std::thread([by] { by.resume(); });
    }
    std::thread::id await_resume() const noexcept { return std::this_thread::get_id(); }

private:
    std::thread* on_;
};

/// Throws at one of its steps.
struct throws_at {
    enum class step { ready, suspend, resume, nothing };
    explicit throws_at(step where) noexcept : at(where) {}
    void look(step now) const {
        if (at == now) throw std::runtime_error("a step");
    }
    bool await_ready() const {
        look(step::ready);
        return at == step::nothing;
    }
    bool await_suspend(std::coroutine_handle<>) const {
        look(step::suspend);
        return false; // goes on at once
    }
    void await_resume() const { look(step::resume); }
    step at;
};

struct free_awaitable {
    int value = 3;
};
struct free_awaiter {
    explicit free_awaiter(int of) noexcept : value(of) {}
    bool await_ready() const noexcept { return true; }
    void await_suspend(std::coroutine_handle<>) const noexcept {}
    int await_resume() const noexcept { return value; }
    int value;
};
free_awaiter operator co_await(const free_awaitable& of) noexcept {
    return free_awaiter(of.value);
}

/// In a coroutine of this file: g++ warns of coroutines of a header that take types of an
/// unnamed namespace.
template <class A>
auto run_foreign(stepped& w, A inside) {
    const auto body = [](A handed) -> task<detail::foreign_result_t<A&&>> {
        co_return co_await foreign(std::move(handed));
    };
    return w.run(body(std::move(inside)));
}

template <class A>
task<bool> fails_with(A awaitable, std::string text) {
    bool told = false;
    try {
        static_cast<void>(co_await foreign(std::move(awaitable)));
    } catch (const std::exception& error) {
        told = std::string(error.what()).find(text) != std::string::npos;
    }
    co_await yield_now();
    co_return told;
}

} // namespace

TEST_CASE("S412: foreign: a lazy task in cppcoro's manner, and one that awaits others") {
    const auto frames = detail::live_frames();
    {
        stepped w;
        CHECK(run_foreign(w, gives(4)) == 4);
        CHECK(run_foreign(w, adds(3, 4)) == 7);
        const auto box = []() -> task<int> {
            const std::unique_ptr<int> got = co_await foreign(boxes(5));
            co_return *got;
        };
        CHECK(w.run(box()) == 5);
    }
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S412: foreign: one with a name is awaited where it is, and gives its reference") {
    stepped w;
    const auto body = []() -> task<bool> {
        lazy<int> named = gives(4);
        int& first = co_await foreign(named);
        first = 5;
        co_return first == 5;
    };
    CHECK(w.run(body()));
}

TEST_CASE("S412: foreign: a free operator co_await, what does not suspend, what goes on by "
          "returning false from await_suspend()") {
    stepped w;
    CHECK(run_foreign(w, free_awaitable()) == 3);
    run_foreign(w, std::suspend_never());
    run_foreign(w, throws_at(throws_at::step::nothing));
    // ready() does not say so, and await_suspend() returns false.
    struct goes_on {
        bool await_ready() const noexcept { return false; }
        bool await_suspend(std::coroutine_handle<>) const noexcept { return false; }
        int await_resume() const noexcept { return 2; }
    };
    CHECK(run_foreign(w, goes_on()) == 2);
}

TEST_CASE("S412: foreign: what is resumed later, by anybody, goes on from the task's worker's "
          "loop") {
    stepped w(2);
    parking at;
    story s;
    auto handle = w.spawn(parks(at, s), {.where = placement::worker(1)});
    w.settle();
    CHECK(at.started == 1);
    CHECK_FALSE(s.went_on);
    at.resume();
    CHECK_FALSE(s.went_on);
    w.settle();
    CHECK(s.result == 7);
    CHECK(s.passed_next_await);
    CHECK(handle.done());
}

TEST_CASE("S412: foreign: resumed on another thread, the task is on its own again") {
    runtime_options options;
    options.workers = 1;
    options.max_operations = 64;
    runtime here(options);
    std::thread other;
    const auto body = [](std::thread& on) -> task<bool> {
        const auto mine = std::this_thread::get_id();
        const auto theirs = co_await foreign(elsewhere(on));
        co_return theirs != mine&& std::this_thread::get_id() == mine;
    };
    for (int i = 0; i < 100; ++i) {
        CHECK(here.block_on(body(other)));
        other.join();
    }
}

TEST_CASE("S413: foreign: what await_ready(), await_suspend() and await_resume() throw, and a "
          "coroutine, comes out of co_await") {
    stepped w;
    using step = throws_at::step;
    for (const step each : {step::ready, step::suspend, step::resume}) {
        CHECK(w.run(fails_with(throws_at(each), "a step")));
    }
    CHECK(w.run(fails_with(fails(), "no answer")));
    struct no_awaiter {
        free_awaiter operator co_await() const { throw std::runtime_error("no awaiter"); }
    };
    CHECK(w.run(fails_with(no_awaiter(), "no awaiter")));
    struct does_not_move {
        explicit does_not_move(int allowed) : left(allowed) {}
        does_not_move(does_not_move&& other) : left(other.left - 1) {
            if (left < 0) throw std::runtime_error("did not move");
        }
        bool await_ready() const noexcept { return true; }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        void await_resume() const noexcept {}
        int left;
    };
    int caught = 0;
    for (int allowed = 0; allowed < 6; ++allowed) {
        const auto body = [](int moves, int& count) -> task<> {
            try {
                co_await foreign(does_not_move(moves));
            } catch (const std::runtime_error&) {
                ++count;
            }
        };
        w.run(body(allowed, caught));
    }
    CHECK(caught >= 1);
    CHECK(caught < 6);
}

TEST_CASE(
    "S414: foreign: an rvalue reference refers to what the awaitable keeps, to the end of "
    "the expression") {
    stepped w;
    const auto body = []() -> task<int> {
        const int got = *(co_await foreign(boxes(6)));
        co_return got;
    };
    CHECK(w.run(body()) == 6);
}

TEST_CASE("S414: foreign: what it owns dies on the task's worker when the co_await is over, "
          "before the next step") {
    struct owner {
        traced mark;
        bool await_ready() const noexcept { return true; }
        void await_suspend(std::coroutine_handle<>) const noexcept {}
        void await_resume() const noexcept {}
    };
    stepped w;
    event_log log;
    const auto body = [](event_log& in) -> task<> {
        owner mine{traced(in, "owned")};
        co_await foreign(std::move(mine));
        in.push_back("went on");
    };
    w.run(body(log));
    CHECK(log == event_log{"owned", "went on"});
}

TEST_CASE(
    "S415: foreign: cancelled before the co_await, it is not started, nor with a limit of "
    "zero; what was handed over dies") {
    stepped w;
    parking at;
    story s;
    auto handle = w.spawn(parks(at, s));
    handle.cancel();
    CHECK(w.end_of(handle).is_cancelled());
    const auto limited = [](parking& in) -> task<bool> {
        auto end = co_await try_with_timeout(0s, foreign(in.park()));
        co_return end.is_cancelled();
    };
    CHECK(w.run(limited(at)));
    CHECK(at.started == 0);
}

TEST_CASE(
    "S415: foreign: cancelled while it runs, by force too, it is waited for; its result is "
    "delivered, and the next await ends the task") {
    for (const int how : {0, 1, 2, 3}) {
        stepped w;
        parking at;
        story s;
        const auto shielded = [](parking& in, story& to) -> task<> {
            co_await shield(parks(in, to));
        };
        auto handle = w.spawn(how == 2 ? shielded(at, s) : parks(at, s));
        w.settle();
        if (how == 3) at.resume(); // the tie
        handle.cancel(cancel_reason::timeout);
        if (how == 1 || how == 2) w.worker().stop_roots(cancel_reason::shutdown, true);
        w.settle();
        if (how != 3) {
            CHECK_FALSE(handle.done());
            CHECK(s.end.times == 0);
            at.resume();
            w.settle();
        }
        CHECK(s.result == 7);
        CHECK_FALSE(s.passed_next_await);
        CHECK(s.end.reason == cancel_reason::timeout);
        CHECK(handle.done());
    }
}

TEST_CASE("S415: foreign: a time limit waits for it, and its result counts") {
    stepped w;
    parking at;
    int result = 0;
    const auto limited = [](parking& in, int& got) -> task<> {
        got = co_await with_timeout(1s, foreign(in.park()));
    };
    auto handle = w.spawn(limited(at, result));
    w.settle();
    w.advance(2s);
    CHECK(result == 0);
    at.resume();
    w.settle();
    CHECK(result == 7);
    CHECK(handle.done());
}

TEST_CASE("S416: foreign: the other library destroys the coroutine in place of resuming it: "
          "broken_completion, which names the co_await; a task that has to stop ends") {
    for (const bool stops : {false, true}) {
        stepped w;
        parking at;
        std::string told;
        const auto body = [](parking& in, std::string& to) -> task<> {
            try {
                static_cast<void>(co_await foreign(in.park()));
            } catch (const broken_completion& error) {
                to = error.what();
            }
        };
        auto handle = w.spawn(body(at, told));
        w.settle();
        if (stops) handle.cancel();
        at.handle.destroy();
        CHECK(w.end_of(handle).is_cancelled() == stops);
        CHECK((told.find("foreign_test.cpp:") != std::string::npos) == !stops);
    }
    stepped w;
    struct destroys {
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> by) const noexcept { by.destroy(); }
        void await_resume() const noexcept {}
    };
    CHECK(w.run(fails_with(destroys(), "destroyed"))); // at once
}

TEST_CASE(
    "S417: foreign: a shutdown names it: the task, where it was started, and waits for it, "
    "by force too") {
    parking at;
    std::atomic<bool> parked{false};
    scope_end end;
    const stderr_capture err;
    runtime_options options;
    options.workers = 1;
    options.max_operations = 64;
    options.grace = 1ms;
    options.report_every = 1ms;
    std::optional<runtime> here(std::in_place, options);
    const auto body = [](parking& in, std::atomic<bool>& is, scope_end& to) -> task<> {
        const scope_probe probe(to);
        struct tells {
            parking::awaiter inner;
            std::atomic<bool>* flag;
            bool await_ready() const noexcept { return false; }
            void await_suspend(std::coroutine_handle<> by) const noexcept {
                inner.await_suspend(by);
                *flag = true;
            }
            int await_resume() const noexcept { return inner.await_resume(); }
        };
        tells waits{in.park(), &is};
        static_cast<void>(co_await foreign(std::move(waits)));
    };
    here->spawn(body(at, parked, end), {.name = "guest"}).detach();
    while (!parked) std::this_thread::yield();
    shutdown_report report;
    do {
        report = here->shutdown(1ms);
    } while (report.unstoppable.empty());
    CHECK(report.unstoppable[0].what == "a foreign awaitable");
    CHECK(report.unstoppable[0].task_name == "guest");
    CHECK_THAT(report.unstoppable[0].where, Catch::Contains("foreign_test.cpp:"));
    std::atomic<bool> down{false};
    std::thread closing([&] {
        here.reset();
        down = true;
    });
    while (count_of(err.text(), "'guest' waits for a foreign awaitable") < 2) {
        std::this_thread::yield();
    }
    CHECK_FALSE(down);
    at.resume();
    closing.join();
    CHECK(end.times == 1);
}

TEST_CASE("S418: foreign: a thread whose resume() returns late finds nothing of the task: the "
          "task, and its runtime, may be gone") {
    struct slow {
        slow(std::thread& on, std::atomic<bool>& gone) noexcept : thread(&on), until(&gone) {}
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> by) {
            *thread = std::thread([by, wait = until] {
                by.resume();
                while (!*wait) std::this_thread::yield();
            });
        }
        void await_resume() const noexcept {}
        std::thread* thread;
        std::atomic<bool>* until;
    };
    std::thread other;
    std::atomic<bool> gone{false};
    {
        runtime_options options;
        options.workers = 1;
        options.max_operations = 64;
        runtime here(options);
        const auto body = [](std::thread& on, std::atomic<bool>& until) -> task<> {
            co_await foreign(slow(on, until));
        };
        here.block_on(body(other, gone));
    }
    gone = true;
    other.join();
}
