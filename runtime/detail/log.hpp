// What the library says by itself: failures that nobody took, poison, reports of many lines.
#ifndef TOADSTONE_RUNTIME_DETAIL_LOG_HPP
#define TOADSTONE_RUNTIME_DETAIL_LOG_HPP

#include <toadstone/runtime/detail/cause_state.hpp>

#include <cstddef>
#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace toadstone::detail {

/// Tells on_unobserved()'s function, or the log, of a failure. `what` follows the task's name:
/// " failed and nobody joined it", ": the loser of a race failed".
void report_unobserved(std::uint64_t task_id, std::string_view task_name, std::string_view what,
                       const std::exception_ptr& error) noexcept;

/// Tells on_poison()'s function.
void tell_of_poison(const cause_ref& cause) noexcept;

/// A log line for each line of `text`.
void log_lines(std::string_view text) noexcept;

/// describe_exception() for a log: what() is foreign, but for the library's own story of a
/// poisoning.
[[nodiscard]] std::string describe_for_log(const std::exception_ptr& error);

/// Writes `text` made printable to `to`, which has room for `most` bytes: no more than that,
/// whole characters only.
///
/// Returns: how many bytes were written. `taken` becomes how many of `text` these stand for.
[[nodiscard]] std::size_t make_printable(std::string_view text, char* to, std::size_t most,
                                         std::size_t& taken) noexcept;

/// While one lives, the lines of its thread go to it instead of the log. For a simulation.
class log_diversion {
public:
    log_diversion() noexcept;
    log_diversion(const log_diversion&) = delete;
    log_diversion& operator=(const log_diversion&) = delete;
    virtual void line(std::string_view text) noexcept = 0;

protected:
    ~log_diversion();

private:
    log_diversion* outer_;
};

} // namespace toadstone::detail

#endif
