// A broadcast's ring, places and queue: publishing, coming to messages, lagging, leaving,
// closing, by three threads. The code under test is sync/detail/broadcast_core.* itself.
#include "explore.hpp"
#include "woken.hpp"

#include <toadstone/sync/detail/broadcast_core.hpp>
#include <toadstone/sync/lagged.hpp>

#include <array>
#include <cstddef>
#include <memory>
#include <new>

namespace toadstone::model {
namespace {

using sync::detail::broadcast_core;
using sync::detail::broadcast_message;
using sync::detail::broadcast_place;
using sync::detail::broadcast_waiter;
using toadstone::detail::plain;
using taker = woken<broadcast_waiter>;
using found = broadcast_core::found;

/// A channel of numbers with two receivers; each message has its number beside it.
template <class Derived, std::size_t Capacity>
struct air : scenario<Derived, 3> {
    static constexpr std::size_t spares = 2; // memory beside the ring, for those who are slow
    static constexpr std::size_t places = Capacity + 1 + spares;

    air() : core(Capacity, ring.data(), memory, sizeof(broadcast_message)) {
        for (std::size_t i = 0; i < spares; ++i) {
            auto* const spare = ::new (memory + (Capacity + 1 + i) * sizeof(broadcast_message))
                broadcast_message;
            spare->is_extra = true;
            core.give_back(*spare);
        }
        core.enter(one);
        core.enter(two);
    }
    ~air() {
        auto* const all = reinterpret_cast<broadcast_message*>(memory);
        for (std::size_t i = 0; i < core.made(); ++i) std::destroy_at(all + i);
        for (std::size_t i = 0; i < spares; ++i) std::destroy_at(all + Capacity + 1 + i);
    }
    plain<int>& number_in(broadcast_message& of) {
        return numbers[static_cast<std::size_t>(&of -
                                                reinterpret_cast<broadcast_message*>(memory))];
    }
    void end(broadcast_message* dead) {
        while (dead) {
            broadcast_message* const next = dead->next;
            check(number_in(*dead) != 0, "a message is destroyed once");
            number_in(*dead) = 0;
            core.give_back(*dead);
            dead = next;
        }
    }
    /// False: closed, or nobody listens.
    bool send(int number) {
        broadcast_message* node = nullptr;
        const auto claimed = core.try_claim(node);
        check(claimed != broadcast_core::claim::none, "there is memory");
        if (claimed != broadcast_core::claim::made) return false;
        check(number_in(*node) == 0, "what is written is free");
        number_in(*node) = number;
        const auto sent = core.publish(*node);
        if (sent.dead) {
            sent.dead->next = nullptr;
            end(sent.dead);
        }
        return sent.receivers > 0;
    }
    found wait(broadcast_place& at) {
        const found now = core.take(at);
        if (now != found::nothing) return now;
        taker self(at);
        const ending how = core.settle_or_queue(self) ? self.how() : self.wait();
        if (how == ending::refused) return found::end;
        check(how == ending::granted, "one waits at a time");
        return at.held ? found::message : found::lag;
    }
    int copied(broadcast_place& at) {
        broadcast_message* const held = at.held;
        const int number = number_in(*held);
        broadcast_message* const dead = core.let_go(at);
        if (dead) {
            dead->next = nullptr;
            end(dead);
        }
        return number;
    }
    /// The next message, 0 at the end; what was missed is counted.
    int receive(broadcast_place& at, plain<int>& missed) {
        for (;;) {
            const found now = wait(at);
            if (now == found::end) return 0;
            if (now == found::message) return copied(at);
            try {
                core.tell_lag(at);
            } catch (const sync::broadcast::lagged& error) {
                check(error.missed() > 0, "who is told has missed something");
                missed = missed + static_cast<int>(error.missed());
            }
        }
    }
    /// Everything that was made is free again.
    void all_is_free(std::size_t made) {
        std::size_t free = 0;
        for (broadcast_message* each = core.all_free(); each; each = each->next) ++free;
        check(free == made, "every message was destroyed, and its place given back");
    }

    alignas(broadcast_message) std::byte memory[places * sizeof(broadcast_message)];
    std::array<plain<int>, places> numbers{};
    std::array<plain<broadcast_message*>, Capacity> ring{};
    broadcast_place one;
    broadcast_place two;
    plain<int> missed_by_one = 0;
    plain<int> missed_by_two = 0;
    plain<int> got = 0;
    plain<int> sent = 0;
    broadcast_core core;
};

struct both_hear : air<both_hear, 2> {
    both_hear() { check(send(1), "both listen"); }
    void hear(broadcast_place& at, plain<int>& missed) {
        check(receive(at, missed) == 1, "the first comes first");
        check(receive(at, missed) == 2, "and then the second");
    }
    void thread(unsigned i) {
        if (i == 0) {
            check(send(2), "both listen");
        } else if (i == 1) {
            hear(one, missed_by_one);
        } else {
            hear(two, missed_by_two);
        }
    }
    void after() {
        check(missed_by_one == 0 && missed_by_two == 0, "there was room for both messages");
        all_is_free(spares);
    }
};

/// Room for one: the second message replaces the first, which somebody may be copying.
struct one_lags : air<one_lags, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            check(send(1), "both listen");
            check(send(2), "both listen");
        } else if (i == 1) {
            const int first = receive(one, missed_by_one);
            if (first == 2) {
                check(missed_by_one == 1, "it is told what it has missed");
                return;
            }
            check(first == 1 && missed_by_one == 0, "the first is whole");
            check(receive(one, missed_by_one) == 2, "the last is never missed");
        } else {
            static_cast<void>(core.receivers());
        }
    }
    void after() {
        check(receive(two, missed_by_two) == 2 && missed_by_two == 1,
              "who comes late has missed the first");
        all_is_free(spares);
    }
};

