// S163 to S168: a boundary around one operation against its oracle, the same boundary around a
// task that awaits this operation. Every order of what can happen to both, and equal verdicts.
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include "support/occurrence.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <sys/socket.h>
#include <unistd.h>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

enum class boundary {
    timeout,
    try_timeout,
    deadline,
    try_deadline,
    zero,
    token,
    two_limits,
    long_in_short,
    short_in_long,
    limit_in_try,
    try_in_limit,
    token_in_limit,
    token_in_try,
    limit_in_token,
    try_in_token,
    two_tokens,
    one_token_twice,
    three_deep,
    count,
};
const char* name_of(boundary each) {
    static constexpr const char* names[] = {
        "with_timeout(10)",
        "try_with_timeout(10)",
        "with_deadline(10)",
        "try_with_deadline(10)",
        "with_timeout(0)",
        "with_token(1)",
        "with_timeout(10, with_timeout(10))",
        "with_timeout(10, with_timeout(20))",
        "with_timeout(20, with_timeout(10))",
        "try_with_timeout(20, with_timeout(10))",
        "with_timeout(20, try_with_timeout(10))",
        "with_timeout(10, with_token(1))",
        "try_with_timeout(10, with_token(1))",
        "with_token(1, with_timeout(10))",
        "with_token(1, try_with_timeout(10))",
        "with_token(1, with_token(2))",
        "with_token(1, with_token(1))",
        "with_timeout(20, with_token(1, try_with_timeout(10)))"};
    return names[static_cast<unsigned>(each)];
}

enum class inside { event, lock, timed_lock, sleep, join, read, write };
enum class mode {
    usual,
    in_kernel,
    delivers,
    in_kernel_delivers,
    fails,
    in_kernel_fails,
    defer, ///< of a lock
};
enum class around { section, deferring, shield, scope, count };
/// Who acts. Turns of their own are far apart: the oracle needs one more for each boundary, and
/// what comes between the end of its operation and that of its boundary finds the other over.
enum class actor {
    outside, ///< the test, between two turns
    task,    ///< of the same worker, in its turn
    count,
};

struct setting {
    inside what = inside::event;
    mode how = mode::usual;
    around where = around::section;
};

/// All that one run needs, and what was seen.
class bench {
public:
    bench(stepped& workers, const setting& as) : w(workers), has(as) {
        event.in_kernel = as.how == mode::in_kernel || as.how == mode::in_kernel_delivers ||
                          as.how == mode::in_kernel_fails;
        event.delivers = as.how == mode::delivers || as.how == mode::in_kernel_delivers ||
                         as.how == mode::in_kernel_fails;
        event.fails = as.how == mode::fails || as.how == mode::in_kernel_fails;
        begun = w.kernel().time;
    }

    stepped& w;
    const setting has;
    std::chrono::steady_clock::time_point begun;
    occurrence event;
    occurrence afterwards;
    sync::mutex<int> contended{0, "contended"};
    sync::mutex<int> section{0, "section"};
    std::optional<sync::guard<int>> held;
    cancellation_source first;
    cancellation_source second;
    join_handle<int> target;
    std::optional<io::tcp_stream> stream;
    int peer = -1;
    detail::context* root = nullptr;
    cancellation_token own;
    std::string seen;
    std::string behind;
    char buffer[16] = {};

    void note(const std::string& what) { (seen += what) += "; "; }
};

class end_note {
public:
    end_note(bench& in, const char* of) noexcept : in_(in), of_(of) {}
    end_note(const end_note&) = delete;
    end_note& operator=(const end_note&) = delete;
    ~end_note() {
        const auto* const record = detail::current_slice().record;
        if (!record) return;
        in_.note(std::string(of_) + " torn: " + std::string(to_string(record->reason)));
    }

private:
    bench& in_;
    const char* of_;
};

std::string described(int value) {
    return "value " + std::to_string(value);
}
std::string described(std::size_t value) {
    return "count " + std::to_string(value);
}
std::string described(const sync::guard<int>&) {
    return "guard";
}
std::string described(const std::optional<sync::guard<int>>& value) {
    return value ? "guard" : "no guard";
}
template <class T>
std::string described(const outcome<T>& ended);
std::string described_error(const std::exception_ptr& error);

