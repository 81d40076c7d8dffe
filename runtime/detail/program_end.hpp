// Whether the program is ending, and with it the objects that are destroyed in use.
#ifndef TOADSTONE_RUNTIME_DETAIL_PROGRAM_END_HPP
#define TOADSTONE_RUNTIME_DETAIL_PROGRAM_END_HPP

#include <toadstone/runtime/detail/config.hpp>

namespace toadstone::detail {

/// For the checks that an object is destroyed only when nobody uses it. exit(), from wherever,
/// destroys the globals while tasks and threads go on: what they hold then is nobody's mistake,
/// and the exit code is what counts.
///
/// Returns: true once exit() has begun, which is known from the first runtime on, and for an
///     object in the data of the program or of a loaded library: only exit() or dlclose()
///     destroys that. False for what the program destroys itself.
/// Threads: any. Slow: asked only where a check fails.
[[nodiscard]] [[gnu::cold]] bool ends_with_program(const void* object) noexcept;

/// Called by each runtime's constructor. Globals that were made before are destroyed after
/// exit() has been noticed.
void notice_exit() noexcept;

} // namespace toadstone::detail

#endif
