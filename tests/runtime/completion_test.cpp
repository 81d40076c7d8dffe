// with_completion(), step by step: what an answer brings, from wherever it comes, and what a
// cancellation does before it starts, while it waits, at the tie, and behind it.
#include <toadstone/runtime.hpp>

#include "support/capture.hpp"
#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// A library with callbacks, played by the test: one request at a time.
struct library {
    completion<int> pending;
    bool can_withdraw = true; ///< what on_cancel() says
    int started = 0;
    int asked = 0;

    void start(completion<int> c) {
        ++started;
        pending = std::move(c);
    }
    bool on_cancel() {
        ++asked;
        if (can_withdraw) pending = {};
        return can_withdraw;
    }
};

/// What a task that asks the library has come to.
struct story {
    int result = 0;
    bool went_on = false;
    bool passed_next_await = false;
    std::string error;
    scope_end end;
};

task<> asks(library& lib, story& s) {
    const scope_probe probe(s.end);
    const auto start = [&lib](completion<int> c) { lib.start(std::move(c)); };
    const auto stop = [&lib] { return lib.on_cancel(); };
    try {
        s.result = co_await with_completion<int>(start, stop);
    } catch (const std::exception& error) {
        s.error = error.what();
    }
    s.went_on = true;
    co_await checkpoint();
    s.passed_next_await = true;
}
/// The same with nobody to ask.
task<> waits(library& lib, story& s) {
    const scope_probe probe(s.end);
    s.result =
        co_await with_completion<int>([&lib](completion<int> c) { lib.start(std::move(c)); });
    s.went_on = true;
    co_await checkpoint();
    s.passed_next_await = true;
}

/// A callback as C libraries take them.
struct c_request {
    void (*done)(void* context, int value) = nullptr;
    void* context = nullptr;
};
void c_start(c_request& on, void (*done)(void*, int), void* context) {
    on.done = done;
    on.context = context;
}
void c_done(void* context, int value) {
    completion<int>::from_token(context).complete(value);
}

template <class T>
T answered_at_once(T value) {
    stepped w;
    const auto body = [](T give) -> task<T> {
        auto got = co_await with_completion<T>(
            [&give](completion<T> c) { c.complete(std::move(give)); });
        co_return got;
    };
    return w.run(body(std::move(value)));
}

} // namespace

TEST_CASE("S400: a completion answered inside its start: values, move-only ones, nothing, "
          "references") {
    CHECK(answered_at_once(std::string("text")) == "text");
    CHECK(*answered_at_once(std::make_unique<int>(7)) == 7);
    stepped w;
    int object = 0;
    const auto same = [](int& which) -> task<bool> {
        int& got =
            co_await with_completion<int&>([&which](completion<int&> c) { c.complete(which); });
        co_return &got == &which;
    };
    CHECK(w.run(same(object)));
    int done = 0;
    const auto nothing = [](int& count) -> task<> {
        co_await with_completion([](completion<> c) { c.complete(); });
        ++count;
    };
    w.run(nothing(done));
    CHECK(done == 1);
}

TEST_CASE(
    "S400: answered later, the task goes on from its worker's loop, not inside complete()") {
    stepped w(2);
    library lib;
    story s;
    auto handle = w.spawn(asks(lib, s), {.where = placement::worker(1)});
    w.settle();
    CHECK(lib.started == 1);
    CHECK_FALSE(s.went_on);
    CHECK(lib.pending.wanted());
    CHECK(lib.pending.complete(7));
    CHECK_FALSE(lib.pending.wanted());
    CHECK_FALSE(s.went_on);
    w.settle();
    CHECK(s.result == 7);
    CHECK(s.passed_next_await);
    CHECK(handle.done());
}

TEST_CASE("S400: answered by a C callback through a token, from a thread that ends") {
    stepped w;
    c_request request;
    const auto body = [](c_request& on) -> task<int> {
        const int got = co_await with_completion<int>(
            [&on](completion<int> c) { c_start(on, c_done, c.release_token()); });
        co_return got;
    };
    auto handle = w.spawn(body(request));
    w.settle();
    std::thread([&request] { request.done(request.context, 5); }).join();
    CHECK(w.end_of(handle).value() == 5);
}

