// aggregate_error: several failures in one exception.
#ifndef TOADSTONE_RUNTIME_AGGREGATE_ERROR_HPP
#define TOADSTONE_RUNTIME_AGGREGATE_ERROR_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <exception>
#include <memory>
#include <stdexcept>
#include <vector>

namespace toadstone {

/// Thrown where several tasks have failed and none of their exceptions can stand for the
/// others: by when_any_success() and with_supervisor(). what() tells of the first few in one
/// line: "2 tasks failed: std::runtime_error: refused; std::system_error: ...".
///
/// Poisoning: if one of the failures is a poison_error, or one is nested in it, the first such
///     is nested in this: a section that this leaves is poisoned, linked to that cause.
class aggregate_error : public std::runtime_error {
public:
    /// Errors: std::bad_alloc.
    explicit aggregate_error(std::vector<std::exception_ptr> failures);

    /// In the order in which they happened; one at least.
    [[nodiscard]] const std::vector<std::exception_ptr>& failures() const noexcept {
        return *failures_;
    }

private:
    // Shared, because a copy of an exception must not throw.
    std::shared_ptr<const std::vector<std::exception_ptr>> failures_;
};

namespace detail {

/// Throws an aggregate_error, with the cause of poison in it that there is. Errors:
/// std::bad_alloc.
[[noreturn, gnu::cold]] void throw_together(std::vector<std::exception_ptr> failures);

} // namespace detail
} // namespace toadstone

#endif