template <class T>
std::string described(const outcome<T>& ended) {
    if (ended.is_cancelled())
        return "cancelled(" + std::string(to_string(ended.reason())) + ")";
    if (ended.has_exception()) return "outcome: " + described_error(ended.exception());
    if constexpr (std::is_void_v<T>) {
        return "outcome: void";
    } else {
        return "outcome: " + described(ended.value());
    }
}

std::string described_error(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const task_cancelled& e) {
        return "task_cancelled " + std::string(to_string(e.reason()));
    } catch (const timeout_error& e) {
        const std::string text = e.what();
        return "timeout_error " + text.substr(0, text.find(": "));
    } catch (const poison_error& e) {
        return "poison_error";
    } catch (const std::exception& e) {
        return std::string("error ") + e.what();
    }
}

struct fused {
    template <bool AsOutcome, class A>
    static auto limit(A&& a, detail::time_limit length) {
        static_assert(detail::fusible<A>);
        return detail::limit_time<AsOutcome>(std::forward<A>(a), length);
    }
    template <class A>
    static auto token(cancellation_token by, A&& a) {
        static_assert(detail::fusible<A>);
        return with_token(std::move(by), std::forward<A>(a));
    }
};
/// As with a task, but that a lock's guard is still the library's to hand back.
struct oracle {
    template <bool AsOutcome, class A>
    static auto limit(A&& a, detail::time_limit length) {
        using T = detail::await_result_t<A>;
        using awaiter = detail::timeout_awaiter<T, AsOutcome>;
        return detail::awaitable<detail::all_acquire<A>, awaiter, task<T>, detail::time_limit>(
            detail::as_task(std::forward<A>(a)), std::move(length));
    }
    template <class A>
    static auto token(cancellation_token by, A&& a) {
        using T = detail::await_result_t<A>;
        using awaiter = detail::token_awaiter<T>;
        return detail::awaitable<detail::all_acquire<A>, awaiter, task<T>, cancellation_token>(
            detail::as_task(std::forward<A>(a)), std::move(by));
    }
};

template <class Way, boundary B, class A>
auto bounded(bench& b, A&& a) {
    const detail::time_limit ten(10ms);
    const detail::time_limit twenty(20ms);
    const auto one = [&] { return b.first.token(); };
    if constexpr (B == boundary::timeout) {
        return Way::template limit<false>(std::move(a), ten);
    } else if constexpr (B == boundary::try_timeout) {
        return Way::template limit<true>(std::move(a), ten);
    } else if constexpr (B == boundary::deadline) {
        return Way::template limit<false>(std::move(a), detail::time_limit(b.begun + 10ms));
    } else if constexpr (B == boundary::try_deadline) {
        return Way::template limit<true>(std::move(a), detail::time_limit(b.begun + 10ms));
    } else if constexpr (B == boundary::zero) {
        return Way::template limit<false>(std::move(a), detail::time_limit(0ms));
    } else if constexpr (B == boundary::token) {
        return Way::token(one(), std::move(a));
    } else if constexpr (B == boundary::two_limits) {
        return Way::template limit<false>(Way::template limit<false>(std::move(a), ten), ten);
    } else if constexpr (B == boundary::long_in_short) {
        return Way::template limit<false>(Way::template limit<false>(std::move(a), twenty),
                                          ten);
    } else if constexpr (B == boundary::short_in_long) {
        return Way::template limit<false>(Way::template limit<false>(std::move(a), ten),
                                          twenty);
    } else if constexpr (B == boundary::limit_in_try) {
        return Way::template limit<true>(Way::template limit<false>(std::move(a), ten), twenty);
    } else if constexpr (B == boundary::try_in_limit) {
        return Way::template limit<false>(Way::template limit<true>(std::move(a), ten), twenty);
    } else if constexpr (B == boundary::token_in_limit) {
        return Way::template limit<false>(Way::token(one(), std::move(a)), ten);
    } else if constexpr (B == boundary::token_in_try) {
        return Way::template limit<true>(Way::token(one(), std::move(a)), ten);
    } else if constexpr (B == boundary::limit_in_token) {
        return Way::token(one(), Way::template limit<false>(std::move(a), ten));
    } else if constexpr (B == boundary::try_in_token) {
        return Way::token(one(), Way::template limit<true>(std::move(a), ten));
    } else if constexpr (B == boundary::two_tokens) {
        return Way::token(one(), Way::token(b.second.token(), std::move(a)));
    } else if constexpr (B == boundary::one_token_twice) {
        return Way::token(one(), Way::token(one(), std::move(a)));
    } else {
        return Way::template limit<false>(
            Way::token(one(), Way::template limit<true>(std::move(a), ten)), twenty);
    }
}

