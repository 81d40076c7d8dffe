// Mutexes, called at random by actors, for the recorder of histories.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_LOCK_SUBJECTS_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_LOCK_SUBJECTS_HPP

#include <toadstone/sync.hpp>

#include "support/linear/lock_models.hpp"
#include "support/linear/runner.hpp"

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>

namespace toadstone::tests::linear {

/// What a section is left by, told to the model: how, its owner says before.
template <class Guard>
class section_end {
public:
    section_end(actor& by, Guard&& held, int how) : how(how), by_(by), held_(std::move(held)) {}
    section_end(const section_end&) = delete;
    section_end& operator=(const section_end&) = delete;
    ~section_end() {
        by_.begin(how);
        held_.reset();
        by_.end(ok);
    }
    Guard& operator*() { return *held_; }
    int how;

private:
    actor& by_;
    std::optional<Guard> held_;
};

/// The calls that both mutexes have; the second one's are named otherwise.
template <class Mutex, sync::fairness Order = sync::fairness::strict>
class lock_subject : public subject {
protected:
    using m = lock_model; // in what order they asked, overlapping calls do not tell
    using guard = typename Mutex::guard;
    static constexpr bool shared = std::is_same_v<Mutex, sync::shared_mutex<int>>;
    /// It has one worker, and nobody blocks.
    static constexpr bool local = std::is_same_v<Mutex, sync::local_mutex<int>>;

public:
    std::string complaint(const history& calls) const override {
        return complaint_of(m(), calls);
    }
    task<> act(actor& by) override {
        try {
            switch (by.chance.below(10)) {
            case 0:
                co_await looks_anyhow(by);
                break;
            case 1:
                co_await repairs(by);
                break;
            case 2:
                co_await waits_in_time(by);
                break;
            case 3:
                co_await waits_within(by);
                break;
            case 4:
                co_await waits_patiently(by);
                break;
            case 5:
            case 6:
                act_at_once(by);
                break;
            default:
                co_await waits(by);
            }
        } catch (const broken_off&) {
        }
    }
    void act_on_thread(actor& by) override {
        try {
            if (by.chance.one_in(2)) return act_at_once(by);
            by.begin(m::lock);
            std::optional<guard> held;
            try {
                if constexpr (shared) {
                    held = it_.blocking_write();
                } else if constexpr (!local) {
                    held = it_.blocking_lock();
                }
            } catch (const poison_error&) {
            }
            by.end(held ? ok : poisoned);
            if (held) passes_through(by, std::move(*held));
        } catch (const broken_off&) {
        }
    }
    void unblock(actor& by) override {
        try {
            tries(by);
        } catch (const broken_off&) {
        }
    }
    void at_rest(actor& by) override { unblock(by); }

protected:
    void tries(actor& by) {
        by.begin(m::try_lock);
        std::optional<guard> held;
        int end = no;
        try {
            held = try_lock();
            if (held) end = ok;
        } catch (const poison_error&) {
            end = poisoned;
        }
        by.end(end);
        if (held) passes_through(by, std::move(*held));
    }
    std::optional<guard> try_lock() {
        if constexpr (shared) {
            return it_.try_write();
        } else {
            return it_.try_lock();
        }
    }
    auto lock() {
        if constexpr (shared) {
            return it_.write();
        } else {
            return it_.lock();
        }
    }

    auto lock_patiently() {
        if constexpr (shared) {
            return it_.write(sync::wait_recovery);
        } else {
            return it_.lock(sync::wait_recovery);
        }
    }

