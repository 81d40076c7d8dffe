// The condition variable and the once_cell, called at random by actors, for the recorder of
// histories.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_CONDITION_SUBJECTS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_CONDITION_SUBJECTS_HPP

#include <toadstone/sync.hpp>

#include "support/linear/condition_model.hpp"
#include "support/linear/runner.hpp"

#include <string>
#include <thread>
#include <utility>

namespace toadstone::tests::linear {

class cell_subject final : public subject {
    using c = cell_model;

public:
    std::string complaint(const history& calls) const override {
        return complaint_of(c(), calls);
    }
    task<> act(actor& by) override {
        if (by.chance.one_in(3)) {
            act_at_once(by);
            co_return;
        }
        const int value = by.new_value();
        by.begin(c::get_or_init, value);
        int end = failed;
        try {
            auto make = [&by, value] { return makes(by, value); };
            end = co_await it_.get_or_init(make);
        } catch (const broken_off&) {
        }
        by.end(end);
    }
    void act_on_thread(actor& by) override {
        if (by.chance.one_in(2)) return act_at_once(by);
        const int value = by.new_value();
        by.begin(c::get_or_init, value);
        int end = failed;
        try {
            end = it_.blocking_get_or_init([&by, value] {
                if (by.chance.one_in(2)) std::this_thread::yield();
                if (!by.chance.one_in(4)) throw broken_off();
                return value;
            });
        } catch (const broken_off&) {
        }
        by.end(end);
    }
    void unblock(actor& by) override { act_at_once(by); }
    void at_rest(actor& by) override { unblock(by); }

private:
    static task<int> makes(actor& by, int value) {
        co_await lingers(by);
        if (!by.chance.one_in(4)) throw broken_off();
        co_return value;
    }
    void act_at_once(actor& by) {
        if (by.chance.one_in(5)) {
            const int value = by.new_value();
            by.begin(c::try_set, value);
            by.end(it_.try_set(value) ? ok : no);
        } else {
            by.begin(c::get);
            const int* const value = it_.get();
            by.end(value ? *value : static_cast<int>(no));
        }
    }

    sync::once_cell<int> it_;
};

class condition_subject final : public subject {
    using c = condition_model;
    using mutex = sync::mutex<int, sync::on_cancel::release, sync::on_exception::release>;
    using guard = mutex::guard;

    /// A section's end; that of a wait that is torn down in it comes before.
    struct section {
        actor& by;
        guard held;
        ~section() {
            by.end_cancelled();
            by.begin(c::unlock);
            held.unlock();
            by.end(ok);
        }
    };

public:
    std::string complaint(const history& calls) const override {
        return complaint_of(c(), calls);
    }
    task<> act(actor& by) override {
        if (by.chance.one_in(3)) {
            act_at_once(by);
            co_return;
        }
        by.begin(c::lock);
        auto held = co_await lock_.lock();
        by.end(ok);
        section inside{by, std::move(held)};
        ++*inside.held;
        switch (by.chance.below(4)) {
        case 0:
            co_await lingers(by);
            break;
        case 1: {
            by.begin(c::wait);
            const auto limit = short_limit(by);
            const bool in_time = co_await it_.wait_for(inside.held, limit);
            by.end(in_time ? ok : timed_out);
            break;
        }
        case 2:
            notify(by);
            [[fallthrough]];
        default:
            by.begin(c::wait);
            co_await it_.wait(inside.held);
            by.end(ok);
        }
        ++*inside.held;
    }
    void act_on_thread(actor& by) override {
        if (by.chance.one_in(2)) return act_at_once(by);
        by.begin(c::lock);
        auto held = lock_.blocking_lock();
        by.end(ok);
        section inside{by, std::move(held)};
        by.begin(c::wait);
        it_.blocking_wait(inside.held);
        by.end(ok);
        ++*inside.held;
    }
    void unblock(actor& by) override {
        by.begin(c::notify_all);
        it_.notify_all();
        by.end(ok);
    }
    void at_rest(actor& by) override {
        by.begin(c::try_lock);
        const bool free = lock_.try_lock().has_value();
        by.end(free ? ok : no);
    }

private:
    void notify(actor& by) {
        if (by.chance.one_in(3)) return unblock(by);
        by.begin(c::notify_one);
        it_.notify_one();
        by.end(ok);
    }
    void act_at_once(actor& by) {
        if (by.chance.one_in(2)) return notify(by);
        by.begin(c::try_lock);
        auto held = lock_.try_lock();
        by.end(held ? ok : no);
        if (held) const section inside{by, std::move(*held)};
    }

    mutex lock_;
    sync::condition_variable it_;
};

} // namespace toadstone::tests::linear

#endif
