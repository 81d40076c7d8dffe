// open_section, of a local mutex.
#ifndef TOADSTONE_SYNC_DETAIL_LOCAL_OPEN_SECTION_HPP
#define TOADSTONE_SYNC_DETAIL_LOCAL_OPEN_SECTION_HPP

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/sync/detail/local_core.hpp>
#include <toadstone/sync/detail/local_guard_core.hpp>

#include <exception>
#include <optional>

namespace toadstone::sync::detail {

/// What is said of open_section holds of this one.
class local_open_section final : local_waiter {
public:
    explicit local_open_section(local_guard_core& guard) noexcept
        : local_waiter(wants::anything, state::idle), guard_(&guard) {}

    void prepare(toadstone::detail::context& task, const char* rule);
    void find_holder();
    void open() noexcept { section_.emplace(guard_->let_go().open()); }
    [[nodiscard]] bool lock_again() noexcept {
        return mutex_->acquire_or_queue(*this, *task_, section_->locked_at);
    }
    [[nodiscard]] bool give_up() noexcept { return mutex_->withdraw(*this, state::withdrawn); }
    [[nodiscard]] bool locked() const noexcept { return how() == state::granted; }

    void spare_guard(bool stops = false) noexcept;
    void close() noexcept { guard_->close(*mutex_, *section_, *holder_); }
    void close_healthy();
    void close_after(const std::exception_ptr& failure);

private:
    void set_untouched() noexcept {
        section_->section.opened = true;
        section_->untouched = true;
    }

    local_guard_core* guard_;
    local_core* mutex_ = nullptr;
    toadstone::detail::context* task_ = nullptr;
    toadstone::detail::context* holder_ = nullptr;
    std::optional<local_core::opened> section_;
};

} // namespace toadstone::sync::detail

#endif
