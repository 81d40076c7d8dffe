// Locks that are waited for, behind that face.
#ifndef TOADSTONE_TESTS_SUPPORT_WAITING_LOCKS_HPP
#define TOADSTONE_TESTS_SUPPORT_WAITING_LOCKS_HPP

#include <toadstone/sync.hpp>

#include "waited_for.hpp"

#include <chrono>
#include <optional>
#include <stdexcept>

namespace toadstone::tests {

class mutex_waits : public waited_for {
public:
    explicit mutex_waits(sync::fairness order = sync::fairness::strict) : lock_(0, "", order) {}
    task<> wait(order& got, int who) override {
        auto held = co_await lock_.lock();
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto held = co_await lock_.try_lock_for(limit);
        got.push_back(held ? who : -who);
    }
    void blocking_wait() override { static_cast<void>(lock_.blocking_lock()); }
    void serve() override { held_.reset(); }
    bool may_pass() override { return lock_.try_lock().has_value(); }

private:
    sync::mutex<int> lock_;
    std::optional<sync::mutex<int>::guard> held_ = lock_.try_lock();
};
class batched_mutex_waits final : public mutex_waits {
public:
    batched_mutex_waits() : mutex_waits(sync::fairness::batched) {}
};

/// Waits for the repair of poisoned data.
class repair_waits final : public waited_for {
public:
    repair_waits() { held_->poison("for the test"); }
    task<> wait(order& got, int who) override {
        auto held = co_await lock_.lock(sync::wait_recovery);
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        return limited(got, who, limit);
    }
    void serve() override {
        if (held_) held_->clear_poison();
        held_.reset();
    }
    bool may_pass() override { return lock_.try_lock().has_value(); }

private:
    sync::mutex<int> lock_;
    std::optional<sync::mutex<int>::guard> held_ = lock_.try_lock();
};

/// Of one worker. A task has it first.
class local_mutex_waits final : public waited_for {
public:
    void begin(stepped& w) override {
        w.spawn(hold(lock_, let_go_)).detach();
        w.settle();
    }
    task<> wait(order& got, int who) override { return pass(lock_, got, who); }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        return limited(got, who, limit);
    }
    void serve() override { let_go_.open(); }
    bool may_pass() override {
        try {
            static_cast<void>(lock_.get_mut());
            return true;
        } catch (const poison_error&) {
            return true; // its first holder was torn down; nobody has it
        } catch (const std::logic_error&) {
            return false;
        }
    }

private:
    sync::local_mutex<int> lock_;
    gate let_go_;
};

class read_waits final : public waited_for {
public:
    task<> wait(order& got, int who) override {
        auto held = co_await lock_.read();
        got.push_back(who);
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        auto held = co_await lock_.try_read_for(limit);
        got.push_back(held ? who : -who);
    }
    void blocking_wait() override { static_cast<void>(lock_.blocking_read()); }
    void serve() override { held_.reset(); }
    bool may_pass() override { return lock_.try_write().has_value(); }

private:
    sync::shared_mutex<int> lock_;
    std::optional<sync::shared_mutex<int>::guard> held_ = lock_.try_write();
};

/// Waits to write while there are readers; or, poisoned, until somebody has repaired it.
template <bool ForRepair>
class shared_waits final : public waited_for {
    using writer = std::optional<sync::shared_mutex<int>::guard>;

public:
    shared_waits() {
        if constexpr (ForRepair) {
            held_ = lock_.try_write();
            held_->poison("for the test");
        } else {
            reads_.emplace(lock_.try_read().value());
        }
    }
    task<> wait(order& got, int who) override {
        if constexpr (ForRepair) {
            auto held = co_await lock_.write(sync::wait_recovery);
            got.push_back(who);
        } else {
            auto held = co_await lock_.write();
            got.push_back(who);
        }
    }
    task<> wait_for(order& got, int who, std::chrono::nanoseconds limit) override {
        if constexpr (ForRepair) {
            co_await limited(got, who, limit);
        } else {
            auto held = co_await lock_.try_write_for(limit);
            got.push_back(held ? who : -who);
        }
    }
    void blocking_wait() override { static_cast<void>(lock_.blocking_write()); }
    void serve() override {
        reads_.reset();
        if (held_) held_->clear_poison();
        held_.reset();
    }
    bool may_pass() override { return lock_.try_write().has_value(); }

private:
    sync::shared_mutex<int> lock_;
    writer held_;
    std::optional<sync::read_guard<int>> reads_;
};

} // namespace toadstone::tests

#endif