constexpr std::size_t much = 8U << 20; // more than any socket holds
const std::string& much_text() {
    static const std::string text(much, 'x');
    return text;
}

template <inside L>
auto operation_of(bench& b) {
    if constexpr (L == inside::event) {
        return b.event.wait();
    } else if constexpr (L == inside::lock) {
        return b.has.how == mode::defer ? b.contended.lock(sync::on_cancel::defer)
                                        : b.contended.lock(sync::on_cancel::poison);
    } else if constexpr (L == inside::timed_lock) {
        return b.contended.try_lock_for(10ms);
    } else if constexpr (L == inside::sleep) {
        return sleep_for(5ms);
    } else if constexpr (L == inside::join) {
        return b.target.outcome();
    } else if constexpr (L == inside::read) {
        return b.stream->read_some(std::span(b.buffer));
    } else {
        return b.stream->write_all(much_text());
    }
}

/// The boundary, what came of it, and one more cancellation point.
template <class Way, boundary B, inside L>
task<> attempt(bench& b) {
    const end_note ends(b, "attempt");
    std::exception_ptr error;
    try {
        auto guarded = bounded<Way, B>(b, operation_of<L>(b));
        if constexpr (std::is_void_v<detail::await_result_t<decltype(guarded)>>) {
            co_await std::move(guarded);
            b.note("void");
        } else {
            auto result = co_await std::move(guarded);
            b.note(described(result));
            co_await b.afterwards.wait();
            b.note("went on");
            co_return;
        }
    } catch (...) {
        error = std::current_exception();
    }
    if (error) b.note(described_error(error));
    error = nullptr;
    co_await b.afterwards.wait();
    b.note("went on");
}

using attempt_t = task<> (*)(bench&);

task<> victim(bench& b, attempt_t attempted) {
    b.root = &detail::current_context()->root();
    b.own = this_task::token();
    const end_note ends(b, "task");
    auto section = b.has.where == around::deferring ? b.section.lock(sync::on_cancel::defer)
                                                    : b.section.lock(sync::on_cancel::poison);
    auto outer = co_await std::move(section);
    if (b.has.where == around::shield) {
        co_await shield(attempted(b));
    } else if (b.has.where == around::scope) {
        const auto body = [&](task_scope&) { return attempted(b); };
        co_await with_scope(body);
    } else {
        co_await attempted(b);
    }
    b.note("leaves the section");
    outer.unlock();
    co_await checkpoint();
    b.note("returns");
}

task<> comes_behind(bench& b) {
    const end_note ends(b, "behind");
    try {
        auto got = co_await b.contended.lock();
        b.behind = "is handed the lock";
    } catch (const poison_error&) {
        b.behind = "is told of the poison";
    }
}

task<int> ends_with(bench& b) {
    const int value = co_await b.event.wait();
    co_return value;
}

class forced final : public detail::posted {
public:
    detail::context* root = nullptr;

private:
    void run_posted() noexcept override { root->request(cancel_reason::shutdown, true); }
};

/// One case, both ways.
class run {
public:
    run(stepped& w, const setting& as) : b_(w, as) {}
    run(const run&) = delete;
    run& operator=(const run&) = delete;
    ~run() {
        if (b_.peer >= 0) ::close(b_.peer);
    }