    /// A section with awaits in it: it may be torn down, or throw.
    task<> stays(actor& by, guard held, int how_it_ends = m::unlock) {
        section_end<guard> section(by, std::move(held), m::unlock_poisoned);
        ++**section;
        co_await lingers(by);
        if (by.chance.one_in(5)) throw broken_off();
        ++**section;
        section.how = how_it_ends;
    }
    void passes_through(actor& by, guard held) {
        section_end<guard> section(by, std::move(held), m::unlock_poisoned);
        ++**section;
        if (by.chance.one_in(4)) std::this_thread::yield(); // a worker's, too
        if (by.chance.one_in(5)) throw broken_off();
        section.how = m::unlock;
    }
    virtual void act_at_once(actor& by) {
        if (by.chance.one_in(4)) {
            by.begin(m::ask_poisoned);
            by.end(it_.is_poisoned() ? ok : no);
        } else {
            tries(by);
        }
    }
    virtual task<> waits(actor& by) {
        by.begin(m::lock);
        std::optional<guard> held;
        try {
            held = co_await lock();
        } catch (const poison_error&) {
        }
        by.end(held ? ok : poisoned);
        if (held) co_await stays(by, std::move(*held));
    }
    /// A limit of the lock's own.
    virtual task<> waits_in_time(actor& by) {
        by.begin(m::lock);
        std::optional<guard> held;
        int end = poisoned;
        const auto limit = short_limit(by);
        try {
            if constexpr (shared) {
                held = co_await it_.try_write_for(limit);
            } else {
                held = co_await it_.try_lock_for(limit);
            }
            end = held ? ok : timed_out;
        } catch (const poison_error&) {
        }
        by.end(end);
        if (held) co_await stays(by, std::move(*held));
    }
    /// A limit around the leaf.
    task<> waits_within(actor& by) {
        by.begin(m::lock);
        const auto limit = short_limit(by);
        auto end = co_await try_with_timeout(limit, lock());
        by.end(end.has_value()      ? static_cast<int>(ok)
               : end.is_cancelled() ? static_cast<int>(cancelled)
                                    : static_cast<int>(poisoned));
        if (end.has_value()) co_await stays(by, std::move(end).value());
    }
    task<> waits_patiently(actor& by) {
        by.begin(m::lock_patiently);
        std::optional<guard> held;
        const auto limit = short_limit(by);
        auto end = co_await try_with_timeout(limit, lock_patiently());
        if (end.has_value()) held = std::move(end).value();
        by.end(held ? ok : cancelled);
        if (held) co_await stays(by, std::move(*held));
    }
    task<> looks_anyhow(actor& by) {
        by.begin(m::lock_or_poison);
        std::optional<guard> held;
        bool healthy = false;
        if constexpr (shared) {
            auto looked = co_await it_.write_or_poison();
            healthy = static_cast<bool>(looked);
            held = looked.into_guard();
        } else {
            auto looked = co_await it_.lock_or_poison();
            healthy = static_cast<bool>(looked);
            held = looked.into_guard();
        }
        by.end(healthy ? ok : poisoned);
        if (!healthy && by.chance.one_in(2)) {
            by.begin(m::clear_poison);
            held->clear_poison();
            by.end(ok);
        }
        co_await stays(by, std::move(*held));
    }
    task<> repairs(actor& by) {
        by.begin(m::recover);
        auto repair = co_await it_.recover();
        by.end(repair.needed() ? poisoned : ok);
        if (repair.needed() && by.chance.one_in(3)) {
            by.begin(m::give_up_repair);
            {
                auto given_up = std::move(repair);
            }
            by.end(ok);
            co_return;
        }
        by.begin(m::clear_poison);
        auto held = repair.complete();
        by.end(ok);
        co_await stays(by, std::move(held));
    }

    static Mutex made() {
        if constexpr (Order == sync::fairness::batched) {
            return Mutex(0, "it", Order);
        } else {
            return Mutex(0, "it");
        }
    }
    Mutex it_{made()};
};

using mutex_subject = lock_subject<sync::mutex<int>>;
using batched_subject = lock_subject<sync::mutex<int>, sync::fairness::batched>;
using local_subject = lock_subject<sync::local_mutex<int>>;

class shared_subject final : public lock_subject<sync::shared_mutex<int>> {
    using base = lock_subject<sync::shared_mutex<int>>;
    using reader = sync::read_guard<int>;

    /// A reader's end.
    struct reading_end {
        actor& by;
        reader held;
        ~reading_end() {
            const int seen = *held;
            static_cast<void>(seen);
            by.begin(m::end_reading);
            {
                reader last = std::move(held);
            }
            by.end(ok);
        }
    };
    task<> reads(actor& by, reader held) {
        const reading_end reading{by, std::move(held)};
        co_await lingers(by);
        if (by.chance.one_in(5)) throw broken_off(); // poisons nothing
    }
    void act_at_once(actor& by) override {
        if (by.chance.one_in(2)) return base::act_at_once(by);
        by.begin(m::try_read);
        std::optional<reader> held;
        int end = no;
        try {
            held.emplace(it_.try_read().value());
            end = ok;
        } catch (const std::bad_optional_access&) {
        } catch (const poison_error&) {
            end = poisoned;
        }
        by.end(end);
        if (held) const reading_end reading{by, std::move(*held)};
    }
    task<> waits(actor& by) override {
        if (by.chance.one_in(3)) co_return co_await base::waits(by);
        if (by.chance.one_in(4)) co_return co_await writes_and_reads(by);
        by.begin(m::read);
        std::optional<reader> held;
        try {
            held.emplace(co_await it_.read());
        } catch (const poison_error&) {
        }
        by.end(held ? ok : poisoned);
        if (held) co_await reads(by, std::move(*held));
    }
    task<> writes_and_reads(actor& by) {
        by.begin(m::lock);
        std::optional<guard> held;
        try {
            held = co_await it_.write();
        } catch (const poison_error&) {
        }
        by.end(held ? ok : poisoned);
        if (!held) co_return;
        by.begin(m::downgrade);
        reader goes_on = it_.downgrade(std::move(*held));
        by.end(ok);
        co_await reads(by, std::move(goes_on));
    }
    task<> waits_in_time(actor& by) override {
        if (by.chance.one_in(2)) co_return co_await base::waits_in_time(by);
        const auto limit = short_limit(by);
        if (by.chance.one_in(2)) {
            by.begin(m::read_or_poison);
            auto looked = co_await try_with_timeout(limit, it_.read_or_poison());
            by.end(looked.is_cancelled() ? static_cast<int>(cancelled)
                   : looked.value()      ? static_cast<int>(ok)
                                         : static_cast<int>(poisoned));
            if (looked.has_value()) co_await reads(by, looked.value().into_guard());
            co_return;
        }
        by.begin(m::read);
        std::optional<reader> held;
        int end = poisoned;
        try {
            auto got = co_await it_.try_read_for(limit);
            end = got ? ok : timed_out;
            if (got) held.emplace(std::move(*got));
        } catch (const poison_error&) {
        }
        by.end(end);
        if (held) co_await reads(by, std::move(*held));
    }
};

} // namespace toadstone::tests::linear

#endif
