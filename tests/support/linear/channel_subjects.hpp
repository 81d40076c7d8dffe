// Channels, called at random by actors, for the recorder of histories.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_CHANNEL_SUBJECTS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_CHANNEL_SUBJECTS_HPP

#include <toadstone/sync.hpp>

#include "support/linear/channel_models.hpp"
#include "support/linear/runner.hpp"

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace toadstone::tests::linear {

/// A message that knows whether it was moved from, and takes its time for that: others come
/// while it is written and while it is taken out.
class letter {
public:
    explicit letter(int what) noexcept : what_(what) {}
    letter(letter&& other) noexcept : what_(std::exchange(other.what_, 0)) {
        std::this_thread::yield();
    }
    letter& operator=(letter&&) = delete;
    [[nodiscard]] int what() const noexcept { return what_; }

private:
    int what_;
};

/// A channel of three, of one, or unbounded.
template <class Halves>
class channel_subject final : public subject {
    using m = channel_model;
    static constexpr bool bounded = std::is_same_v<Halves, sync::mpsc::halves<letter>>;

public:
    explicit channel_subject(unsigned capacity) : capacity_(capacity), it_(made(capacity)) {}
    std::string complaint(const history& calls) const override {
        return complaint_of(m(static_cast<unsigned char>(capacity_)), calls);
    }
    task<> act(actor& by) override {
        switch (by.chance.below(8)) {
        case 0: {
            by.begin(m::recv);
            auto got = co_await it_.rx.recv();
            by.end(got ? got->what() : static_cast<int>(refused));
            break;
        }
        case 1: {
            by.begin(m::recv);
            const auto limit = short_limit(by);
            auto got = co_await it_.rx.recv_for(limit);
            // At the end it may have been either.
            by.end(got                  ? got->what()
                   : it_.rx.is_at_end() ? static_cast<int>(cancelled)
                                        : static_cast<int>(timed_out));
            break;
        }
        case 2: {
            by.begin(m::recv);
            const auto limit = short_limit(by);
            auto end = co_await try_with_timeout(limit, it_.rx.recv());
            by.end(end.is_cancelled() ? static_cast<int>(cancelled)
                   : end.value()      ? end.value()->what()
                                      : static_cast<int>(refused));
            break;
        }
        case 3:
        case 4:
            co_await sends(by);
            break;
        case 5:
            co_await sends_in_time(by);
            break;
        default:
            act_at_once(by);
        }
    }
    void act_on_thread(actor& by) override {
        if (by.chance.one_in(3)) return act_at_once(by);
        if (!bounded || by.chance.one_in(2)) {
            by.begin(m::recv);
            const auto got = it_.rx.blocking_recv();
            by.end(got ? got->what() : static_cast<int>(refused));
            return;
        }
        if constexpr (bounded) {
            letter next(by.new_value());
            by.begin(m::send, next.what());
            int end = ok;
            try {
                it_.tx.blocking_send(std::move(next));
            } catch (const sync::channel_closed&) {
                end = refused;
            }
            by.end(end);
        }
    }
    void unblock(actor& by) override {
        by.begin(m::close);
        if (by.chance.one_in(2)) {
            it_.rx.close();
        } else {
            it_.tx.close();
        }
        by.end(ok);
    }
    /// All that was sent is there, and nothing else.
    void at_rest(actor& by) override {
        for (bool more = true; more;) {
            by.begin(m::try_recv);
            const auto got = it_.rx.try_recv();
            more = got.has_value();
            by.end(got                  ? got->what()
                   : it_.rx.is_at_end() ? static_cast<int>(refused)
                                        : static_cast<int>(no));
        }
    }

private:
    static Halves made(unsigned capacity) {
        if constexpr (bounded) {
            return sync::mpsc::channel<letter>(capacity);
        } else {
            return sync::mpsc::unbounded<letter>();
        }
    }
    task<> sends(actor& by) {
        letter next(by.new_value());
        by.begin(m::send, next.what());
        int end = ok;
        try {
            if constexpr (!bounded) {
                it_.tx.send(std::move(next));
            } else if (by.chance.one_in(2)) {
                co_await it_.tx.send(std::move(next));
            } else {
                auto room = co_await it_.tx.reserve();
                room.send(std::move(next));
            }
        } catch (const sync::channel_closed&) {
            end = refused;
        }
        by.end(end);
        co_return;
    }
    /// What was not sent is still the sender's; what was, is not.
    task<> sends_in_time(actor& by) {
        if constexpr (bounded) {
            letter next(by.new_value());
            by.begin(m::send, next.what());
            const auto limit = short_limit(by);
            auto end = co_await try_with_timeout(limit, it_.tx.send(std::move(next)));
            by.end(next.what() == 0     ? ok
                   : end.is_cancelled() ? static_cast<int>(cancelled)
                                        : static_cast<int>(refused));
        } else {
            co_await sends(by);
        }
    }
    void act_at_once(actor& by) {
        const unsigned what = by.chance.below(12);
        if (what == 0) return unblock(by);
        if (what < 3) {
            by.begin(m::ask_end);
            by.end(it_.rx.is_at_end() ? ok : no);
        } else if (what < 7 || !bounded) {
            by.begin(m::try_recv);
            const auto got = it_.rx.try_recv();
            // An end that comes right behind makes this a call that had no effect.
            by.end(got                  ? got->what()
                   : it_.rx.is_at_end() ? static_cast<int>(cancelled)
                                        : static_cast<int>(no));
        } else if constexpr (bounded) {
            letter next(by.new_value());
            by.begin(m::try_send, next.what());
            int end = no;
            try {
                if (it_.tx.try_send(std::move(next))) end = ok;
            } catch (const sync::channel_closed&) {
                end = refused;
            }
            by.end(end);
        }
    }

    unsigned capacity_;
    Halves it_;
};

/// One sends, a task or the plain thread; another receives; none of the halves is shared.
class oneshot_subject final : public subject {
    using m = oneshot_model;

public:
    explicit oneshot_subject(bool thread_sends) : sender_(thread_sends ? 3 : 0) {}
    std::string complaint(const history& calls) const override {
        return complaint_of(m(), calls);
    }
    task<> act(actor& by) override {
        if (by.number() == sender_) {
            if (by.chance.one_in(3) && it_.tx) {
                by.begin(m::wait_closed);
                const auto limit = short_limit(by);
                auto end = co_await try_with_timeout(limit, it_.tx->closed());
                by.end(end.has_value() ? ok : cancelled);
            } else {
                act_on_thread(by);
            }
        } else if (by.number() == 1) {
            co_await receives(by);
        }
    }
    void act_on_thread(actor& by) override {
        if (by.number() != sender_ || !it_.tx) return;
        switch (by.chance.below(5)) {
        case 0:
            by.begin(m::ask_closed);
            by.end(it_.tx->is_closed() ? ok : no);
            break;
        case 1:
            by.begin(m::drop);
            it_.tx.reset();
            by.end(ok);
            break;
        case 2:
        case 3: {
            const int value = by.new_value();
            by.begin(m::send, value);
            const bool sent = it_.tx->send(letter(value));
            by.end(sent ? ok : no);
            if (sent) it_.tx.reset();
            break;
        }
        default:
            break;
        }
    }
    void unblock(actor&) override {} // all waits have limits
    void at_rest(actor&) override {}

private:
    task<> receives(actor& by) {
        const unsigned what = by.chance.below(6);
        const auto limit = short_limit(by) * 4;
        int end = refused;
        try {
            if (what == 0) {
                by.begin(m::close);
                it_.rx.close();
                end = ok;
            } else if (what == 1) {
                by.begin(m::try_recv);
                const auto got = it_.rx.try_recv();
                end = got ? got->what() : static_cast<int>(no);
            } else if (what < 4) {
                by.begin(m::recv);
                const auto got = co_await it_.rx.recv_for(limit);
                end = got ? got->what() : static_cast<int>(timed_out);
            } else {
                by.begin(m::recv);
                auto got = co_await try_with_timeout(limit, it_.rx.recv());
                end = got.is_cancelled() ? static_cast<int>(cancelled) : got.value().what();
            }
        } catch (const sync::channel_closed&) {
        } catch (const std::logic_error&) {
            end = failed;
        }
        by.end(end);
    }

    struct halves {
        std::optional<sync::oneshot::sender<letter>> tx;
        sync::oneshot::receiver<letter> rx;
    };
    static halves made() {
        auto both = sync::oneshot::channel<letter>();
        return {std::move(both.tx), std::move(both.rx)};
    }
    unsigned sender_;
    halves it_ = made();
};

} // namespace toadstone::tests::linear

#endif