TEST_CASE("S401: of two answers the first counts, and the other is told; so is one of an empty "
          "completion, and one that comes when all is over") {
    const auto frames = detail::live_frames();
    {
        stepped w;
        library lib;
        story s;
        auto handle = w.spawn(asks(lib, s));
        w.settle();
        completion<int> copy = lib.pending;
        CHECK(copy.complete(1));
        CHECK_FALSE(lib.pending.complete(2));
        CHECK_FALSE(lib.pending.fail(std::make_exception_ptr(std::runtime_error("late"))));
        w.settle();
        CHECK(handle.done());
        CHECK(s.result == 1);
        CHECK_FALSE(lib.pending.complete(3));
        const completion<int> moved = std::move(copy);
        CHECK_FALSE(static_cast<bool>(copy)); // moved from, it is empty
        CHECK_FALSE(copy.complete(4));
        CHECK_FALSE(copy.wanted());
        CHECK(static_cast<bool>(moved));
    }
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S402: cancelled before the co_await, nothing is started, nor with a limit of zero") {
    stepped w;
    library lib;
    story s;
    auto handle = w.spawn(asks(lib, s));
    handle.cancel();
    CHECK(w.end_of(handle).is_cancelled());
    const auto limited = [](library& of) -> task<bool> {
        auto end = co_await try_with_timeout(
            0s, with_completion<int>([&of](completion<int> c) { of.start(std::move(c)); }));
        co_return end.is_cancelled();
    };
    CHECK(w.run(limited(lib)));
    CHECK(lib.started == 0);
    CHECK(lib.asked == 0);
    CHECK(s.end.torn_down);
}

TEST_CASE(
    "S403: cancelled while it waits and on_cancel() says that nothing comes: the task ends "
    "at once, and an answer that comes all the same is refused") {
    const auto frames = detail::live_frames();
    {
        stepped w;
        library lib;
        story s;
        auto handle = w.spawn(asks(lib, s));
        w.settle();
        completion<int> rogue = lib.pending;
        handle.cancel(cancel_reason::timeout);
        CHECK(lib.asked == 1);
        CHECK(s.end.times == 0); // destroyed by the loop, not in here
        w.settle();
        CHECK(handle.done());
        CHECK(s.end.reason == cancel_reason::timeout);
        CHECK_FALSE(rogue.wanted());
        CHECK_FALSE(rogue.complete(1));
        CHECK_FALSE(s.went_on);
    }
    CHECK(detail::live_frames() == frames);
}

TEST_CASE("S404: on_cancel() says that the answer still comes: asked once, whatever else is "
          "requested; the task waits, has the answer, and ends at its next await") {
    for (const bool forced : {false, true}) {
        stepped w;
        library lib;
        lib.can_withdraw = false;
        story s;
        auto handle = w.spawn(asks(lib, s));
        w.settle();
        handle.cancel(cancel_reason::timeout);
        w.settle();
        if (forced) w.worker().stop_roots(cancel_reason::shutdown, true);
        w.settle();
        CHECK(lib.asked == 1);
        CHECK_FALSE(handle.done());
        CHECK(s.end.times == 0);
        CHECK(lib.pending.complete(3));
        w.settle();
        CHECK(s.result == 3);
        CHECK_FALSE(s.passed_next_await);
        CHECK(handle.done());
        CHECK(s.end.reason == cancel_reason::timeout);
    }
}

TEST_CASE("S404: without on_cancel() it waits, through a time limit, and has its answer") {
    stepped w;
    library lib;
    story s;
    const auto limited = [](library& of, story& to) -> task<> {
        to.result = co_await with_timeout(
            1s, with_completion<int>([&of](completion<int> c) { of.start(std::move(c)); }));
        to.went_on = true;
    };
    auto handle = w.spawn(limited(lib, s));
    w.settle();
    w.advance(2s);
    CHECK_FALSE(s.went_on);
    lib.pending.complete(4);
    w.settle();
    CHECK(s.result == 4);
    CHECK(handle.done());
    library other;
    story t;
    auto waiting = w.spawn(waits(other, t));
    w.settle();
    waiting.cancel();
    w.settle();
    CHECK_FALSE(waiting.done());
    other.pending.complete(5);
    w.settle();
    CHECK(t.result == 5);
    CHECK_FALSE(t.passed_next_await);
}

TEST_CASE("S404: a time limit whose on_cancel() says yes ends the wait, and the task goes on") {
    stepped w;
    library lib;
    bool late = false;
    const auto limited = [](library& of, bool& timed_out) -> task<> {
        const auto start = [&of](completion<int> c) { of.start(std::move(c)); };
        const auto stop = [&of] { return of.on_cancel(); };
        try {
            co_await with_timeout(1s, with_completion<int>(start, stop));
        } catch (const timeout_error&) {
            timed_out = true;
        }
    };
    auto handle = w.spawn(limited(lib, late));
    w.settle();
    w.advance(2s);
    CHECK(late);
    CHECK(lib.asked == 1);
    CHECK(handle.done());
}

TEST_CASE("S405: answered, and then cancelled before the task runs: on_cancel() is not asked, "
          "and the answer is delivered") {
    stepped w;
    library lib;
    story s;
    auto handle = w.spawn(asks(lib, s));
    w.settle();
    lib.pending.complete(6);
    handle.cancel();
    w.settle();
    CHECK(lib.asked == 0);
    CHECK(s.result == 6);
    CHECK_FALSE(s.passed_next_await);
    CHECK(handle.done());
}

