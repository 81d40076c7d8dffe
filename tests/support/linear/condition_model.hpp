// What a condition variable and its mutex are, one call at a time.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_CONDITION_MODEL_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_CONDITION_MODEL_HPP

#include "support/linear/lock_models.hpp"

#include <array>

namespace toadstone::tests::linear {

/// Whoever waits opens the mutex, is told or leaves, and asks for the mutex again: a step of
/// its own. However a wait ends, the caller has the mutex. One that was told and is cancelled
/// tells the next when it has it.
class condition_model {
public:
    enum calls { lock, try_lock, unlock, wait, notify_one, notify_all };
    static constexpr const char* names[] = {"lock", "try_lock",   "unlock",
                                            "wait", "notify_one", "notify_all"};

    struct state : calls_state {
        waiting_calls waits; ///< for the mutex
        waiting_calls sleeping;
        std::array<unsigned char, most_calls> told{};
        unsigned char held = 0;
    };
    [[nodiscard]] state initial() const { return {}; }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            begin(now, calls, which);
            return true;
        case queued: // for the mutex, if it is a lock(); a wait() does not leave that queue
            if (!leaves(one)) return false;
            if (one.what == lock) {
                now.waits.remove(which);
                now.finish(which, one.end);
                return true;
            }
            if (!now.sleeping.has(which)) return false;
            now.sleeping.remove(which);
            now.at[which] = given;
            return true;
        case given:
            ask(now, calls, which);
            return true;
        case done: // and is cancelled
            now.finish(which, cancelled);
            if (one.what == lock) {
                let_go(now, calls);
            } else {
                tell_first(now);
            }
            return true;
        default:
            return false;
        }
    }

private:
    static void begin(state& now, const history& calls, unsigned which) {
        switch (calls[which].what) {
        case unlock:
            now.finish(which, ok);
            let_go(now, calls);
            break;
        case notify_one:
            now.finish(which, ok);
            tell_first(now);
            break;
        case notify_all:
            now.finish(which, ok);
            while (!now.sleeping.empty()) tell_first(now);
            break;
        case wait:
            now.at[which] = queued;
            now.sleeping.add(which);
            let_go(now, calls);
            break;
        case try_lock:
            if (now.held) {
                now.finish(which, no);
                break;
            }
            [[fallthrough]];
        default:
            ask(now, calls, which);
        }
    }
    static void tell_first(state& now) {
        if (now.sleeping.empty()) return;
        const unsigned first = now.sleeping.pop();
        now.told[first] = 1;
        now.at[first] = given;
    }
    static void ask(state& now, const history& calls, unsigned which) {
        if (now.held) {
            now.waits.add(which);
            now.at[which] = queued;
        } else {
            take(now, calls, which);
        }
    }
    static void take(state& now, const history& calls, unsigned which) {
        const call& one = calls[which];
        now.held = 1;
        now.finish(which, one.what != wait || now.told[which] ? static_cast<int>(ok) : one.end);
        now.told[which] = 0;
    }
    static void let_go(state& now, const history& calls) {
        now.held = 0;
        if (!now.waits.empty()) take(now, calls, now.waits.pop());
    }
};

} // namespace toadstone::tests::linear

#endif
