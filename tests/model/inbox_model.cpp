// The post from one thread to another worker, and the wake-up: what is put into an inbox runs
// there, once, in order, and no worker sleeps over it. The code under test is
// runtime/executor.* itself.
#include "explore.hpp"
#include "worker.hpp"

namespace toadstone::model {
namespace {

using toadstone::detail::atomic;
using toadstone::detail::plain;
using toadstone::detail::posted;

/// Work whose data its poster wrote before, and which the poster frees as soon as it has run.
class message final : public posted {
public:
    void send_to(worker& to, int number) {
        content_ = number;
        to.post(*this);
    }
    int ran = 0;
    int order = 0; ///< among all messages that ran
    static inline int turn = 0;

private:
    void run_posted() noexcept override {
        check(content_ != 0, "who runs a message sees what its sender wrote");
        check(!waiting(), "a message that runs waits no more");
        ++ran;
        order = ++turn;
    }
    plain<int> content_ = 0;
};

/// A task that somebody else made ready.
class strand final : public toadstone::detail::context {
public:
    explicit strand(worker& home) : context(home) { adopt(do_it(*this).promise(), frame_); }
    void wake(int number) {
        content_ = number;
        home().schedule(*this);
    }
    int ran = 0;
    int ended = 0;

private:
    static body do_it(strand& self) {
        check(self.content_ != 0, "who runs a task sees what its waker wrote");
        ++self.ran;
        co_return;
    }
    context* finish() noexcept override {
        ++ended;
        return nullptr;
    }

    plain<int> content_ = 0;
    toadstone::detail::frame_owner frame_;
};

/// Two threads post one message each; the worker runs until it has seen both.
struct two_posts : scenario<two_posts, 3> {
    void thread(unsigned i) {
        if (i == 0) {
            home.run([this] { return first.ran + second.ran == 2; });
        } else {
            worker::plain_thread();
            (i == 1 ? first : second).send_to(home, 1);
        }
    }
    void after() { check(first.ran == 1 && second.ran == 1, "a message runs once"); }

    sleep_waker alarm;
    worker home{alarm};
    message first;
    message second;
};

/// The same with tasks, which have a list of their own.
struct two_wakes : scenario<two_wakes, 3> {
    void thread(unsigned i) {
        if (i == 0) {
            home.run([this] { return first.ended + second.ended == 2; });
        } else {
            worker::plain_thread();
            (i == 1 ? first : second).wake(1);
        }
    }
    void after() { check(first.ran == 1 && second.ran == 1, "a task runs once"); }

    sleep_waker alarm;
    worker home{alarm};
    strand first{home};
    strand second{home};
};

/// One thread posts twice and another wakes a task: order is kept, both lists are served.
struct both_lists : scenario<both_lists, 3> {
    both_lists() { message::turn = 0; }
    void thread(unsigned i) {
        if (i == 0) {
            home.run([this] { return first.ran + second.ran + task.ended == 3; });
        } else if (i == 1) {
            worker::plain_thread();
            first.send_to(home, 1);
            second.send_to(home, 2);
        } else {
            worker::plain_thread();
            task.wake(3);
        }
    }
    void after() {
        check(first.order < second.order, "one sender's messages run in order");
        check(first.ran == 1 && second.ran == 1 && task.ran == 1, "everything runs once");
    }

    sleep_waker alarm;
    worker home{alarm};
    message first;
    message second;
    strand task{home};
};

/// A worker that stays awake for a while before it sleeps: what comes between its last look and
/// the sleep wakes it.
struct spinning : scenario<spinning, 3> {
    void thread(unsigned i) {
        if (i == 0) {
            home.looks = 2;
            home.run([this] { return note.ran + task.ended == 2; });
        } else {
            worker::plain_thread();
            if (i == 1) {
                note.send_to(home, 1);
            } else {
                task.wake(1);
            }
        }
    }
    void after() { check(note.ran == 1 && task.ran == 1, "everything runs once"); }

    sleep_waker alarm;
    worker home{alarm};
    message note;
    strand task{home};
};

} // namespace
} // namespace toadstone::model

int main(int argc, char** argv) {
    using namespace toadstone::model;
    return run_models(
        argc, argv,
        {.name = "inbox",
         .promises =
             {
                 {"inbox: two posts run, once each, and wake the worker", explore<two_posts>},
                 {"inbox: two tasks made ready run, once each, and wake the worker",
                  explore<two_wakes>},
                 {"inbox: one sender's posts run in order, beside a task", explore<both_lists>},
                 {"inbox: a worker that spins before it sleeps misses nothing",
                  explore<spinning>},
             },
         .files = {"runtime/executor"},
         .spares = {}});
}
