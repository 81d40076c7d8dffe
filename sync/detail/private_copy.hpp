// A lock with a copy of its data, which nobody else sees before it takes the data's place.
#ifndef TOADSTONE_SYNC_DETAIL_PRIVATE_COPY_HPP
#define TOADSTONE_SYNC_DETAIL_PRIVATE_COPY_HPP

#include <toadstone/sync/detail/guard_core.hpp>

#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::sync::detail {

/// `Core`: that of the guards of a mutex, or of a local mutex.
template <class T, class Core>
class private_copy {
    static_assert(std::is_copy_constructible_v<T>, "a section on a copy copies the data");
    static_assert(std::is_nothrow_move_constructible_v<T> && std::is_nothrow_swappable_v<T>,
                  "a copy takes the place of the data without exceptions");

public:
    /// Errors: what copying throws; the lock goes on, clean. Until set_consistent(false),
    /// whatever ends the section leaves it clean.
    private_copy(typename Core::seed&& seed, T& value)
        : core_(std::move(seed)), value_(&value), copy_(copy_under(core_, value)) {}
    private_copy(Core&& core, T& value)
        : core_(std::move(core)), value_(&value), copy_(copy_under(core_, value)) {}
    private_copy(private_copy&&) noexcept = default;
    /// Of one that holds nothing.
    private_copy& operator=(private_copy&& other) noexcept {
        core_ = std::move(other.core_);
        value_ = other.value_;
        using std::swap;
        swap(copy_, other.copy_);
        return *this;
    }

    [[nodiscard]] bool held() const noexcept {
        if (!core_.mutex()) return false;
        core_.check_place();
        return true;
    }
    /// Errors: std::logic_error if nothing is held.
    [[nodiscard]] T& copy() const {
        if (!core_.mutex()) refuse();
        core_.touch();
        return copy_;
    }
    [[nodiscard]] const T& view() const {
        if (!held()) refuse();
        return copy_;
    }
    [[nodiscard]] auto& mutex() const {
        if (!held()) refuse();
        return *core_.mutex();
    }
    void poison(std::string_view why) {
        if (!held()) refuse();
        core_.declare_poisoned(why);
        core_.release_clean();
    }

    // Of what is held. What was there before dies with the copy, when the lock has gone on.
    void commit() noexcept {
        if constexpr (std::is_trivially_copyable_v<T>) {
            *value_ = copy_;
        } else {
            using std::swap;
            swap(*value_, copy_);
        }
        core_.release_clean();
    }
    void discard() noexcept { core_.release_clean(); }
    [[nodiscard]] Core& core() noexcept { return core_; }

    [[noreturn, gnu::cold]] static void refuse() {
        toadstone::detail::throw_misuse("a guard gives access only while it holds the lock");
    }

private:
    static T copy_under(Core& core, const T& value) {
        core.set_consistent(true);
        return T(value);
    }

    Core core_;
    T* value_;
    mutable T copy_;
};

} // namespace toadstone::sync::detail

#endif
