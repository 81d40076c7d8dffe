// await_future(): what a std::future gives, and how a wait for it is cancelled.
#include <toadstone/runtime.hpp>

#include "support/hand_pool.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <future>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

runtime_options one_worker() {
    runtime_options options;
    options.workers = 1;
    options.max_operations = 64;
    return options;
}

template <class Future>
task<std::string> how_it_fails(Future from) {
    std::string text = "nothing";
    try {
        static_cast<void>(co_await await_future(std::move(from)));
    } catch (const std::exception& error) {
        text = error.what();
    }
    co_return text;
}

} // namespace

TEST_CASE(
    "S424: await_future: a value, a move-only one, a reference, nothing, of a promise, of "
    "std::async, deferred, shared") {
    runtime here(one_worker());
    std::promise<int> later;
    std::thread answers([&later] { later.set_value(5); });
    CHECK(here.block_on(await_future(later.get_future())) == 5);
    answers.join();
    CHECK(*here.block_on(await_future(
              std::async(std::launch::async, [] { return std::make_unique<int>(6); }))) == 6);
    const auto mine = std::this_thread::get_id();
    CHECK(here.block_on(await_future(std::async(
              std::launch::deferred, [] { return std::this_thread::get_id(); }))) != mine);
    std::promise<void> done;
    done.set_value();
    here.block_on(await_future(done.get_future()));
    int object = 0;
    std::promise<int&> which;
    which.set_value(object);
    CHECK(&here.block_on(await_future(which.get_future())) == &object);
    std::promise<int> many;
    many.set_value(8);
    const std::shared_future<int> shared = many.get_future().share();
    const auto copy = [](const std::shared_future<int>& of) -> task<int> {
        co_return co_await await_future(of);
    };
    CHECK(here.block_on(copy(shared)) == 8);
    CHECK(shared.valid());
}

TEST_CASE("S424: await_future: an exception, a broken promise, a future without a state") {
    runtime here(one_worker());
    std::promise<int> fails;
    fails.set_exception(std::make_exception_ptr(std::runtime_error("no answer")));
    CHECK(here.block_on(how_it_fails(fails.get_future())) == "no answer");
    std::future<int> broken = std::promise<int>().get_future();
    CHECK_THAT(here.block_on(how_it_fails(std::move(broken))),
               Catch::Contains("roken promise"));
    CHECK_THAT(here.block_on(how_it_fails(std::future<int>())), Catch::Contains("once"));
}

TEST_CASE("S424: await_future: cancelled before a thread waits for it, the task ends at once; "
          "later, it waits, too, and has the value") {
    hand_pool threads;
    stepped w;
    w.calls = &threads;
    std::promise<int> promise[2];
    int got[2] = {};
    const auto body = [](std::future<int> of, int& to) -> task<> {
        to = co_await await_future(std::move(of));
    };
    auto early = w.spawn(body(promise[0].get_future(), got[0]));
    w.settle();
    early.cancel();
    CHECK(w.end_of(early).is_cancelled());
    auto late = w.spawn(body(promise[1].get_future(), got[1]));
    w.settle();
    threads.begin();
    late.cancel();
    w.settle();
    CHECK_FALSE(late.done());
    promise[1].set_value(3);
    threads.end();
    w.settle();
    CHECK(got[0] == 0);
    CHECK(got[1] == 3);
    CHECK(late.done());
}
