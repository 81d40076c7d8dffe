// A shard: some of the documents and their index behind a poisoning lock, with a journal. What
// is left broken by one is made again by the next who comes.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_SHARD_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_SHARD_HPP

#include "index.hpp"
#include "ledger.hpp"
#include "options.hpp"

#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/auto_reset_event.hpp>
#include <toadstone/sync/shared_mutex.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace cache {

/// That a shard was made again, and why.
struct recovery {
    std::size_t shard = 0;
    toadstone::poison_cause why; ///< its exception may become known a moment later
    std::chrono::nanoseconds took{};
    std::size_t changes = 0; ///< that were done again
};

/// What a cache tells the program around it, on any worker. Outlives the cache.
struct listeners {
    std::function<void(const recovery&)> on_recovery;
    /// With on_poison::terminate: a shard was found poisoned. Not to return.
    std::function<void(const toadstone::poison_cause&)> on_fatal;
};

/// What a client wants of a document.
struct wish {
    std::string id;
    bool remove = false;
    format how = format::text;
    std::string body{};
};

/// What became of a section: known even when it has failed.
struct attempt {
    std::size_t at = 0;        ///< the wish that was being worked at
    std::uint64_t version = 0; ///< of the change; of the one that is tried again, before
    bool existed = false;      ///< the last one that was to be removed
};

struct shard_status {
    std::size_t number = 0;
    std::size_t documents = 0;
    std::size_t changes = 0; ///< since the base was made
    std::uint64_t version = 0;
    bool poisoned = false;
    std::string failure; ///< of its journal; empty when it is well
};

/// Cancellation: all tasks below may be cancelled anywhere. A change that was cut in its
///     section poisons the shard, and whoever comes next, to read or to write, restores it from
///     its base and the journal's records behind that; he sees nothing but a short wait. What
///     was cut before its record was appended has not happened; appending is not cut.
/// Errors: also std::bad_alloc; toadstone::poison_error with on_poison::terminate.
/// Threads: any worker.
class shard {
public:
    /// The references outlive the shard.
    shard(const options& chosen, std::size_t number, const listeners& around);

    /// `shard-07` in the data's folder.
    [[nodiscard]] static std::string folder_of(std::size_t number);

    /// Reads its snapshot and its journal, whose folders are there. Once, before all else.
    /// Errors: as journal::open(); std::runtime_error for what others have written.
    [[nodiscard]] toadstone::task<> open();
    /// The journal's writer, and what restores it, if nobody else comes, and makes bases and
    /// snapshots: each in a task of its own, until close().
    [[nodiscard]] toadstone::task<> run_journal() { return ledger_.run(); }
    [[nodiscard]] toadstone::task<> keep();
    void close();

    /// Null if there is none.
    [[nodiscard]] toadstone::task<document_ref> find(std::string id);
    /// See index::search().
    [[nodiscard]] toadstone::task<std::vector<hit>> search(std::string term, std::string after,
                                                           std::size_t most);
    /// One section: all of it happens, or nothing.
    ///
    /// Returns: when it is on the disk.
    /// Errors: malformed, of the wish that `how.at` says; disk_trouble.
    [[nodiscard]] toadstone::task<> change(const std::vector<wish>& wishes, attempt& how);

    /// A hint.
    [[nodiscard]] bool poisoned() const noexcept { return data_.is_poisoned(); }
    /// Why nothing can be appended to its journal just now; empty when all is well.
    [[nodiscard]] std::string failure() const { return ledger_.failure(); }
    /// Restores it if it is poisoned.
    [[nodiscard]] toadstone::task<> restore();
    [[nodiscard]] toadstone::task<shard_status> status();

private:
    struct data {
        /// What holds whenever nobody writes, poisoned or not: `known_good` and `tail` are all
        /// that the journal has. `documents.changes` follows from them, when it is healthy.
        index documents;
        std::vector<change_ref> tail; ///< behind the base
        std::uint64_t sequence = 0;   ///< of the last record
        std::uint64_t version = 0;    ///< of the last change that was begun
        /// Changes of which nobody knew whether they had happened, and which have.
        std::vector<std::uint64_t> found{};
        /// Before that the journal is not opened again: others want to read.
        std::chrono::steady_clock::time_point next_try{};
    };
    using guard = toadstone::sync::guard<data>;
    using read_guard = toadstone::sync::read_guard<data>;
    struct whole {
        base_ref before;
        std::vector<change_ref> tail;
        journal::position at;
        bool certain = false; ///< `at` is where the tail ends
    };

    [[nodiscard]] toadstone::task<guard> enter_to_write();
    [[nodiscard]] toadstone::task<read_guard> enter_to_read();
    void end_if_poisoned() const;
    void repair(data& held, const toadstone::poison_cause& why);
    [[nodiscard]] toadstone::task<> make_writable(data& held);
    void take_over(data& held, ledger::opened& fresh);
    [[nodiscard]] toadstone::task<entry_ref> take_in(data& held, const wish& what,
                                                     std::uint64_t version);
    [[nodiscard]] toadstone::task<std::size_t> length_of_tail();
    [[nodiscard]] toadstone::task<> make_base();
    [[nodiscard]] toadstone::task<whole> all_of_it();
    [[nodiscard]] toadstone::task<> use_base(base_ref fresh, const whole& of);
    [[nodiscard]] toadstone::task<base_ref> merge_as_it_is();

    const options& chosen_;
    const std::size_t number_;
    const listeners& around_;
    const std::string name_;
    ledger ledger_;
    toadstone::sync::shared_mutex<data> data_;
    toadstone::sync::auto_reset_event to_do_; ///< something is to be restored, or compacted
    std::atomic<bool> closing_{false};
    std::atomic<std::size_t> unsaved_bytes_{0}; ///< of records behind the snapshot
};

} // namespace cache

#endif
