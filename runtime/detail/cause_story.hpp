// What a cause leads to: the first cause, how many records, and the text that tells of them.
#ifndef TOADSTONE_RUNTIME_DETAIL_CAUSE_STORY_HPP
#define TOADSTONE_RUNTIME_DETAIL_CAUSE_STORY_HPP

#include <toadstone/runtime/detail/cause_state.hpp>

#include <exception>
#include <string>

namespace toadstone::detail {

/// Follows `previous`, or else the link, to the first cause; null for null.
[[nodiscard]] cause_ref first_of(cause_ref cause) noexcept;

/// Whether `cause`, or a shortened copy of it, is among the records that `from` leads to, with
/// `from` itself. `from` may be null. Errors: std::bad_alloc.
[[nodiscard]] bool leads_to(const cause_ref& from, const cause_state& cause);

/// `cause`, if it leads to a few records only. Otherwise a copy that leads to the first causes
/// alone and counts what is between. Each new cause refers to others through this, so what it
/// leads to is bounded, and with that the recursion of destructors. (An exception that becomes
/// known later adds as many once.) Null for null. Errors: std::bad_alloc.
[[nodiscard]] cause_ref kept_short(const cause_ref& cause);

/// The explanation by `error`, whose own story is kept short: a poison_error with a long one is
/// replaced by one with a shortened cause, and an exception in which a poison_error with a long
/// one is nested by a std::runtime_error of the same text. Errors: std::bad_alloc.
[[nodiscard]] explanation explained_by(const std::exception_ptr& error);

/// The whole story in one line of at most a few KiB: each record once, foreign text printable
/// and cut. It says how many causes are left out. Errors: std::bad_alloc.
[[nodiscard]] std::string tell_story(const cause_state& cause);

} // namespace toadstone::detail

#endif
