// idle_list: the connections of a server that nobody would miss, the idlest first.
#ifndef TOADSTONE_IO_DETAIL_IDLE_LIST_HPP
#define TOADSTONE_IO_DETAIL_IDLE_LIST_HPP

#include <toadstone/runtime/cancel.hpp>

#include <mutex>

namespace toadstone::io::detail {

class idle_list;

/// A connection's entry. Guarded by the lock of its list, but for the source.
class idle_entry {
public:
    explicit idle_entry(idle_list& of) : of_(&of) {}
    idle_entry(const idle_entry&) = delete;
    idle_entry& operator=(const idle_entry&) = delete;
    ~idle_entry() { busy(); }

    void idle() noexcept;
    void busy() noexcept;
    /// Its token is cancelled when the connection has to go.
    [[nodiscard]] const toadstone::cancellation_source& asked_to_go() const noexcept {
        return asked_to_go_;
    }

private:
    friend class idle_list;
    idle_list* of_;
    toadstone::cancellation_source asked_to_go_;
    bool listed_ = false;
    idle_entry* next_ = nullptr;
    idle_entry* previous_ = nullptr;
};

/// Somebody who needs a place, as long as this lives: the idlest connection is asked to go, or,
/// when none is idle, the next one that would be.
class demand {
public:
    explicit demand(idle_list& of) noexcept;
    demand(const demand&) = delete;
    demand& operator=(const demand&) = delete;
    ~demand();

private:
    friend class idle_list;
    idle_list* of_;
    bool queued_ = false; // this and the links: guarded by the lock of the list
    demand* next_ = nullptr;
    demand* previous_ = nullptr;
};

/// Threads: all workers of a server. Everything is guarded by lock_. Requests are made with the
/// lock held, which cancellation_source allows, so that no entry goes meanwhile.
class idle_list {
public:
    idle_list() = default;
    idle_list(const idle_list&) = delete;
    idle_list& operator=(const idle_list&) = delete;

    /// Asks the idlest to go. Does nothing when nobody is idle.
    void shed_one() noexcept;

private:
    friend class idle_entry;
    friend class demand;

    [[nodiscard]] bool shed_first() noexcept;
    void unlink(idle_entry& which) noexcept;
    void unlink(demand& which) noexcept;

    std::mutex lock_;
    idle_entry* first_ = nullptr; // the one that has been idle for longest
    idle_entry* last_ = nullptr;
    demand* first_unmet_ = nullptr; // none while somebody is idle
    demand* last_unmet_ = nullptr;
};

} // namespace toadstone::io::detail

#endif
