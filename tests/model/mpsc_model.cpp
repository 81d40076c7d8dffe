// A channel's word, lists and queues: sending, receiving, giving back, withdrawing and closing,
// by three threads. The code under test is sync/detail/mpsc_core.* itself.
#include "explore.hpp"
#include "woken.hpp"

#include <toadstone/sync/detail/mpsc_core.hpp>

#include <array>
#include <cstddef>
#include <memory>

namespace toadstone::model {
namespace {

using sync::detail::message_node;
using sync::detail::message_waiter;
using sync::detail::mpsc_core;
using sync::detail::room_waiter;
using toadstone::detail::plain;
using taker = woken<message_waiter>;
using sender = woken<room_waiter>;

/// A channel of numbers; each node has its number beside it.
template <class Derived, std::size_t Capacity>
struct channel : scenario<Derived, 3> {
    channel() : core(Capacity, memory, sizeof(message_node)) {}
    ~channel() {
        for (std::size_t i = 0; i < core.made(); ++i) {
            std::destroy_at(reinterpret_cast<message_node*>(memory) + i);
        }
    }
    plain<int>& number_in(message_node& node) {
        return numbers[static_cast<std::size_t>(&node -
                                                reinterpret_cast<message_node*>(memory))];
    }

    /// Null: refused.
    message_node* claim() {
        const auto now = core.try_claim();
        if (now.node || now.closed) return now.node;
        sender self;
        const ending how = core.settle_or_queue(self) ? self.how() : self.wait();
        return how == ending::granted ? self.node() : nullptr;
    }
    bool send(int number) {
        message_node* const node = claim();
        if (!node) return false;
        number_in(*node) = number;
        check(core.push(*node), "the receiver is there");
        return true;
    }
    bool send_at_once(int number) {
        return core.push_at_once([&](message_node& node) { number_in(node) = number; }) ||
               send(number);
    }
    message_node* take() {
        const auto now = core.try_take();
        if (now.node || now.closed) return now.node;
        taker self;
        const ending how = core.settle_or_queue(self) ? self.how() : self.wait();
        return how == ending::granted ? self.node() : nullptr;
    }
    int number_of(message_node* node) {
        if (!node) return 0;
        const int number = number_in(*node);
        core.give_back(*node);
        return number;
    }
    int receive() { return number_of(take()); }
    int receive_at_once() {
        int number = 0;
        const auto move = [&](message_node& node) { number = number_in(node); };
        return core.take_at_once(move) ? number : receive();
    }
    /// A half goes. Whoever is the last sees what all others did.
    void leave(unsigned i) {
        written[i] = 1;
        if (!core.drop_reference()) return;
        int all = 0;
        for (unsigned each = 0; each < 3; ++each) all += written[each];
        check(all >= 2, "the last half sees what those before it did");
        ended = ended + 1;
    }
    void nothing_is_left() {
        check(core.live() == 0, "every message was received, and its room is free");
    }
    void has_all_its_room() {
        nothing_is_left();
        for (std::size_t i = 0; i < Capacity; ++i) {
            check(core.try_claim().node != nullptr, "what was given back can be claimed");
        }
        check(!core.try_claim().node, "no room is there twice");
    }

    alignas(message_node) std::byte memory[Capacity * sizeof(message_node)];
    std::array<plain<int>, Capacity> numbers{};
    std::array<plain<int>, 3> written{};
    plain<int> ended = 0;
    plain<int> got = 0;
    plain<int> sent = 0;
    mpsc_core core;
};

struct two_send : channel<two_send, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            const int first = receive();
            const int second = receive();
            check(first + second == 3 && first != 0 && second != 0,
                  "each message is received once, whole");
        } else {
            check(send(static_cast<int>(i)), "nobody closes it");
        }
    }
    void after() { has_all_its_room(); }
};

/// The fast paths, which do it all in one step.
struct at_once : channel<at_once, 2> {
    void thread(unsigned i) {
        if (i == 0) {
            const int first = receive_at_once();
            const int second = receive_at_once();
            check(first + second == 3 && first != 0 && second != 0,
                  "each message is received once, whole");
        } else {
            check(send_at_once(static_cast<int>(i)), "nobody closes it");
        }
    }
    void after() { has_all_its_room(); }
};

/// A receiver gives up, before it is given the message or after; the other one gets it.
struct a_taker_gives_up : channel<a_taker_gives_up, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            check(send(7), "nobody closes it");
        } else if (i == 1) {
            taker self;
            const bool settled = core.settle_or_queue(self);
            if (!settled && core.withdraw(self, ending::withdrawn)) return;
            check((settled ? self.how() : self.wait()) == ending::granted, "nobody closes it");
            core.hand_back(self);
        } else {
            check(receive() == 7, "what one gives back the other gets, whole");
        }
    }
    void after() { has_all_its_room(); }
};

