// Long stories of poison: what a cause leads to stays bounded, and so does the text.
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/poison.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/sync/mutex.hpp>

#include "support/capture.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {
namespace {

using lock = sync::mutex<int>;

constexpr std::size_t most_records = 17; // a cause, and eight of each side
constexpr std::size_t most_text = 4000;

task<> breaks(lock& m, std::string what) {
    auto held = co_await m.lock();
    throw std::runtime_error(what);
}
task<> repairs(lock& broken, lock& needs) {
    auto right = co_await broken.recover();
    auto other = co_await needs.lock(); // throws poison_error
    *right = *other;
    auto held = right.complete();
}
task<> looks(lock& broken, lock& needs) {
    auto right = co_await broken.lock_or_poison();
    auto other = co_await needs.lock(); // throws poison_error
    *right.guard() = *other;
}
task<> uses(lock& broken, lock& own) {
    auto held = co_await own.lock();
    auto other = co_await broken.lock(); // throws poison_error
    *held = *other;
}
struct own_error : std::runtime_error {
    using std::runtime_error::runtime_error;
};
task<> wraps(lock& broken, lock& own) {
    auto held = co_await own.lock();
    try {
        auto other = co_await broken.lock();
    } catch (const poison_error&) {
        std::throw_with_nested(own_error("no stock"));
    }
}
/// Its what() is null, which std::exception does not forbid.
struct silent_error : std::exception {
    [[nodiscard]] const char* what() const noexcept override { return nullptr; }
};
task<> fails_silently() {
    co_await yield_now();
    throw silent_error();
}
task<> breaks_silently(lock& m) {
    auto held = co_await m.lock();
    throw silent_error();
}
task<> ends_by_poison(lock& m) {
    auto held = co_await m.lock();
}
task<> drops(task<> body) {
    auto handle = spawn(std::move(body));
    while (!handle.done()) co_await yield_now();
}

void run(stepped& w, task<> body) {
    auto handle = w.spawn(std::move(body));
    static_cast<void>(w.end_of(handle));
}

/// The different records that a cause leads to, itself included.
std::vector<const void*> records_of(const poison_cause& cause) {
    std::vector<const void*> all;
    std::vector<poison_cause> open{cause};
    while (!open.empty()) {
        const poison_cause each = open.back();
        open.pop_back();
        if (!each || std::count(all.begin(), all.end(), each.state().get())) continue;
        all.push_back(each.state().get());
        open.push_back(each.previous());
        open.push_back(each.linked());
    }
    return all;
}

std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& caught) {
        return caught.what();
    }
}

/// AddressSanitizer makes an exception a hundred times as slow.
constexpr int share = TOADSTONE_ASAN ? 10 : 1;

/// Two poisoned mutexes, and repairs that need the lock of the other one.
struct contagion {
    contagion() {
        run(w, breaks(*a, "boom of a"));
        run(w, breaks(*b, "boom of b"));
        first_a = a->cause();
        first_b = b->cause();
    }
    void go_on(int rounds, task<> (*repair)(lock&, lock&)) {
        for (int i = 0; i < rounds; ++i) {
            run(w, repair(*a, *b));
            made.push_back(a->cause().state());
            run(w, repair(*b, *a));
            made.push_back(b->cause().state());
        }
    }

    std::unique_ptr<lock> a = std::make_unique<lock>(0, "a");
    std::unique_ptr<lock> b = std::make_unique<lock>(0, "b");
    poison_cause first_a;
    poison_cause first_b;
    std::vector<std::weak_ptr<const detail::cause_state>> made;
    stepped w;
};

} // namespace

