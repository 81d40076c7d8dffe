// Whether this process is the one in which something was made, or a fork of it; and locks that
// a fork of it finds free.
#ifndef TOADSTONE_RUNTIME_DETAIL_FORK_MARK_HPP
#define TOADSTONE_RUNTIME_DETAIL_FORK_MARK_HPP

#include <toadstone/runtime/detail/atomic.hpp>

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <new>

namespace toadstone::detail {

/// Remembers the process that made it. Asking is one load: a page that the kernel clears in
/// every child (MADV_WIPEONFORK) holds the number of the process.
///
/// Threads: forked() from any. If there is no such page, no fork is noticed.
class fork_mark {
public:
    fork_mark() noexcept;
    [[nodiscard]] bool forked() const noexcept {
        return number_->load(std::memory_order_relaxed) != made_in_;
    }

private:
    const atomic<std::uint64_t>* number_;
    std::uint64_t made_in_;
};

/// A lock of the whole process. fork() waits until nobody holds it, or else the child, in which
/// its holder does not exist, would wait for ever.
///
/// For objects that are never destroyed and are made before main() begins, by never_destroyed
/// and made_early, so that no fork finds one half made; and for holders that take no other of
/// these.
class process_lock {
public:
    process_lock() noexcept;
    process_lock(const process_lock&) = delete;
    process_lock& operator=(const process_lock&) = delete;
    void lock() { lock_.lock(); }
    void unlock() { lock_.unlock(); }

private:
    struct fork_handlers;
    std::mutex lock_;
    process_lock* next_ = nullptr;
};

/// The one T of the process: made by whoever comes first, and never destroyed, because threads
/// may outlive statics.
template <class T>
[[nodiscard]] T& never_destroyed() noexcept {
    alignas(T) static std::byte place[sizeof(T)];
    static T* const one = ::new (place) T;
    return *one;
}

/// As a variable of a namespace: sees to it that never_destroyed<T>() is there before main().
template <class T>
struct made_early {
    made_early() noexcept { static_cast<void>(never_destroyed<T>()); }
};

} // namespace toadstone::detail

#endif
