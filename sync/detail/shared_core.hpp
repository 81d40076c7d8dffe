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
///      1     >= 1    readers have it; with `upgradable`, one of them may go on as a writer
///
/// First come, first served: a writer who waits stops the readers behind him; readers who stand
/// next to each other in the queue go together; a writer who gives up lets those behind him go.
/// Who reads and wants to go on as a writer waits before all others, for the other readers.
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
        const std::uint32_t before_upgrade = word & upgradable ? 2 : 1;
        const bool serves = (word & waiting) && readers(word) <= before_upgrade;
        if ((word & queue) || serves || !word_.release(word, without_reader(word))) [[unlikely]]
            release_read_slowly();
    }
    /// For a reader whose task has to stop.
    void hand_back(lock_waiter& waiter) noexcept;
    /// A writer goes on as a reader, and lets other readers in.
    void downgrade(bool keep_upgradable = false) noexcept;

    /// Whoever acquired says who he is, as of a mutex.
    [[nodiscard]] bool try_upgradable() noexcept {
        std::uint32_t word = word_.look();
        return !(word & flags & ~held) && may_enter(word, access::upgradable) &&
               word_.acquire(word, entered(word, access::upgradable));
    }
    /// The one who has `upgradable` goes on as a writer, if no other reader is left.
    [[nodiscard]] bool try_upgrade() noexcept {
        std::uint32_t word = word_.look();
        return readers(word) == 1 && !(word & queue) &&
               word_.acquire(word, entered(word, access::upgrade));
    }
    /// The same, where somebody may have the queue locked.
    [[nodiscard]] bool upgrade_now() noexcept;
    /// The same, or queues the waiter before all others: false. It is withdrawn as others. True
    /// and refused: another upgrade waits already.
    [[nodiscard]] bool upgrade_or_queue(lock_waiter& waiter) noexcept;
    void release_upgradable() noexcept;
    /// Goes on as any reader.
    void give_up_upgradable() noexcept;

    [[nodiscard]] std::size_t reader_count() const noexcept { return readers(word_.look()); }

private:
    friend class mutex_core;
    [[nodiscard]] static std::uint32_t without_reader(std::uint32_t word) noexcept {
        word -= one_reader;
        return readers(word) == 0 ? word & ~held : word;
    }
    void release_read_slowly() noexcept;
    /// Unlocks the word, after the waits have ended that it ends.
    void go_on(std::uint32_t word) noexcept;

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
    read_leaf(shared_core& core, wants what) noexcept : asking_leaf(core, what, access::read) {}
    ~read_leaf() = default;
};

/// The leaf behind upgradable().
class upgradable_leaf : public asking_leaf<shared_core> {
public:
    [[nodiscard]] bool await_ready() {
        if (!may_complete_at_once() || !core_->try_upgradable()) return false;
        state_ = state::granted;
        return true;
    }

protected:
    explicit upgradable_leaf(shared_core& core) noexcept
        : asking_leaf(core, wants::healthy, access::upgradable) {}
    ~upgradable_leaf() = default;

    void check() {
        asking_leaf::check();
        core_->set_owner(ctx_->serial());
    }
};

/// Another upgrade of the same guard waits already.
[[noreturn, gnu::cold]] void refuse_second_upgrade();

/// The leaf behind upgrade(). Whatever ends it but a grant, the right to upgrade stays.
class upgrade_leaf : public lock_leaf {
public:
    bool taken() noexcept override {
        if (how() == state::granted) {
            core().set_owner(reader_);
            core().downgrade(true);
        }
        return true;
    }
    [[nodiscard]] bool await_ready() {
        prepare();
        if (!may_complete_at_once() || !core().try_upgrade()) return false;
        state_ = state::granted;
        return true;
    }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        if (suspend(frame)) static_cast<void>(queue_up());
    }

protected:
    upgrade_leaf(shared_core& core, policies policy) noexcept
        : lock_leaf(core, wants::anything, policy) {
        access_ = access::upgrade;
    }
    ~upgrade_leaf() = default;

    [[nodiscard]] shared_core& core() const noexcept {
        return static_cast<shared_core&>(*core_);
    }
    /// True: queued.
    [[nodiscard]] bool queue_up() noexcept {
        reader_ = core().owner();
        return queued_unless(core().upgrade_or_queue(*this));
    }
    void check() const {
        if (how() == state::refused) [[unlikely]]
            refuse_second_upgrade();
    }

private:
    std::uint64_t reader_ = 0; // who had the right before
};

/// For ordinary code: blocks the thread, or false. Errors: poison_error, would_deadlock;
/// std::logic_error when a worker's thread would block.
[[nodiscard]] bool read_here(shared_core& core, wants what, bool block);
[[nodiscard]] bool upgradable_here(shared_core& core, bool block);
[[nodiscard]] bool upgrade_here(shared_core& core, bool block);

} // namespace toadstone::sync::detail

#endif
