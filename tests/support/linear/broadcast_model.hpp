// What a broadcast is, one call at a time.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_BROADCAST_MODEL_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_BROADCAST_MODEL_HPP

#include "support/linear/lock_models.hpp"

#include <algorithm>
#include <array>

namespace toadstone::tests::linear {

/// A broadcast with up to four receivers, each with a position of its own. A sender is let in
/// and publishes in a second step; a close in between is late for it. A receiver comes to a
/// message, which is its own from then on, and copies it in a second step: a cancelled call
/// and a copy that throws leave it what the receiver gets next.
///
/// The argument of a receiver's call is its number; a send ends as first_value + how many
/// receivers the message is for.
class broadcast_model {
public:
    enum calls {
        send,
        recv,
        try_recv,
        enter,
        leave,
        renew, ///< enters again, and leaves then
        close,
        fail,
        ask_closed,
        ask_end,
        ask_size,
        ask_receivers,
    };
    static constexpr const char* names[] = {
        "send",  "recv", "try_recv",   "enter",   "leave",    "renew",
        "close", "fail", "ask_closed", "ask_end", "ask_size", "ask_receivers"};
    static constexpr unsigned most_receivers = 4;

    /// How a recv() ends that is told of messages it has missed. Above all values.
    static constexpr int missed(unsigned long long messages) noexcept {
        return 100 + static_cast<int>(std::min(messages, 26ull));
    }

    explicit broadcast_model(unsigned char capacity, unsigned char receivers = most_receivers)
        : capacity_(capacity), receivers_(receivers) {}

    struct place {
        unsigned char next = 0; ///< the number of the message that it comes to next
        signed char held = 0;   ///< what it has come to and not copied, or 0
    };
    struct state : calls_state {
        std::array<signed char, 4> ring{}; ///< the newest, by number
        std::array<place, most_receivers> places{};
        waiting_calls takers;
        unsigned char sent = 0;
        unsigned char receivers = 0;
        unsigned char writing = 0; ///< senders that were let in and have not published
        unsigned char closed = 0;
        unsigned char failed = 0;
    };
    [[nodiscard]] state initial() const {
        state now;
        now.receivers = receivers_;
        return now;
    }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            return begin(now, one, which);
        case queued:
            if (!leaves(one)) return false;
            now.takers.remove(which);
            now.finish(which, one.end);
            return true;
        case given:
            if (one.what == send) return publish(now, calls, which);
            if (one.what != renew) return end_receiving(now, one, which);
            --now.receivers;
            now.finish(which, ok);
            return true;
        case done:
            now.finish(which, cancelled);
            return true; // it had nothing
        default:
            return false;
        }
    }

private:
    static bool is_over(const state& now) noexcept { return now.closed && now.writing == 0; }
    static int end_of(const state& now) noexcept { return now.failed ? poisoned : refused; }
    static place& place_of(state& now, const call& one) {
        return now.places[static_cast<unsigned>(one.argument)];
    }
    [[nodiscard]] unsigned char oldest(const state& now) const noexcept {
        return static_cast<unsigned char>(now.sent < capacity_ ? 0 : now.sent - capacity_);
    }

    bool begin(state& now, const call& one, unsigned which) const {
        switch (one.what) {
        case send:
            if (now.closed || now.receivers == 0) {
                now.finish(which, now.closed ? end_of(now) : static_cast<int>(first_value));
            } else {
                ++now.writing;
                now.at[which] = given;
            }
            return true;
        case recv:
        case try_recv:
            return begin_receiving(now, one, which);
        case enter:
        case renew:
            ++now.receivers;
            place_of(now, one) = {now.sent, 0};
            if (one.what == enter) {
                now.finish(which, ok);
            } else {
                now.at[which] = given;
            }
            return true;
        case leave:
            --now.receivers;
            place_of(now, one) = {};
            now.finish(which, ok);
            return true;
        case close:
        case fail:
            now.finish(which, one.what == fail && now.closed ? no : ok);
            if (one.what == fail && !now.closed) now.failed = 1;
            now.closed = 1;
            end_if_over(now);
            return true;
        default:
            now.finish(which, answer(now, one));
            return true;
        }
    }
    bool begin_receiving(state& now, const call& one, unsigned which) const {
        place& at = place_of(now, one);
        if (at.held != 0) {
            now.at[which] = given;
        } else if (at.next < oldest(now)) {
            if (one.end == cancelled) return false; // it is not told, so the next call is
            now.finish(which, missed(static_cast<unsigned>(oldest(now) - at.next)));
            at.next = oldest(now);
        } else if (at.next != now.sent) {
            come_to_next(now, at);
            now.at[which] = given;
        } else if (is_over(now)) {
            now.finish(which, end_of(now));
        } else if (one.what == try_recv) {
            now.finish(which, no);
        } else {
            now.takers.add(which);
            now.at[which] = queued;
        }
        return true;
    }
    [[nodiscard]] int answer(const state& now, const call& one) const {
        if (one.what == ask_closed) return now.closed ? ok : no;
        if (one.what == ask_receivers) return first_value + now.receivers;
        const place& at = now.places[static_cast<unsigned>(one.argument)];
        const int kept = now.sent - std::max(at.next, oldest(now)) + (at.held != 0);
        if (one.what == ask_size) return first_value + kept;
        return is_over(now) && at.held == 0 && at.next == now.sent ? ok : no;
    }
    void come_to_next(const state& now, place& at) const {
        at.held = now.ring[at.next % capacity_];
        ++at.next;
    }
    static void end_if_over(state& now) {
        if (!is_over(now)) return;
        while (!now.takers.empty()) now.finish(now.takers.pop(), end_of(now));
    }
    bool publish(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        --now.writing;
        if (one.end == linear::failed) { // its copy threw: there is no message
            now.finish(which, linear::failed);
            end_if_over(now);
            return true;
        }
        now.finish(which, first_value + now.receivers);
        if (now.receivers == 0) return true;
        now.ring[now.sent % capacity_] = static_cast<signed char>(one.argument);
        ++now.sent;
        while (!now.takers.empty()) {
            const unsigned taker = now.takers.pop();
            come_to_next(now, place_of(now, calls[taker]));
            now.at[taker] = given;
        }
        return true;
    }
    static bool end_receiving(state& now, const call& one, unsigned which) {
        place& at = place_of(now, one);
        now.finish(which, one.end);
        if (one.end == cancelled || one.end == linear::failed) return true;
        if (one.end != at.held) return false;
        at.held = 0;
        return true;
    }

    unsigned char capacity_;
    unsigned char receivers_;
};

} // namespace toadstone::tests::linear

#endif
