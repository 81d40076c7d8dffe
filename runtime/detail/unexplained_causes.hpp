// Causes that wait for their exception, and a thread whose exceptions are not its tasks'.
#ifndef TOADSTONE_RUNTIME_DETAIL_UNEXPLAINED_CAUSES_HPP
#define TOADSTONE_RUNTIME_DETAIL_UNEXPLAINED_CAUSES_HPP

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/level.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <exception>
#include <memory>
#include <utility>

namespace toadstone::detail {

// Causes made on this thread by an exception that nobody has caught yet. Usually none, so the
// runtime asks the slice first: its flag is read at the end of every slice.
struct unexplained_cause {
    std::weak_ptr<cause_state> cause;
    unsigned slice = 0;           // in which it happened
    std::exception_ptr handled{}; // was being handled already, so it is not the one
};

/// Weak, and few: where no slice ends, on a plain thread, they may wait for long. Poisoning
/// needs no memory for them.
class unexplained_causes {
public:
    void push(unexplained_cause&& next) noexcept {
        if (count_ == list_.size()) {
            std::move(list_.begin() + 1, list_.end(), list_.begin());
            --count_;
        }
        list_[count_++] = std::move(next);
    }
    void clear() noexcept {
        while (count_ > 0) list_[--count_] = {};
    }
    [[nodiscard]] const unexplained_cause* begin() const noexcept { return list_.data(); }
    [[nodiscard]] const unexplained_cause* end() const noexcept { return begin() + count_; }

private:
    std::array<unexplained_cause, 16> list_;
    std::size_t count_ = 0;
};

/// For a thread that runs tasks in the middle of what else it does: what it has caught, what is
/// in flight, and its causes that wait for an exception, are not theirs.
class own_exceptions_aside {
public:
    own_exceptions_aside() noexcept;
    ~own_exceptions_aside();
    own_exceptions_aside(const own_exceptions_aside&) = delete;
    own_exceptions_aside& operator=(const own_exceptions_aside&) = delete;

private:
    unexplained_causes list_; ///< of the tasks
    exception_globals globals_;
    bool unexplained_;
    unexplained_causes* outer_;
};

} // namespace toadstone::detail

#endif
