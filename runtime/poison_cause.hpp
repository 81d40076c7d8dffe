// poison_cause and poison_error: why data is poisoned, by whom, and where.
#ifndef TOADSTONE_RUNTIME_POISON_CAUSE_HPP
#define TOADSTONE_RUNTIME_POISON_CAUSE_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>

#include <chrono>
#include <cstdint>
#include <exception>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace toadstone {

/// What ended a critical section half-way: who was in it, why it ended, and where.
///
/// Shape: one counted pointer; copies share the record, which does not change once it is
///     published (the exception of a section may become known a moment after the poison). What
///     one leads to is bounded: in a long story, previous() and linked() are copies that lead
///     to the first cause at once.
/// Errors: of an empty cause, every member but operator bool, to_string(), first() and linked()
///     throws std::logic_error: data may have been recovered since it was asked for its cause.
/// Threads: every member from any thread.
class poison_cause {
public:
    /// No cause.
    poison_cause() = default;
    /// There is one.
    explicit operator bool() const noexcept { return state_ != nullptr; }

    /// Exception, cancellation or abandonment.
    [[nodiscard]] poison_kind kind() const { return known().kind; }
    /// For kinds cancelled and abandoned.
    [[nodiscard]] cancel_reason reason() const { return known().reason; }
    /// For kind exception. Null when the exception was caught, outside the section, by a
    /// handler of the user before the runtime could see it. A poison_error with a long story is
    /// replaced by one with a shortened cause; an exception in which one is nested, by a
    /// std::runtime_error of the same text with the shortened one nested.
    [[nodiscard]] std::exception_ptr exception() const { return known().explained().error; }
    /// An exception ended the section while a cancellation was pending as well.
    [[nodiscard]] bool cancel_pending() const { return known().cancel_pending; }
    /// 0 for a plain thread.
    [[nodiscard]] std::uint64_t task_id() const { return known().task_id; }
    /// As it was spawned with.
    [[nodiscard]] std::string_view task_name() const { return known().task_name; }
    /// Where the section began.
    [[nodiscard]] std::source_location locked_at() const { return known().locked_at; }
    /// The co_await at which the task was stopped; line 0 for kinds exception and declared.
    [[nodiscard]] std::source_location interrupted_at() const { return known().interrupted_at; }
    /// By the system's clock.
    [[nodiscard]] std::chrono::system_clock::time_point when() const { return known().when; }
    /// What the holder said, for kind declared.
    [[nodiscard]] std::string_view why() const { return known().why; }
    /// Repairs that have failed since the data was first poisoned.
    [[nodiscard]] unsigned attempts() const { return known().attempts; }
    /// The cause that a failed repair wanted to mend; empty for a first poisoning.
    [[nodiscard]] poison_cause previous() const { return poison_cause(known().previous); }
    /// Contagion: the cause inside the poison_error that ended this section, or that is nested
    /// in what did; empty if it was something else.
    [[nodiscard]] poison_cause linked() const;
    /// Follows linked() and previous() to the first cause.
    [[nodiscard]] poison_cause first() const;

    /// The story in one line of at most 4,000 bytes, foreign text printable() and cut. A long
    /// one says how many causes it leaves out. "not poisoned" for an empty cause.
    [[nodiscard]] std::string to_string() const {
        return state_ ? state_->to_string() : "not poisoned";
    }
    friend bool operator==(const poison_cause&, const poison_cause&) = default;

    /// For the library.
    explicit poison_cause(detail::cause_ref state) noexcept : state_(std::move(state)) {}
    /// For the library.
    [[nodiscard]] const detail::cause_ref& state() const noexcept { return state_; }

private:
    [[nodiscard]] const detail::cause_state& known() const {
        if (!state_) refuse_empty();
        return *state_;
    }
    [[noreturn, gnu::cold]] static void refuse_empty();

    detail::cause_ref state_;
};

/// Thrown by whoever asks for data that is poisoned. Nothing is held when it is thrown.
class poison_error : public std::runtime_error {
public:
    /// As the library throws it: what() is `cause.to_string()`.
    explicit poison_error(poison_cause cause);
    /// The whole of it.
    [[nodiscard]] const poison_cause& cause() const noexcept { return cause_; }
    /// The story in one line: the cause's to_string().
    [[nodiscard]] const char* what() const noexcept override;

private:
    poison_cause cause_;
};

} // namespace toadstone

#endif
