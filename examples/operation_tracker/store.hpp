// The store: the book behind a poisoning mutex, and the journal that every change goes through.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_STORE_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_STORE_HPP

#include "book.hpp"
#include "metrics.hpp"

#include <toadstone/io/file.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/mutex.hpp>

#include <chrono>
#include <source_location>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tracker {

class no_such_operation : public std::runtime_error {
public:
    explicit no_such_operation(operation_id id)
        : std::runtime_error("there is no operation " + std::to_string(id)) {}
};

/// Cancellation: all tasks below may be cancelled anywhere. A change that was cut in its
///     critical section poisons the store, and whoever comes next restores it from the journal
///     before he goes on; he sees nothing but a short wait. What was cut has happened if its
///     record had reached the journal, else it has not; its client does not learn which.
/// Errors: also std::system_error when the journal cannot be written or read.
/// Threads: any worker.
class store {
public:
    /// `slow_sync` makes each change last longer. Both references outlive the store.
    store(toadstone::io::file journal, std::chrono::milliseconds slow_sync, metrics& counts);

    /// Reads the journal; once, before anything else. Errors: as replay().
    [[nodiscard]] toadstone::task<> load();

    [[nodiscard]] toadstone::task<operation> create(std::string name);
    /// Errors: no_such_operation, illegal_move.
    [[nodiscard]] toadstone::task<operation> advance(operation_id id, message what);
    /// Errors: no_such_operation.
    [[nodiscard]] toadstone::task<operation> find(operation_id id);
    /// In the order of their ids.
    [[nodiscard]] toadstone::task<std::vector<operation>> list();

    [[nodiscard]] bool poisoned() const noexcept { return data_.is_poisoned(); }
    /// Repairs what an interrupted change has left; does nothing when another task has done it.
    /// Await it through shield(): what is half repaired helps nobody.
    [[nodiscard]] toadstone::task<> restore();

private:
    struct data {
        book operations;
        toadstone::io::file journal;
    };
    using guard = toadstone::sync::guard<data>;

    [[nodiscard]] toadstone::task<guard>
    enter(std::source_location where = std::source_location::current());
    [[nodiscard]] toadstone::task<> write_down(data& held, std::string line) const;
    [[nodiscard]] toadstone::task<> read_back(data& held) const;

    toadstone::sync::mutex<data> data_;
    const std::chrono::milliseconds slow_sync_;
    metrics& counts_;
};

} // namespace tracker

#endif
