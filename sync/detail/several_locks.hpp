// Locks that are taken one after the other, in an order that all who do so share.
#ifndef TOADSTONE_SYNC_DETAIL_SEVERAL_LOCKS_HPP
#define TOADSTONE_SYNC_DETAIL_SEVERAL_LOCKS_HPP

#include <toadstone/sync/detail/guard_core.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>

namespace toadstone::sync::detail {

struct lock_to_take {
    mutex_core* core;
    policies policy;
};

/// mutex::lock() for whoever does not know the data.
class core_awaiter : public lock_leaf {
public:
    core_awaiter(mutex_core& core, policies policy) noexcept
        : lock_leaf(core, wants::healthy, policy) {}
    guard_core await_resume() {
        check();
        return guard_core(make_guard());
    }
};

/// As long as not all are held, each goes back clean, whatever happens.
template <std::size_t N>
class several_locks {
public:
    explicit several_locks(const std::array<lock_to_take, N>& all) noexcept : all_(all) {
        for (std::size_t i = 0; i < N; ++i) { // by insertion: there are few
            std::size_t at = i;
            for (; at > 0 && is_before(i, order_[at - 1]); --at) order_[at] = order_[at - 1];
            order_[at] = i;
        }
    }
    /// The one to take as the `n`th.
    [[nodiscard]] const lock_to_take& next(std::size_t n) const noexcept {
        return all_[order_[n]];
    }
    /// It has been taken.
    void keep(std::size_t n, guard_core&& one) noexcept {
        auto& held = held_[order_[n]];
        held.emplace(std::move(one));
        held->set_consistent(true);
    }
    /// In the order of the arguments.
    [[nodiscard]] guard_core& held(std::size_t argument) noexcept { return *held_[argument]; }

private:
    [[nodiscard]] bool is_before(std::size_t one, std::size_t other) const noexcept {
        return reinterpret_cast<std::uintptr_t>(all_[one].core) <
               reinterpret_cast<std::uintptr_t>(all_[other].core);
    }

    std::array<lock_to_take, N> all_;
    std::array<std::size_t, N> order_{};
    std::array<std::optional<guard_core>, N> held_;
};

} // namespace toadstone::sync::detail

#endif
