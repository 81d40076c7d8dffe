// What a mutex, a shared mutex and a once_cell are, one call at a time.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_LOCK_MODELS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_LOCK_MODELS_HPP

#include "support/linear/search.hpp"

namespace toadstone::tests::linear {

/// A waiter that leaves its queue, as was seen of its end.
inline bool leaves(const call& one) noexcept {
    return one.end == cancelled || one.end == timed_out;
}

/// A mutex, and, with its reading calls, a shared mutex.
class lock_model {
public:
    enum calls {
        lock,
        try_lock,
        lock_or_poison,
        recover, ///< ends as lock_or_poison, and the others of its kind fail if it gives up
        lock_patiently,
        read,
        try_read,
        read_or_poison,
        unlock,
        unlock_poisoned,
        give_up_repair, ///< unlock_poisoned for a recovery that was not completed
        clear_poison,   ///< the holder goes on holding
        downgrade,      ///< the writer goes on as a reader
        end_reading,
        ask_poisoned, ///< ok: it is
    };
    static constexpr const char* names[] = {
        "lock",           "try_lock",     "lock_or_poison", "recover",     "lock_patiently",
        "read",           "try_read",     "read_or_poison", "unlock",      "unlock_poisoned",
        "give_up_repair", "clear_poison", "downgrade",      "end_reading", "ask_poisoned"};

    struct state : calls_state {
        waiting_calls waits;
        unsigned char writer = 0;
        unsigned char readers = 0;
        unsigned char poison = 0;
    };
    [[nodiscard]] state initial() const { return {}; }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            return begin(now, calls, which);
        case queued:
            if (!leaves(one)) return false;
            now.waits.remove(which);
            now.finish(which, one.end);
            serve(now, calls);
            return true;
        case done: // and is cancelled: the section was never entered
            if (holds(one.what, now.end[which])) let_go(now, calls, reads(one.what));
            now.finish(which, cancelled);
            return true;
        default:
            return false;
        }
    }

private:
    static bool reads(int what) noexcept {
        return what == read || what == try_read || what == read_or_poison;
    }
    static bool takes_poisoned(int what) noexcept {
        return what == lock_or_poison || what == recover || what == read_or_poison;
    }
    static bool holds(int what, int end) noexcept {
        return end == ok || (end == poisoned && takes_poisoned(what));
    }
    static bool may_pass(const state& now, int what) noexcept {
        if (now.poison && what == lock_patiently) return false;
        return now.writer == 0 && (now.readers == 0 || reads(what));
    }
    static void pass(state& now, int what, unsigned which) noexcept {
        ++(reads(what) ? now.readers : now.writer);
        now.finish(which, now.poison ? poisoned : ok);
    }
    /// Those who only wait for a repair are in nobody's way. All others would have been served.
    static bool waits_before(const state& now) noexcept {
        return now.writer + now.readers > 0 && !now.waits.empty();
    }

    bool begin(state& now, const history& calls, unsigned which) const {
        const int what = calls[which].what;
        switch (what) {
        case unlock:
            let_go(now, calls, false);
            break;
        case unlock_poisoned:
            poison(now, calls, false);
            break;
        case give_up_repair:
            poison(now, calls, true);
            break;
        case end_reading:
            let_go(now, calls, true);
            break;
        case clear_poison:
            now.poison = 0;
            break;
        case downgrade:
            now.writer = 0;
            now.readers = 1;
            serve(now, calls);
            break;
        case ask_poisoned:
            now.finish(which, now.poison ? ok : no);
            return true;
        default:
            ask(now, what, which);
            return true;
        }
        now.finish(which, ok);
        return true;
    }
    static void ask(state& now, int what, unsigned which) {
        if (now.poison && !takes_poisoned(what) && what != lock_patiently) {
            now.finish(which, poisoned);
        } else if (may_pass(now, what) && !waits_before(now)) {
            pass(now, what, which);
        } else if (what == try_lock || what == try_read) {
            now.finish(which, no);
        } else {
            now.waits.add(which);
            now.at[which] = queued;
        }
    }
    static void let_go(state& now, const history& calls, bool reader) {
        --(reader ? now.readers : now.writer);
        serve(now, calls);
    }
    static void poison(state& now, const history& calls, bool repair_failed) {
        now.poison = 1;
        now.writer = 0;
        // All who want healthy data fail at once, wherever they stand.
        const waiting_calls before = now.waits;
        for (unsigned i = 0; i < before.size; ++i) {
            const int what = calls[before.who[i]].what;
            if (takes_poisoned(what) || what == lock_patiently) continue;
            now.waits.remove(before.who[i]);
            now.finish(before.who[i], poisoned);
        }
        static_cast<void>(repair_failed); // ends waits of lock_or_recover() only
        serve(now, calls);
    }
    static void serve(state& now, const history& calls) {
        const waiting_calls before = now.waits;
        for (unsigned i = 0; i < before.size; ++i) {
            const unsigned which = before.who[i];
            const int what = calls[which].what;
            if (now.poison && what == lock_patiently) continue;
            if (!may_pass(now, what)) break;
            now.waits.remove(which);
            pass(now, what, which);
        }
    }
};

/// A once_cell. A caller that finds it empty makes the value itself: a step of its own.
class cell_model {
public:
    enum calls { get_or_init, get, try_set };
    static constexpr const char* names[] = {"get_or_init", "get", "try_set"};

    struct state : calls_state {
        waiting_calls waits;
        signed char value = 0;
        unsigned char held = 0;
    };
    [[nodiscard]] state initial() const { return {}; }

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
        case given:
            return make(now, one, which);
        case done:
            now.finish(which, cancelled);
            return true;
        default:
            return false;
        }
    }

private:
    static void begin(state& now, const call& one, unsigned which) {
        if (one.what == get || (now.value != 0 && one.what == get_or_init)) {
            now.finish(which, now.value != 0 ? now.value : static_cast<int>(no));
        } else if (now.held == 0 && now.value == 0) {
            now.held = 1;
            now.at[which] = given;
        } else if (one.what == try_set) {
            now.finish(which, no);
        } else {
            now.waits.add(which);
            now.at[which] = queued;
        }
    }
    /// Its own function, or the value that is set, has come to an end.
    static bool make(state& now, const call& one, unsigned which) {
        const bool made = one.what == try_set ? one.end == ok : one.end == one.argument;
        if (!made && one.end != failed && one.end != cancelled) return false;
        if (made) now.value = static_cast<signed char>(one.argument);
        now.held = 0;
        now.finish(which, one.end);
        if (made) {
            while (!now.waits.empty()) now.finish(now.waits.pop(), now.value);
        } else if (!now.waits.empty()) {
            now.held = 1;
            now.at[now.waits.pop()] = given; // the next runs his own
        }
        return true;
    }
};

} // namespace toadstone::tests::linear

#endif
