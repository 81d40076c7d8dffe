// What a server has to say about its requests.
#ifndef TOADSTONE_EXAMPLES_HTTP_SITE_HPP
#define TOADSTONE_EXAMPLES_HTTP_SITE_HPP

#include "answer_budget.hpp"
#include "limits.hpp"
#include "message.hpp"
#include "traffic.hpp"

#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <exception>
#include <string_view>
#include <variant>

namespace http {

/// An answer that has to be waited for. It is cancelled when its client leaves, and when its
/// time is over.
struct work {
    /// Memory that the answer may need: it is not begun without so much of the budget.
    std::size_t bytes = 0;
    toadstone::task<response> answer;
};

/// Answers requests; what all connections share. Outlives them.
///
/// Threads: any worker calls any function, except that settle() of a connection comes behind
///     its work.
class site {
public:
    explicit site(const limits& chosen) : chosen_(chosen), answers_(chosen.max_answers) {}
    site(const site&) = delete;
    site& operator=(const site&) = delete;
    virtual ~site() = default;

    /// How a request is answered, which stays where it is until then.
    ///
    /// Errors: error, and what answer_to_failure() knows.
    [[nodiscard]] virtual std::variant<response, work> answer(const request& from) = 0;

    /// The answer to a request that failed, in answer() or in the work that it gave.
    [[nodiscard]] virtual response answer_to_failure(const std::exception_ptr& failure) = 0;

    /// Behind work that was cut, or has failed: whether it has left something to be seen to,
    /// and doing so, which is not cancelled. Work that was cut with its whole connection is
    /// not followed by it; what it has left is then for the next one to find.
    [[nodiscard]] virtual bool unsettled() const noexcept { return false; }
    [[nodiscard]] virtual toadstone::task<> settle() { co_return; }

    virtual void log(std::string_view event) noexcept = 0;

    [[nodiscard]] const limits& bounds() const noexcept { return chosen_; }
    [[nodiscard]] traffic& counts() noexcept { return counts_; }
    [[nodiscard]] answer_budget& answers() noexcept { return answers_; }

private:
    const limits& chosen_;
    traffic counts_;
    answer_budget answers_;
};

/// The answer to an error of this library, and to one that nobody explains: the latter is
/// logged.
[[nodiscard]] response answer_to_any(site& all, const std::exception_ptr& failure);

} // namespace http

#endif
