// journal: records that are on the disk when append() returns, and snapshots that replace them.
#ifndef TOADSTONE_EXAMPLES_JOURNAL_JOURNAL_HPP
#define TOADSTONE_EXAMPLES_JOURNAL_JOURNAL_HPP

#include "format.hpp"
#include "recovery.hpp"

#include <toadstone/io/file.hpp>
#include <toadstone/io/folder.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/sync/mpsc.hpp>
#include <toadstone/sync/oneshot.hpp>
#include <toadstone/sync/semaphore.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace journal {

struct options {
    std::string folder;    ///< of the segments and the lock; it is there
    std::string snapshots; ///< another one, on whatever volume; it is there
    /// Of each segment's file. The longest record is a little shorter.
    std::size_t segment_bytes = std::size_t{4} << 20;
    /// Of one write, unless a single record is longer.
    std::size_t batch_bytes = std::size_t{256} << 10;
    /// Of all records that wait to be written. Further appends wait for room.
    std::size_t queue_bytes = std::size_t{1} << 20;
    /// How long open() waits for another process to end.
    std::chrono::milliseconds lock_wait{2000};
    /// Where epochs come from; empty: std::random_device.
    std::function<std::uint64_t()> random;
};

/// Another process, or another object of this one, has the journal open.
class journal_in_use : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};
/// The record is not in the journal, and will not be.
class not_appended : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};
/// The record may be in the journal or not; the next open() finds out.
class append_unknown : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A journal of records in segments, with snapshots.
///
///     journal::journal store(options);
///     const journal::contents found = co_await store.open();
///     co_await with_scope([&](task_scope& scope) -> task<> {
///         scope.spawn(store.run());
///         const journal::position at = co_await store.append(1, "a record"); // on the disk
///         co_await store.save_snapshot(at, "the state with that record");
///         store.close();
///     });
///
/// A record is acknowledged when a sync behind its write has succeeded. What was acknowledged
/// is found again, in order and without a gap, whatever happens to the process or the power;
/// if that cannot be, open() says so.
///
/// Errors: an error of a write or a sync of records, and of a folder that has to be synced for
///     them, is final: nobody knows what is on the disk. Appends that were in that write fail
///     with append_unknown, all others with not_appended, and failure() says why. Open the
///     journal again, by another object, to go on.
/// Threads: tasks of any worker, but for open() and the end of the object.
/// Lifetime: outlives its tasks.
class journal {
public:
    /// Errors: std::invalid_argument for sizes that hold no record.
    explicit journal(options chosen);
    journal(const journal&) = delete;
    journal& operator=(const journal&) = delete;

    /// Locks the journal and reads it; once, before anything else. Writes
    /// nothing but its last records once more, where they are.
    ///
    /// Returns: what was acknowledged; also, at the end, what was written and not acknowledged
    ///     to anybody: the records of appends that were cut, or failed as unknown.
    /// Errors: journal_in_use; damaged_journal; std::system_error, as of a folder that is not
    ///     there.
    /// Cancellation: each step is a cancellation point. The lock goes with the object.
    [[nodiscard]] toadstone::task<contents> open();

    /// Writes what is appended: one write and one sync for all that wait. A task of its own,
    /// not the first of those who wait, so that no append that is cancelled has others' records
    /// in its hands. Run once, behind open(), in a scope that outlives the appends.
    ///
    /// Returns: after close(), when everything is on the disk; or when the journal has failed,
    ///     see failure().
    /// Errors: std::bad_alloc.
    /// Cancellation: what is being written becomes unknown, what waits is refused, and the
    ///     journal is at its end as after an error.
    [[nodiscard]] toadstone::task<> run();

    /// Appends a record. `type`: at most largest_type, and the caller's to choose.
    ///
    /// Returns: the place behind it, when it is on the disk.
    /// Errors: not_appended: closed, failed, or no room on the disk for another segment, which
    ///     can be tried again; append_unknown; std::length_error for a payload that no segment
    ///     holds, std::invalid_argument for a type beyond largest_type.
    /// Cancellation: a cancellation point while the queue is full and while it is written.
    ///     Before the record is queued nothing has happened. Afterwards it is unknown: mostly
    ///     the record will be there.
    /// Fairness: in the order in which they are queued: first come, first served.
    [[nodiscard]] toadstone::task<position> append(std::uint32_t type, std::string payload);

    /// No more appends; run() writes what is queued, and returns.
    void close();

    /// Keeps `state`, which stands for all records up to `at`; one at a time, others wait for
    /// their turn. When it is on the disk and has been read back, what is older
    /// than the snapshot before it is removed: its snapshots and segments. The two newest
    /// snapshots stay, so that one of them may be damaged.
    ///
    /// Errors: std::invalid_argument for a place that is not on the disk; std::system_error;
    ///     std::runtime_error if it reads back as something else. Nothing was removed then, and
    ///     the journal goes on.
    /// Cancellation: each step is a cancellation point. The snapshot is there whole or not at
    ///     all.
    [[nodiscard]] toadstone::task<> save_snapshot(position at, std::string state);

    /// Why nothing is appended any more; empty as long as all is well. From any thread.
    [[nodiscard]] std::string failure() const;
    /// Behind the last record that is on the disk. From any thread.
    [[nodiscard]] position durable() const;

private:
    enum class end : unsigned char { on_disk, refused, unknown };
    struct answer {
        end how = end::unknown;
        position at;
    };
    struct entry {
        std::uint32_t type;
        std::string payload;
        toadstone::sync::semaphore::permit room;
        toadstone::sync::oneshot::sender<answer> tx;
        position at; ///< when it is in a write
    };
    struct segment {
        toadstone::io::file file;
        std::uint64_t epoch;
        std::size_t used;
    };

    [[nodiscard]] toadstone::task<> take_lock();
    [[nodiscard]] toadstone::task<> write_last_again(const survey::part& last);
    [[nodiscard]] toadstone::task<> write_batch();
    [[nodiscard]] toadstone::task<> begin_segment();
    [[nodiscard]] toadstone::task<> write_mark(segment& last, mark what);
    [[nodiscard]] toadstone::task<> drop_older();
    [[nodiscard]] bool fits(const entry& one, std::size_t before) const noexcept;
    [[nodiscard]] position gather(std::vector<entry>& batch, std::string& bytes);
    static void give(entry& to, end how) noexcept;
    void refuse_waiting() noexcept;
    void acknowledge(const position& behind);
    void note_refusal(std::string why);
    void fail(std::string why);
    void stop(bool in_order) noexcept;
    [[nodiscard]] std::string why_not() const;

    const options chosen_;
    std::optional<toadstone::io::folder> segments_;
    std::optional<toadstone::io::folder> snapshots_;
    std::optional<toadstone::io::file> lock_file_;
    toadstone::sync::semaphore room_; ///< bytes
    toadstone::sync::semaphore saving_{1};
    toadstone::sync::mpsc::unbounded_halves<entry> queue_;
    std::vector<std::string> bad_snapshots_; ///< by open(), then by who has the permit

    // Only by run(), after open().
    std::optional<segment> segment_; ///< made when a record needs it
    std::optional<entry> first_;     ///< of the next write
    position end_;

    mutable std::mutex lock_;
    // Guarded by lock_.
    position durable_;
    bool closed_ = false;  ///< run() has ended, in order
    bool stopped_ = false; ///< or not
    std::string failure_;
    std::string refusal_; ///< the last one: of records that were not written, which may go on
};

} // namespace journal

#endif
