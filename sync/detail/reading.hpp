// What all guards of a shared mutex have that only read.
#ifndef TOADSTONE_SYNC_DETAIL_READING_HPP
#define TOADSTONE_SYNC_DETAIL_READING_HPP

#include <toadstone/sync/detail/placed.hpp>
#include <toadstone/sync/detail/shared_core.hpp>

#include <utility>

namespace toadstone::sync::detail {

/// `T`: what the guard has access to itself; its users read.
template <class T>
class reading {
public:
    /// Errors: std::logic_error if it holds nothing, as of every member that needs the lock.
    [[nodiscard]] const T& operator*() const {
        check();
        return *value_;
    }
    /// The data, as of every guard.
    [[nodiscard]] const T* operator->() const {
        check();
        return value_;
    }
    /// False after unlock(), after a move, and when the guard has become another.
    [[nodiscard]] bool held() const noexcept {
        if (!core_) return false;
        place_.check();
        return true;
    }
    /// held().
    explicit operator bool() const noexcept { return held(); }

protected:
    reading(shared_core& core, T& value) noexcept : core_(&core), value_(&value) {}
    reading(reading&& other) noexcept
        : place_(other.place_), core_(other.let_go()), value_(other.value_) {}
    /// Of one that holds nothing.
    reading& operator=(reading&& other) noexcept {
        other.place_.check();
        core_ = other.let_go();
        value_ = other.value_;
        return *this;
    }
    ~reading() = default;

    void check() const {
        if (!held()) {
            toadstone::detail::throw_misuse(
                "a guard gives access only while it holds the lock");
        }
    }
    /// The lock is somebody else's to release.
    shared_core* let_go() noexcept { return std::exchange(core_, nullptr); }

    placed place_;
    shared_core* core_;
    T* value_;
};

} // namespace toadstone::sync::detail

#endif