    /// What was seen, in words.
    std::string of(attempt_t attempted, const std::vector<act>& acts, actor who) {
        const bool locks = b_.has.what == inside::lock || b_.has.what == inside::timed_lock;
        if (locks) b_.held = b_.contended.try_lock();
        if (b_.has.what == inside::join) b_.target = b_.w.spawn(ends_with(b_));
        if (b_.has.what == inside::read || b_.has.what == inside::write) connect();
        b_.w.settle();
        task_ = b_.w.spawn(victim(b_, attempted), {.name = "victim"});
        b_.w.step();
        b_.w.kernel().time += 1us; // a limit of zero passes before the task inside begins
        b_.w.settle();
        join_handle<> next;
        if (locks) next = b_.w.spawn(comes_behind(b_));
        b_.w.settle();
        for (auto from = acts.begin(); from != acts.end();) {
            const auto to = std::find(from, acts.end(), act::turn);
            play({from, to}, who);
            b_.w.settle();
            from = to == acts.end() ? to : to + 1;
        }
        return verdict(locks);
    }

private:
    void connect() {
        int ends[2];
        const int made = ::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends);
        TOADSTONE_ASSERT(made == 0, "a test gets a pair of sockets");
        b_.peer = ends[1];
        b_.stream.emplace(io::detail::descriptor(ends[0]), io::endpoint::loopback(1));
    }
    void complete() {
        switch (b_.has.what) {
        case inside::event:
        case inside::join:
            b_.event.happen();
            break;
        case inside::lock:
        case inside::timed_lock:
            b_.held.reset();
            break;
        case inside::sleep:
            b_.w.kernel().time += 5ms;
            break;
        case inside::read:
            static_cast<void>(::send(b_.peer, "x", 1, MSG_NOSIGNAL));
            break;
        case inside::write:
            static_cast<void>(drain());
            break;
        }
    }
    std::size_t drain() {
        static std::vector<char> to(1U << 20);
        std::size_t all = 0;
        for (;;) {
            const auto got = ::recv(b_.peer, to.data(), to.size(), MSG_DONTWAIT);
            if (got <= 0) return all;
            all += static_cast<std::size_t>(got);
        }
    }
    void carry_out(act each) {
        switch (each) {
        case act::completes:
            complete();
            break;
        case act::ten_pass:
            b_.w.kernel().time += 10ms;
            break;
        case act::twenty_pass:
            b_.w.kernel().time += 20ms;
            break;
        case act::first_token:
            b_.first.cancel(cancel_reason::lost_race);
            break;
        case act::second_token:
            b_.second.cancel(cancel_reason::sibling_failed);
            break;
        case act::request:
            task_.cancel();
            break;
        case act::force:
            if (task_.done()) break;
            force_.root = b_.root;
            b_.w.worker().post(force_);
            break;
        case act::turn:
            break;
        }
    }
    static task<> acts(run& by, occurrence& now, std::vector<act> what) {
        co_await now.wait();
        for (const act each : what) by.carry_out(each);
    }
    void play(std::vector<act> what, actor who) {
        std::vector<act> from_outside;
        if (who == actor::outside) from_outside.swap(what);
        occurrence now;
        join_handle<> player;
        if (!what.empty()) {
            player = b_.w.spawn(acts(*this, now, std::move(what)));
            b_.w.settle();
            now.happen();
        }
        for (const act each : from_outside) carry_out(each);
        b_.w.settle();
    }
    /// Lets everything end, and says how it was.
    std::string verdict(bool locks) {
        const bool open = !task_.done();
        if (open) b_.note("waits");
        // What it still waits for happens, and then all that it waits for.
        b_.event.happen();
        complete();
        b_.w.settle();
        while (b_.has.what == inside::write && drain() > 0) b_.w.settle();
        b_.afterwards.happen();
        b_.w.settle();
        if (!task_.done()) return b_.seen + "never ends";
        const bool timer_left =
            b_.w.worker().next_timer() != std::chrono::steady_clock::time_point::max();
        const auto end = b_.w.end_of(task_);
        b_.note(described(end));
        b_.note("own token: " +
                (b_.own.cancelled() ? std::string(to_string(*b_.own.reason())) : "not told"));
        b_.note("section " + poison_of(b_.section));
        if (locks) {
            b_.note("lock " + poison_of(b_.contended) + (is_free() ? ", free" : ", held") +
                    ", the one behind " + b_.behind);
        }
        if (b_.stream) {
            b_.note("writing " + described(b_.stream->cause()));
            b_.note("reading " + described(b_.stream->read_cause()));
        }
        if (timer_left) b_.note("a timer is left");
        // A listener that is left is told, and is not there any more.
        b_.first.cancel();
        b_.second.cancel();
        b_.w.settle();
        return b_.seen;
    }
    static std::string described(const poison_cause& cause) {
        if (!cause) return "whole";
        std::string text = "poisoned by kind " + std::to_string(static_cast<int>(cause.kind()));
        if (cause.kind() != poison_kind::exception) {
            text += ", " + std::string(to_string(cause.reason()));
        }
        return text + ", in " + std::string(cause.task_name());
    }
    template <class T>
    static std::string described(const T& other) {
        return ::described(other);
    }
    static std::string poison_of(const sync::mutex<int>& m) { return described(m.cause()); }
    [[nodiscard]] bool is_free() {
        try {
            return b_.contended.try_lock().has_value();
        } catch (const poison_error&) {
            return true;
        }
    }

    forced force_;
    bench b_;
    join_handle<> task_;
};

