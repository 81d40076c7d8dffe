// Following the chain of causes, and the exception that carries one.
#include <toadstone/runtime/poison_cause.hpp>

#include <toadstone/runtime/detail/cause_story.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <utility>

namespace toadstone {

poison_error::poison_error(poison_cause cause)
    : std::runtime_error("poisoned"), cause_(std::move(cause)) {}

const char* poison_error::what() const noexcept {
    return cause_ ? cause_.state()->text() : std::runtime_error::what();
}

void poison_cause::refuse_empty() {
    detail::throw_misuse("an empty poison_cause knows nothing: ask it by its operator bool");
}

poison_cause poison_cause::linked() const {
    return poison_cause(state_ ? state_->explained().link : nullptr);
}

poison_cause poison_cause::first() const {
    return poison_cause(detail::first_of(state_));
}

} // namespace toadstone
