// lock_owned(): a guard that keeps its mutex alive.
#include <toadstone/sync/owned_guard.hpp>

#include "support/lock_tasks.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

namespace toadstone::tests {
namespace {

using lock = sync::mutex<std::string>;
using owned = sync::owned_guard<lock>;

} // namespace

TEST_CASE("S373: an owned guard keeps its mutex, in another task too, moved and assigned") {
    auto shared = std::make_shared<lock>("one", "first");
    std::weak_ptr<lock> watched = shared;
    auto second = std::make_shared<lock>("two");
    std::weak_ptr<lock> watched_too = second;
    stepped w;
    auto takes = [](std::shared_ptr<lock> of) -> task<owned> {
        auto held = co_await sync::lock_owned(std::move(of));
        co_return held;
    };
    {
        owned held = w.run(takes(std::move(shared)));
        CHECK(*held == "one");
        CHECK(held->size() == 3);
        CHECK(held.mutex()->name() == "first");
        CHECK_FALSE(held.mutex()->try_lock().has_value());
        owned moved = std::move(held);
        CHECK_FALSE(held.held());
        moved.guard().mark_consistent();
        auto other = sync::try_lock_owned(second);
        REQUIRE(other.has_value());
        CHECK_FALSE(sync::try_lock_owned(second).has_value());
        second.reset();
        *other = std::move(moved); // releases the second while it is still there
        CHECK(watched_too.expired());
        CHECK(**other == "one");
        other->unlock();
        CHECK_FALSE(other->held());
        CHECK_THROWS_AS(**other, std::logic_error);
        CHECK_FALSE(watched.expired());
    }
    CHECK(watched.expired());
}

TEST_CASE(
    "S374: it waits, is cancelled, and poisons as any guard does; a null pointer is told") {
    auto m = std::make_shared<lock>("data", "m");
    gate until;
    gate inside;
    stepped w;
    auto holder = w.spawn(hold(*m, until));
    w.settle();
    constexpr unsigned taken = __LINE__ + 2;
    auto body = [](std::shared_ptr<lock> of, gate& at) -> task<> {
        auto held = co_await sync::lock_owned(std::move(of));
        co_await at.pass();
    };
    auto waits = w.spawn(body(m, inside));
    w.settle();
    waits.cancel();
    w.settle();
    CHECK(w.end_of(waits).is_cancelled());
    CHECK(m.use_count() == 1);
    auto stops = w.spawn(body(m, inside));
    w.settle();
    until.open();
    w.settle();
    stops.cancel();
    w.settle();
    CHECK(m->is_poisoned());
    CHECK(m->cause().locked_at().line() == taken);
    CHECK(m.use_count() == 1);
    CHECK_THROWS_AS(sync::try_lock_owned(m), poison_error);
    CHECK_THROWS_AS(sync::lock_owned(std::shared_ptr<lock>()), std::logic_error);
    CHECK_THROWS_AS(sync::try_lock_owned(std::shared_ptr<lock>()), std::logic_error);
}

} // namespace toadstone::tests
