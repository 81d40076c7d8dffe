// What the channels are, one call at a time.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_CHANNEL_MODELS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_CHANNEL_MODELS_HPP

#include "support/linear/lock_models.hpp"

#include <array>
#include <utility>

namespace toadstone::tests::linear {

/// An mpsc channel. Who sends has room first and sends then, who receives has the message first
/// and makes room then. A cancelled call gives back what it had: room, or a message, which is
/// the first again.
class channel_model {
public:
    enum calls { send, try_send, recv, try_recv, close, ask_end };
    static constexpr const char* names[] = {"send",     "try_send", "recv",
                                            "try_recv", "close",    "ask_end"};

    /// 0: unbounded.
    explicit channel_model(unsigned char capacity) : capacity_(capacity) {}
    struct state : calls_state {
        waiting_calls messages; ///< the calls that sent them
        waiting_calls rooms;
        waiting_calls takers;
        unsigned char live = 0; ///< claimed, sent, or in the hands of a receiver
        unsigned char closed = 0;
        std::array<unsigned char, most_calls> holds{}; ///< a receiver: the call that sent it
    };
    [[nodiscard]] state initial() const { return {}; }

    [[nodiscard]] bool step(state& now, const history& calls, unsigned which) const {
        const call& one = calls[which];
        switch (now.at[which]) {
        case fresh:
            return begin(now, one, which);
        case queued:
            if (!leaves(one)) return false;
            (one.what == send ? now.rooms : now.takers).remove(which);
            now.finish(which, one.end);
            return true;
        case given:
            return one.what == send || one.what == try_send ? end_sending(now, one, which)
                                                            : end_receiving(now, calls, which);
        case done:
            now.finish(which, cancelled);
            return true; // it had nothing
        default:
            return false;
        }
    }

private:
    static bool is_over(const state& now) noexcept { return now.closed && now.live == 0; }
    bool begin(state& now, const call& one, unsigned which) const {
        switch (one.what) {
        case send:
        case try_send:
            if (now.closed) {
                now.finish(which, refused);
            } else if (capacity_ == 0 || now.live < capacity_) {
                if (now.live == waiting_calls::most) return false; // beyond what histories have
                ++now.live;
                now.at[which] = given;
            } else if (one.what == try_send) {
                now.finish(which, no);
            } else {
                now.rooms.add(which);
                now.at[which] = queued;
            }
            return true;
        case recv:
        case try_recv:
            if (!now.messages.empty()) {
                give_message(now, which, now.messages.pop());
            } else if (is_over(now)) {
                now.finish(which, refused);
            } else if (one.what == try_recv) {
                now.finish(which, no);
            } else {
                now.takers.add(which);
                now.at[which] = queued;
            }
            return true;
        case close:
            now.finish(which, ok);
            now.closed = 1;
            while (!now.rooms.empty()) now.finish(now.rooms.pop(), refused);
            end_if_over(now);
            return true;
        default:
            now.finish(which, is_over(now) ? ok : no);
            return true;
        }
    }
    static void give_message(state& now, unsigned taker, unsigned message) {
        now.at[taker] = given;
        now.holds[taker] = static_cast<unsigned char>(message);
    }
    static void end_if_over(state& now) {
        if (!is_over(now)) return;
        while (!now.takers.empty()) now.finish(now.takers.pop(), refused);
    }
    static void give_back_room(state& now) {
        if (!now.rooms.empty()) {
            now.at[now.rooms.pop()] = given;
            return;
        }
        --now.live;
        end_if_over(now);
    }
    static bool end_sending(state& now, const call& one, unsigned which) {
        now.finish(which, one.end);
        if (one.end == cancelled) {
            give_back_room(now);
        } else if (one.end != ok) {
            return false;
        } else if (now.takers.empty()) {
            now.messages.add(which);
        } else {
            give_message(now, now.takers.pop(), which);
        }
        return true;
    }
    static bool end_receiving(state& now, const history& calls, unsigned which) {
        const int end = calls[which].end;
        const unsigned message = std::exchange(now.holds[which], static_cast<unsigned char>(0));
        now.finish(which, end);
        if (end == cancelled) {
            if (now.takers.empty()) {
                now.messages.add_front(message);
            } else {
                give_message(now, now.takers.pop(), message);
            }
            return true;
        }
        if (end != calls[message].argument) return false;
        give_back_room(now);
        return true;
    }

    unsigned char capacity_;
};

/// A oneshot. Whoever has begun to send does it in a second step; a close in between is late.
class oneshot_model {
public:
    enum calls { send, drop, recv, try_recv, close, wait_closed, ask_closed };
    static constexpr const char* names[] = {"send",  "drop",        "recv",      "try_recv",
                                            "close", "wait_closed", "ask_closed"};

    struct state : calls_state {
        waiting_calls answers;
        waiting_calls closings;
        signed char value = 0;
        unsigned char sending = 0;
        unsigned char dropped = 0;
        unsigned char closed = 0;
        unsigned char taken = 0;
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
            (one.what == recv ? now.answers : now.closings).remove(which);
            now.finish(which, one.end);
            return true;
        case given:
            return take_step(now, one, which);
        case done:
            now.finish(which, cancelled);
            return true;
        default:
            return false;
        }
    }

private:
    static bool is_settled(const state& now) noexcept {
        return now.value != 0 || ((now.closed || now.dropped) && !now.sending);
    }
    static void settle(state& now) {
        while (is_settled(now) && !now.answers.empty()) now.at[now.answers.pop()] = given;
    }
    static void begin(state& now, const call& one, unsigned which) {
        switch (one.what) {
        case send:
            if (now.closed) {
                now.finish(which, no);
            } else {
                now.sending = 1;
                now.at[which] = given;
            }
            break;
        case drop:
            now.finish(which, ok);
            now.dropped = 1;
            settle(now);
            break;
        case close:
            now.finish(which, ok);
            now.closed = 1;
            while (!now.closings.empty()) now.finish(now.closings.pop(), ok);
            settle(now);
            break;
        case ask_closed:
            now.finish(which, now.closed ? ok : no);
            break;
        case wait_closed:
            if (now.closed) {
                now.finish(which, ok);
            } else {
                now.closings.add(which);
                now.at[which] = queued;
            }
            break;
        default:
            if (is_settled(now)) {
                now.at[which] = given;
            } else if (one.what == try_recv) {
                now.finish(which, no);
            } else {
                now.answers.add(which);
                now.at[which] = queued;
            }
        }
    }
    /// Sends; or takes the answer, which a cancelled call leaves where it is.
    static bool take_step(state& now, const call& one, unsigned which) {
        now.finish(which, one.end);
        if (one.what == send) {
            if (one.end != ok) return false;
            now.sending = 0;
            now.value = static_cast<signed char>(one.argument);
            settle(now);
            return true;
        }
        if (one.end == cancelled) return true;
        if (now.value == 0 || now.taken) return one.end == (now.taken ? failed : refused);
        now.taken = 1;
        return one.end == now.value;
    }
};

} // namespace toadstone::tests::linear

#endif
