// A watch, called at random by actors, for the recorder of histories.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_WATCH_SUBJECT_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_WATCH_SUBJECT_HPP

#include <toadstone/sync.hpp>

#include "support/linear/runner.hpp"
#include "support/linear/watch_model.hpp"

#include <array>
#include <atomic>
#include <exception>
#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests::linear {

/// A value in two halves, which takes its time for all changes. Some of its copies throw.
class notice {
public:
    static constexpr int torn = 120; ///< no value of any actor's

    explicit notice(int what) noexcept : first_(what), second_(what) {}
    notice(notice&& other) noexcept
        : first_(std::exchange(other.first_, 0)), second_(std::exchange(other.second_, 0)) {
        std::this_thread::yield();
    }
    notice(const notice& other) : first_(other.first_) {
        std::this_thread::yield();
        second_ = other.second_;
        const int before = other.copies_.fetch_add(1, std::memory_order_relaxed);
        if (before % 8 == first_ % 8) throw broken_off();
    }
    notice& operator=(notice&&) = delete;
    void set(int what) noexcept {
        first_ = what;
        std::this_thread::yield();
        second_ = what;
    }
    [[nodiscard]] int what() const noexcept { return first_ == second_ ? first_ : torn; }

private:
    int first_;
    int second_ = 0;
    mutable std::atomic<int> copies_{0};
};

/// What is waited for: a remainder of the value by two.
struct is_with {
    int rest;
    bool operator()(const notice& value) const noexcept { return value.what() % 2 == rest; }
};

/// All change the value; each follows it by a receiver of its own.
class watch_subject final : public subject {
    using m = watch_model;

public:
    std::string complaint(const history& calls) const override {
        return complaint_of(m(), calls);
    }
    task<> act(actor& by) override {
        if (by.chance.one_in(2)) {
            act_at_once(by);
        } else {
            co_await waits(by);
        }
    }
    void act_on_thread(actor& by) override {
        if (by.chance.one_in(2)) return act_at_once(by);
        auto& own = receivers_[by.number()];
        if (by.chance.one_in(2)) {
            begin(by, m::changed);
            by.end(end_of([&] { return own.blocking_changed() ? ok : refused; }));
        } else {
            const int rest = begin_wait_for(by);
            by.end(end_of([&] { return own.blocking_wait_for(is_with{rest}).what(); }));
        }
    }
    void unblock(actor& by) override {
        if (by.chance.one_in(3)) return ends(by);
        changes(by);
    }
    /// What nobody has seen is still to be seen, and nothing else.
    void at_rest(actor& by) override {
        for (unsigned who = 0; who < receivers_.size(); ++who) {
            const auto asks = [&](m::calls what, bool yes) {
                by.begin(what, static_cast<int>(who));
                by.end(yes ? ok : no);
            };
            asks(m::has_changed, receivers_[who].has_changed());
            asks(m::ask_end, receivers_[who].is_at_end());
        }
        by.begin(m::get);
        by.end(end_of([&] { return it_.tx.get().what(); }));
    }

private:
    static void begin(actor& by, m::calls what) {
        by.begin(what, static_cast<int>(by.number()));
    }
    /// Returns: the remainder that it wants.
    static int begin_wait_for(actor& by) {
        const int rest = by.chance.one_in(2);
        by.begin(m::wait_for,
                 static_cast<int>(by.number()) + rest * static_cast<int>(m::most_receivers));
        return rest;
    }
    template <class Fn>
    static int end_of(Fn fn) {
        try {
            return fn();
        } catch (const poison_error&) {
            return poisoned;
        } catch (const sync::channel_closed&) {
            return refused;
        } catch (const broken_off&) {
            return failed;
        }
    }
    task<> waits(actor& by) {
        auto& own = receivers_[by.number()];
        const unsigned how = by.chance.below(6);
        const auto limit = short_limit(by) * 2;
        int end = refused;
        try {
            if (how < 2) {
                begin(by, m::changed);
                const bool more = co_await own.changed();
                if (more) end = ok;
            } else if (how == 2) {
                begin(by, m::changed);
                const bool more = co_await own.changed_for(limit);
                // At the end it may have been either.
                end = more ? ok : own.is_at_end() ? cancelled : timed_out;
            } else if (how == 3) {
                begin(by, m::changed);
                auto more = co_await try_with_timeout(limit, own.changed());
                end = more.is_cancelled() ? cancelled : more.value() ? ok : refused;
            } else {
                const is_with wanted{begin_wait_for(by)};
                auto wait = own.wait_for(wanted);
                if (how == 4) {
                    const notice got = co_await std::move(wait);
                    end = got.what();
                } else {
                    auto got = co_await try_with_timeout(limit, std::move(wait));
                    end = got.is_cancelled() ? static_cast<int>(cancelled) : got.value().what();
                }
            }
        } catch (const poison_error&) {
            end = poisoned;
        } catch (const sync::channel_closed&) {
            end = refused;
        } catch (const broken_off&) {
            end = failed;
        }
        by.end(end);
    }
    void changes(actor& by) {
        if (by.chance.one_in(2)) return modifies(by);
        notice next(by.new_value());
        const int value = next.what();
        by.begin(m::send, value);
        const bool moves = by.chance.one_in(2);
        int end = end_of([&] {
            if (moves) {
                it_.tx.send(std::move(next));
            } else {
                it_.tx.send(next);
            }
            return ok;
        });
        if (end != ok && next.what() != value) end = open; // what was refused is untouched
        by.end(end);
    }
    /// Puts a value there, does not want it after all, or throws half-way.
    void modifies(actor& by) {
        const int value = by.new_value();
        const unsigned how = by.chance.below(6);
        by.begin(m::modify, value);
        int before = open;
        const auto change = [&](notice& it) {
            before = it.what();
            it.set(value);
            if (how == 0) throw broken_off();
            return how != 1;
        };
        by.end(end_of([&] {
            const bool wanted = how != 1;
            if (how < 4) {
                const bool done = it_.tx.send_if_modified(change);
                if (done != wanted) return static_cast<int>(open);
                return done ? before : static_cast<int>(no);
            }
            it_.tx.send_modify(change);
            return before;
        }));
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
        auto& own = receivers_[by.number()];
        const unsigned what = by.chance.below(24);
        if (what == 0) return ends(by);
        if (what < 12) return changes(by);
        if (what == 12) {
            by.begin(m::ask_closed);
            by.end(it_.tx.is_closed() ? ok : no);
        } else if (what < 15) {
            begin(by, m::get);
            by.end(end_of([&] { return own.get().what(); }));
        } else if (what < 17) {
            begin(by, m::update);
            by.end(end_of([&] { return own.get_and_update().what(); }));
        } else if (what < 19) {
            begin(by, m::has_changed);
            by.end(own.has_changed() ? ok : no);
        } else if (what < 21) {
            begin(by, m::ask_end);
            by.end(own.is_at_end() ? ok : no);
        } else if (what == 21) {
            begin(by, m::mark_seen);
            own.mark_unchanged();
            by.end(ok);
        } else if (what == 22) {
            begin(by, m::mark_unseen);
            own.mark_changed();
            by.end(ok);
        } else {
            begin(by, m::renew);
            own = it_.tx.subscribe();
            by.end(ok);
        }
    }

    sync::watch::halves<notice> it_ = sync::watch::channel(notice(m::initial_value));
    std::array<sync::watch::receiver<notice>, m::most_receivers> receivers_{it_.rx, it_.rx,
                                                                            it_.rx, it_.rx};
};

} // namespace toadstone::tests::linear

#endif
