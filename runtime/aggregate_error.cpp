// What an exception that stands for several says.
#include <toadstone/runtime/aggregate_error.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/cause_story.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

namespace toadstone {
namespace {

std::string told(const std::vector<std::exception_ptr>& failures) {
    constexpr std::size_t most = 4;
    std::string text = std::to_string(failures.size());
    text += failures.size() == 1 ? " task failed: " : " tasks failed: ";
    const std::size_t shown = std::min(most, failures.size());
    for (std::size_t i = 0; i < shown; ++i) {
        if (i > 0) text += "; ";
        text += detail::describe_exception(failures[i]);
    }
    if (shown < failures.size())
        text += "; and " + std::to_string(failures.size() - shown) + " more";
    return text;
}

} // namespace

aggregate_error::aggregate_error(std::vector<std::exception_ptr> failures)
    : std::runtime_error(told(failures)),
      failures_(std::make_shared<const std::vector<std::exception_ptr>>(std::move(failures))) {}

void detail::throw_together(std::vector<std::exception_ptr> failures) {
    for (const auto& each : failures) {
        if (!explained_by(each).link) continue;
        try {
            std::rethrow_exception(each);
        } catch (...) {
            std::throw_with_nested(aggregate_error(std::move(failures)));
        }
    }
    throw aggregate_error(std::move(failures));
}

} // namespace toadstone