TEST_CASE("S405: an answer that on_cancel() itself gives is delivered, whatever it returns") {
    for (const bool says : {false, true}) {
        stepped w;
        completion<int> kept;
        int result = 0;
        const auto body = [says](completion<int>& to, int& got) -> task<> {
            const auto start = [&to](completion<int> c) { to = std::move(c); };
            const auto stop = [&to, says] { // as a library that calls back with ECANCELED
                to.complete(-1);
                return says;
            };
            got = co_await with_completion<int>(start, stop);
        };
        auto handle = w.spawn(body(kept, result));
        w.settle();
        handle.cancel();
        w.settle();
        CHECK(result == -1);
        CHECK(handle.done());
    }
}

TEST_CASE(
    "S405: on_cancel() that drops the last completion ends the task, whatever it returns") {
    for (const bool says : {false, true}) {
        stepped w;
        library lib;
        std::string error = "none";
        const auto body = [says](library& of, std::string& told) -> task<> {
            const auto start = [&of](completion<int> c) { of.start(std::move(c)); };
            const auto stop = [&of, says] {
                of.pending = {};
                return says;
            };
            try {
                co_await with_completion<int>(start, stop);
            } catch (const std::exception& e) {
                told = e.what();
            }
        };
        auto handle = w.spawn(body(lib, error));
        w.settle();
        handle.cancel();
        CHECK(w.end_of(handle).is_cancelled());
        CHECK(error == "none");
    }
}

TEST_CASE("S405: what on_cancel() throws is told, and the answer waited for") {
    stepped w;
    library lib;
    int result = 0;
    const stderr_capture err;
    const auto body = [](library& of, int& got) -> task<> {
        const auto start = [&of](completion<int> c) { of.start(std::move(c)); };
        const auto stop = []() -> bool { throw std::runtime_error("no such request"); };
        got = co_await with_completion<int>(start, stop);
    };
    auto handle = w.spawn(body(lib, result), {.name = "asker"});
    w.settle();
    handle.cancel();
    w.settle();
    CHECK_FALSE(handle.done());
    CHECK_THAT(err.text(), Catch::Contains("'asker': on_cancel() failed") &&
                               Catch::Contains("no such request"));
    lib.pending.complete(8);
    w.settle();
    CHECK(result == 8);
}

TEST_CASE(
    "S406: what the start throws comes out of the co_await, also when it has answered, and "
    "when it has given the completion away") {
    for (const int when : {0, 1, 2}) {
        stepped w;
        library lib;
        const auto body = [when](library& of) -> task<std::string> {
            std::string told;
            const auto start = [&of, when](completion<int> c) {
                if (when == 1) c.complete(1);
                if (when == 2) of.start(std::move(c));
                throw std::runtime_error("refused");
            };
            try {
                co_await with_completion<int>(start);
            } catch (const std::runtime_error& error) {
                told = error.what();
            }
            co_await yield_now();
            co_return told;
        };
        CHECK(w.run(body(lib)) == "refused");
        if (when == 2) {
            CHECK_FALSE(lib.pending.wanted());
            CHECK_FALSE(lib.pending.complete(1));
        }
    }
}

TEST_CASE("S406: under a time limit, too") {
    stepped w;
    const auto body = []() -> task<std::string> {
        std::string told;
        try {
            co_await with_timeout(1s, with_completion<int>([](completion<int>) {
                                      throw std::runtime_error("refused");
                                  }));
        } catch (const std::runtime_error& error) {
            told = error.what();
        }
        co_return told;
    };
    CHECK(w.run(body()) == "refused");
}

TEST_CASE(
    "S423: a start that asks its own task to stop: on_cancel() is asked when the start has "
    "returned, and what it says holds") {
    for (const bool says : {false, true}) {
        stepped w;
        library lib;
        lib.can_withdraw = says;
        join_handle<void> self;
        bool asked_inside = false;
        int result = 0;
        const auto body = [](library& of, join_handle<void>& own, bool& inside,
                             int& got) -> task<> {
            const auto start = [&](completion<int> c) {
                of.start(std::move(c));
                own.cancel();
                inside = of.asked > 0;
            };
            const auto stop = [&of] { return of.on_cancel(); };
            got = co_await with_completion<int>(start, stop);
        };
        self = w.spawn(body(lib, self, asked_inside, result));
        w.settle();
        CHECK_FALSE(asked_inside);
        CHECK(lib.asked == 1);
        CHECK(self.done() == says);
        if (!says) {
            lib.pending.complete(2);
            w.settle();
            CHECK(result == 2);
        }
    }
}

