// What a semaphore, the events, a latch and a barrier are, one call at a time.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_SIGNAL_MODELS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_SIGNAL_MODELS_HPP

#include "support/linear/lock_models.hpp"

namespace toadstone::tests::linear {

class semaphore_model {
public:
    enum calls { acquire, try_acquire, add, close, ask_closed, ask_free };
    static constexpr const char* names[] = {"acquire", "try_acquire", "add",
                                            "close",   "ask_closed",  "ask_free"};

    explicit semaphore_model(unsigned char permits) : permits_(permits) {}
    struct state : calls_state {
        waiting_calls waits;
        unsigned char free = 0;
        unsigned char closed = 0;
    };
    [[nodiscard]] state initial() const {
        state now;
        now.free = permits_;
        return now;
    }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            begin(now, calls, which);
            return true;
        case queued:
            if (!leaves(one)) return false;
            now.waits.remove(which);
            now.finish(which, one.end);
            serve(now, calls);
            return true;
        case done: // and is cancelled: its permits go on
            if (now.end[which] == ok) give(now, calls, one.argument);
            now.finish(which, cancelled);
            return true;
        default:
            return false;
        }
    }

private:
    static void begin(state& now, const history& calls, unsigned which) {
        const call& one = calls[which];
        switch (one.what) {
        case add:
            now.finish(which, ok);
            give(now, calls, one.argument);
            break;
        case close:
            now.finish(which, ok);
            now.closed = 1;
            while (!now.waits.empty()) now.finish(now.waits.pop(), refused);
            break;
        case ask_closed:
            now.finish(which, now.closed ? ok : no);
            break;
        case ask_free:
            now.finish(which, first_value + now.free);
            break;
        default:
            if (now.closed) {
                now.finish(which, refused);
            } else if (now.waits.empty() && now.free >= one.argument) {
                now.free = static_cast<unsigned char>(now.free - one.argument);
                now.finish(which, ok);
            } else if (one.what == try_acquire) {
                now.finish(which, no);
            } else {
                now.waits.add(which);
                now.at[which] = queued;
            }
        }
    }
    static void give(state& now, const history& calls, int count) {
        now.free = static_cast<unsigned char>(now.free + count);
        serve(now, calls);
    }
    static void serve(state& now, const history& calls) {
        while (!now.waits.empty() && calls[now.waits.first()].argument <= now.free) {
            const unsigned first = now.waits.pop();
            now.free = static_cast<unsigned char>(now.free - calls[first].argument);
            now.finish(first, ok);
        }
    }

    unsigned char permits_;
};

/// The events, and a latch: a manual event that is set when its count is zero.
class event_model {
public:
    enum calls { wait, try_wait, set, reset, ask, count_down };
    static constexpr const char* names[] = {"wait",  "try_wait", "set",
                                            "reset", "ask",      "count_down"};

    /// `for_one`: what is set is for one. `count`: of a latch.
    explicit event_model(bool for_one, unsigned char count = 0)
        : for_one_(for_one), count_(count) {}
    struct state : calls_state {
        waiting_calls waits;
        unsigned char is_set = 0;
        unsigned char count = 0;
    };
    [[nodiscard]] state initial() const {
        state now;
        now.count = count_;
        return now;
    }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            begin(now, one, which);
            return true;
        case queued:
            if (!leaves(one)) return false;
            now.waits.remove(which);
            now.finish(which, one.end);
            return true;
        case done: // and is cancelled: a signal for one goes on
            now.finish(which, cancelled);
            if (for_one_) raise(now);
            return true;
        default:
            return false;
        }
    }

private:
    void begin(state& now, const call& one, unsigned which) const {
        now.finish(which, ok);
        switch (one.what) {
        case set:
            raise(now);
            break;
        case reset:
            now.is_set = 0;
            break;
        case ask:
            now.finish(which, now.is_set ? ok : no);
            break;
        case count_down:
            now.count = static_cast<unsigned char>(now.count - one.argument);
            if (now.count == 0) raise(now);
            break;
        default:
            if (now.is_set) {
                if (for_one_) now.is_set = 0;
            } else if (one.what == try_wait) {
                now.finish(which, no);
            } else {
                now.end[which] = open;
                now.at[which] = queued;
                now.waits.add(which);
            }
        }
    }
    void raise(state& now) const {
        if (!for_one_) {
            now.is_set = 1;
            while (!now.waits.empty()) now.finish(now.waits.pop(), ok);
        } else if (now.waits.empty()) {
            now.is_set = 1;
        } else {
            now.finish(now.waits.pop(), ok);
        }
    }

    bool for_one_;
    unsigned char count_;
};

class barrier_model {
public:
    enum calls { arrive, arrive_in_time, break_now, reset, ask_broken, ask_waiting };
    static constexpr const char* names[] = {"arrive", "arrive_in_time", "break_now",
                                            "reset",  "ask_broken",     "ask_waiting"};

    explicit barrier_model(unsigned char parties) : parties_(parties) {}
    struct state : calls_state {
        waiting_calls waits;
        unsigned char broken = 0;
    };
    [[nodiscard]] state initial() const { return {}; }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            begin(now, one, which);
            return true;
        case queued: // whoever runs out of time breaks it for himself, too
            if (one.end != cancelled && (one.what != arrive_in_time || one.end != refused)) {
                return false;
            }
            now.waits.remove(which);
            now.finish(which, one.end);
            now.broken = 1;
            break_round(now);
            return true;
        default:
            return false; // what a complete round tells is delivered
        }
    }

private:
    void begin(state& now, const call& one, unsigned which) const {
        now.finish(which, ok);
        switch (one.what) {
        case break_now:
            now.broken = 1;
            break_round(now);
            break;
        case reset:
            now.broken = 0;
            break_round(now);
            break;
        case ask_broken:
            now.finish(which, now.broken ? ok : no);
            break;
        case ask_waiting:
            now.finish(which, first_value + now.waits.size);
            break;
        default:
            if (now.broken) {
                now.finish(which, refused);
            } else if (now.waits.size + 1 < parties_) {
                now.end[which] = open;
                now.at[which] = queued;
                now.waits.add(which);
            } else {
                now.finish(which, last);
                while (!now.waits.empty()) now.finish(now.waits.pop(), ok);
            }
        }
    }
    static void break_round(state& now) {
        while (!now.waits.empty()) now.finish(now.waits.pop(), refused);
    }

    unsigned char parties_;
};

} // namespace toadstone::tests::linear

#endif
