// A ring of bytes with lines in it.
#include <toadstone/runtime/detail/log_queue.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace toadstone::detail {

void log_queue::put(const void* from, std::size_t size) noexcept {
    const std::size_t at = (begin_ + used_) % capacity;
    const std::size_t first = std::min(size, capacity - at);
    std::memcpy(bytes_.data() + at, from, first);
    std::memcpy(bytes_.data(), static_cast<const char*>(from) + first, size - first);
    used_ += size;
}

void log_queue::get(void* to, std::size_t size) noexcept {
    const std::size_t first = std::min(size, capacity - begin_);
    std::memcpy(to, bytes_.data() + begin_, first);
    std::memcpy(static_cast<char*>(to) + first, bytes_.data(), size - first);
    begin_ = (begin_ + size) % capacity;
    used_ -= size;
}

bool log_queue::push(std::int64_t when, std::string_view text) noexcept {
    if (text.size() > longest || sizeof(header) + text.size() > capacity - used_) {
        ++dropped_;
        return false;
    }
    const header first{when, take_dropped(), text.size()};
    put(&first, sizeof first);
    put(text.data(), text.size());
    return true;
}

void log_queue::pop(line& into) noexcept {
    header first;
    get(&first, sizeof first);
    into.when = first.when;
    into.dropped = first.dropped;
    into.length = static_cast<std::size_t>(first.length);
    get(into.bytes.data(), into.length);
}

std::uint64_t log_queue::take_dropped() noexcept {
    return std::exchange(dropped_, 0);
}

void log_queue::clear() noexcept {
    begin_ = used_ = 0;
    dropped_ = 0;
}

} // namespace toadstone::detail
