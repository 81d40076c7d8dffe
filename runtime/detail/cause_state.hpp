// The record behind poison_cause, and the few functions that describe tasks and exceptions.
#ifndef TOADSTONE_RUNTIME_DETAIL_CAUSE_STATE_HPP
#define TOADSTONE_RUNTIME_DETAIL_CAUSE_STATE_HPP

#include <toadstone/runtime/detail/level.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <source_location>
#include <string>
#include <string_view>
#include <utility>

namespace toadstone {

enum class poison_kind : unsigned char {
    exception, ///< an exception left the section
    cancelled, ///< the task was torn down inside the section
    abandoned, ///< the frame was destroyed by its owner inside the section
    declared,  ///< the holder said so: guard.poison(why)
};

namespace detail {

struct cause_state;
using cause_ref = std::shared_ptr<const cause_state>;

/// What is known of one poisoning at once. Set before the record is shared, never changed.
struct cause_facts {
    std::uint64_t serial = next_serial(); ///< the number of the poisoning; copies keep it
    poison_kind kind = poison_kind::cancelled;
    cancel_reason reason = cancel_reason::requested; ///< for cancelled and abandoned
    bool incomplete = false;     ///< memory was short: kind and reason are all there is
    bool cancel_pending = false; ///< an exception, while a cancellation was pending too
    unsigned attempts = 0;       ///< recoveries that failed since the lock was first poisoned
    std::uint64_t task_id = 0;   ///< 0: a plain thread
    std::string task_name;
    std::string object;      ///< "mutex", "mutex 'accounts'", "tcp stream to ..."
    std::string why;         ///< for declared
    std::string_view during; ///< a literal, before the place: "holding the lock taken at"
    std::source_location locked_at;
    std::source_location interrupted_at; ///< for cancelled and abandoned
    std::chrono::system_clock::time_point when;
    cause_ref previous;         ///< a failed repair: what was to be repaired
    std::uint64_t left_out = 0; ///< a shortened copy: causes between it and what it leads to

private:
    static std::uint64_t next_serial() noexcept;
};

/// The exception that ended a section.
struct explanation {
    std::exception_ptr error;
    cause_ref link;      ///< the cause inside a poison_error: `error`, or one nested in it
    bool nested = false; ///< for a link: nested
};

/// The record: the facts, and what is found out later.
struct cause_state : cause_facts, std::enable_shared_from_this<cause_state> {
    cause_state() = default;
    explicit cause_state(cause_facts facts) : cause_facts(std::move(facts)) {}

    /// For those that refer to it by a plain pointer, of which there may be many: it stays
    /// until each of them has dropped it. Returns that pointer; null for null.
    [[nodiscard]] static const cause_state* keep(const cause_ref& cause) noexcept;
    void drop() const noexcept;

    /// The exception, if it is known. An exception in flight cannot be named before somebody
    /// catches it: when it leaves the coroutine, the runtime fills it in.
    [[nodiscard]] explanation explained() const noexcept;
    /// The first explanation stays.
    void explain(explanation end) noexcept;

    [[nodiscard]] std::string to_string() const;
    /// to_string(), kept as long as the record lives.
    [[nodiscard]] const char* text() const noexcept;

private:
    mutable std::mutex lock_;
    explanation end_;                     // guarded by lock_
    mutable bool text_explained_ = false; // guarded by lock_
    mutable std::string text_;            // guarded by lock_
    mutable std::string text_before_;     // guarded by lock_; the text while unexplained
    mutable unsigned keepers_ = 0;        // guarded by lock_
    mutable cause_ref self_;              // guarded by lock_; while there are keepers
};

/// What a guard knows when it dies where it should not.
struct poisoning {
    std::string_view type;   ///< "mutex"
    std::string_view during; ///< a literal, see cause_state
    std::string_view name;   ///< may be empty
    std::source_location locked_at;
    std::string_view why; ///< not empty: declared by the holder
    cause_ref previous;   ///< a repair that failed
    /// It was ended by what the innermost `catch` handler has caught.
    bool in_handler = false;
};

/// Builds the cause from the state of this thread: its slice, its task, its exception. Falls
/// back to a shared record without details when memory is short.
[[nodiscard]] cause_ref make_cause(const poisoning& what) noexcept;

/// Drops the causes of this thread that still wait for their exception.
void forget_unexplained_causes() noexcept;
/// For when no exception is in flight: inside a handler, that handler's exception is the one;
/// elsewhere it was swallowed unseen, and they are dropped.
void settle_unexplained_causes() noexcept;

/// "task 17 'conn 127.0.0.1:50412'", or "a plain thread" for id 0.
[[nodiscard]] std::string describe_task(std::uint64_t id, std::string_view name);
/// "std::runtime_error": the demangled name.
[[nodiscard]] std::string describe_type(const std::exception_ptr& error);
/// "std::runtime_error: boom", what() whole and as it is; the demangled type alone for what is
/// no std::exception.
[[nodiscard]] std::string describe_exception(const std::exception_ptr& error);
/// "tracker.cpp:88": the last part of the path and the line; "?" when unknown.
[[nodiscard]] std::string describe_place(std::source_location where);

} // namespace detail
} // namespace toadstone

#endif
