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
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
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
    /// Called once if it has to.
    std::function<void()> on_waiting;
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

/// What became of a record.
struct fate {
    enum class end : unsigned char {
        on_disk,
        refused, ///< it is not in the journal, and will not be
        unknown, ///< the next open() finds out
    };
    end how = end::unknown;
    position at; ///< the place behind it, if it is on the disk
};

/// Of a record that was submitted: by it the fate of the record can be learnt, whatever became
/// of the task that has submitted it.
///
/// Threads: any, one at a time.
class ticket {
public:
    /// Waits for it: until the sync behind the record's write, at most. May be asked again.
    ///
    /// Cancellation: a cancellation point. The fate stays, for whoever asks next.
    [[nodiscard]] toadstone::task<fate> outcome();

private:
    friend class journal;
    using answer = toadstone::sync::oneshot::receiver<fate>;
    explicit ticket(answer&& rx) noexcept : rx_(std::move(rx)) {}
    answer rx_;
    std::optional<fate> known_;
};

/// Something that follows a record, and does not happen without it.
class follower {
public:
    follower() = default;
    follower(const follower&) = delete;
    follower& operator=(const follower&) = delete;
    virtual ~follower() = default;
    /// The record before `behind` is on the disk. Called by run(), for one record after the
    /// other in their order, before anybody is told: what the followers make of them is the
    /// records up to the last `behind`, and none else. Destroyed, called or not, before anybody
    /// is told. It must not wait for long.
    virtual void on_disk(const position& behind) noexcept = 0;
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
///     journal again, by another object, to go on. So is the disappearance of its files.
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
    /// Want of memory refuses what waits, and ends nothing.
    ///
    /// Returns: after close(), when everything is on the disk; or when the journal has failed,
    ///     see failure().
    /// Errors: std::bad_alloc, at its very end.
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

    /// append() in two steps: returns when the record is on its way, or refused, as the ticket
    /// says, if the journal is closed or has failed. Nothing else tells apart
    /// a task that was cancelled before from one that was cancelled after that, so keep the
    /// ticket where it can be found. `then`: may be null.
    ///
    /// Errors: std::length_error, std::invalid_argument.
    /// Cancellation: a cancellation point while the queue is full. Nothing has happened then.
    /// Fairness: as append().
    [[nodiscard]] toadstone::task<ticket> submit(std::uint32_t type, std::string payload,
                                                 std::unique_ptr<follower> then = nullptr);
    /// The same with a function that follows.
    template <class Fn>
        requires std::is_nothrow_invocable_v<Fn&, const position&>
    [[nodiscard]] toadstone::task<ticket> submit(std::uint32_t type, std::string payload,
                                                 Fn on_disk) {
        return submit(type, std::move(payload),
                      std::make_unique<calls<Fn>>(std::move(on_disk)));
    }
    /// Returns: the place of a record that is on the disk. Errors: not_appended and
    /// append_unknown for the others.
    [[nodiscard]] position place_of(const fate& of) const;

    /// No more appends; run() writes what is queued, and returns.
    void close();
    /// If run() could not begin, for want of memory: all that waits is refused, as when it was
    /// cancelled. Does nothing behind it.
    void give_up() noexcept;

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

    /// The journal fails if its lock or its last segment was renamed, removed or replaced, so
    /// that the next open() would not find them. The same is looked at before a write is
    /// acknowledged. From any thread.
    void check_place();
    /// Why nothing is appended any more; empty as long as all is well. From any thread.
    [[nodiscard]] std::string failure() const;
    /// Behind the last record that is on the disk. From any thread.
    [[nodiscard]] position durable() const;

private:
    template <class Fn>
    class calls final : public follower {
    public:
        explicit calls(Fn&& fn) : fn_(std::move(fn)) {}
        void on_disk(const position& behind) noexcept override { fn_(behind); }

    private:
        Fn fn_;
    };
    struct entry {
        std::uint32_t type;
        std::string payload;
        toadstone::sync::semaphore::permit room;
        toadstone::sync::oneshot::sender<fate> tx;
        std::unique_ptr<follower> then; ///< behind `tx`, so that it goes first
        position at;                    ///< when it is in a write
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
    static void give(entry& to, fate::end how) noexcept;
    void refuse_waiting() noexcept;
    void acknowledge(const position& behind) noexcept;
    void use_segment(std::optional<segment> next) noexcept;
    [[nodiscard]] std::optional<segment> take_segment() noexcept;
    void note_refusal(const char* why) noexcept;
    void fail(const char* why) noexcept;
    [[nodiscard]] bool failed() const noexcept;
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
    std::optional<segment> segment_; ///< made when a record needs it; set under lock_
    std::optional<entry> first_;     ///< of the next write
    position end_;

    mutable std::mutex lock_;
    // Guarded by lock_.
    position durable_;
    bool closed_ = false;  ///< run() has ended, in order
    bool stopped_ = false; ///< or not
    bool failed_ = false;
    // Empty, too, if there was no memory for them.
    std::string failure_;
    std::string refusal_; ///< the last one: of records that were not written, which may go on
};

} // namespace journal

#endif
