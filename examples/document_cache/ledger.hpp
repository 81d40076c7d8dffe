// A shard's journal, which is opened again when it has failed. The one place that knows how a
// journal is used.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_LEDGER_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_LEDGER_HPP

#include "journal/journal.hpp"

#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/auto_reset_event.hpp>
#include <toadstone/sync/manual_reset_event.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace cache {

/// The journal has refused or lost a record, or cannot be opened again. It may be tried again.
class disk_trouble : public std::runtime_error {
public:
    explicit disk_trouble(const std::string& why, bool unknown = false)
        : std::runtime_error(why), unknown_(unknown) {}
    /// What was to be appended may be on the disk; reopening finds out.
    [[nodiscard]] bool unknown() const noexcept { return unknown_; }

private:
    bool unknown_;
};

/// Threads: any worker. Lifetime: outlives its tasks.
class ledger {
public:
    explicit ledger(journal::options chosen) : chosen_(std::move(chosen)) {}

    /// A journal that was opened beside, and is used from adopt() on.
    struct opened {
        std::shared_ptr<journal::journal> store;
        journal::contents found;
    };
    /// Opens the journal, once the one before it has ended: at first, and when it has failed.
    /// By one task at a time.
    ///
    /// Errors: as journal::open(); disk_trouble when it is closed.
    /// Cancellation: anywhere; nothing has happened then.
    [[nodiscard]] toadstone::task<opened> open();
    void adopt(opened& fresh) noexcept;

    /// Writes what is appended, until close(). For a task of its own, once, in a scope that
    /// outlives the appends.
    ///
    /// Cancellation: the journal has failed then, and is not opened any more.
    [[nodiscard]] toadstone::task<> run() { return run(end_mark{this}); }
    void close();

    /// Returns: the number of the record, when it is on the disk.
    /// Errors: disk_trouble; std::bad_alloc: not appended.
    /// Cancellation: not looked at. A record that was cut would be on the disk or not, and its
    ///     shard has to know.
    [[nodiscard]] toadstone::task<std::uint64_t> append(std::string record);

    /// Keeps `state`, with all records up to that one, as the journal's snapshot.
    /// Errors: disk_trouble: nothing was changed.
    [[nodiscard]] toadstone::task<> save(journal::position at, std::string state);
    /// Behind the last record that is on the disk.
    [[nodiscard]] journal::position durable() const;

    /// Why nothing can be appended, before it is opened again; empty when all is well.
    [[nodiscard]] std::string failure() const;

private:
    /// With the frame of run(), also of one that never began, ends what it was there for.
    struct ends {
        void operator()(ledger* of) const noexcept { of->ended(); }
    };
    using end_mark = std::unique_ptr<ledger, ends>;

    [[nodiscard]] toadstone::task<> run(end_mark mark);
    [[nodiscard]] toadstone::task<std::uint64_t> append_here(std::string record);
    [[nodiscard]] std::shared_ptr<journal::journal> current() const;
    [[nodiscard]] std::string not_open() const;
    [[nodiscard]] bool begin_to_run(std::shared_ptr<journal::journal>& store);
    void ended() noexcept;

    const journal::options chosen_;
    mutable std::mutex lock_;
    // Guarded by lock_.
    std::shared_ptr<journal::journal> current_;
    bool closed_ = false;  ///< by close()
    bool running_ = false; ///< run() is in the run() of current_
    bool ended_ = false;   ///< run() has ended

    toadstone::sync::auto_reset_event adopted_;
    toadstone::sync::manual_reset_event settled_;    ///< running_ or ended_, or about to be
    toadstone::sync::manual_reset_event idle_{true}; ///< nobody writes, or is about to
};

} // namespace cache

#endif
