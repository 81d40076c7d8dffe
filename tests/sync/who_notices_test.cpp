// Who notices that an operation was lost between its removal from a map and its return (S78):
// the rows of the table in docs/stories.md, each with all of its cells.
#include <toadstone/sync.hpp>

#include "support/capture.hpp"
#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using operations = std::map<int, std::string>;
using store = sync::mutex<operations>;

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& known) {
        return known.what();
    }
}
template <class End>
std::string told(const End& end) {
    if (end.has_value()) return "success";
    if (end.is_cancelled()) return "cancelled: " + std::string(to_string(end.reason()));
    return text_of(end.exception());
}

void no_printer() {
    throw std::runtime_error("no printer");
}
void promised_not_to_throw() noexcept {
    no_printer();
}

/// The failing task, a sibling of it, and all that could be told of its end.
class row {
public:
    row() {
        on_unobserved([this](const unobserved_failure& failure) {
            unobserved += std::string(failure.task_name) + ": " + text_of(failure.error);
        });
        on_poison([this](const poison_cause& cause) {
            poisoned += std::string(cause.task_name());
            kind = cause.kind();
        });
    }
    row(const row&) = delete;
    row& operator=(const row&) = delete;
    ~row() {
        on_unobserved(nullptr);
        on_poison(nullptr);
    }

    static task<> loses(store& in, gate& asked, void (*end)() = no_printer) {
        auto held = co_await in.lock();
        auto taken = held->extract(1);
        co_await asked.pass();
        end();
        held->insert(std::move(taken));
    }
    static task<> caught_outside(store& in, gate& asked) {
        try {
            co_await loses(in, asked);
        } catch (const std::runtime_error&) {
        }
    }
    static task<> caught_inside(store& in, gate& asked, const char* why) {
        auto held = co_await in.lock();
        auto taken = held->extract(1);
        co_await asked.pass();
        try {
            no_printer();
        } catch (const std::runtime_error&) {
            if (why) held.poison(why);
        }
    }
    static task<> sibling(gate& waits) { co_await waits.pass(); }

    /// Joins it, and drops the handle: a failure that nobody has got is told then.
    std::string end_of(join_handle<>& of) {
        const std::string end = told(w.end_of(of));
        of = join_handle<>();
        w.settle();
        return end;
    }
    /// The text of the next lock()'s error; empty if it gets the lock.
    std::string next_lock() { return w.run(why_not(all)); }
    [[nodiscard]] bool is_missing() { return !all.get_mut(sync::ignore_poison).contains(1); }
    [[nodiscard]] bool says(const std::string& text, const char* what) const {
        return text.find(what) != std::string::npos;
    }

    store all{operations{{1, "queued"}, {2, "queued"}}, "operations"};
    gate asked;
    gate other;
    std::string unobserved;
    std::string poisoned;
    poison_kind kind = poison_kind::abandoned;
    stepped w;
};

} // namespace

TEST_CASE(
    "S600: an operation is lost by a task that is joined: the joiner is told, and the lock") {
    row r;
    auto sibling = r.w.spawn(row::sibling(r.other));
    auto failing = r.w.spawn(row::loses(r.all, r.asked), {.name = "loser"});
    r.w.settle();
    r.asked.open();
    CHECK(r.end_of(failing) == "no printer");
    CHECK(r.unobserved.empty());
    CHECK(r.poisoned == "loser");
    CHECK(r.kind == poison_kind::exception);
    const std::string next = r.next_lock();
    CHECK(r.says(next, "task "));
    CHECK(r.says(next, "'loser' failed with std::runtime_error: no printer"));
    CHECK_FALSE(sibling.done());
    CHECK(r.is_missing());
}

TEST_CASE(
    "S601: an operation is lost by a task that nobody joins: on_unobserved is told, and the "
    "lock") {
    row r;
    auto sibling = r.w.spawn(row::sibling(r.other));
    r.w.spawn(row::loses(r.all, r.asked), {.name = "loser"}).detach();
    r.w.settle();
    r.asked.open();
    r.w.settle();
    CHECK(r.unobserved == "loser: no printer");
    CHECK(r.poisoned == "loser");
    CHECK(r.kind == poison_kind::exception);
    CHECK(r.says(r.next_lock(), "'loser' failed with std::runtime_error: no printer"));
    CHECK_FALSE(sibling.done());
    CHECK(r.is_missing());
}

TEST_CASE("S601: without on_unobserved() it is the log that is told") {
    const stderr_capture caught;
    {
        row r;
        on_unobserved(nullptr);
        r.w.spawn(row::loses(r.all, r.asked), {.name = "loser"}).detach();
        r.asked.open();
        r.w.settle();
    }
    CHECK(count_of(caught.text(), "'loser' failed and nobody joined it: "
                                  "std::runtime_error: no printer") == 1);
}

