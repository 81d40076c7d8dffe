// Sources, tokens, callbacks, reasons, and the adapters from and to std::stop_token.
#include <toadstone/runtime/cancel.hpp>

#include <catch2/catch.hpp>

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;

namespace {

constexpr cancel_reason all_reasons[] = {
    cancel_reason::requested,      cancel_reason::timeout,   cancel_reason::shutdown,
    cancel_reason::sibling_failed, cancel_reason::lost_race, cancel_reason::abandoned,
};

} // namespace

TEST_CASE("cancel_reason: every reason has its own word") {
    std::vector<std::string> words;
    for (const cancel_reason each : all_reasons) words.emplace_back(to_string(each));
    CHECK(words == std::vector<std::string>{"requested", "timeout", "shutdown",
                                            "sibling_failed", "lost_race", "abandoned"});
}

TEST_CASE("cancellation: the first reason wins, a request is sticky and idempotent") {
    for (const cancel_reason first : all_reasons) {
        cancellation_source source;
        const cancellation_token token = source.token();
        CHECK_FALSE(token.cancelled());
        CHECK_FALSE(token.reason().has_value());
        CHECK(source.cancel(first));
        CHECK_FALSE(source.cancel(cancel_reason::timeout));
        CHECK_FALSE(source.cancel(first));
        CHECK(source.cancelled());
        CHECK(token.reason() == first);
        CHECK(source.token().reason() == first);
    }
}

TEST_CASE("cancellation: an empty token is never cancelled") {
    const cancellation_token token;
    CHECK_FALSE(token.can_be_cancelled());
    CHECK_FALSE(token.cancelled());
    CHECK_FALSE(token.reason().has_value());
    CHECK_FALSE(token.to_stop_token().stop_possible());
    bool called = false;
    {
        const cancellation_callback callback(token, [&](cancel_reason) { called = true; });
    }
    CHECK_FALSE(called);
}

TEST_CASE("cancellation: copies of a source share one state, tokens outlive all of them") {
    std::optional<cancellation_source> source(std::in_place);
    const cancellation_source copy = *source;
    const cancellation_token token = source->token();
    CHECK(copy.token() == token);
    source.reset();
    CHECK_FALSE(token.cancelled());
    cancellation_source(copy).cancel(cancel_reason::lost_race);
    CHECK(token.reason() == cancel_reason::lost_race);
}

TEST_CASE("cancellation: a parent's request goes down with its reason, a child's never up") {
    cancellation_source parent;
    cancellation_source child(parent.token());
    cancellation_source sibling(parent.token());
    cancellation_source grandchild(child.token());
    child.cancel(cancel_reason::timeout);
    CHECK(grandchild.token().reason() == cancel_reason::timeout);
    CHECK_FALSE(parent.cancelled());
    CHECK_FALSE(sibling.cancelled());
    parent.cancel(cancel_reason::shutdown);
    CHECK(sibling.token().reason() == cancel_reason::shutdown);
    CHECK(child.token().reason() == cancel_reason::timeout);
}

TEST_CASE("cancellation: a child of a cancelled parent is born cancelled") {
    cancellation_source parent;
    parent.cancel(cancel_reason::sibling_failed);
    const cancellation_source child(parent.token());
    CHECK(child.token().reason() == cancel_reason::sibling_failed);
}

TEST_CASE("cancellation: the link to a parent lasts as long as a token of the child does") {
    cancellation_source parent;
    std::optional<cancellation_source> child(std::in_place, parent.token());
    std::optional<cancellation_source> grandchild(std::in_place, child->token());
    const cancellation_token token = child->token();
    const cancellation_token below = grandchild->token();
    std::optional<cancel_reason> told;
    const cancellation_callback callback(below, [&](cancel_reason reason) { told = reason; });
    child.reset();
    grandchild.reset();
    CHECK_FALSE(token.cancelled());
    parent.cancel(cancel_reason::timeout);
    CHECK(token.reason() == cancel_reason::timeout);
    CHECK(below.reason() == cancel_reason::timeout);
    CHECK(told == cancel_reason::timeout);
}