template <inside L, boundary... B>
struct over {};

template <inside L>
struct table {
    attempt_t one[static_cast<unsigned>(boundary::count)]{};
    attempt_t other[static_cast<unsigned>(boundary::count)]{};
};
template <inside L, boundary... B>
table<L> made_table(over<L, B...>) {
    table<L> made;
    ((made.one[static_cast<unsigned>(B)] = &attempt<fused, B, L>), ...);
    ((made.other[static_cast<unsigned>(B)] = &attempt<oracle, B, L>), ...);
    return made;
}

bool has_first_token(boundary b) {
    return b == boundary::token || b >= boundary::token_in_limit;
}
bool has_limit(boundary b) {
    return b != boundary::token && b != boundary::two_tokens &&
           b != boundary::one_token_twice && b != boundary::zero;
}
bool has_long_limit(boundary b) {
    return b == boundary::long_in_short || b == boundary::short_in_long ||
           b == boundary::limit_in_try || b == boundary::try_in_limit ||
           b == boundary::three_deep;
}
std::vector<act> acts_for(boundary b) {
    std::vector<act> all{act::completes, act::request};
    if (has_limit(b)) all.push_back(act::ten_pass);
    if (has_long_limit(b)) all.push_back(act::twenty_pass);
    if (has_first_token(b)) all.push_back(act::first_token);
    if (b == boundary::two_tokens) all.push_back(act::second_token);
    return all;
}

/// Every sequence of up to `most` different acts, each followed by the next in the same turn or
/// in another one.
template <class Fn>
void each_order(const std::vector<act>& all, std::size_t most, Fn fn) {
    std::vector<act> order;
    const auto deeper = [&](const auto& self, std::size_t used) -> void {
        if (used > 0) fn(order);
        if (used == most) return;
        for (const act each : all) {
            if (std::find(order.begin(), order.end(), each) != order.end()) continue;
            for (const bool another : {false, true}) {
                if (another && used == 0) continue;
                if (another) order.push_back(act::turn);
                order.push_back(each);
                self(self, used + 1);
                order.pop_back();
                if (another) order.pop_back();
            }
        }
    };
    // act::turn stands in the order as often as it is needed.
    deeper(deeper, 0);
}