TEST_CASE("S144: of repairs that fail by each other's poison, any number of times, a few "
          "records are kept") {
    const auto repair = GENERATE(repairs, looks);
    contagion c;
    for (int part = 0; part < 10; ++part) {
        c.go_on(500 / share, repair);
        CHECK(records_of(c.a->cause()).size() <= most_records);
        CHECK(records_of(c.b->cause()).size() <= most_records);
    }
    const auto alive = std::count_if(c.made.begin(), c.made.end(),
                                     [](const auto& each) { return !each.expired(); });
    CHECK(alive <= static_cast<std::ptrdiff_t>(2 * most_records));
    CHECK(c.a->cause().attempts() == 5000 / share);
    CHECK(c.a->cause().first() == c.first_a);
    CHECK(c.b->cause().first() == c.first_b);
    CHECK(c.a->cause().linked().first() == c.first_b);
}

TEST_CASE("poison_cause: the text of a long story is short, tells each record once, and says "
          "how many it leaves out") {
    const int rounds = GENERATE(1, 3, 10, 100, 1000);
    contagion c;
    c.go_on(rounds, repairs);
    const std::string text = c.a->cause().to_string();
    CHECK(text.size() <= most_text);
    CHECK(count_of(text, "boom of a") == 1);
    CHECK(count_of(text, "boom of b") <= 1);
    // 2 * rounds + 1 of them lead here.
    const bool cut = count_of(text, " earlier causes are left out") == 1;
    CHECK(cut == (rounds >= 10));
    const std::string words = "; ... at least ";
    if (cut) {
        const int left = std::stoi(text.substr(text.find(words) + words.size()));
        CHECK(left <= 2 * rounds);
        CHECK(left >= 2 * rounds - static_cast<int>(most_records));
    }
}

TEST_CASE("S145: a line of mutexes, each poisoned by the one before, ends as it began") {
    constexpr int length = 20'000 / share;
    const auto use = GENERATE(uses, wraps);
    stepped w;
    auto last = std::make_unique<lock>(0, "first");
    run(w, breaks(*last, "boom"));
    const poison_cause first = last->cause();
    for (int i = 0; i < length; ++i) {
        auto next = std::make_unique<lock>(0, "next");
        run(w, use(*last, *next));
        last = std::move(next);
    }
    const poison_cause cause = last->cause();
    CHECK(records_of(cause).size() <= most_records);
    CHECK(cause.first() == first);
    CHECK(cause.linked().first() == first);
    const std::string text = cause.to_string();
    CHECK(text.size() <= most_text);
    CHECK(count_of(text, "boom") == 1);
    const std::size_t told = count_of(text, " poisoned: ");
    CHECK(count_of(text, "at least " + std::to_string(length + 1 - static_cast<int>(told)) +
                             " earlier causes are left out") == 1);
}

TEST_CASE(
    "poison_cause: where each record has much to say, the text goes from the latest ones to "
    "the first") {
    constexpr int attempts = 6;
    const std::string name(200, 'n');
    stepped w;
    lock m(0, name);
    run(w, breaks(m, "boom"));
    const auto gives_up = [](lock& broken, std::string why) -> task<> {
        auto right = co_await broken.recover();
        throw std::runtime_error(why);
    };
    for (int i = 0; i < attempts; ++i) run(w, gives_up(m, std::string(200, 'x')));
    const std::string text = m.cause().to_string();
    CHECK(records_of(m.cause()).size() == attempts + 1); // all of them are known
    CHECK(text.size() < 2700);
    const std::size_t told = count_of(text, " poisoned: ");
    CHECK(told < attempts);
    CHECK(count_of(text, "at least " + std::to_string(attempts + 1 - told) +
                             " earlier causes are left out; the first: mutex '" + name) == 1);
    CHECK(count_of(text, "std::runtime_error: boom holding") == 1);
}

TEST_CASE("poison_cause: the exception of a cause with a long story can still be rethrown") {
    contagion c;
    c.go_on(100, repairs);
    const poison_cause cause = c.a->cause();
    try {
        std::rethrow_exception(cause.exception());
    } catch (const poison_error& error) {
        CHECK(error.cause() == cause.linked());
        CHECK(error.cause().kind() == poison_kind::exception);
        CHECK(error.cause().task_id() != 0);
        CHECK(error.cause().locked_at().line() == cause.locked_at().line());
        CHECK_THAT(error.what(), Catch::StartsWith("mutex 'b' poisoned: task "));
    }
}

