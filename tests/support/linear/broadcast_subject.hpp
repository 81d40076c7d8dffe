// A broadcast, called at random by actors, for the recorder of histories.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_BROADCAST_SUBJECT_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_BROADCAST_SUBJECT_HPP

#include <toadstone/sync.hpp>

#include "support/linear/broadcast_model.hpp"
#include "support/linear/runner.hpp"

#include <array>
#include <atomic>
#include <exception>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests::linear {

/// A message that knows whether it was moved from, and takes its time for moves and copies.
/// Some of its copies throw, never two in a row.
class note {
public:
    explicit note(int what) noexcept : what_(what) {}
    note(note&& other) noexcept : what_(std::exchange(other.what_, 0)) {
        std::this_thread::yield();
    }
    note(const note& other) : what_(other.what_) {
        std::this_thread::yield();
        const int before = other.copies_.fetch_add(1, std::memory_order_relaxed);
        if (before % 6 == what_ % 6) throw broken_off();
    }
    note& operator=(note&&) = delete;
    [[nodiscard]] int what() const noexcept { return what_; }

private:
    int what_;
    mutable std::atomic<int> copies_{0};
};

/// All send; each has a receiver of its own, or none for a while.
class broadcast_subject final : public subject {
    using m = broadcast_model;

public:
    explicit broadcast_subject(unsigned capacity)
        : capacity_(capacity), it_(sync::broadcast::channel<note>(capacity)) {
        receivers_[0].emplace(std::move(it_.rx));
        for (unsigned i = 1; i < receivers_.size(); ++i) {
            receivers_[i].emplace(it_.tx.subscribe());
        }
    }
    std::string complaint(const history& calls) const override {
        return complaint_of(m(static_cast<unsigned char>(capacity_)), calls);
    }
    task<> act(actor& by) override {
        if (!receivers_[by.number()] || by.chance.one_in(2)) {
            act_at_once(by);
        } else {
            co_await receives(by);
        }
    }
    void act_on_thread(actor& by) override {
        auto& own = receivers_[by.number()];
        if (!own || by.chance.one_in(2)) return act_at_once(by);
        begin(by, m::recv);
        by.end(end_of([&] {
            const auto got = own->blocking_recv();
            return got ? got->what() : static_cast<int>(refused);
        }));
    }
    void unblock(actor& by) override {
        if (by.chance.one_in(3)) return ends(by);
        sends(by);
    }
    /// Each receiver still has what is kept for it, and nothing else.
    void at_rest(actor& by) override {
        for (unsigned who = 0; who < receivers_.size(); ++who) {
            auto& each = receivers_[who];
            if (!each) continue;
            int end = first_value;
            while (end >= first_value || end == failed) {
                by.begin(m::try_recv, static_cast<int>(who));
                end = end_of([&] {
                    const auto got = each->try_recv();
                    if (got) return got->what();
                    return static_cast<int>(each->is_at_end() ? refused : no);
                });
                by.end(end);
            }
        }
    }

private:
    static void begin(actor& by, m::calls what) {
        by.begin(what, static_cast<int>(by.number()));
    }
    template <class Fn>
    static int end_of(Fn fn) {
        try {
            return fn();
        } catch (const sync::broadcast::lagged& error) {
            return m::missed(error.missed());
        } catch (const poison_error&) {
            return poisoned;
        } catch (const broken_off&) {
            return failed;
        }
    }
    task<> receives(actor& by) {
        auto& own = *receivers_[by.number()];
        const unsigned how = by.chance.below(4);
        const auto limit = short_limit(by) * 2;
        begin(by, m::recv);
        int end = refused;
        try {
            if (how < 2) {
                const auto got = co_await own.recv();
                if (got) end = got->what();
            } else if (how == 2) {
                const auto got = co_await own.recv_for(limit);
                // At the end it may have been either.
                end = got               ? got->what()
                      : own.is_at_end() ? static_cast<int>(cancelled)
                                        : static_cast<int>(timed_out);
            } else {
                auto got = co_await try_with_timeout(limit, own.recv());
                if (got.is_cancelled()) {
                    end = cancelled;
                } else if (const auto& message = got.value()) {
                    end = message->what();
                }
            }
        } catch (const sync::broadcast::lagged& error) {
            end = m::missed(error.missed());
        } catch (const poison_error&) {
            end = poisoned;
        } catch (const broken_off&) {
            end = failed;
        }
        by.end(end);
    }
    /// By a move, or by a copy, which may throw. What was refused is untouched.
    void sends(actor& by) {
        note next(by.new_value());
        const int value = next.what();
        by.begin(m::send, value);
        const bool moves = by.chance.one_in(2);
        int end = end_of([&] {
            try {
                const auto of = moves ? it_.tx.send(std::move(next)) : it_.tx.send(next);
                return first_value + static_cast<int>(of);
            } catch (const sync::channel_closed&) {
                return static_cast<int>(refused);
            }
        });
        if (end < first_value && next.what() != value) end = open;
        by.end(end);
    }
    void ends(actor& by) {
        if (by.chance.one_in(2)) {
            by.begin(m::close);
            it_.tx.close();
            by.end(ok);
        } else {
            by.begin(m::fail);
            const bool first = it_.tx.fail(std::make_exception_ptr(broken_off()));
            by.end(first ? ok : no);
        }
    }
    void act_at_once(actor& by) {
        const unsigned what = by.chance.below(24);
        if (what == 0) return ends(by);
        if (what < 10) return sends(by);
        if (what < 12) {
            by.begin(m::ask_closed);
            by.end(it_.tx.is_closed() ? ok : no);
        } else if (what < 14) {
            by.begin(m::ask_receivers);
            by.end(first_value + static_cast<int>(it_.tx.receivers()));
        } else {
            uses_receiver(by, what);
        }
    }
    void uses_receiver(actor& by, unsigned what) {
        auto& own = receivers_[by.number()];
        if (!own) {
            begin(by, m::enter);
            own.emplace(it_.tx.subscribe());
            by.end(ok);
        } else if (what == 14) {
            begin(by, m::leave);
            own.reset();
            by.end(ok);
        } else if (what == 15) {
            begin(by, m::renew);
            *own = own->resubscribe();
            by.end(ok);
        } else if (what < 18) {
            begin(by, m::ask_size);
            by.end(first_value + static_cast<int>(own->size()));
        } else if (what == 18) {
            begin(by, m::ask_end);
            by.end(own->is_at_end() ? ok : no);
        } else {
            begin(by, m::try_recv);
            by.end(end_of([&] {
                const auto got = own->try_recv();
                // An end that comes right behind makes this a call that had no effect.
                return got                ? got->what()
                       : own->is_at_end() ? static_cast<int>(cancelled)
                                          : static_cast<int>(no);
            }));
        }
    }

    unsigned capacity_;
    sync::broadcast::halves<note> it_;
    std::array<std::optional<sync::broadcast::receiver<note>>, m::most_receivers> receivers_;
};

} // namespace toadstone::tests::linear

#endif