TEST_CASE("cancellation: children that are gone leave the others linked; front, middle, back") {
    for (std::size_t gone = 0; gone < 3; ++gone) {
        cancellation_source parent;
        std::optional<cancellation_source> children[3];
        for (auto& each : children) each.emplace(parent.token());
        children[gone].reset();
        parent.cancel();
        for (std::size_t i = 0; i < 3; ++i) {
            if (i != gone) CHECK(children[i]->cancelled());
        }
    }
}

TEST_CASE("cancellation: a callback finds every token below cancelled") {
    cancellation_source parent;
    const cancellation_source child(parent.token());
    const cancellation_source grandchild(child.token());
    int seen = 0;
    const auto look = [&](cancel_reason) { seen += grandchild.cancelled() ? 1 : 0; };
    const cancellation_callback above(parent.token(), look);
    const cancellation_callback between(child.token(), look);
    parent.cancel();
    CHECK(seen == 2);
}

TEST_CASE("S90: a chain of 150,000 parents is asked and freed without recursion") {
    constexpr int length = 150'000;
    cancellation_source first;
    cancellation_token last = first.token();
    std::vector<cancellation_token> some;
    for (int i = 0; i < length; ++i) {
        last = cancellation_source(last).token();
        if (i % 10'000 == 0) some.push_back(last);
    }
    int told = 0;
    {
        const cancellation_callback callback(last, [&](cancel_reason) { ++told; });
        first.cancel(cancel_reason::shutdown);
    }
    CHECK(told == 1);
    CHECK(last.reason() == cancel_reason::shutdown);
    for (const auto& each : some) CHECK(each.cancelled());

    // The same without a request: the last token holds all the others.
    cancellation_token end = cancellation_source().token();
    for (int i = 0; i < length; ++i) end = cancellation_source(end).token();
    CHECK_FALSE(end.cancelled());
    end = {};
}

TEST_CASE("S91: a chain of 150,000 parents by way of stop_tokens does not recurse either") {
    std::vector<cancellation_source> chain;
    chain.emplace_back();
    for (int i = 0; i < 150'000; ++i) {
        chain.emplace_back(cancellation_source(chain.back().token().to_stop_token()));
    }
    int told = 0;
    const cancellation_callback callback(chain.back().token(), [&](cancel_reason) { ++told; });
    chain.front().cancel(cancel_reason::timeout);
    CHECK(told == 1);
    CHECK(chain.back().token().reason() == cancel_reason::requested);
}

TEST_CASE("cancellation: linked children come and go while their parent is asked") {
    for (int round = 0; round < 200; ++round) {
        cancellation_source parent;
        std::stop_source stop;
        std::atomic<bool> go{false};
        int missed = 0;
        std::thread other([&] {
            go.wait(false);
            for (int i = 0; i < 20; ++i) {
                const cancellation_source kept(parent.token());
                const cancellation_source also(stop.get_token());
                static_cast<void>(cancellation_source(kept.token()));
                const bool asked = parent.cancelled();
                if (asked && !kept.cancelled()) {
                    // The request was made and is just being carried down.
                    while (!kept.cancelled()) std::this_thread::yield();
                }
                const cancellation_source late(parent.token());
                missed += asked && !late.cancelled() ? 1 : 0;
            }
        });
        go = true;
        go.notify_all();
        stop.request_stop();
        parent.cancel();
        other.join();
        REQUIRE(missed == 0);
    }
}

TEST_CASE("cancellation: an empty parent is no parent") {
    cancellation_source child{cancellation_token()};
    CHECK_FALSE(child.cancelled());
    CHECK(child.cancel());
}

TEST_CASE("stop_token: stopping it cancels the source made from it") {
    std::stop_source stop;
    const cancellation_source source(stop.get_token());
    CHECK_FALSE(source.cancelled());
    stop.request_stop();
    CHECK(source.token().reason() == cancel_reason::requested);
    const cancellation_source late(stop.get_token());
    CHECK(late.cancelled());
}

TEST_CASE("stop_token: the link to it lasts as long as a token does") {
    std::stop_source stop;
    const cancellation_token token = cancellation_source(stop.get_token()).token();
    {
        const cancellation_source gone(stop.get_token());
    }
    CHECK_FALSE(token.cancelled());
    stop.request_stop();
    CHECK(token.reason() == cancel_reason::requested);
}

TEST_CASE("stop_token: the last token may go in a callback of the request") {
    std::stop_source stop;
    std::optional<cancellation_token> token = cancellation_source(stop.get_token()).token();
    int called = 0;
    const auto drop = [&](cancel_reason) {
        ++called;
        token.reset();
    };
    std::optional<cancellation_callback<decltype(drop)>> callback(std::in_place, *token, drop);
    stop.request_stop();
    CHECK(called == 1);
    callback.reset();
}

TEST_CASE("stop_token: a token's request stops the stop_tokens made from it, early and late") {
    cancellation_source source;
    const std::stop_token early = source.token().to_stop_token();
    const std::stop_token second = source.token().to_stop_token();
    int called = 0;
    const std::stop_callback callback(early, [&] { ++called; });
    CHECK_FALSE(early.stop_requested());
    CHECK(early.stop_possible());
    source.cancel();
    CHECK(early.stop_requested());
    CHECK(second.stop_requested());
    CHECK(called == 1);
    CHECK(source.token().to_stop_token().stop_requested());
}

TEST_CASE("stop_token: all that are made from one token share one state, however many") {
    cancellation_source source;
    const std::stop_token first = source.token().to_stop_token();
    bool same = true;
    for (int i = 0; i < 1'000'000; ++i) same = same && source.token().to_stop_token() == first;
    CHECK(same);
}

TEST_CASE("stop_token: may outlive the source and every token") {
    std::stop_token stop;
    {
        const cancellation_source source;
        stop = source.token().to_stop_token();
    }
    CHECK_FALSE(stop.stop_requested());
    CHECK_FALSE(stop.stop_possible());
}

TEST_CASE("callback: called once, on the thread that cancels, with the reason") {
    cancellation_source source;
    std::vector<cancel_reason> told;
    std::thread::id where;
    const cancellation_callback callback(source.token(), [&](cancel_reason reason) {
        told.push_back(reason);
        where = std::this_thread::get_id();
    });
    CHECK(told.empty());
    std::thread other([&] {
        source.cancel(cancel_reason::timeout);
        source.cancel(cancel_reason::shutdown);
    });
    const auto other_id = other.get_id();
    other.join();
    CHECK(told == std::vector{cancel_reason::timeout});
    CHECK(where == other_id);
}

TEST_CASE("callback: of a cancelled token, called at once in the constructor") {
    cancellation_source source;
    source.cancel(cancel_reason::lost_race);
    std::optional<cancel_reason> told;
    const cancellation_callback callback(source.token(),
                                         [&](cancel_reason reason) { told = reason; });
    CHECK(told == cancel_reason::lost_race);
}

TEST_CASE("callback: not called any more once it is destroyed; front, middle and back") {
    for (std::size_t gone = 0; gone < 3; ++gone) {
        cancellation_source source;
        int called[3] = {};
        const auto count = [&](int& where) { return [&where](cancel_reason) { ++where; }; };
        using callback = cancellation_callback<decltype(count(called[0]))>;
        std::unique_ptr<callback> callbacks[3];
        for (std::size_t i = 0; i < 3; ++i) {
            callbacks[i] = std::make_unique<callback>(source.token(), count(called[i]));
        }
        callbacks[gone].reset();
        source.cancel();
        for (std::size_t i = 0; i < 3; ++i) CHECK(called[i] == (i == gone ? 0 : 1));
    }
}

TEST_CASE("callback: the destructor waits for a call that another thread is making") {
    cancellation_source source;
    std::atomic<bool> inside{false};
    std::atomic<bool> may_leave{false};
    std::atomic<bool> left{false};
    const auto slow = [&](cancel_reason) {
        inside = true;
        inside.notify_all();
        may_leave.wait(false);
        left = true;
    };
    std::optional<cancellation_callback<decltype(slow)>> callback(std::in_place, source.token(),
                                                                  slow);
    std::thread canceller([&] { source.cancel(); });
    inside.wait(false);
    std::atomic<bool> destroying{false};
    std::atomic<bool> left_before_destroyed{false};
    std::thread destroyer([&] {
        destroying = true;
        destroying.notify_all();
        callback.reset();
        left_before_destroyed = left.load();
    });
    destroying.wait(false);
    may_leave = true;
    may_leave.notify_all();
    canceller.join();
    destroyer.join();
    CHECK(left_before_destroyed);
}

TEST_CASE("callback: may destroy itself, and a neighbour, from inside its own call") {
    cancellation_source source;
    int called = 0;
    struct pair {
        std::optional<cancellation_callback<std::function<void(cancel_reason)>>> first, second;
    } both;
    // Whichever is told first takes the other with it.
    const std::function<void(cancel_reason)> take_both = [&](cancel_reason) {
        ++called;
        both.first.reset();
        both.second.reset();
    };
    both.first.emplace(source.token(), take_both);
    both.second.emplace(source.token(), take_both);
    source.cancel();
    CHECK(called == 1);
}

TEST_CASE("callback: may drop the last source, and cancel again") {
    std::optional<cancellation_source> source(std::in_place);
    int called = 0;
    const auto drop = [&](cancel_reason) {
        ++called;
        CHECK_FALSE(source->cancel(cancel_reason::timeout));
        source.reset();
    };
    {
        const cancellation_callback callback(source->token(), drop);
        cancellation_source(*source).cancel();
    }
    CHECK(called == 1);
    CHECK_FALSE(source.has_value());
}

TEST_CASE("cancellation: of many threads that ask at once one wins, and its reason is told") {
    for (int round = 0; round < 200; ++round) {
        cancellation_source source;
        std::optional<cancel_reason> told;
        int times = 0;
        const cancellation_callback callback(source.token(), [&](cancel_reason reason) {
            told = reason;
            ++times;
        });
        std::atomic<int> winners{0};
        std::atomic<int> winning_reason{-1};
        std::vector<std::thread> threads;
        for (int i = 0; i < 3; ++i) {
            threads.emplace_back([&, i] {
                if (source.cancel(all_reasons[i])) {
                    ++winners;
                    winning_reason = i;
                }
            });
        }
        for (auto& each : threads) each.join();
        REQUIRE(winners == 1);
        REQUIRE(times == 1);
        REQUIRE(told == all_reasons[winning_reason]);
        REQUIRE(source.token().reason() == told);
    }
}

TEST_CASE("callback: coming and going while another thread cancels, each is told or gone") {
    for (int round = 0; round < 200; ++round) {
        cancellation_source source;
        std::atomic<bool> go{false};
        int told = 0; // by callbacks that live on the other thread; told during their life
        int missed = 0;
        std::thread other([&] {
            go.wait(false);
            for (int i = 0; i < 20; ++i) {
                bool called = false;
                bool was_cancelled = false;
                {
                    const auto note = [&](cancel_reason) { called = true; };
                    const cancellation_callback callback(source.token(), note);
                    was_cancelled = source.cancelled();
                }
                told += called ? 1 : 0;
                missed += was_cancelled && !called ? 1 : 0;
            }
        });
        go = true;
        go.notify_all();
        source.cancel();
        other.join();
        REQUIRE(missed == 0);
        REQUIRE(told <= 20);
    }
}