std::string written(boundary b, const setting& as, const std::vector<act>& acts, actor who) {
    static constexpr const char* insides[] = {"event", "lock", "timed lock", "sleep",
                                              "join",  "read", "write"};
    static constexpr const char* modes[] = {
        "usual", "in kernel",        "delivers", "in kernel, delivers",
        "fails", "in kernel, fails", "defer"};
    static constexpr const char* wheres[] = {"a section", "a deferring section", "a shield",
                                             "a scope"};
    static constexpr const char* actors[] = {"the test", "a task"};
    std::string text = name_of(b);
    text += std::string(" around ") + insides[static_cast<unsigned>(as.what)] + " (" +
            modes[static_cast<unsigned>(as.how)] + ") in " +
            wheres[static_cast<unsigned>(as.where)] + ", by " +
            actors[static_cast<unsigned>(who)] + ": ";
    for (const act each : acts) text += std::string(name_of(each)) + " ";
    return text;
}

/// All orders of one inside, compared. Returns how many cases that was.
template <inside L, boundary... B>
unsigned compared(over<L, B...> which, const std::vector<mode>& modes, std::size_t most) {
    stepped w;
    const auto ways = made_table(which);
    unsigned cases = 0;
    for (const boundary b : {B...}) {
        for (const mode how : modes) {
            for (unsigned where = 0; where < static_cast<unsigned>(around::count); ++where) {
                for (unsigned who = 0; who < static_cast<unsigned>(actor::count); ++who) {
                    const setting as{L, how, static_cast<around>(where)};
                    each_order(acts_for(b), most, [&](std::vector<act> acts) {
                        const auto same = [&](const std::vector<act>& sequence) {
                            const auto by = static_cast<actor>(who);
                            const auto i = static_cast<unsigned>(b);
                            const auto one = run(w, as).of(ways.one[i], sequence, by);
                            const auto other = run(w, as).of(ways.other[i], sequence, by);
                            ++cases;
                            if (one == other) return;
                            INFO(written(b, as, sequence, by));
                            REQUIRE(one == other);
                        };
                        same(acts);
                        const auto request = std::find(acts.begin(), acts.end(), act::request);
                        if (request == acts.end() || where == 0) return;
                        *request = act::force;
                        same(acts);
                    });
                }
            }
        }
    }
    return cases;
}

template <inside L>
using over_all = over<L, boundary::timeout, boundary::try_timeout, boundary::deadline,
                      boundary::try_deadline, boundary::zero, boundary::token,
                      boundary::two_limits, boundary::long_in_short, boundary::short_in_long,
                      boundary::limit_in_try, boundary::try_in_limit, boundary::token_in_limit,
                      boundary::token_in_try, boundary::limit_in_token, boundary::try_in_token,
                      boundary::two_tokens, boundary::one_token_twice, boundary::three_deep>;
template <inside L>
using over_some =
    over<L, boundary::timeout, boundary::try_timeout, boundary::zero, boundary::token,
         boundary::token_in_limit, boundary::try_in_token, boundary::two_tokens>;

// AddressSanitizer makes exceptions a hundred times as slow: orders of two acts, not three.
constexpr std::size_t deep = TOADSTONE_ASAN ? 2 : 3;
constexpr unsigned many = TOADSTONE_ASAN ? 100 : 1'000;

} // namespace

TEST_CASE("S163: a boundary around an operation ends as one around a task, in every order") {
    const std::vector<mode> modes{mode::usual, mode::in_kernel, mode::in_kernel_delivers,
                                  mode::in_kernel_fails};
    CHECK(compared(over_all<inside::event>(), modes, deep) > 10 * many);
}

TEST_CASE("S164: around a lock: the acquisition is handed back, or delivered, as in a task") {
    CHECK(compared(over_all<inside::lock>(), {mode::usual, mode::defer}, deep) > many);
    CHECK(compared(over_some<inside::timed_lock>(), {mode::usual}, deep) > many);
}

TEST_CASE("S165: around a sleep or a join: the same") {
    CHECK(compared(over_some<inside::sleep>(), {mode::usual}, deep) > many);
    CHECK(compared(over_some<inside::join>(), {mode::usual}, deep) > many);
}

TEST_CASE("S166: around a read, and a write that is cut: the same, and the same poison") {
    CHECK(compared(over_some<inside::read>(), {mode::usual}, 2) > 500);
    CHECK(compared(over_some<inside::write>(), {mode::usual}, 2) > 500);
}