/// A message is taken, cannot be moved out, and is the first again.
struct a_move_fails : channel<a_move_fails, 2> {
    a_move_fails() {
        check(send(1), "a new channel has room");
        check(send(2), "and for a second");
    }
    void thread(unsigned i) {
        if (i == 0) {
            const auto now = core.try_take(); // none: the others have both
            if (now.node) core.put_back(*now.node);
        } else {
            const int number = receive();
            check(number == 1 || number == 2, "there is one for each");
            if (i == 1) got = number;
            if (i == 2) sent = number;
        }
    }
    void after() {
        check(got + sent == 3, "each message is received once");
        has_all_its_room();
    }
};

/// Who waits for room gives up; who waits behind it gets the room.
struct a_sender_gives_up : channel<a_sender_gives_up, 1> {
    a_sender_gives_up() { check(send(1), "a new channel has room"); }
    void thread(unsigned i) {
        if (i == 0) {
            check(receive() == 1, "the first message is the first");
        } else if (i == 1) {
            sender self;
            const bool settled = core.settle_or_queue(self);
            if (!settled && core.withdraw(self, ending::withdrawn)) return;
            check((settled ? self.how() : self.wait()) == ending::granted, "nobody closes it");
            core.hand_back(self);
        } else {
            check(send(2), "the room comes to who is still there");
        }
    }
    void after() { check(receive() == 2, "what was sent is there"); }
};

/// Closed while one sends and one receives up to the end.
struct closing : channel<closing, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            core.close();
        } else if (i == 1) {
            if (send(1)) sent = 1;
        } else {
            while (const int number = receive()) got = got + number;
        }
    }
    void after() {
        check(got == sent, "what was sent before the close is received, and then the end");
        nothing_is_left();
    }
};

/// Closed while two wait for room that nobody makes.
struct no_room_before_the_end : channel<no_room_before_the_end, 1> {
    no_room_before_the_end() { check(send(1), "a new channel has room"); }
    void thread(unsigned i) {
        if (i == 0) {
            core.close();
        } else {
            check(!send(2), "there is no room");
        }
    }
    void after() { check(receive() == 1 && receive() == 0, "what was sent, and then the end"); }
};

/// Closed while the last message is in the hands of one, and another waits for more.
struct the_last_in_hand : channel<the_last_in_hand, 1> {
    the_last_in_hand() { check(send(1), "a new channel has room"); }
    void thread(unsigned i) {
        if (i == 0) {
            core.close();
        } else if (i == 1) {
            got = receive();
        } else {
            sent = receive();
        }
    }
    void after() {
        check(got + sent == 1, "one gets it, and the other the end");
        nothing_is_left();
    }
};

/// Two senders, of which the last closes, and a receiver; the last half of all ends the
/// channel.
struct the_last_sender : channel<the_last_sender, 2> {
    the_last_sender() {
        core.add_sender();
        core.add_reference();
    }
    void thread(unsigned i) {
        if (i == 0) {
            while (const int number = receive()) got = got + number;
            check(got == 3, "the end comes behind all that was sent");
        } else {
            check(send(static_cast<int>(i)), "it has room for two");
            core.drop_sender();
        }
        leave(i);
    }
    void after() {
        check(ended == 1, "one half is the last");
        nothing_is_left();
    }
};

/// The receiver goes while one sends and one waits for room.
struct abandoned : channel<abandoned, 1> {
    void thread(unsigned i) {
        if (i == 0) {
            message_node* rest = core.abandon();
            if (rest) core.give_back(*rest);
            return;
        }
        message_node* const node = claim();
        if (!node) return;
        number_in(*node) = static_cast<int>(i);
        if (!core.push(*node)) core.give_back(*node);
    }
    void after() {
        check(core.is_abandoned() && !claim(), "nothing can be sent to nobody");
        nothing_is_left();
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
     "besides the bits it shows the cause, in a shared_ptr, which is not in the model"},
};

} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "mpsc",
         .promises =
             {
                 {"mpsc: two send through room for one, and each message comes once",
                  explore<two_send>},
                 {"mpsc: what is sent and taken in one step comes once", explore<at_once>},
                 {"mpsc: what a receiver was given and gives back goes to the next",
                  explore<a_taker_gives_up>},
                 {"mpsc: a message that could not be moved out is received by another",
                  explore<a_move_fails>},
                 {"mpsc: room that a sender gives up goes to the next",
                  explore<a_sender_gives_up>},
                 {"mpsc: a close loses nothing and strands nobody", explore<closing>},
                 {"mpsc: a close refuses who waits for room", explore<no_room_before_the_end>},
                 {"mpsc: the end comes when the last message is out of hand",
                  explore<the_last_in_hand>},
                 {"mpsc: the last sender ends it behind what all have sent",
                  explore<the_last_sender>},
                 {"mpsc: a receiver that goes strands nobody", explore<abandoned>},
             },
         .files = {"sync/detail/mpsc", "sync/detail/channel_counts",
                   "runtime/detail/locked_word", "runtime/detail/wait_queue"},
         .spares = spares});
}
