// The semaphore, the events, the latch and the barrier, called at random by actors, for the
// recorder of histories.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_SIGNAL_SUBJECTS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_SIGNAL_SUBJECTS_HPP

#include <toadstone/sync.hpp>

#include "support/linear/runner.hpp"
#include "support/linear/signal_models.hpp"

#include <memory>
#include <string>
#include <utility>

namespace toadstone::tests::linear {

class semaphore_subject final : public subject {
    using m = semaphore_model;

public:
    explicit semaphore_subject(unsigned permits) : permits_(permits), it_(permits) {}
    std::string complaint(const history& calls) const override {
        return complaint_of(m(static_cast<unsigned char>(permits_)), calls);
    }
    task<> act(actor& by) override {
        const int wanted = 1 + static_cast<int>(by.chance.below(2));
        const auto count = static_cast<std::size_t>(wanted);
        switch (by.chance.below(8)) {
        case 0:
        case 1: {
            by.begin(m::acquire, wanted);
            std::optional<sync::semaphore::permit> held;
            int end = ok;
            try {
                const auto limit = short_limit(by);
                held = co_await it_.try_acquire_for(limit, count);
                end = held ? ok : timed_out;
            } catch (const sync::closed_error&) {
                end = refused;
            }
            by.end(end);
            if (held) hold(by, std::move(*held));
            break;
        }
        case 2:
        case 3:
        case 4: {
            by.begin(m::acquire, wanted);
            std::optional<sync::semaphore::permit> held;
            try {
                held = co_await it_.acquire(count);
            } catch (const sync::closed_error&) {
            }
            by.end(held ? ok : refused);
            if (held) {
                const gives_back back{by, *held};
                co_await yield_now(); // and may be stopped here
            }
            break;
        }
        case 5: {
            // A limit around the leaf itself.
            by.begin(m::acquire, wanted);
            const auto limit = short_limit(by);
            auto end = co_await try_with_timeout(limit, it_.acquire(count));
            by.end(end.has_value()      ? ok
                   : end.is_cancelled() ? static_cast<int>(cancelled)
                                        : refused);
            if (end.has_value()) hold(by, std::move(end).value());
            break;
        }
        default:
            act_at_once(by, wanted);
        }
    }
    void act_on_thread(actor& by) override {
        const int wanted = 1 + static_cast<int>(by.chance.below(2));
        if (by.chance.one_in(2)) return act_at_once(by, wanted);
        by.begin(m::acquire, wanted);
        std::optional<sync::semaphore::permit> held;
        try {
            held = it_.blocking_acquire(static_cast<std::size_t>(wanted));
        } catch (const sync::closed_error&) {
        }
        by.end(held ? ok : refused);
        if (held) hold(by, std::move(*held));
    }
    void unblock(actor& by) override {
        by.begin(m::close);
        it_.close();
        by.end(ok);
    }
    void at_rest(actor& by) override {
        by.begin(m::ask_free);
        by.end(first_value + static_cast<int>(it_.available()));
    }

private:
    /// Permits come back, and the model is told, however their holder ends.
    struct gives_back {
        actor& by;
        sync::semaphore::permit& held;
        ~gives_back() {
            by.begin(m::add, static_cast<int>(held.count()));
            held.release();
            by.end(ok);
        }
    };
    void hold(actor& by, sync::semaphore::permit held) {
        if (by.chance.one_in(8)) {
            held.forget();
        } else {
            const gives_back back{by, held};
        }
    }
    void act_at_once(actor& by, int wanted) {
        if (by.chance.one_in(8)) return unblock(by);
        if (by.chance.one_in(4)) {
            by.begin(m::add, wanted);
            it_.add_permits(static_cast<std::size_t>(wanted));
            by.end(ok);
        } else if (by.chance.one_in(4)) {
            by.begin(m::ask_closed);
            by.end(it_.is_closed() ? ok : no);
        } else {
            by.begin(m::try_acquire, wanted);
            std::optional<sync::semaphore::permit> held;
            int end = no;
            try {
                held = it_.try_acquire(static_cast<std::size_t>(wanted));
                if (held) end = ok;
            } catch (const sync::closed_error&) {
                end = refused;
            }
            by.end(end);
            if (held) hold(by, std::move(*held));
        }
    }

