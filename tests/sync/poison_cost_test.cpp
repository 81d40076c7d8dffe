// What a lock costs that poisons, beside one that does not: no bytes, and nothing is recorded
// by the latter.
#include <toadstone/sync.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <source_location>
#include <type_traits>

namespace toadstone::tests {
namespace {

using sync::on_cancel;
using sync::on_exception;

template <on_cancel Cancel, on_exception Exception>
using shared = sync::mutex<int, Cancel, Exception>;
template <on_cancel Cancel, on_exception Exception>
using local = sync::local_mutex<int, Cancel, Exception>;

/// A shared_mutex by the names of the others.
template <on_cancel Cancel, on_exception Exception>
class writer : public sync::shared_mutex<int, Cancel, Exception> {
public:
    using here = std::source_location;
    [[nodiscard]] auto lock(here where = here::current()) noexcept {
        return this->write(where);
    }
};

template <class One, class Other>
constexpr bool same_size = sizeof(One) == sizeof(Other) &&
                           sizeof(typename One::guard) == sizeof(typename Other::guard);

template <template <on_cancel, on_exception> class Lock>
constexpr bool policies_have_no_size =
    same_size<Lock<on_cancel::poison, on_exception::poison>,
              Lock<on_cancel::release, on_exception::release>> &&
    same_size<Lock<on_cancel::poison, on_exception::poison>,
              Lock<on_cancel::release, on_exception::poison>> &&
    same_size<Lock<on_cancel::poison, on_exception::poison>,
              Lock<on_cancel::poison, on_exception::release>>;

/// How many poisonings a program is told of.
class told {
public:
    told() {
        on_poison([this](const poison_cause&) { ++count_; });
    }
    told(const told&) = delete;
    told& operator=(const told&) = delete;
    ~told() { on_poison(nullptr); }
    [[nodiscard]] int count() const noexcept { return count_; }

private:
    int count_ = 0;
};

/// Has a section cut, one way or the other.
template <class Mutex>
void cut(stepped& w, Mutex& m, bool by_exception) {
    gate never;
    auto task = by_exception ? w.spawn(break_by_exception(m)) : w.spawn(hold(m, never));
    w.settle();
    task.cancel();
    w.settle();
    CHECK(task.done());
}

/// Which of the two poisoned it: bit 0 for the exception, bit 1 for the cancellation.
template <class Mutex>
int poisoned_by() {
    int found = 0;
    for (const bool by_exception : {true, false}) {
        Mutex m;
        stepped w;
        const told causes;
        cut(w, m, by_exception);
        CHECK(m.is_poisoned() == (causes.count() == 1));
        CHECK(static_cast<bool>(m.cause()) == m.is_poisoned());
        if (!m.is_poisoned()) CHECK(is_free(w, m));
        found |= causes.count() << (by_exception ? 0 : 1);
    }
    return found;
}

template <template <on_cancel, on_exception> class Lock>
void check_causes() {
    CHECK(poisoned_by<Lock<on_cancel::poison, on_exception::poison>>() == 3);
    CHECK(poisoned_by<Lock<on_cancel::release, on_exception::poison>>() == 1);
    CHECK(poisoned_by<Lock<on_cancel::poison, on_exception::release>>() == 2);
    CHECK(poisoned_by<Lock<on_cancel::release, on_exception::release>>() == 0);
}

} // namespace

TEST_CASE("S630: a lock that poisons has no more bytes than one that does not, nor has its "
          "guard") {
    STATIC_REQUIRE(policies_have_no_size<shared>);
    STATIC_REQUIRE(policies_have_no_size<local>);
    STATIC_REQUIRE(policies_have_no_size<writer>);
    STATIC_REQUIRE(sizeof(shared<on_cancel::poison, on_exception::poison>) <= 48);
}

TEST_CASE("S633: a section that is cut makes a cause if its lock poisons for that, and else "
          "none") {
    SECTION("mutex") {
        check_causes<shared>();
    }
    SECTION("local_mutex") {
        check_causes<local>();
    }
    SECTION("shared_mutex") {
        check_causes<writer>();
    }
}

} // namespace toadstone::tests
