// What threads share goes through these names, so that a model checker can take their place.
#ifndef TOADSTONE_RUNTIME_DETAIL_ATOMIC_HPP
#define TOADSTONE_RUNTIME_DETAIL_ATOMIC_HPP

#include <toadstone/runtime/detail/config.hpp>

#ifdef TOADSTONE_MODEL_CHECK

// The header that defines these names for a model; docs/model_checking.md says how.
#include TOADSTONE_MODEL_CHECK

#else

#include <atomic>
#include <mutex>

namespace toadstone::detail {

template <class T>
using atomic = std::atomic<T>;

/// An atomic that no model looks at: what only reports read.
template <class T>
using unmodelled_atomic = std::atomic<T>;

/// The compiler moves nothing across; the processor may.
inline void compiler_barrier() noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

using mutex = std::mutex;

/// A field that is no atomic and that some ordering, lock or thread guards. A model finds two
/// threads that use it without an order between them.
template <class T>
using plain = T;

/// The type of a thread_local variable. The threads of a model are fibers of one thread.
template <class T>
using per_thread = T;

/// Lets other threads run.
void yield_thread() noexcept;

/// For the `tries`-th look at something that another thread changes in a few instructions.
inline void spin(unsigned tries) noexcept {
    if (tries > 64) yield_thread(); // the system has taken that thread's processor away
}

/// An address that no other thread has while this one lives.
[[nodiscard]] const void* this_thread() noexcept;

} // namespace toadstone::detail

#endif

#endif
