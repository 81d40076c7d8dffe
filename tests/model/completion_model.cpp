// The state that completions and a wait share: who answers, who withdraws, who leaves last. The
// code under test is runtime/detail/completion_core.* itself.
#include "explore.hpp"

#include <toadstone/runtime/detail/completion_core.hpp>

#include <optional>

namespace toadstone::model {
namespace {

using toadstone::detail::answer_waiter;
using toadstone::detail::completion_core;
using toadstone::detail::plain;

/// The frame of a task that waits, as far as others touch it.
class frame final : public answer_waiter {
public:
    ~frame() override { check(told_times_ == expected_, "who waits is told once"); }
    void wait() noexcept {
        ++expected_;
        while (!told_.exchange(false, std::memory_order_acquire)) bed_.sleep();
    }

private:
    void answered() noexcept override {
        ++told_times_;
        told_.store(true, std::memory_order_release);
        bed_.notify();
    }
    toadstone::detail::atomic<bool> told_{false};
    sleeping_place bed_;
    int told_times_ = 0;
    int expected_ = 0;
};

struct counts {
    plain<int> written = 0; ///< by each sender, before it leaves; read when the state is freed
    plain<int> left = 0;    ///< by the waiter, the same
    plain<int> sent = 0;
    int freed = 0;
};

class number_core final : public completion_core {
public:
    number_core(answer_waiter& who, counts& of) noexcept : completion_core(who), of_(of) {}
    plain<int> number = 0;

private:
    ~number_core() override {
        ++of_.freed;
        check(of_.left == 1 && of_.sent == 1, "who leaves last sees what the others did");
    }
    counts& of_;
};

/// The waiter is the last of three threads; the two others have a completion each.
template <class Derived>
struct asked : scenario<Derived, 3> {
    asked() { core->add_sender(); }

    std::optional<frame> waiter{std::in_place};
    counts of;
    number_core* core = new number_core(*waiter, of);
    bool first[2] = {};
    plain<int> got = 0;
    bool withdrawn = false;
    bool broken = false;

    void answer(unsigned i) {
        first[i] = core->claim();
        if (first[i]) {
            core->number = static_cast<int>(i) + 1;
            core->tell();
        }
        leave(i);
    }
    /// The first of the senders leaves a mark that whoever is last has to see.
    void leave(unsigned i) {
        if (i == 0) of.sent = 1;
        core->drop_sender();
    }
    void wait_for_end() {
        waiter->wait();
        broken = core->is_broken();
        got = broken ? 0 : static_cast<int>(core->number);
        go();
    }
    /// The frame is gone when the state may still be there.
    void go() {
        of.left = 1;
        core->drop_waiter();
        waiter.reset();
    }
    void withdraw_or_wait() {
        withdrawn = core->claim();
        if (withdrawn) {
            go();
        } else {
            wait_for_end();
        }
    }
    void check_end() {
        check(of.freed == 1, "the state is freed, once");
        check(!(first[0] && first[1]), "one answer counts");
        const int sent = first[0] ? 1 : first[1] ? 2 : 0;
        check(got == sent, "the first answer is delivered, and no other");
        check(!withdrawn || sent == 0, "what is withdrawn has no answer");
        check(withdrawn || broken == (sent == 0), "it ends with an answer or without");
    }
};

/// Two answer the same.
struct two_answer : asked<two_answer> {
    void thread(unsigned i) { i < 2 ? answer(i) : wait_for_end(); }
    void after() {
        check(first[0] || first[1], "an answer counts");
        check_end();
    }
};

/// Two answer, and the waiter withdraws, before, between or behind.
struct withdraws : asked<withdraws> {
    void thread(unsigned i) { i < 2 ? answer(i) : withdraw_or_wait(); }
    void after() { check_end(); }
};

/// Two leave and say nothing.
struct nobody_answers : asked<nobody_answers> {
    void thread(unsigned i) { i < 2 ? leave(i) : wait_for_end(); }
    void after() {
        check(broken, "it is told that nobody will answer");
        check_end();
    }
};

/// The same, and the waiter withdraws.
struct nobody_is_asked : asked<nobody_is_asked> {
    void thread(unsigned i) { i < 2 ? leave(i) : withdraw_or_wait(); }
    void after() { check_end(); }
};

/// One answers, the other leaves, before it or after it.
struct one_answers : asked<one_answers> {
    void thread(unsigned i) {
        if (i == 0) {
            leave(i);
        } else if (i == 1) {
            answer(i);
        } else {
            wait_for_end();
        }
    }
    void after() {
        check(first[1] && !broken, "the one answer counts, whoever leaves before it");
        check_end();
    }
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "completion",
         .promises =
             {
                 {"completion: of two answers one is delivered", explore<two_answer>},
                 {"completion: a wait that is withdrawn is answered or over, never both",
                  explore<withdraws>},
                 {"completion: who waits is told when nobody is left to answer",
                  explore<nobody_answers>},
                 {"completion: a withdrawal beside the last who could answer strands nobody",
                  explore<nobody_is_asked>},
                 {"completion: a copy that leaves unanswered takes no answer away",
                  explore<one_answers>},
             },
         .files = {"runtime/detail/completion_core"},
         .spares = {}});
}
