// A watch's word and newest value: changing, looking, waiting and closing, by three threads.
// The code under test is sync/detail/watch_core.* itself.
#include "explore.hpp"
#include "woken.hpp"

#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/detail/watch_core.hpp>

#include <array>
#include <cstddef>
#include <cstdint>

namespace toadstone::model {
namespace {

using sync::detail::watch_core;
using sync::detail::watch_value;
using sync::detail::watch_waiter;
using toadstone::detail::plain;
using follower = woken<watch_waiter>;
using found = watch_core::found;

struct number : watch_value {
    plain<int> left = 0;
    plain<int> right = 0;
    plain<bool> is_alive = false;
};
struct number_core : watch_core {
    explicit number_core(watch_value& initial) noexcept : watch_core(initial) {}
};

template <class Derived>
struct numbers : scenario<Derived, 3> {
    numbers() : core(values[0]) { values[0].is_alive = true; }

    static void drop(watch_value& of) {
        if (!of.drop_reference()) return;
        auto& dead = static_cast<number&>(of);
        check(dead.is_alive, "a value ends once");
        dead.is_alive = false;
        dead.left = -1;
        dead.right = -2;
    }
    /// One more than before. `place`: of the value, which nobody else uses.
    bool add_one(std::size_t place) {
        watch_value* before = nullptr;
        try {
            watch_core::change one(core);
            auto& now = static_cast<number&>(one.newest());
            auto& next = values[place];
            next.left = now.left + 1;
            next.right = now.right + 1;
            next.is_alive = true;
            before = &one.publish(next);
        } catch (const sync::channel_closed&) {
            return false;
        }
        drop(*before);
        return true;
    }
    /// Begins a change, and gives it up.
    void give_up() {
        try {
            const watch_core::change one(core);
        } catch (const sync::channel_closed&) {
        }
    }
    int look(std::uint64_t& seen) {
        const watch_core::pinned now = core.pin();
        auto& value = static_cast<number&>(*now.value);
        const int left = value.left;
        check(value.is_alive && left == value.right, "what is looked at is whole");
        seen = now.version;
        drop(*now.value);
        return left;
    }
    /// False: the end.
    bool wait(std::uint64_t seen) {
        const found now = core.look(seen);
        if (now != found::nothing) return now == found::change;
        follower self(seen);
        return (core.settle_or_queue(self) ? self.how() : self.wait()) == ending::granted;
    }

    std::array<number, 4> values;
    plain<int> last = 0;
    plain<int> added = 0;
    number_core core;
};

struct two_change : numbers<two_change> {
    void thread(unsigned i) {
        if (i == 0) {
            std::uint64_t seen = 0;
            int value = 0;
            while (value < 2) {
                check(wait(seen), "nobody closes it");
                const int next = look(seen);
                check(next > value, "a change is a newer value");
                value = next;
            }
        } else {
            check(add_one(i), "nobody closes it");
        }
    }
    void after() {
        check(core.version() == 2, "each change is a version");
        int alive = 0;
        for (const number& each : values) alive += each.is_alive ? 1 : 0;
        check(alive == 1, "of all values the newest is left");
    }
};

/// Closed while one changes, or gives up, and one follows to the end.
template <bool Changes>
struct closing : numbers<closing<Changes>> {
    void thread(unsigned i) {
        if (i == 0) {
            this->core.close();
        } else if (i == 1) {
            if (!Changes) {
                this->give_up();
            } else if (this->add_one(1)) {
                this->added = 1;
            }
        } else {
            std::uint64_t seen = 0;
            while (this->wait(seen)) this->last = this->look(seen);
        }
    }
    void after() { check(this->last == this->added, "the end comes behind the last value"); }
};

/// Who waits gives up; the change is still unseen.
struct gives_up : numbers<gives_up> {
    void thread(unsigned i) {
        if (i == 0) {
            check(add_one(1), "nobody closes it");
        } else if (i == 1) {
            follower self(0);
            if (!core.settle_or_queue(self) && !core.withdraw(self, ending::withdrawn)) {
                check(self.wait() == ending::granted, "it was told");
                core.hand_back(self);
            }
            std::uint64_t seen = 0;
            check(wait(seen) && look(seen) == 1, "the change is there for the next");
        } else {
            std::uint64_t seen = 0;
            check(wait(seen) && look(seen) == 1, "the other is told, too");
        }
    }
};

/// The last of two senders ends it; the last half of all sees what the others did.
struct the_last_sender : numbers<the_last_sender> {
    std::array<plain<int>, 3> written{};
    the_last_sender() {
        core.add_sender();
        core.add_reference();
        core.add_reference();
    }
    void thread(unsigned i) {
        if (i == 0) {
            std::uint64_t seen = 0;
            while (wait(seen)) last = look(seen);
            check(last == 2, "the end comes behind all changes");
        } else {
            check(add_one(i), "it is open as long as there is a sender");
            core.drop_sender();
        }
        written[i] = 1;
        if (!core.drop_reference()) return;
        int all = 0;
        for (unsigned each = 0; each < 3; ++each) all += written[each];
        check(all == 3, "the last half sees what those before it did");
    }
};

} // namespace

using order = std::memory_order;
const std::vector<spare> spares = {
    {"sync/detail/channel_counts.hpp", "was_last_sender", "modify", order::acq_rel,
     order::acquire,
     "on hardware it keeps what was sent before it; Relacy lets no operation overtake"},
    {"sync/detail/channel_counts.hpp", "was_last_sender", "modify", order::acq_rel,
     order::release, "as above, of the other side: the lock orders what both did"},
    {"runtime/detail/locked_word.hpp", "read", "load", order::acquire, order::relaxed,
     "values are looked at under the lock; besides there is the cause, in a shared_ptr, which "
     "is not in the model"},
};

} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "watch",
         .promises =
             {
                 {"watch: no change is lost, and what is looked at is whole",
                  explore<two_change>},
                 {"watch: the end comes behind the last change", explore<closing<true>>},
                 {"watch: a change that is given up strands nobody", explore<closing<false>>},
                 {"watch: who gives up has seen nothing", explore<gives_up>},
                 {"watch: the last sender ends it behind all changes",
                  explore<the_last_sender>},
             },
         .files = {"sync/detail/watch", "sync/detail/channel_counts",
                   "runtime/detail/locked_word", "runtime/detail/wait_queue"},
         .spares = spares});
}