    unsigned permits_;
    sync::semaphore it_;
};

/// Both events, and the latch.
template <class Event>
class event_subject final : public subject {
    using m = event_model;
    static constexpr bool for_one = std::is_same_v<Event, sync::auto_reset_event>;
    static constexpr bool counts = std::is_same_v<Event, sync::latch>;
    static constexpr unsigned char parties = 4;

public:
    std::string complaint(const history& calls) const override {
        return complaint_of(m(for_one, counts ? parties : 0), calls);
    }
    task<> act(actor& by) override {
        switch (by.chance.below(6)) {
        case 0:
        case 1:
            by.begin(m::wait);
            co_await it_.wait();
            by.end(ok);
            break;
        case 2: {
            by.begin(m::wait);
            const auto limit = short_limit(by);
            const bool in_time = co_await it_.wait_for(limit);
            by.end(in_time ? ok : timed_out);
            break;
        }
        case 3: {
            by.begin(m::wait);
            const auto limit = short_limit(by);
            auto end = co_await try_with_timeout(limit, it_.wait());
            by.end(end.has_value() ? ok : cancelled);
            break;
        }
        default:
            act_at_once(by);
        }
    }
    void act_on_thread(actor& by) override {
        if (by.chance.one_in(2)) return act_at_once(by);
        by.begin(m::wait);
        it_.blocking_wait();
        by.end(ok);
    }
    void unblock(actor& by) override {
        if constexpr (counts) {
            for (unsigned i = 0; i < parties; ++i) count_down(by);
        } else {
            by.begin(m::set);
            it_.set();
            by.end(ok);
        }
    }
    void at_rest(actor& by) override {
        if constexpr (for_one) {
            by.begin(m::try_wait);
            by.end(it_.try_wait() ? ok : no);
        } else {
            act_at_once(by);
        }
    }

private:
    void act_at_once(actor& by) {
        const unsigned what = by.chance.below(4);
        if constexpr (counts) {
            if (what < 2) return count_down(by);
            by.begin(m::ask);
            by.end(it_.try_wait() ? ok : no);
        } else if (what < 2) {
            unblock(by);
        } else if (what == 2) {
            by.begin(m::reset);
            it_.reset();
            by.end(ok);
        } else if constexpr (for_one) {
            by.begin(m::try_wait);
            by.end(it_.try_wait() ? ok : no);
        } else {
            by.begin(m::ask);
            by.end(it_.is_set() ? ok : no);
        }
    }
    /// Never below zero: that is an error, and another test's.
    void count_down(actor& by) {
        if (counted_.fetch_add(1, std::memory_order_relaxed) >= parties) return;
        by.begin(m::count_down, 1);
        if constexpr (counts) it_.count_down();
        by.end(ok);
    }
    static Event made() {
        if constexpr (counts) {
            return Event(parties);
        } else {
            return Event();
        }
    }

    std::atomic<unsigned> counted_{0};
    Event it_ = made();
};

class barrier_subject final : public subject {
    using m = barrier_model;
    static constexpr unsigned char parties = 2;

public:
    std::string complaint(const history& calls) const override {
        return complaint_of(m(parties), calls);
    }
    task<> act(actor& by) override {
        int end = refused;
        switch (by.chance.below(8)) {
        case 0: {
            by.begin(m::arrive_in_time);
            const auto limit = short_limit(by);
            try {
                const bool is_last = co_await it_.arrive_and_wait_for(limit);
                end = is_last ? last : ok;
            } catch (const sync::barrier_broken&) {
            }
            by.end(end);
            break;
        }
        case 1: {
            by.begin(m::arrive);
            const auto limit = short_limit(by);
            auto arrived = co_await try_with_timeout(limit, it_.arrive_and_wait());
            by.end(arrived.is_cancelled() ? static_cast<int>(cancelled)
                   : !arrived.has_value() ? static_cast<int>(refused)
                   : arrived.value()      ? last
                                          : ok);
            break;
        }
        case 2:
        case 3:
            act_at_once(by);
            break;
        default:
            by.begin(m::arrive);
            try {
                const bool is_last = co_await it_.arrive_and_wait();
                end = is_last ? last : ok;
            } catch (const sync::barrier_broken&) {
            }
            by.end(end);
        }
    }
    void act_on_thread(actor& by) override {
        if (by.chance.one_in(3)) return act_at_once(by);
        by.begin(m::arrive);
        int end = refused;
        try {
            end = it_.blocking_arrive_and_wait() ? last : ok;
        } catch (const sync::barrier_broken&) {
        }
        by.end(end);
    }
    void unblock(actor& by) override {
        by.begin(m::break_now);
        it_.break_now();
        by.end(ok);
    }
    void at_rest(actor& by) override {
        ask_waiting(by);
        act_at_once(by);
    }

private:
    void ask_waiting(actor& by) {
        by.begin(m::ask_waiting);
        by.end(first_value + static_cast<int>(it_.waiting()));
    }
    void act_at_once(actor& by) {
        if (by.chance.one_in(8)) return unblock(by);
        if (!by.chance.one_in(4)) {
            ask_waiting(by); // whose wait then ends
            by.begin(m::reset);
            it_.reset();
            by.end(ok);
        } else {
            by.begin(m::ask_broken);
            by.end(it_.is_broken() ? ok : no);
        }
    }

    sync::barrier it_{parties};
};

} // namespace toadstone::tests::linear

#endif
