// What tasks wait for is destroyed under them: one sentence, and the end of the process. Of the
// mutex, mutex_misuse_test tells.
#include <toadstone/sync.hpp>

#include "support/dies.hpp"
#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <optional>
#include <utility>

namespace toadstone::tests {
namespace {

/// Destroys `what` while `waits(*what)` waits for it.
template <class What, class Task>
void destroyed_under(std::unique_ptr<What> what, Task waits) {
    stepped w;
    auto waiter = w.spawn(waits(*what));
    w.settle();
    TOADSTONE_ASSERT(!waiter.done(), "the test's task waits");
    what.reset();
}

} // namespace

TEST_CASE("S13: a semaphore, an event, a latch, a barrier that somebody waits for") {
    dies_saying("a semaphore is destroyed only when nobody waits for it: semaphore 's'", [] {
        destroyed_under(
            std::make_unique<sync::semaphore>(0, "s"),
            [](sync::semaphore& of) -> task<> { auto permit = co_await of.acquire(); });
    });
    dies_saying("what tasks wait for is destroyed only when nobody waits for it", [] {
        destroyed_under(std::make_unique<sync::manual_reset_event>(),
                        [](sync::manual_reset_event& of) -> task<> { co_await of.wait(); });
    });
    dies_saying("what tasks wait for is destroyed only when nobody waits for it", [] {
        destroyed_under(std::make_unique<sync::latch>(1),
                        [](sync::latch& of) -> task<> { co_await of.wait(); });
    });
    dies_saying("a barrier is destroyed only when nobody waits at it", [] {
        destroyed_under(std::make_unique<sync::barrier>(2), [](sync::barrier& of) -> task<> {
            static_cast<void>(co_await of.arrive_and_wait());
        });
    });
}

TEST_CASE("S13: a condition variable that somebody waits for, a shared_mutex that is read") {
    dies_saying("a condition variable is destroyed only when nobody waits for it", [] {
        sync::mutex<int> m;
        destroyed_under(std::make_unique<sync::condition_variable>(),
                        [&m](sync::condition_variable& of) -> task<> {
                            auto held = co_await m.lock();
                            co_await of.wait(held);
                        });
    });
    dies_saying("a mutex is destroyed only when nobody holds it or waits for it: "
                "shared_mutex 'prices'",
                [] {
                    std::optional<sync::shared_mutex<int>> m(std::in_place, 1, "prices");
                    auto reading = m->blocking_read();
                    m.reset();
                });
}

TEST_CASE("S13: the last sender, or the receiver, of a channel that somebody waits through") {
    dies_saying("the last sender is destroyed only when nobody waits for room", [] {
        auto made = sync::mpsc::channel<int>(1);
        CHECK(made.tx.try_send(1));
        destroyed_under(std::make_unique<sync::mpsc::sender<int>>(std::move(made.tx)),
                        [](sync::mpsc::sender<int>& through) -> task<> {
                            int message = 2;
                            co_await through.send(std::move(message));
                        });
    });
    dies_saying("a receiver is destroyed only when nobody waits for its messages", [] {
        auto made = sync::mpsc::channel<int>(1);
        destroyed_under(std::make_unique<sync::mpsc::receiver<int>>(std::move(made.rx)),
                        [](sync::mpsc::receiver<int>& through) -> task<> {
                            static_cast<void>(co_await through.recv());
                        });
    });
    dies_saying("a receiver is destroyed only when nobody waits for its messages", [] {
        auto made = sync::broadcast::channel<int>(1);
        destroyed_under(std::make_unique<sync::broadcast::receiver<int>>(std::move(made.rx)),
                        [](sync::broadcast::receiver<int>& through) -> task<> {
                            static_cast<void>(co_await through.recv());
                        });
    });
    dies_saying("a watch's receiver is destroyed only when nobody waits through it", [] {
        auto made = sync::watch::channel(1);
        destroyed_under(std::make_unique<sync::watch::receiver<int>>(std::move(made.rx)),
                        [](sync::watch::receiver<int>& through) -> task<> {
                            static_cast<void>(co_await through.changed());
                        });
    });
    dies_saying("a oneshot's receiver is there until nobody waits through it any more", [] {
        auto made = sync::oneshot::channel<int>();
        destroyed_under(std::make_unique<sync::oneshot::receiver<int>>(std::move(made.rx)),
                        [](sync::oneshot::receiver<int>& through) -> task<> {
                            static_cast<void>(co_await through.recv());
                        });
    });
}

} // namespace toadstone::tests
