// What takes something that is called takes the name of a function, too.
#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <catch2/catch.hpp>

using namespace toadstone;

namespace {

int calls = 0;

void repair(int& value, const poison_cause&) {
    value = 0;
    ++calls;
}
task<> repair_later(int& value, const poison_cause&) {
    value = 0;
    ++calls;
    co_return;
}
void touch(int& value) {
    ++value;
    ++calls;
}
task<> touch_later(int& value) {
    ++value;
    ++calls;
    co_return;
}
void nothing() {
    ++calls;
}
task<> nothing_later() {
    ++calls;
    co_return;
}
task<> in_scope(task_scope& scope) {
    scope.spawn(nothing_later).detach();
    co_return;
}
void hear(cancel_reason) {
    ++calls;
}

template <class Mutex>
task<> locks(Mutex& mutex) {
    {
        auto held = co_await mutex.lock();
        held.poison("a test");
    }
    {
        const auto held = co_await mutex.lock_or_recover(repair);
    }
    {
        auto held = co_await mutex.lock();
        held.poison("a test");
    }
    {
        const auto held = co_await mutex.lock_or_recover(repair_later);
    }
    co_await mutex.with_lock(touch);
    co_await mutex.with_lock(touch_later);
    auto held = co_await mutex.lock();
    co_await held.unlocked(nothing_later);
}

} // namespace

TEST_CASE("S642: a function is handed over by its name") {
    calls = 0;
    const auto all = []() -> task<> {
        sync::mutex<int> mutex(1);
        co_await locks(mutex);
        CHECK(calls == 5);
        sync::local_mutex<int> local(1);
        co_await locks(local);
        CHECK(calls == 10);
        sync::shared_mutex<int> shared(1);
        co_await shared.with_write(touch);
        {
            auto held = co_await shared.write();
            held.poison("a test");
        }
        {
            const auto held = co_await shared.write_or_recover(repair);
        }
        CHECK(calls == 12);
        co_await with_scope(in_scope);
        co_await with_supervisor(in_scope);
        CHECK(calls == 14);
        co_await spawn_blocking(nothing);
        auto child = spawn(nothing_later);
        co_await child;
        CHECK(calls == 16);
        cancellation_source source;
        const cancellation_callback heard(source.token(), hear);
        source.cancel();
        const scope_exit at_the_end(nothing);
    };
    runtime_options one;
    one.workers = 1;
    one.on_this_thread = true; // whose checks these are
    runtime here(one);
    here.block_on(all);
    CHECK(calls == 18);
}
