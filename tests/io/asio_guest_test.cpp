// Asio's operations awaited in tasks: the worker and the io_context are stepped by hand, in
// each order.
#include <asio_guest/use_toadstone.hpp>

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include "support/probe.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <tuple>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using asio_guest::use_toadstone;
using socket_of_asio = asio::local::stream_protocol::socket;

namespace {

/// An operation of Asio's kind that the test ends.
class scripted {
public:
    explicit scripted(asio::io_context& at) : executor_(at.get_executor()) {}

    template <class Token>
    auto async_value(Token&& token) {
        return asio::async_initiate<Token, void(std::error_code, int)>(begins(*this), token);
    }
    [[nodiscard]] bool is_pending() const { return pending_ != nullptr; }
    void answer(std::error_code error, int value) {
        const auto called = std::move(pending_);
        called->call(error, value);
    }

    bool obeys = true; ///< its slot
    bool throws = false;
    int begun = 0;
    int told = 0;
    asio::cancellation_type told_type = asio::cancellation_type::none;

private:
    struct kept {
        virtual ~kept() = default;
        virtual void call(std::error_code error, int value) = 0;
    };
    template <class Handler>
    struct kept_handler final : kept {
        explicit kept_handler(Handler&& called) : handler(std::move(called)) {}
        void call(std::error_code error, int value) override {
            std::move(handler)(error, value);
        }
        Handler handler;
    };
    class begins {
    public:
        using executor_type = asio::any_io_executor;
        explicit begins(scripted& which) : which_(&which) {}
        [[nodiscard]] executor_type get_executor() const noexcept { return which_->executor_; }
        template <class Handler>
        void operator()(Handler&& handler) const {
            ++which_->begun;
            if (which_->throws) throw std::length_error("it cannot begin");
            asio::get_associated_cancellation_slot(handler).assign(
                [self = which_](asio::cancellation_type type) {
                    ++self->told;
                    self->told_type = type;
                    if (!self->obeys) return;
                    asio::post(self->executor_, [self] {
                        if (self->pending_) self->answer(asio::error::operation_aborted, 0);
                    });
                });
            which_->pending_ =
                std::make_unique<kept_handler<std::decay_t<Handler>>>(std::move(handler));
        }

    private:
        scripted* which_;
    };

    asio::any_io_executor executor_;
    std::unique_ptr<kept> pending_;
};

/// What a task has seen.
struct seen {
    int value = 0;
    std::string error;
    bool went_on = false;
    scope_end end;
};

task<> waits(scripted& on, seen& what) {
    const scope_probe probe(what.end);
    try {
        what.value = co_await on.async_value(use_toadstone);
    } catch (const std::exception& thrown) {
        what.error = thrown.what();
    }
    co_await checkpoint();
    what.went_on = true;
}

/// A worker and an io_context, which run when they are told to.
struct stage {
    stage() : work(asio::make_work_guard(guest)) {}
    void settle() {
        do {
            world.settle();
        } while (guest.poll() > 0);
    }
    stepped world;
    asio::io_context guest;
    asio::executor_work_guard<asio::io_context::executor_type> work;
};

} // namespace

TEST_CASE("asio guest: S500: an operation runs on its executor alone, its values are the "
          "result") {
    stage s;
    scripted on(s.guest);
    seen what;
    task<int> as_task = on.async_value(use_toadstone); // as a function whose type is named
    auto handle = s.world.spawn(waits(on, what));
    s.world.settle();
    CHECK(on.begun == 0); // the worker has posted, no more
    s.guest.poll();
    CHECK(on.begun == 1);
    on.answer({}, 7);
    CHECK(what.value == 0); // and the handler has posted back
    s.settle();
    CHECK(what.value == 7);
    CHECK(what.went_on);
    CHECK(handle.done());
    auto later = s.world.spawn(std::move(as_task));
    s.settle();
    on.answer({}, 8);
    s.settle();
    CHECK(s.world.end_of(later).value() == 8);
}

TEST_CASE("asio guest: S500: nothing, one value, a tuple, and all of it with the error") {
    stage s;
    socket_of_asio one(s.guest);
    socket_of_asio two(s.guest);
    asio::local::connect_pair(one, two);
    const auto tells = [](auto handler, int number) {
        std::move(handler)(std::error_code(), number, std::string("text"));
    };
    bool ended = false;
    auto body = [&]() -> task<> {
        co_await asio::post(s.guest, use_toadstone);
        asio::steady_timer timer(s.guest, -1h);
        co_await timer.async_wait(use_toadstone);
        const std::string text = "four";
        const std::size_t sent =
            co_await asio::async_write(one, asio::buffer(text), use_toadstone);
        CHECK(sent == 4);
        std::array<char, 16> buffer{};
        const auto read =
            co_await two.async_read_some(asio::buffer(buffer), use_toadstone.as_tuple());
        CHECK_FALSE(std::get<0>(read));
        CHECK(std::string(buffer.data(), std::get<1>(read)) == "four");
        // It does not say where it runs.
        using both = void(std::error_code, int, std::string);
        const auto there = use_toadstone.on(asio::make_strand(s.guest));
        const auto pair = co_await asio::async_initiate<decltype(there), both>(tells, there, 5);
        CHECK(pair == std::tuple<int, std::string>(5, "text"));
        ended = true;
    };
    auto handle = s.world.spawn(body());
    for (int turns = 0; !handle.done() && turns < 1000; ++turns) s.settle();
    CHECK(ended);
}

