// scope_exit, scope_success, scope_fail: by the level, and so right under cancellation too.
#ifndef TOADSTONE_RUNTIME_SCOPE_GUARD_HPP
#define TOADSTONE_RUNTIME_SCOPE_GUARD_HPP

#include <toadstone/runtime/detail/level.hpp>

#include <type_traits>
#include <utility>

namespace toadstone {
namespace detail {

enum class scope_when : unsigned char { always, success, failure };

/// What the three have in common.
template <class Fn, scope_when When>
class [[nodiscard("name it: a temporary ends at once")]] scope_action {
public:
    /// Keeps `fn`, which runs at the end of the scope.
    explicit scope_action(Fn fn) noexcept(std::is_nothrow_move_constructible_v<Fn>)
        : fn_(std::move(fn)), born_(level()) {}
    scope_action(const scope_action&) = delete;
    scope_action& operator=(const scope_action&) = delete;

    ~scope_action() noexcept(When != scope_when::success) {
        if (!armed_) return;
        if constexpr (When == scope_when::always) {
            fn_();
        } else {
            const bool failing = level() > born_;
            if (failing == (When == scope_when::failure)) fn_();
        }
    }

    /// The action will not run.
    void release() noexcept { armed_ = false; }

private:
    Fn fn_;
    unsigned born_;
    bool armed_ = true;
};

} // namespace detail

/// Runs `fn` when the scope ends, however it ends.
template <class Fn>
class [[nodiscard]] scope_exit : public detail::scope_action<Fn, detail::scope_when::always> {
public:
    /// Keeps `fn`, which runs at the end of the scope.
    explicit scope_exit(Fn fn)
        : detail::scope_action<Fn, detail::scope_when::always>(std::move(fn)) {}
};

/// Runs `fn` when the scope ends in normal control flow. `fn` may throw.
template <class Fn>
class [[nodiscard]] scope_success
    : public detail::scope_action<Fn, detail::scope_when::success> {
public:
    /// Keeps `fn`, which runs at the end of the scope, if nothing interrupts it.
    explicit scope_success(Fn fn)
        : detail::scope_action<Fn, detail::scope_when::success>(std::move(fn)) {}
};

/// Runs `fn` when the scope ends by an exception, or by a teardown: a cancelled or abandoned
/// coroutine. std::uncaught_exceptions() sees only the first of these.
template <class Fn>
class [[nodiscard]] scope_fail : public detail::scope_action<Fn, detail::scope_when::failure> {
public:
    /// Keeps `fn`, which runs if something interrupts the scope.
    explicit scope_fail(Fn fn)
        : detail::scope_action<Fn, detail::scope_when::failure>(std::move(fn)) {}
};

} // namespace toadstone

#endif
