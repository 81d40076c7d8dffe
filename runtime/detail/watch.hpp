// What every poisoning guard remembers of its birth, and the verdict at its death.
#ifndef TOADSTONE_RUNTIME_DETAIL_WATCH_HPP
#define TOADSTONE_RUNTIME_DETAIL_WATCH_HPP

#include <toadstone/runtime/detail/level.hpp>

#include <source_location>

namespace toadstone::detail {

struct watch {
    std::source_location where; ///< where the section began
    unsigned born = 0;          ///< the level at birth; kept when the guard moves
    bool consistent = false;    ///< leaving early does no harm just now
    bool strict = false;        ///< interrupted unless disarmed, whatever the level says

    /// For a section that ordinary code begins.
    [[nodiscard]] static watch begin(std::source_location where) noexcept {
        watch made;
        made.where = where;
        made.born = level();
        return made;
    }
    /// For a section that a co_await begins: every resumption starts a slice, and there is no
    /// co_await in destructors and handlers, so the level is 0 by construction.
    [[nodiscard]] static watch begin_awaited(std::source_location where) noexcept {
        watch made;
        made.where = where;
        return made;
    }

    /// A guard that a destructor acquired during unwinding, and that outlived that, goes on in
    /// calmer control flow. The level only ever falls: nothing is laundered.
    void rebase() noexcept {
        if (born == 0) return;
        const unsigned now = level();
        if (now < born) born = now;
    }

    /// It dies where it should not.
    [[nodiscard]] bool interrupted() const noexcept {
        return !consistent && (strict || level() > born);
    }
};

} // namespace toadstone::detail

#endif
