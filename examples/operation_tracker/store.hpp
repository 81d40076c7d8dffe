// The store: the book behind a poisoning mutex, and the journal that every change goes through.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_STORE_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_STORE_HPP

#include "book.hpp"
#include "metrics.hpp"
#include "options.hpp"

#include <toadstone/io/file.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/mutex.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>

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

/// Cancellation: all tasks below may be cancelled anywhere. A change that was cut in its
///     critical section poisons the store, and whoever comes next repairs it before he goes on;
///     he sees nothing but a short wait. What was cut has happened if its record had reached
///     the journal, else it has not; its client does not learn which. A repair looks at no more
///     of the journal than what the cut change may have written.
/// Errors: also std::system_error when the journal cannot be written. After a failed sync
///     nobody knows what is on the disk, and after the journal was renamed or removed nobody
///     will find it there: then failure() says why, changes throw no_more_changes, and what is
///     read is the last state of which it is certain that it is on the disk.
/// Threads: any worker.
class store {
public:
    /// `on_failure` is called, once, when the journal fails. The references outlive the store.
    store(const options& chosen, metrics& counts, std::function<void()> on_failure);

    /// Opens, locks and reads the journal; once, before anything else. Waits a while for
    /// another server that has it locked, and is perhaps about to end.
    ///
    /// Errors: as replay(); std::runtime_error for what is no ordinary file, or locked for
    ///     longer; std::system_error.
    [[nodiscard]] toadstone::task<> open();

    /// Errors: no_more_changes.
    [[nodiscard]] toadstone::task<operation> create(std::string name);
    /// Errors: no_such_operation, illegal_move, no_more_changes.
    [[nodiscard]] toadstone::task<operation> advance(operation_id id, message what);
    /// Errors: no_such_operation.
    [[nodiscard]] toadstone::task<operation> find(operation_id id);
    /// See book::page.
    [[nodiscard]] toadstone::task<operation_page> list(operation_id after, std::size_t most,
                                                       std::size_t bytes);

    [[nodiscard]] bool poisoned() const noexcept { return data_.is_poisoned(); }
    /// Repairs what an interrupted change has left; does nothing when another task has done it.
    /// Await it through shield(): what is half repaired helps nobody.
    [[nodiscard]] toadstone::task<> restore();

    /// Why nothing can be changed any more; empty as long as all is well. Looks whether the
    /// journal is still where it should be.
    [[nodiscard]] std::string failure();

private:
    /// What a section is at, so that the next one can take it back.
    struct change {
        operation_id id = 0;
        std::optional<operation> before; ///< empty for a new operation
    };
    struct data {
        book operations;
        std::uint64_t durable_bytes = 0; ///< of the journal: `operations` is what they say
        std::optional<change> under_way; ///< noted before anything is changed
    };
    using guard = toadstone::sync::guard<data>;

    [[nodiscard]] toadstone::task<guard>
    enter(std::source_location where = std::source_location::current());
    [[nodiscard]] toadstone::task<> restore(data& held, const toadstone::poison_cause& why);
    [[nodiscard]] toadstone::task<> wait_for_lock();
    [[nodiscard]] toadstone::task<> load();
    [[nodiscard]] toadstone::task<> write_down(std::string line);
    [[nodiscard]] toadstone::task<> read_back(data& held);
    static void take_back(data& held);
    void done(data& held, operation after, std::size_t bytes);
    void check_writable();
    void fail(const std::string& why);
    [[nodiscard]] bool failed();

    const options& chosen_;
    metrics& counts_;
    std::function<void()> on_failure_;
    /// Set by open(). Appends are made by who holds the lock of data_.
    std::optional<toadstone::io::file> journal_;
    toadstone::sync::mutex<data> data_;
    std::mutex failure_lock_;
    std::string failure_; // guarded by failure_lock_; set once
};

} // namespace tracker

#endif
