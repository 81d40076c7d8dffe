// Where the library's own few lines go, and whom it tells of failures and of poison.
#ifndef TOADSTONE_RUNTIME_LOG_HPP
#define TOADSTONE_RUNTIME_LOG_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone {

class poison_cause;

namespace detail {

/// A callable of the user without its type.
template <class Argument>
class hook {
public:
    hook() = default;
    virtual ~hook() = default;
    hook(const hook&) = delete;
    hook& operator=(const hook&) = delete;
    virtual void call(Argument argument) = 0;
};

template <class Fn, class Argument>
class hook_of final : public hook<Argument> {
public:
    explicit hook_of(Fn fn) : fn_(std::move(fn)) {}
    void call(Argument argument) override { fn_(argument); }

private:
    Fn fn_;
};

/// Null for nullptr, which means the default.
template <class Argument, class Fn>
std::shared_ptr<hook<Argument>> make_hook(Fn&& fn) {
    if constexpr (std::is_null_pointer_v<std::decay_t<Fn>>) {
        return nullptr;
    } else {
        static_assert(std::is_invocable_v<std::decay_t<Fn>&, Argument>,
                      "the function does not take what it is to be told");
        return std::make_shared<hook_of<std::decay_t<Fn>, Argument>>(std::forward<Fn>(fn));
    }
}

} // namespace detail

/// A failure that no joiner took: promise 19 of the design says that it is never lost.
struct unobserved_failure {
    std::uint64_t task_id = 0;  ///< whose failure it is
    std::string_view task_name; ///< may be empty
    /// What failed: "failed and nobody joined it", ": the loser of a race failed", ...
    std::string_view what;
    std::exception_ptr error; ///< what left the task
};

namespace detail {
void exchange_log_sink(std::shared_ptr<hook<std::string_view>> sink) noexcept;
void exchange_unobserved(std::shared_ptr<hook<const unobserved_failure&>> fn) noexcept;
void exchange_poison(std::shared_ptr<hook<const poison_cause&>> fn) noexcept;
} // namespace detail

/// Adds a line to the log. Never blocks: the line is copied into a bounded queue of 256 KiB,
/// and one thread, which the first line starts, writes it to standard error with a time stamp
/// in front, or hands it to the sink. What does not fit is dropped, and the log says how many
/// lines that were as soon as there is room again. Control characters are replaced, as
/// printable() does: one call is one line. Longer than 4,000 bytes, it is cut.
///
/// Works without a runtime. Under simulation the line goes into sim::report::log instead. Lines
/// of a process that ends by exit() or by the return of main() are written for at most a second
/// more; _exit(), abort() and a signal lose what is queued. After fork() the child has a log of
/// its own, empty.
///
/// Errors: none; without memory or without a thread, lines are dropped and counted.
/// Threads: any; not from a signal handler.
void log_line(std::string_view text) noexcept;

/// Waits until every line that was there has been written, handed to the sink or dropped.
///
/// Returns: whether that happened within `patience`. Blocks: not for tasks.
/// Threads: any, but false at once on the log's own, where a sink runs.
bool flush_log(std::chrono::milliseconds patience = std::chrono::seconds(1)) noexcept;

/// From now on `fn(std::string_view line)` gets each line, without time stamp and line end,
/// instead of standard error; nullptr: standard error again.
///
/// `fn` is called by the log's thread, one line after the other, and may block: lines beyond
/// the queue are dropped then, workers go on. If it throws, that line goes to standard error.
/// It is not called any more once this returns with another one in its place, nor after exit()
/// has flushed the log: what it refers to has to live so long.
///
/// Errors: std::bad_alloc.
/// Threads: any. A sink may replace itself.
template <class Fn>
void set_log_sink(Fn&& fn) {
    detail::exchange_log_sink(detail::make_hook<std::string_view>(std::forward<Fn>(fn)));
}

/// From now on `fn(const unobserved_failure&)` is told of each failure that no joiner took,
/// instead of a line in the log; nullptr: the line again.
///
/// `fn` is called at once, on the thread that dropped the failure, which may be a worker's: it
/// must not block. If it throws, the log gets both.
///
/// Errors: std::bad_alloc.
/// Threads: any; calls that have begun may still run when this returns.
template <class Fn>
void on_unobserved(Fn&& fn) {
    detail::exchange_unobserved(
        detail::make_hook<const unobserved_failure&>(std::forward<Fn>(fn)));
}

/// From now on `fn(const poison_cause&)` is told of each poisoning, of locks, streams and
/// poison<T>, and of each repair that fails; nullptr, as at first: nobody is.
///
/// `fn` is called at once, in the destructor that poisons, before the next owner is told: it
/// must neither block nor use what is being poisoned. The exception of a cause may become known
/// only a moment later, when it leaves the coroutine; a copy of the cause has it then. A
/// poisoning by `fn` itself is not told. If it throws, the log says so.
///
/// Errors: std::bad_alloc.
/// Threads: any; calls that have begun may still run when this returns.
template <class Fn>
void on_poison(Fn&& fn) {
    detail::exchange_poison(detail::make_hook<const poison_cause&>(std::forward<Fn>(fn)));
}

/// Foreign text made fit for a log: what a terminal obeys (control characters, ESC and C1 among
/// them, line and paragraph separators, marks that change the direction or hide text) and bytes
/// that are no UTF-8 become '?', white space among them a space. More than `most` bytes are cut
/// at the end of a character, and "..." follows.
///
/// Errors: std::bad_alloc.
[[nodiscard]] std::string printable(std::string_view foreign, std::size_t most = 200);

/// What `error` says; "(no text)" where what() returns a null pointer, as that of a foreign
/// exception may.
[[nodiscard]] std::string_view what_of(const std::exception& error) noexcept;

/// Opens those of the descriptors 0, 1 and 2 that are closed, on /dev/null, so that no file or
/// socket of this process becomes its standard error. For the first line of a main(); run()
/// does it. (What the library opens is above 2 in any case.)
void open_standard_descriptors() noexcept;

} // namespace toadstone

#endif
