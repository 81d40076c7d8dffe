// The store: a critical section for each operation, and the journal that every change goes
// through.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_STORE_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_STORE_HPP

#include "book.hpp"
#include "former.hpp"
#include "metrics.hpp"
#include "operation_json.hpp"
#include "options.hpp"
#include "sections.hpp"

#include "journal/journal.hpp"

#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/auto_reset_event.hpp>
#include <toadstone/sync/manual_reset_event.hpp>
#include <toadstone/sync/mutex.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>

namespace tracker {

class no_such_operation : public std::runtime_error {
public:
    explicit no_such_operation(operation_id id)
        : std::runtime_error("there is no operation " + std::to_string(id)) {}
};

/// Nothing can be changed any more: the journal has failed, or there are no more ids.
class no_more_changes : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// There was no room for this change. It has not happened, and can be tried again.
class no_room : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// What can be read is what is certain to be on the disk: the book, which waits for nobody. A
/// change is made in a section of its operation: the record is given to the journal, and the
/// book has the change when it is on the disk. Sections of different operations run side by
/// side, and their records share syncs.
///
/// Cancellation: all tasks below may be cancelled anywhere. A change that was cut in its
///     section poisons that one operation, and whoever comes next to it repairs it before he
///     goes on: he waits for the fate of the record that was on its way, for a sync at most,
///     and the book has what became of it. If nobody comes, run() does it. What was cut has
///     happened if its record had been given to the journal, else it has not; its client does
///     not learn which.
/// Errors: after a failed sync nobody knows what is on the disk, and after the journal was
///     renamed or removed nobody will find it there: then failure() says why, changes throw
///     no_more_changes, and what is read is the last state of which it is certain that it is on
///     the disk.
/// Threads: any worker.
class store {
public:
    /// `on_failure` is called, once, when the journal fails. The references outlive the store.
    store(const options& chosen, metrics& counts, std::function<void()> on_failure);

    /// Makes, locks and reads the journal; once, before anything else. Waits a while for
    /// another server that has it locked, and is perhaps about to end.
    ///
    /// Errors: std::runtime_error for what is no journal, damaged, or locked for longer;
    ///     std::system_error. As read_former(), if that is chosen.
    [[nodiscard]] toadstone::task<> open();
    /// Writes what is changed, saves snapshots and repairs what nobody comes to. A task of its
    /// own, behind open(), until close(): then everything is on the disk.
    [[nodiscard]] toadstone::task<> run();
    /// Takes over a former journal, if that is chosen; beside run(), before any change.
    [[nodiscard]] toadstone::task<> import();
    /// No more changes.
    void close() noexcept;

    /// Errors: no_more_changes, no_room.
    [[nodiscard]] toadstone::task<operation> create(std::string name);
    /// Errors: no_such_operation, illegal_move, no_more_changes, no_room.
    [[nodiscard]] toadstone::task<operation> advance(operation_id id, message what);
    /// Waits for nobody, but for the repair of what a cut change has left: its record may still
    /// be on its way. Errors: no_such_operation.
    [[nodiscard]] toadstone::task<operation> find(operation_id id);
    /// See book::page. Waits for nobody.
    [[nodiscard]] operation_page list(operation_id after, std::size_t most,
                                      std::size_t bytes) const {
        return book_.page(after, most, bytes);
    }

    /// Why nothing can be changed any more; empty as long as all is well. Looks whether the
    /// journal is still where it should be.
    [[nodiscard]] std::string failure();

private:
    using guard = toadstone::sync::guard<section>;
    class change; // what follows a record

    [[nodiscard]] toadstone::task<guard>
    enter(const sections::user& at,
          std::source_location where = std::source_location::current());
    [[nodiscard]] toadstone::task<operation> write_down(guard& held, operation after,
                                                        journal_record what);
    [[nodiscard]] toadstone::task<> repair(operation_id id, section& held,
                                           const toadstone::poison_cause& why);
    [[nodiscard]] toadstone::task<> repair_all();
    [[nodiscard]] toadstone::task<> write_all();
    [[nodiscard]] toadstone::task<> save_snapshots();
    [[nodiscard]] toadstone::task<> save_snapshot();
    [[nodiscard]] toadstone::task<> make_folder();
    void happens(book::page_to_be&& next, const journal::position& behind,
                 std::size_t bytes) noexcept;
    void check_writable();
    [[nodiscard]] std::string told_failure();
    void check_fate(const journal::fate& of);

    const options& chosen_;
    metrics& counts_;
    std::function<void()> on_failure_;
    book book_;
    journal::journal journal_;
    sections sections_;
    std::optional<former_journal> former_; ///< between open() and import()
    bool import_begun_ = false;            ///< by a server that did not finish it

    std::atomic<std::size_t> unsaved_{0};     ///< bytes of records behind the last snapshot
    std::atomic<std::size_t> snapshot_at_{0}; ///< so many are enough for another one
    toadstone::sync::auto_reset_event snapshot_due_;
    toadstone::sync::manual_reset_event closed_;
    std::atomic<bool> failure_told_{false};
};

} // namespace tracker

#endif