TEST_CASE("S602: the exception is caught outside the section: the lock alone is told") {
    row r;
    auto sibling = r.w.spawn(row::sibling(r.other));
    auto failing = r.w.spawn(row::caught_outside(r.all, r.asked), {.name = "loser"});
    r.w.settle();
    r.asked.open();
    CHECK(r.end_of(failing) == "success");
    CHECK(r.unobserved.empty());
    CHECK(r.poisoned == "loser");
    CHECK(r.kind == poison_kind::exception);
    CHECK(r.says(r.next_lock(), "'loser' failed with std::runtime_error: no printer"));
    CHECK_FALSE(sibling.done());
    CHECK(r.is_missing());
}

TEST_CASE(
    "S602: the exception is caught inside the section: nobody is told, unless the handler "
    "declares it") {
    row r;
    auto sibling = r.w.spawn(row::sibling(r.other));
    const bool declares = GENERATE(false, true);
    auto failing = r.w.spawn(
        row::caught_inside(r.all, r.asked, declares ? "operation 1 is lost" : nullptr),
        {.name = "loser"});
    r.w.settle();
    r.asked.open();
    CHECK(r.end_of(failing) == "success");
    CHECK(r.unobserved.empty());
    CHECK(r.poisoned == (declares ? "loser" : ""));
    CHECK(r.kind == (declares ? poison_kind::declared : poison_kind::abandoned));
    const std::string next = r.next_lock();
    CHECK(next.empty() == !declares);
    CHECK(r.says(next, "'loser' declared the data broken (operation 1 is lost)") == declares);
    CHECK_FALSE(sibling.done());
    CHECK(r.is_missing());
}

TEST_CASE(
    "S603: an operation is lost by a child of a scope: the scope's caller is told, the lock, "
    "and the siblings") {
    row r;
    join_handle<> sibling;
    auto fails = [](row& in, join_handle<>& beside) -> task<> {
        auto body = [&](task_scope& scope) -> task<> {
            beside = scope.spawn(row::sibling(in.other));
            scope.spawn(row::loses(in.all, in.asked), {.name = "loser"}).detach();
            co_return;
        };
        co_await with_scope(body);
    };
    auto caller = r.w.spawn(fails(r, sibling));
    r.w.settle();
    r.asked.open();
    CHECK(r.end_of(caller) == "no printer");
    CHECK(r.unobserved.empty());
    CHECK(r.poisoned == "loser");
    CHECK(r.kind == poison_kind::exception);
    CHECK(r.says(r.next_lock(), "'loser' failed with std::runtime_error: no printer"));
    CHECK(r.end_of(sibling) == "cancelled: sibling_failed");
    CHECK(r.is_missing());
}

TEST_CASE(
    "S604: the process is aborted while an operation is lost: nothing inside is told, its "
    "exit status tells who started it") {
    const child_end end = in_child([]() -> int {
        row r;
        on_unobserved([](const unobserved_failure&) { std::fputs("unobserved\n", stderr); });
        on_poison([](const poison_cause&) { std::fputs("poisoned\n", stderr); });
        set_log_sink([](std::string_view) { std::fputs("log\n", stderr); });
        auto failing = r.w.spawn(row::loses(r.all, r.asked, promised_not_to_throw));
        r.w.settle();
        std::fputs(r.is_missing() ? "missing\n" : "there\n", stderr);
        r.asked.open();
        r.w.settle();
        std::fputs("goes on\n", stderr);
        return 0;
    });
    CHECK_FALSE(end.exited);
    CHECK(end.signal == SIGABRT);
    CHECK(count_of(end.err, "missing\n") == 1);
    for (const char* said : {"unobserved\n", "poisoned\n", "log\n", "goes on\n"}) {
        CHECK(count_of(end.err, said) == 0);
    }
}

TEST_CASE("S613: an operation is lost by a task that is cancelled: the lock is told, and who "
          "joins, and nobody else") {
    row r;
    auto sibling = r.w.spawn(row::sibling(r.other));
    auto losing = r.w.spawn(row::loses(r.all, r.asked), {.name = "loser"});
    r.w.settle();
    losing.cancel(cancel_reason::timeout);
    SECTION("joined") {
        CHECK(r.end_of(losing) == "cancelled: timeout");
    }
    SECTION("not joined") {
        losing.detach();
        r.w.settle();
    }
    CHECK(r.unobserved.empty());
    CHECK(r.poisoned == "loser");
    CHECK(r.kind == poison_kind::cancelled);
    CHECK(r.says(r.next_lock(), "'loser' was cancelled (timeout) at who_notices_test.cpp:"));
    CHECK_FALSE(sibling.done());
    CHECK(r.is_missing());
}

} // namespace toadstone::tests