/// Who waits gives up, before it is given the message or after, and asks again.
struct a_taker_gives_up : air<a_taker_gives_up, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            check(send(7), "both listen");
        } else if (i == 1) {
            taker self(one);
            if (!core.settle_or_queue(self) && !core.withdraw(self, ending::withdrawn)) {
                check(self.wait() == ending::granted, "it was given the message");
                core.hand_back(self);
            }
            check(receive(one, missed_by_one) == 7, "the message is still there");
        } else {
            check(receive(two, missed_by_two) == 7, "the other has its own");
        }
    }
    void after() {
        check(send(8), "both still listen");
        check(receive(one, missed_by_one) == 8, "the place of the first is used again");
        check(receive(two, missed_by_two) == 8, "for both");
        all_is_free(spares);
    }
};

/// Closed while one sends; who hears, hears that or the end.
struct closing : air<closing, 1> {
    closing() { end(core.leave(two)); }
    void thread(unsigned i) {
        if (i == 0) {
            core.close();
        } else if (i == 1) {
            if (send(5)) sent = 5;
        } else {
            while (const int number = receive(one, missed_by_one)) got = got + number;
        }
    }
    void after() {
        check(got == sent, "what was sent before the close is received, and then the end");
        check(core.is_at_end(one), "it is the end");
    }
};

/// A receiver leaves while one sends and the other hears: no message stays for it.
struct one_leaves : air<one_leaves, 2> {
    void thread(unsigned i) {
        if (i == 0) {
            check(send(1) && send(2), "one stays");
        } else if (i == 1) {
            if (core.take(one) == found::message && core.take(one) == found::message) got = 1;
            end(core.leave(one));
        } else {
            check(receive(two, missed_by_two) == 1, "the first comes first");
            check(receive(two, missed_by_two) == 2, "and then the second");
        }
    }
    void after() {
        check(core.receivers() == 1, "one is left");
        all_is_free(spares);
    }
};

/// Two send, and the last that goes ends it; the last half of all sees what the others did.
struct the_last_sender : air<the_last_sender, 2> {
    std::array<plain<int>, 3> written{};
    the_last_sender() {
        end(core.leave(two));
        core.add_sender();
        core.add_reference();
        core.add_reference();
    }
    void thread(unsigned i) {
        if (i == 0) {
            while (const int number = receive(one, missed_by_one)) got = got + number;
            check(got == 3, "the end comes behind all that was sent");
        } else {
            check(send(static_cast<int>(i)), "one listens");
            core.drop_sender();
        }
        written[i] = 1;
        if (!core.drop_reference()) return;
        int all = 0;
        for (unsigned each = 0; each < 3; ++each) all += written[each];
        check(all == 3, "the last half sees what those before it did");
    }
    void after() { all_is_free(spares); }
};

} // namespace

using order = std::memory_order;
const std::vector<spare> spares = {
    {"sync/detail/channel_counts.hpp", "was_last_sender", "modify", order::acq_rel,
     order::acquire,
     "on hardware it keeps what was sent before it; Relacy lets no operation overtake"},
    {"sync/detail/channel_counts.hpp", "was_last_sender", "modify", order::acq_rel,
     order::release, "as above, of the other side: the lock orders what both did"},
};

} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "broadcast",
         .promises =
             {
                 {"broadcast: both receivers get both messages, in order", explore<both_hear>},
                 {"broadcast: what is replaced while it is copied stays whole, and what is "
                  "missed is told",
                  explore<one_lags>},
                 {"broadcast: who gives up and asks again gets the message",
                  explore<a_taker_gives_up>},
                 {"broadcast: a close loses nothing and strands nobody", explore<closing>},
                 {"broadcast: a receiver that leaves keeps no message alive",
                  explore<one_leaves>},
                 {"broadcast: the last sender ends it behind what all have sent",
                  explore<the_last_sender>},
             },
         .files = {"sync/detail/broadcast", "sync/detail/channel_counts",
                   "runtime/detail/locked_word", "runtime/detail/wait_queue"},
         .spares = spares});
}
