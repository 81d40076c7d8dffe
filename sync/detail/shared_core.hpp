// The shared mutex without its data: a mutex that readers can have together.
#ifndef TOADSTONE_SYNC_DETAIL_SHARED_CORE_HPP
#define TOADSTONE_SYNC_DETAIL_SHARED_CORE_HPP

#include <toadstone/runtime/detail/wait_leaf.hpp>
#include <toadstone/sync/detail/lock_awaiter.hpp>
#include <toadstone/sync/detail/mutex_core.hpp>

#include <coroutine>
#include <cstddef>
#include <string_view>

namespace toadstone::sync::detail {

/// A writer has it as a mutex. The word's table is the mutex's, with
///
///     held  readers
///      1      0      a writer has it
///      1     >= 1    readers have it
///
/// First come, first served: a writer who waits stops the readers behind him; readers who stand
/// next to each other in the queue go together; a writer who gives up lets those behind him go.
class shared_core : public mutex_core {
public:
    constexpr explicit shared_core(std::string_view name) noexcept
        : mutex_core(of_shared(), name.data()), name_length_(name.size()) {}

    [[nodiscard]] bool try_read() noexcept {
        std::uint32_t word = word_.look();
        const bool reading = (word & flags) == held && readers(word) != 0;
        const bool free = (word & flags) == 0 || (reading && readers(word) < most_readers);
        return free && word_.acquire(word, (word | held) + one_reader);
    }
    /// Resumes nothing.
    void release_read() noexcept {
        std::uint32_t word = word_.look();
        const bool last = readers(word) == 1;
        const bool serves = last && (word & waiting);
        if ((word & queue) || serves || !word_.release(word, without_reader(word))) [[unlikely]]
            release_read_slowly();
    }
    /// For a reader whose task has to stop.
    void hand_back(lock_waiter& waiter) noexcept;
    /// A writer goes on as a reader, and lets other readers in.
    void downgrade() noexcept;

    [[nodiscard]] std::size_t reader_count() const noexcept { return readers(word_.look()); }

private:
    friend class mutex_core;
    [[nodiscard]] static std::uint32_t without_reader(std::uint32_t word) noexcept {
        word -= one_reader;
        return readers(word) == 0 ? word & ~held : word;
    }
    void release_read_slowly() noexcept;

    std::size_t name_length_;
};

/// The leaf behind read().
class read_leaf : public asking_leaf<shared_core> {
public:
    [[nodiscard]] bool await_ready() {
        if (!may_complete_at_once() || !core_->try_read()) return false;
        state_ = state::granted;
        return true;
    }

protected:
    read_leaf(shared_core& core, wants what) noexcept : asking_leaf(core, what, reader()) {}
    ~read_leaf() = default;
};

/// Reads for ordinary code: blocks the thread, or false. Errors: poison_error, would_deadlock;
/// std::logic_error when a worker's thread would block.
[[nodiscard]] bool read_here(shared_core& core, wants what, bool block);

} // namespace toadstone::sync::detail

#endif
