// How a lock says, for logs, what state it is in.
#include <toadstone/sync/detail/lock_state.hpp>

namespace toadstone::sync::detail {

std::string lock_state(const std::string& subject, const std::string& use, std::size_t waiters,
                       const poison_cause& cause) {
    std::string text = subject + ", " + use;
    if (waiters) text += ", " + std::to_string(waiters) + (waiters == 1 ? " waits" : " wait");
    if (cause) {
        const std::string story = cause.to_string(); // "mutex 'accounts' poisoned: ..."
        const bool begins_so = story.starts_with(subject);
        text += begins_so ? "," + story.substr(subject.size()) : "; " + story;
    }
    return text;
}

} // namespace toadstone::sync::detail