TEST_CASE("S423: the same when the start throws, or has answered") {
    for (const bool throws : {false, true}) {
        stepped w;
        library lib;
        join_handle<void> self;
        story s;
        const auto body = [throws](library& of, join_handle<void>& own, story& to) -> task<> {
            const scope_probe probe(to.end);
            const auto start = [&](completion<int> c) {
                own.cancel();
                if (throws) throw std::runtime_error("refused");
                c.complete(9);
            };
            const auto stop = [&of] { return of.on_cancel(); };
            try {
                to.result = co_await with_completion<int>(start, stop);
            } catch (const std::runtime_error& error) {
                to.error = error.what();
            }
            co_await checkpoint();
            to.passed_next_await = true;
        };
        self = w.spawn(body(lib, self, s));
        w.settle();
        CHECK(self.done());
        CHECK(lib.asked == 0);
        CHECK(s.result == (throws ? 0 : 9));
        CHECK(s.error == (throws ? "refused" : ""));
        CHECK_FALSE(s.passed_next_await);
        CHECK(s.end.times == 1);
    }
}

TEST_CASE("S407: the last completion is dropped unanswered: broken_completion, which names the "
          "co_await; a token that is taken and dropped counts") {
    stepped w;
    const auto body = []() -> task<std::string> {
        std::string told;
        try {
            co_await with_completion<int>([](completion<int> c) {
                const completion<int> copy = c;
                static_cast<void>(completion<int>::from_token(c.release_token()));
            });
        } catch (const broken_completion& error) {
            told = error.what();
        }
        co_return told;
    };
    CHECK_THAT(w.run(body()), Catch::Contains("dropped unanswered") &&
                                  Catch::Contains("completion_test.cpp:"));
}

TEST_CASE("S407: while a copy is there, it is not; and a task that has to stop is not told, it "
          "ends") {
    stepped w;
    library lib;
    story s;
    auto handle = w.spawn(asks(lib, s));
    w.settle();
    completion<int> copy = lib.pending;
    lib.pending = {};
    w.settle();
    CHECK_FALSE(handle.done());
    copy = {};
    handle.cancel(); // at the tie
    w.settle();
    CHECK(handle.done());
    CHECK(lib.asked == 0);
    CHECK(s.error.empty());
    CHECK(s.end.torn_down);
}

TEST_CASE("S407: an exception, none at all, and what moving the value throws are the answer") {
    struct bomb {
        bomb() = default;
        bomb(bomb&&) { throw std::runtime_error("did not move"); }
    };
    stepped w;
    const auto told_by = [&w](auto answer) {
        auto body = [](auto give) -> task<std::string> {
            std::string told;
            try {
                co_await with_completion<bomb>([&give](completion<bomb> c) { give(c); });
            } catch (const std::exception& error) {
                told = error.what();
            }
            co_return told;
        };
        return w.run(body(answer));
    };
    CHECK(told_by([](completion<bomb>& c) {
              c.fail(std::make_exception_ptr(std::runtime_error("bad disk")));
          }) == "bad disk");
    CHECK_THAT(told_by([](completion<bomb>& c) { c.fail(nullptr); }),
               Catch::Contains("no exception"));
    CHECK(told_by([](completion<bomb>& c) { c.complete(bomb()); }) == "did not move");
}

TEST_CASE(
    "S407: the value dies on the task's worker when it is delivered, also what is left of one "
    "that was moved out, not with the last completion") {
    struct counted {
        explicit counted(int& count) noexcept : alive(&count) { ++*alive; }
        counted(counted&& other) noexcept : alive(other.alive) { ++*alive; }
        counted& operator=(counted&&) = delete;
        ~counted() { --*alive; }
        int* alive;
    };
    stepped w;
    int alive = 0;
    int inside = 0;
    completion<counted> kept;
    const auto body = [](completion<counted>& to, int& count, int& seen) -> task<> {
        const counted got = co_await with_completion<counted>([&](completion<counted> c) {
            c.complete(counted(count));
            to = std::move(c);
        });
        seen = count;
    };
    w.run(body(kept, alive, inside));
    CHECK(inside == 1);
    CHECK(alive == 0);
    CHECK_FALSE(kept.wanted());
}

TEST_CASE(
    "S403: a guard around a wait that is withdrawn poisons, and one whose answer is waited "
    "for does not before the next await") {
    for (const bool says : {false, true}) {
        stepped w;
        library lib;
        lib.can_withdraw = says;
        poison<int> data(0);
        const auto body = [](poison<int>& of, library& in) -> task<> {
            auto held = of.access();
            const auto start = [&in](completion<int> c) { in.start(std::move(c)); };
            const auto stop = [&in] { return in.on_cancel(); };
            *held = co_await with_completion<int>(start, stop);
        };
        auto handle = w.spawn(body(data, lib));
        w.settle();
        handle.cancel();
        w.settle();
        if (!says) lib.pending.complete(1);
        w.settle();
        CHECK(handle.done());
        CHECK(data.is_poisoned() == says);
    }
}