TEST_CASE(
    "poison_cause: a poison_error nested in another exception is a link, and stays nested") {
    stepped w;
    std::vector<std::unique_ptr<lock>> all;
    all.push_back(std::make_unique<lock>(0, "m"));
    run(w, breaks(*all.back(), "boom"));
    for (int i = 0; i < 30; ++i) {
        all.push_back(std::make_unique<lock>(0, "m"));
        run(w, wraps(**(all.end() - 2), *all.back()));
    }
    CHECK(all[1]->cause().linked() == all[0]->cause());
    CHECK_THROWS_AS(std::rethrow_exception(all[1]->cause().exception()), own_error);
    for (const auto& each : {all[1]->cause(), all[30]->cause()}) {
        CHECK_THAT(text_of(each.exception()), Catch::EndsWith("no stock"));
        try {
            std::rethrow_exception(each.exception());
        } catch (const std::exception& outer) {
            CHECK_THROWS_AS(std::rethrow_if_nested(outer), poison_error);
        }
    }
}

TEST_CASE("poison_error: the log's line of one that nobody took is short") {
    contagion c;
    c.go_on(100, repairs);
    const stderr_capture err;
    run(c.w, drops(ends_by_poison(*c.a)));
    CHECK(count_of(err.text(), "\n") == 1);
    CHECK(err.text().size() < most_text);
    CHECK(count_of(err.text(), "boom of a") == 1);
    CHECK(count_of(err.text(), " earlier causes are left out") == 1);
}

TEST_CASE("poison_cause: foreign text in a story is printable and cut") {
    const std::string evil = "\x1b[2Jevil\n" + std::string(100'000, 'x');
    stepped w;
    lock m(0, evil);
    run(w, breaks(m, evil));
    const std::string text = m.cause().to_string();
    CHECK(text.find_first_of("\x1b\n") == text.npos);
    CHECK(text.size() < 700);
    CHECK(count_of(text, "std::runtime_error: ?[2Jevil xxx") == 1);
    CHECK(count_of(text, "mutex '?[2Jevil xxx") == 1);
    CHECK(text_of(m.cause().exception()) == evil); // itself, it is what it was
    CHECK(poison_error(m.cause()).what() == text);
    lock declared(0, "m");
    const auto declares = [](lock& which, const std::string& why) -> task<> {
        auto held = co_await which.lock();
        held.poison(why);
    };
    auto handle = w.spawn(declares(declared, evil), {.name = "\xe2\x80\xaetask"});
    static_cast<void>(w.end_of(handle));
    CHECK_THAT(declared.cause().to_string(), Catch::Contains("'?task'"));
    CHECK(count_of(declared.cause().to_string(), "(?[2Jevil xxx") == 1);
    CHECK(declared.cause().to_string().size() < 700);
    CHECK(declared.cause().why() == evil);
}

TEST_CASE("what_of: an exception whose what() is null is described all the same") {
    CHECK(what_of(silent_error()) == "(no text)");
    CHECK(what_of(std::runtime_error("text")) == "text");
    stepped w;
    lock m(0, "m");
    run(w, breaks_silently(m));
    CHECK_THAT(m.cause().to_string(), Catch::Contains("silent_error: (no text) holding"));
    CHECK_THAT(detail::describe_exception(m.cause().exception()),
               Catch::EndsWith("silent_error: (no text)"));
    const stderr_capture err;
    run(w, drops(fails_silently()));
    CHECK(count_of(err.text(), "silent_error: (no text)\n") == 1);
}

TEST_CASE("run: a main task that fails with an exception whose what() is null is told") {
    const stderr_capture err;
    CHECK(toadstone::run(fails_silently()) == 1);
    CHECK(count_of(err.text(), "toadstone: (no text)\n") == 1);
}

} // namespace toadstone::tests