TEST_CASE("asio guest: S501: errors are thrown, or are values; so is what a begin throws") {
    stage s;
    scripted on(s.guest);
    seen what;
    auto handle = s.world.spawn(waits(on, what));
    s.settle();
    on.answer(asio::error::connection_reset, 0);
    s.settle();
    CHECK_THAT(what.error, Catch::StartsWith("asio: ") && Catch::Contains("reset"));
    CHECK(what.went_on);

    on.throws = true;
    seen refused;
    auto second = s.world.spawn(waits(on, refused));
    s.settle();
    CHECK(refused.error == "it cannot begin");
    CHECK(second.done());

    on.throws = false;
    std::error_code told;
    auto as_value = [&]() -> task<> {
        const auto all = co_await on.async_value(use_toadstone.as_tuple());
        told = std::get<0>(all);
    };
    auto third = s.world.spawn(as_value());
    s.settle();
    on.answer(asio::error::eof, 0);
    s.settle();
    CHECK(told == asio::error::eof);
}

#ifdef ASIO_HAS_CO_AWAIT
namespace {

asio::awaitable<int> sleeps(asio::io_context& at, std::chrono::hours time, bool fails) {
    asio::steady_timer timer(at, time);
    co_await timer.async_wait(asio::use_awaitable);
    if (fails) throw std::domain_error("of Asio's coroutine");
    co_return 7;
}

} // namespace

TEST_CASE("asio guest: S501: a coroutine of Asio's: its value, its exception, its end") {
    stage s;
    seen what;
    auto body = [&](std::chrono::hours time, bool fails) -> task<> {
        const scope_probe probe(what.end);
        try {
            what.value =
                co_await asio::co_spawn(s.guest, sleeps(s.guest, time, fails), use_toadstone);
        } catch (const std::exception& thrown) {
            what.error = thrown.what();
        }
    };
    for (const bool fails : {false, true}) {
        auto handle = s.world.spawn(body(-1h, fails));
        while (!handle.done()) s.settle();
    }
    CHECK(what.value == 7);
    CHECK(what.error == "of Asio's coroutine");
    auto handle = s.world.spawn(body(1h, false));
    s.settle();
    handle.cancel();
    s.settle();
    REQUIRE(handle.done());
    CHECK(s.world.end_of(handle).is_cancelled());
    CHECK(what.error == "of Asio's coroutine");
}
#endif

TEST_CASE("asio guest: S502: cancelled before it begins, nothing is begun") {
    stage s;
    scripted on(s.guest);
    seen before;
    auto first = s.world.spawn(waits(on, before));
    first.cancel();
    s.world.settle();
    CHECK(first.done());
    CHECK(s.guest.poll() == 0);

    seen posted;
    auto second = s.world.spawn(waits(on, posted));
    s.world.settle();
    second.cancel();
    s.world.settle();
    CHECK(posted.end.times == 0); // what is posted may still use the frame
    s.settle();
    CHECK(second.done());
    CHECK(posted.error.empty());
    CHECK(posted.end.reason == cancel_reason::requested);
    CHECK(on.begun == 0);
}

TEST_CASE("asio guest: S503: cancelled meanwhile, its slot is told on the executor, once, and "
          "the handler is waited for") {
    stage s;
    scripted on(s.guest);
    seen what;
    auto handle = s.world.spawn(waits(on, what));
    s.settle();
    handle.cancel();
    s.world.settle();
    CHECK(on.told == 0);
    s.guest.poll_one();
    CHECK(on.told == 1);
    CHECK(on.told_type == asio::cancellation_type::terminal);
    s.world.settle();
    CHECK(what.end.times == 0);
    s.settle();
    CHECK(handle.done());
    CHECK(what.error.empty()); // no exception: the task is torn down
    CHECK(what.end.reason == cancel_reason::requested);
    CHECK(on.told == 1);
}

TEST_CASE("asio guest: S503: a read that was cancelled has consumed nothing") {
    stage s;
    socket_of_asio one(s.guest);
    socket_of_asio two(s.guest);
    asio::local::connect_pair(one, two);
    std::string got(4, '\0');
    auto reads = [&]() -> task<> {
        auto read = asio::async_read(two, asio::buffer(got), use_toadstone);
        co_await with_timeout(1h, std::move(read));
    };
    auto first = s.world.spawn(reads());
    s.settle();
    first.cancel();
    s.settle();
    REQUIRE(first.done());
    CHECK(s.world.end_of(first).is_cancelled());
    asio::write(one, asio::buffer("four", 4));
    auto second = s.world.spawn(reads());
    s.settle();
    CHECK(second.done());
    CHECK(got == "four");
}

