// Following the chain of causes, and the exception that carries one.
#include <toadstone/runtime/poison_cause.hpp>

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
    const std::exception_ptr error = state_ ? state_->error() : nullptr;
    if (!error) return {};
    try {
        std::rethrow_exception(error);
    } catch (const poison_error& inner) {
        return inner.cause();
    } catch (...) {
        return {};
    }
}

poison_cause poison_cause::first() const {
    poison_cause each = *this;
    for (unsigned depth = 0; each && depth < 64; ++depth) {
        poison_cause deeper = each.previous();
        if (!deeper) deeper = each.linked();
        if (!deeper) break;
        each = std::move(deeper);
    }
    return each;
}

} // namespace toadstone
