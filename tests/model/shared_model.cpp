// The word of the shared mutex: readers together, writers alone, and nobody stranded, by three
// threads. The code under test is sync/detail/shared_core.* and mutex_core.* themselves.
#include "explore.hpp"
#include "woken.hpp"

#include <toadstone/sync/detail/shared_core.hpp>

namespace toadstone::model {
namespace {

using sync::detail::access;
using sync::detail::lock_waiter;
using sync::detail::shared_core;
using sync::detail::wants;
using toadstone::detail::plain;
using waiter = woken<lock_waiter>;

template <class Derived>
struct shared_scenario : scenario<Derived, 3> {
    shared_core core{"model"};
    plain<int> left = 0;
    plain<int> right = 0;

    void look() { check(left == right, "a reader sees whole data"); }
    void change() {
        check(left == right, "a writer finds whole data");
        left = left + 1;
        right = right + 1;
    }
    void read() {
        if (!core.try_read()) {
            waiter self(wants::healthy, access::read);
            check(self.lock(core, 9) == ending::granted, "nobody poisons it");
        }
        look();
        core.release_read();
    }
    void write(std::uint64_t owner) {
        if (!core.try_acquire()) {
            waiter self(wants::healthy);
            check(self.lock(core, owner) == ending::granted, "nobody poisons it");
        }
        change();
        core.release();
    }
    void may_upgrade(std::uint64_t owner) {
        if (!core.try_upgradable()) {
            waiter self(wants::healthy, access::upgradable);
            check(self.lock(core, owner) == ending::granted, "nobody poisons it");
        }
        look();
    }
    void upgrade() {
        const int seen = left;
        if (!core.try_upgrade()) {
            waiter self(wants::anything, access::upgrade);
            if (!core.upgrade_or_queue(self))
                check(self.wait() == ending::granted, "an upgrade is not refused");
        }
        check(left == seen, "nobody has written in between");
        change();
    }
    void is_free() {
        check(!core.is_held() && core.reader_count() == 0, "it is free in the end");
    }
};

struct a_writer_and_readers : shared_scenario<a_writer_and_readers> {
    void thread(unsigned i) {
        if (i == 0) {
            write(1);
        } else {
            read();
        }
    }
    void after() { is_free(); }
};

struct writers_and_a_reader : shared_scenario<writers_and_a_reader> {
    void thread(unsigned i) {
        if (i == 0) {
            read();
        } else {
            write(i);
        }
    }
    void after() {
        is_free();
        check(left == 2, "each writer's change is there");
    }
};

/// A writer waits behind a reader and gives up; the reader behind him is let in.
struct a_writer_gives_up : shared_scenario<a_writer_gives_up> {
    a_writer_gives_up() { check(core.try_read(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            core.release_read();
        } else if (i == 1) {
            waiter self(wants::healthy);
            const bool settled = core.acquire_or_queue(self, 2);
            if (!settled && core.withdraw(self, ending::withdrawn)) return;
            check((settled ? self.how() : self.wait()) == ending::granted, "nobody poisons it");
            change();
            core.release();
        } else {
            read();
        }
    }
    void after() { is_free(); }
};

/// A writer goes on as a reader; a second writer and a reader wait.
struct downgraded : shared_scenario<downgraded> {
    downgraded() { check(core.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            change();
            core.downgrade();
            look();
            core.release_read();
        } else if (i == 1) {
            write(2);
        } else {
            read();
        }
    }
    void after() {
        is_free();
        check(left == 2, "each writer's change is there");
    }
};

/// One who reads goes on as a writer, beside a reader and a writer.
struct upgraded : shared_scenario<upgraded> {
    void thread(unsigned i) {
        if (i == 0) {
            may_upgrade(1);
            upgrade();
            core.release();
        } else if (i == 1) {
            read();
        } else {
            write(3);
        }
    }
    void after() {
        is_free();
        check(left == 2, "each writer's change is there");
    }
};

/// Two want to: one after the other. The first goes on as a reader that may upgrade, and then
/// gives that up.
struct two_upgrade : shared_scenario<two_upgrade> {
    void thread(unsigned i) {
        if (i == 0) {
            may_upgrade(1);
            upgrade();
            core.downgrade(true);
            look();
            core.give_up_upgradable();
            look();
            core.release_read();
        } else if (i == 1) {
            may_upgrade(2);
            upgrade();
            core.release();
        } else {
            read();
        }
    }
    void after() {
        is_free();
        check(left == 2, "each writer's change is there");
    }
};

/// An upgrade waits for a reader and gives up; a reader and then a writer may be behind it.
struct an_upgrade_gives_up : shared_scenario<an_upgrade_gives_up> {
    an_upgrade_gives_up() { check(core.try_read(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            may_upgrade(1);
            waiter self(wants::anything, access::upgrade);
            const bool settled = core.upgrade_or_queue(self);
            if (settled || !core.withdraw(self, ending::withdrawn)) {
                check((settled ? self.how() : self.wait()) == ending::granted,
                      "an upgrade is not refused");
                core.downgrade(true);
            }
            look();
            core.release_upgradable();
        } else if (i == 1) {
            core.release_read();
            read();
        } else {
            write(3);
        }
    }
    void after() { is_free(); }
};

/// A writer poisons; who waits for healthy data fails, and who repairs lets nobody hang.
struct poisoned_by_a_writer : shared_scenario<poisoned_by_a_writer> {
    poisoned_by_a_writer() { check(core.try_acquire(), "a new lock is free"); }
    void thread(unsigned i) {
        if (i == 0) {
            left = left + 1;
            core.release_poisoned(some_cause());
        } else if (i == 1) {
            waiter self(wants::healthy, access::read);
            if (self.lock(core, 2) == ending::granted) {
                look();
                core.release_read();
            } else {
                check(static_cast<bool>(self.take_failure()), "who fails learns the cause");
            }
        } else {
            waiter self(wants::anything);
            check(self.lock(core, 3) == ending::granted, "who wants anything is granted");
            right = static_cast<int>(left);
            core.clear_poison();
            core.release();
        }
    }
    void after() { is_free(); }
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "shared",
         .promises =
             {
                 {"shared: a writer is alone, readers see what he did",
                  explore<a_writer_and_readers>},
                 {"shared: writers come one after the other, a reader among them",
                  explore<writers_and_a_reader>},
                 {"shared: a writer who gives up lets the readers behind him in",
                  explore<a_writer_gives_up>},
                 {"shared: a writer goes on as a reader", explore<downgraded>},
                 {"shared: who upgrades has seen what he changes, beside others",
                  explore<upgraded>},
                 {"shared: two who may upgrade take turns", explore<two_upgrade>},
                 {"shared: an upgrade that gives up strands nobody",
                  explore<an_upgrade_gives_up>},
                 {"shared: poison by a writer strands nobody", explore<poisoned_by_a_writer>},
             },
         .files = {"sync/detail/shared", "runtime/detail/locked_word",
                   "runtime/detail/wait_queue"},
         .spares = {}});
}
