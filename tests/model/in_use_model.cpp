// close() beside operations on other workers: the descriptor is not taken away under them, and
// those that begin later see that it is gone. The code under test is io/detail/in_use.* itself.
#include "explore.hpp"
#include "worker.hpp"

#include <toadstone/io/detail/in_use.hpp>

#include <optional>
#include <utility>

namespace toadstone::model {
namespace {

using toadstone::detail::atomic;
using toadstone::detail::plain;
using toadstone::io::detail::claim;
using toadstone::io::detail::closing_mark;
using toadstone::io::detail::idle_awaiter;
using toadstone::io::detail::in_use;

/// As io/detail/handle.hpp has it.
struct held_descriptor {
    plain<int> fd = 7;
    mutable in_use use;

    /// One operation: claims, and later, as when a ring has room, reads the descriptor twice.
    int operate() {
        const claim mine(use, in_use::one_more);
        if (use.being_closed()) return -1; // with a descriptor that there never is
        const int first = fd;
        check(first == fd, "the descriptor stays while an operation uses it");
        return first;
    }
    /// A close that finds nobody: what close_handle() does for a stream that is closed.
    void close_again() {
        const closing_mark mark(use);
        check(fd == -1, "the next close sees what the last one did");
    }
};

/// A task that closes, as close_handle() does: marks, waits until all have left, closes.
class closing final : public toadstone::detail::context {
public:
    closing(worker& home, held_descriptor& what) : context(home), what_(what), idle_(what.use) {
        adopt(do_it(*this).promise(), frame_);
    }
    void start() { home().schedule(*this); }
    int ended = 0;
    atomic<bool> told{false}; ///< that it has closed; orders nothing

private:
    static body do_it(closing& self) {
        std::optional<closing_mark> mark(std::in_place, self.what_.use);
        self.idle_.bind(self, place::current());
        co_await self.idle_;
        self.what_.fd = -1;
        mark.reset();
        self.told.store(true, std::memory_order_relaxed);
    }
    context* finish() noexcept override {
        ++ended;
        return nullptr;
    }

    held_descriptor& what_;
    idle_awaiter idle_;
    toadstone::detail::frame_owner frame_;
};

template <class Derived>
struct closed : scenario<Derived, 3> {
    void run_home() {
        close.start();
        home.run([this] { return close.ended == 1; });
        check(stream.fd == -1, "a close closes");
    }

    sleep_waker alarm;
    worker home{alarm};
    held_descriptor stream;
    closing close{home, stream};
};

/// Two operations, before, during and after the close.
struct operations_beside : closed<operations_beside> {
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else {
            worker::plain_thread();
            const int used = stream.operate();
            check(used == 7 || used == -1, "an operation has the descriptor or none");
        }
    }
    void after() { check(stream.operate() == -1, "nothing is in use at the end"); }
};

/// One operation that begins, and one that begins again, after they were told of the close.
struct operations_after : closed<operations_after> {
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else {
            worker::plain_thread();
            if (i == 1) static_cast<void>(stream.operate());
            if (!close.told.load(std::memory_order_relaxed)) return;
            check(stream.operate() == -1, "an operation after the close has no descriptor");
        }
    }
    void after() {}
};

/// A close after a close, by somebody who has been told without any order.
struct closed_again : closed<closed_again> {
    void thread(unsigned i) {
        if (i == 0) {
            run_home();
        } else if (i == 1) {
            worker::plain_thread();
            if (close.told.load(std::memory_order_relaxed)) stream.close_again();
        } else {
            worker::plain_thread();
            static_cast<void>(stream.operate());
        }
    }
    void after() {}
};

const std::vector<toadstone::model::spare> spares = {
    {"io/detail/in_use.cpp", "enter", "modify", std::memory_order_acquire,
     std::memory_order_relaxed,
     "it shows the next of a kind the poison that the one before left, which is not in here"},
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(argc, argv,
                      {.name = "in_use",
                       .promises =
                           {
                               {"in_use: a close waits for those who use the descriptor",
                                explore<operations_beside>},
                               {"in_use: who begins after a close sees that it has closed",
                                explore<operations_after>},
                               {"in_use: a close after a close finds nothing to close",
                                explore<closed_again>},
                           },
                       .files = {"io/detail/in_use"},
                       .spares = spares});
}
