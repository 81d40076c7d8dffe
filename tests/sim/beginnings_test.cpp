// Operations that cannot begin, inside every boundary: the task that waits is told, its section
// is poisoned by that exception, and it goes on.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/hand_pool.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <coroutine>
#include <future>
#include <stdexcept>
#include <string>
#include <utility>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

/// Another library's.
struct begins_not {
    [[nodiscard]] bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<>) const {
        throw std::runtime_error("it does not begin");
    }
    void await_resume() const noexcept {}
};
/// By the protocol for one's own.
class starts_not {
public:
    void start(continuation) { throw std::runtime_error("it does not begin"); }
    [[nodiscard]] bool cancel(cancel_reason) noexcept { return true; }
    [[nodiscard]] bool taken() noexcept { return false; }
    void result() noexcept {}
};

struct refused_call {
    static constexpr const char* name = "spawn_blocking, no thread";
    auto operator()() const {
        return spawn_blocking([] {});
    }
};
struct empty_guard {
    static constexpr const char* name = "condition_variable::wait, no lock";
    auto operator()() const {
        static sync::condition_variable changed;
        static sync::mutex<int> m;
        static sync::guard<int> none = *m.try_lock();
        if (none) none.unlock();
        return changed.wait(none);
    }
};
struct no_answer {
    static constexpr const char* name = "with_completion, its start throws";
    auto operator()() const {
        return with_completion<>(
            [](completion<>) { throw std::runtime_error("it does not begin"); });
    }
};
struct no_guest {
    static constexpr const char* name = "foreign";
    auto operator()() const { return foreign(begins_not()); }
};
struct no_start {
    static constexpr const char* name = "cancellable";
    auto operator()() const { return cancellable<starts_not>(); }
};
struct no_future {
    static constexpr const char* name = "await_future, no state";
    auto operator()() const { return await_future(std::future<void>()); }
};
struct no_descriptor {
    static constexpr const char* name = "readiness";
    auto operator()() const { return io::readiness(-1, io::events::readable); }
};

enum class inside : unsigned char {
    nothing,
    limit,
    token,
    limit_in_limit,
    limit_in_token,
    token_in_limit,
    shield_in_limit,
    limit_in_shield,
    outcome,
    outcome_of_limit,
    race,
    all,
    last = all,
};

/// Throws what the operation throws.
template <class Begin>
task<> awaits(inside what, Begin begin) {
    const cancellation_source source;
    const auto token = source.token();
    switch (what) {
    case inside::nothing:
        static_cast<void>(co_await begin());
        break;
    case inside::limit:
        static_cast<void>(co_await with_timeout(1h, begin()));
        break;
    case inside::token:
        static_cast<void>(co_await with_token(token, begin()));
        break;
    case inside::limit_in_limit:
        static_cast<void>(co_await with_timeout(2h, with_timeout(1h, begin())));
        break;
    case inside::limit_in_token:
        static_cast<void>(co_await with_token(token, with_timeout(1h, begin())));
        break;
    case inside::token_in_limit:
        static_cast<void>(co_await with_timeout(1h, with_token(token, begin())));
        break;
    case inside::shield_in_limit:
        static_cast<void>(co_await with_timeout(1h, shield(begin())));
        break;
    case inside::limit_in_shield:
        static_cast<void>(co_await shield(with_timeout(1h, begin())));
        break;
    case inside::outcome: {
        auto end = co_await as_outcome(begin());
        static_cast<void>(std::move(end).value());
        break;
    }
    case inside::outcome_of_limit: {
        auto end = co_await try_with_timeout(1h, begin());
        static_cast<void>(std::move(end).value());
        break;
    }
    case inside::race:
        static_cast<void>(co_await when_any(begin(), sleep_for(1h)));
        break;
    case inside::all:
        static_cast<void>(co_await when_all(begin(), sleep_for(1h)));
        break;
    }
}

template <class Begin>
task<> in_a_section(inside what, Begin begin, sync::mutex<int>& m, std::string& said) {
    try {
        auto held = co_await m.lock();
        *held = -1;
        co_await awaits(what, begin);
        *held = 1;
    } catch (const std::exception& error) {
        said = error.what();
    }
    co_await sleep_for(1ms); // it goes on
    co_await with_timeout(1h, yield_now());
}

template <class Begin>
void does_not_begin() {
    for (unsigned i = 0; i <= static_cast<unsigned>(inside::last); ++i) {
        const auto what = static_cast<inside>(i);
        INFO(Begin::name << ", boundary " << i);
        stepped w;
        hand_pool threads;
        threads.refuses = true;
        w.calls = &threads;
        {
            sync::mutex<int> m;
            std::string said;
            w.run(in_a_section(what, Begin(), m, said));
            CHECK_FALSE(said.empty());
            REQUIRE(m.is_poisoned());
            CHECK(m.cause().kind() == poison_kind::exception);
        }
        {
            sync::mutex<int> m;
            std::string said;
            auto handle = w.spawn(in_a_section(what, Begin(), m, said));
            handle.cancel(); // before it begins
            w.settle();
            CHECK(w.end_of(handle).is_cancelled());
            CHECK(said.empty());
            CHECK_FALSE(m.is_poisoned());
        }
        CHECK(w.worker().in_flight() == 0);
        CHECK(w.worker().next_timer() == std::chrono::steady_clock::time_point::max());
    }
}

} // namespace

TEMPLATE_TEST_CASE("S519: what cannot begin tells whoever waits, inside of every boundary", "",
                   refused_call, empty_guard, no_answer, no_guest, no_start, no_future,
                   no_descriptor) {
    does_not_begin<TestType>();
}
