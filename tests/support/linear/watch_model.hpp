// What a watch is, one call at a time.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_WATCH_MODEL_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_WATCH_MODEL_HPP

#include "support/linear/lock_models.hpp"

#include <array>

namespace toadstone::tests::linear {

/// A watch with four receivers, each of which knows what it has seen. A change begins, alone,
/// and ends in a second step, with a new version or none; a close in between is late for it.
/// Who waits for a change is told of it, and sees what is the newest then in a step of its own:
/// a cancelled call has seen nothing.
///
/// The argument of a receiver's call is its number, and for wait_for four times the remainder
/// that it wants of the value. A `modify` puts its argument there and ends as what it replaced.
class watch_model {
public:
    enum calls {
        send,
        modify, ///< ends as `no`: it did not want to; `failed`: it threw
        changed,
        wait_for,
        get,
        update, ///< get_and_update()
        has_changed,
        mark_seen,
        mark_unseen,
        renew, ///< by the receiver of a sender's subscribe()
        close,
        fail,
        ask_closed,
        ask_end,
    };
    static constexpr const char* names[] = {
        "send",      "modify",      "changed", "wait_for", "get",  "update",     "has_changed",
        "mark_seen", "mark_unseen", "renew",   "close",    "fail", "ask_closed", "ask_end"};
    static constexpr unsigned most_receivers = 4;
    static constexpr int initial_value = first_value;

    struct state : calls_state {
        std::array<unsigned char, most_receivers> seen{};
        waiting_calls waits;
        signed char value = initial_value;
        unsigned char version = 0;
        unsigned char changing = 0;
        unsigned char closed = 0;
        unsigned char failed = 0;
    };
    [[nodiscard]] state initial() const { return {}; }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            return begin(now, one, which);
        case queued:
            if (!leaves(one)) return false;
            now.waits.remove(which);
            now.finish(which, one.end);
            return true;
        case given:
            return one.what == send || one.what == modify ? end_change(now, one, which)
                                                          : end_wait(now, one, which);
        case done:
            now.finish(which, cancelled);
            return true; // it had nothing
        default:
            return false;
        }
    }

private:
    static bool is_over(const state& now) noexcept { return now.closed && !now.changing; }
    static int end_of(const state& now) noexcept { return now.failed ? poisoned : refused; }
    static unsigned char& seen_by(state& now, const call& one) {
        return now.seen[static_cast<unsigned>(one.argument) % most_receivers];
    }

    static bool begin(state& now, const call& one, unsigned which) {
        switch (one.what) {
        case send:
        case modify:
            if (now.changing) return false; // its turn comes
            if (now.closed) {
                now.finish(which, end_of(now));
            } else {
                now.changing = 1;
                now.at[which] = given;
            }
            return true;
        case changed:
            if (now.version != seen_by(now, one)) {
                now.at[which] = given;
            } else {
                queue_or_end(now, which);
            }
            return true;
        case wait_for:
            return look(now, one, which);
        case close:
        case fail:
            now.finish(which, one.what == fail && now.closed ? no : ok);
            if (one.what == fail && !now.closed) now.failed = 1;
            now.closed = 1;
            end_if_over(now);
            return true;
        default:
            ask(now, one, which);
            return true;
        }
    }
    static void ask(state& now, const call& one, unsigned which) {
        unsigned char& seen = seen_by(now, one);
        const bool unseen = seen != now.version;
        const bool throws = one.end == linear::failed; // the copy of the value: nothing is seen
        switch (one.what) {
        case get:
        case update:
            if (one.what == update && !throws) seen = now.version;
            now.finish(which, throws ? static_cast<int>(linear::failed) : now.value);
            break;
        case has_changed:
            now.finish(which, unseen ? ok : no);
            break;
        case mark_unseen:
            seen = static_cast<unsigned char>(now.version - 1);
            now.finish(which, ok);
            break;
        case mark_seen:
        case renew:
            seen = now.version;
            now.finish(which, ok);
            break;
        case ask_closed:
            now.finish(which, now.closed ? ok : no);
            break;
        default:
            now.finish(which, is_over(now) && !unseen ? ok : no);
        }
    }
    static void queue_or_end(state& now, unsigned which) {
        if (is_over(now)) {
            now.finish(which, end_of(now));
        } else {
            now.waits.add(which);
            now.at[which] = queued;
        }
    }
    static void end_if_over(state& now) {
        if (!is_over(now)) return;
        while (!now.waits.empty()) now.finish(now.waits.pop(), end_of(now));
    }
    /// The value is seen, wanted or not; unless its copy throws.
    static bool look(state& now, const call& one, unsigned which) {
        const bool wanted = now.value % 2 == one.argument / static_cast<int>(most_receivers);
        if (wanted && one.end == cancelled) return false; // it is delivered
        if (wanted && one.end == linear::failed) {
            now.finish(which, linear::failed);
            return true;
        }
        seen_by(now, one) = now.version;
        if (wanted) {
            now.finish(which, now.value);
        } else {
            queue_or_end(now, which);
        }
        return true;
    }
    static bool end_change(state& now, const call& one, unsigned which) {
        now.changing = 0;
        now.finish(which, one.end);
        if (one.end == linear::failed || (one.what == modify && one.end == no)) {
            end_if_over(now);
            return true;
        }
        if (one.end != (one.what == send ? static_cast<int>(ok) : now.value)) return false;
        now.value = static_cast<signed char>(one.argument);
        ++now.version;
        while (!now.waits.empty()) now.at[now.waits.pop()] = given;
        return true;
    }
    static bool end_wait(state& now, const call& one, unsigned which) {
        if (one.end == cancelled) {
            now.finish(which, cancelled);
            return true;
        }
        if (one.what == wait_for) return look(now, one, which);
        seen_by(now, one) = now.version;
        now.finish(which, ok);
        return true;
    }
};

} // namespace toadstone::tests::linear

#endif
