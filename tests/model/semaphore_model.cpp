// The semaphore's word and queue: acquiring, queueing, giving back, withdrawing and closing, by
// three threads. The code under test is sync/detail/semaphore_core.* itself.
#include "explore.hpp"
#include "woken.hpp"

#include <toadstone/sync/detail/semaphore_core.hpp>

namespace toadstone::model {
namespace {

using sync::detail::semaphore_core;
using sync::detail::semaphore_waiter;
using toadstone::detail::plain;
using waiter = woken<semaphore_waiter>;

template <class Derived, std::uint64_t Permits>
struct permits : scenario<Derived, 3> {
    semaphore_core core{Permits, {}};
    plain<int> data = 0; // of whoever has the only permit

    ending acquire(waiter& self) noexcept {
        return core.settle_or_queue(self) ? self.how() : self.wait();
    }
    void use_alone(std::uint64_t wanted) {
        if (!core.try_acquire(wanted)) {
            waiter self(wanted);
            check(acquire(self) == ending::granted, "nobody closes it");
        }
        data = data + 1;
        core.release(wanted);
    }
    void all_are_back(std::uint64_t count) {
        check(core.available() == count, "every permit came back");
    }
};

struct one_permit : permits<one_permit, 1> {
    void thread(unsigned) { use_alone(1); }
    void after() {
        check(data == 3, "each owner's change is there");
        all_are_back(1);
    }
};

/// One wants both of two permits; the others one each, so that they may hold them together.
struct many_and_few : permits<many_and_few, 2> {
    void thread(unsigned i) {
        if (i == 0) {
            use_alone(2);
            return;
        }
        waiter self(1);
        check(core.try_acquire(1) || acquire(self) == ending::granted, "nobody closes it");
        core.release(1);
    }
    void after() { all_are_back(2); }
};

/// The first in the queue wants too many and leaves; whoever is behind him goes on.
struct withdrawing : permits<withdrawing, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            waiter self(2);
            const bool settled = core.settle_or_queue(self);
            if (!settled && core.withdraw(self, ending::withdrawn)) return;
            check((settled ? self.how() : self.wait()) == ending::granted, "there were two");
            core.hand_back(self);
        } else if (i == 1) {
            use_alone(1);
        } else {
            core.release(1); // one more
        }
    }
    void after() { all_are_back(2); }
};

/// Somebody closes it: who waits fails, and nobody waits for ever.
struct closing : permits<closing, 0> {
    void thread(unsigned i) {
        if (i == 0) {
            core.close();
        } else if (i == 1) {
            waiter self(1);
            if (acquire(self) == ending::granted) core.release(1);
        } else {
            core.release(1);
        }
    }
    void after() {
        all_are_back(1);
        check(core.is_closed() && !core.try_acquire(1), "what is closed gives nothing");
    }
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "semaphore",
         .promises =
             {
                 {"semaphore: of one permit, one owner at a time, who sees what the last did",
                  explore<one_permit>},
                 {"semaphore: who wants many and who wants few are served",
                  explore<many_and_few>},
                 {"semaphore: a waiter that leaves lets those behind him pass",
                  explore<withdrawing>},
                 {"semaphore: a close strands nobody", explore<closing>},
             },
         .files = {"sync/detail/semaphore", "runtime/detail/locked_word",
                   "runtime/detail/wait_queue"},
         .spares = {}});
}
