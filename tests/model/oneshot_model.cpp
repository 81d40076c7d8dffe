// A oneshot's word: the answer, the end of either half, closing and withdrawing, by three
// threads. The code under test is sync/detail/oneshot_core.* itself.
#include "explore.hpp"
#include "woken.hpp"

#include <toadstone/sync/detail/oneshot_core.hpp>

namespace toadstone::model {
namespace {

using sync::detail::answer_waiter;
using sync::detail::closing_waiter;
using sync::detail::oneshot_core;
using toadstone::detail::plain;
using asker = woken<answer_waiter>;
using watcher = woken<closing_waiter>;

struct number_core : oneshot_core {
    plain<int> number = 0;
};

template <class Derived>
struct question : scenario<Derived, 3> {
    number_core core;
    plain<int> last = 0;  // of the halves that have found themselves the last
    plain<int> made = 0;  // by the sender, before it leaves
    plain<int> asked = 0; // by the receiver, before it leaves
    plain<bool> sent = false;

    void gone(bool is_last) {
        if (!is_last) return;
        last = last + 1;
        check(made == 1 && asked == 1, "the last half sees what the other did");
    }
    /// The message, or nothing if nobody wants it.
    void answer() {
        const bool wanted = core.begin_sending();
        made = 1;
        if (!wanted) {
            gone(core.leave_unanswered());
            return;
        }
        core.number = 5;
        sent = true;
        gone(core.sent());
    }
    void wait_for_answer() {
        if (core.is_settled()) return;
        asker self;
        const ending how = core.settle_or_queue(self) ? self.how() : self.wait();
        check(how == ending::granted, "one waits at a time");
    }
    /// What is there when it is settled.
    int look() { return core.has_value() ? static_cast<int>(core.number) : 0; }
    void leave() {
        asked = 1;
        gone(core.leave_receiving());
    }
    void one_was_last() { check(last == 1, "of two halves, one is the last"); }
};

/// The third thread closes it at any time.
struct answered : question<answered> {
    plain<int> got = 0;
    void thread(unsigned i) {
        if (i == 0) {
            answer();
        } else if (i == 1) {
            wait_for_answer();
            got = look();
        } else {
            core.close();
        }
    }
    void after() {
        check(got == (sent ? 5 : 0), "what was sent is received, and nothing else");
        leave();
        one_was_last();
    }
};

/// Both halves go, each by itself; a third waits for nothing.
struct both_go : question<both_go> {
    void thread(unsigned i) {
        if (i == 0) {
            answer();
        } else if (i == 1) {
            leave();
        } else {
            static_cast<void>(core.is_refused());
        }
    }
    void after() { one_was_last(); }
};

/// Who waits gives up and asks again.
struct asked_again : question<asked_again> {
    void thread(unsigned i) {
        if (i == 0) {
            answer();
        } else if (i == 1) {
            asker self;
            if (!core.settle_or_queue(self) && !core.withdraw(self, ending::withdrawn)) {
                check(self.wait() == ending::granted, "it was given the answer");
                core.hand_back(self);
            }
            wait_for_answer();
            check(look() == 5, "the answer is still there");
            leave();
        } else {
            static_cast<void>(core.is_settled());
        }
    }
    void after() { one_was_last(); }
};

/// The sender waits until nobody wants its answer, and goes; the receiver waits for that.
struct given_up : question<given_up> {
    void thread(unsigned i) {
        if (i == 0) {
            watcher self;
            const ending how = core.settle_or_queue(self) ? self.how() : self.wait();
            check(how == ending::granted, "it is told that nobody wants it");
            made = 1;
            gone(core.leave_unanswered());
        } else if (i == 1) {
            wait_for_answer();
            check(look() == 0, "nothing was sent");
            leave();
        } else {
            core.close();
        }
    }
    void after() { one_was_last(); }
};

/// A message that cannot be moved in; the sender stays. It is closed before, meanwhile, or
/// after.
struct tried_once : question<tried_once> {
    void thread(unsigned i) {
        if (i == 0) {
            if (core.begin_sending()) core.undo_sending();
        } else if (i == 1) {
            wait_for_answer();
            check(look() == 0 && core.is_refused(), "nothing was sent, and nothing will be");
        } else {
            core.close();
        }
    }
    void after() {
        made = 1;
        gone(core.leave_unanswered());
        leave();
        one_was_last();
    }
};

/// A message that cannot be moved in, and one more try; it may be closed in between.
struct tried_twice : question<tried_twice> {
    void thread(unsigned i) {
        if (i == 0) {
            if (core.begin_sending()) core.undo_sending();
            answer();
        } else if (i == 1) {
            wait_for_answer();
            check(look() == 5 || core.is_refused(), "it ends with an answer, or was closed");
            leave();
        } else {
            core.close();
        }
    }
    void after() { one_was_last(); }
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "oneshot",
         .promises =
             {
                 {"oneshot: what was sent is received, whenever it is closed",
                  explore<answered>},
                 {"oneshot: one of the halves is the last, and sees what the other did",
                  explore<both_go>},
                 {"oneshot: who gives up and asks again gets the answer", explore<asked_again>},
                 {"oneshot: a sender is told that nobody wants its answer", explore<given_up>},
                 {"oneshot: a close tells who waits, also when a try to send has failed",
                  explore<tried_once>},
                 {"oneshot: a second try to send strands nobody", explore<tried_twice>},
             },
         .files = {"sync/detail/oneshot", "runtime/detail/locked_word",
                   "runtime/detail/wait_queue"},
         .spares = {{"runtime/detail/locked_word.hpp", "acquire", "compare_exchange",
                     std::memory_order_acquire, std::memory_order_relaxed,
                     "a sender that begins reads nothing that the receiver wrote"}}});
}