TEST_CASE("asio guest: S504: at the tie the answer is delivered, then the task ends") {
    stage s;
    scripted on(s.guest);
    SECTION("the handler was called, the task has not run") {
        seen what;
        auto handle = s.world.spawn(waits(on, what));
        s.settle();
        on.answer({}, 7);
        handle.cancel();
        s.settle();
        CHECK(handle.done());
        CHECK(what.value == 7);
        CHECK_FALSE(what.went_on);
        CHECK(on.told == 0);
    }
    SECTION("the request is on its way to the slot") {
        seen what;
        auto handle = s.world.spawn(waits(on, what));
        s.settle();
        handle.cancel();
        s.world.settle();
        on.answer({}, 7);
        s.settle();
        CHECK(handle.done());
        CHECK(what.value == 7);
        CHECK_FALSE(what.went_on);
        CHECK(on.told == 0); // nothing is there to be told
    }
    SECTION("at each step of both") {
        bool last = false;
        for (int n = 0; !last; ++n) {
            REQUIRE(n < 100);
            seen what;
            auto handle = s.world.spawn(waits(on, what));
            const int begun = on.begun;
            for (int at = 0; !handle.done(); ++at) {
                REQUIRE(at < 1000);
                if (at == n) handle.cancel();
                at % 2 == 0 ? s.world.step() : s.guest.poll_one();
                if (at == 9 && on.is_pending()) on.answer({}, 7);
            }
            CHECK(what.end.times == 1);
            CHECK(what.error.empty());
            CHECK_FALSE(on.is_pending());
            last = what.went_on;
            if (last) CHECK(what.value == 7);
            if (what.value == 7) CHECK(on.begun == begun + 1);
            s.settle();
        }
    }
}

TEST_CASE("asio guest: S505: an operation that ignores its slot is waited for, and its late "
          "answer delivered") {
    stage s;
    scripted on(s.guest);
    on.obeys = false;
    seen what;
    auto handle = s.world.spawn(waits(on, what));
    s.settle();
    handle.cancel();
    s.settle();
    CHECK(on.told == 1);
    CHECK_FALSE(handle.done());
    SECTION("a value") {
        on.answer({}, 7);
        s.settle();
        CHECK(what.value == 7);
    }
    SECTION("another error than that of a cancellation") {
        on.answer(asio::error::connection_reset, 0);
        s.settle();
        CHECK_THAT(what.error, Catch::Contains("reset"));
    }
    CHECK(handle.done());
    CHECK_FALSE(what.went_on);
    CHECK(what.end.times == 1);
}

TEST_CASE("asio guest: S505: aborted by somebody else, without a request, is an error") {
    stage s;
    scripted on(s.guest);
    seen what;
    auto handle = s.world.spawn(waits(on, what));
    s.settle();
    on.answer(asio::error::operation_aborted, 0);
    s.settle();
    CHECK_THAT(what.error, Catch::StartsWith("asio: "));
    CHECK(what.went_on);
    CHECK(handle.done());
}

TEST_CASE("asio guest: S506: an io_context that stops is waited for; one that goes ends the "
          "wait") {
    stepped world;
    auto guest = std::make_unique<asio::io_context>();
    auto timer = std::make_unique<asio::steady_timer>(*guest, 1h);
    std::string error;
    scope_end end;
    auto body = [&]() -> task<> {
        const scope_probe probe(end);
        try {
            co_await timer->async_wait(use_toadstone);
        } catch (const broken_completion& thrown) {
            error = thrown.what();
        }
    };
    auto handle = world.spawn(body());
    bool asked = false;
    world.settle();
    SECTION("before it has begun") {}
    SECTION("while it waits") {
        guest->poll();
        guest->stop();
        world.settle();
        CHECK_FALSE(handle.done());
    }
    SECTION("stopped, and run again") {
        guest->poll();
        guest->stop();
        handle.cancel();
        asked = true;
        world.settle();
        CHECK(guest->poll() == 0);
        CHECK_FALSE(handle.done());
        guest->restart();
        guest->poll();
        world.settle();
        CHECK(handle.done());
        CHECK(error.empty());
    }
    SECTION("with a request that nobody takes any more") {
        guest->poll();
        handle.cancel();
        asked = true;
        world.settle();
        CHECK_FALSE(handle.done());
    }
    timer.reset();
    guest.reset();
    world.settle();
    REQUIRE(handle.done());
    CHECK(end.times == 1);
    CHECK(world.end_of(handle).is_cancelled() == asked);
    if (asked) {
        CHECK(error.empty());
    } else {
        CHECK_THAT(error, Catch::Contains("nobody is left to answer") &&
                              Catch::Contains("asio_guest_test.cpp:"));
    }
}
