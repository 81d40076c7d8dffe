// Mapping stacks, and the list that a thread keeps.
#include <toadstone/runtime/fiber/stack.hpp>

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <string>
#include <system_error>

namespace toadstone::detail {
namespace {

/// Wider than one page, so that a frame of some KiB that does not touch its pages in order
/// does not step over it.
constexpr std::size_t guard_size = 64 * 1024;
constexpr std::size_t most_kept = 16 * 1024 * 1024;

constinit unmodelled_atomic<std::int64_t> live{0};

std::size_t whole_pages(std::size_t size) noexcept {
    static const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
    return (size + page - 1) / page * page;
}

void unmap(fiber_stack stack) noexcept {
    ::munmap(stack.top - stack.size - guard_size, stack.size + guard_size);
}

/// In the uppermost bytes of a stack that is kept, which are resident anyway.
struct kept_stack {
    kept_stack* next;
    std::size_t size;
};

class kept_stacks {
public:
    kept_stacks() = default;
    kept_stacks(const kept_stacks&) = delete;
    kept_stacks& operator=(const kept_stacks&) = delete;
    ~kept_stacks() {
        while (first_) unmap(take_from(&first_));
        ended_ = true;
    }

    /// Null: none of the first few has exactly that size. Most programs have one or two sizes.
    [[nodiscard]] fiber_stack take(std::size_t size) noexcept {
        kept_stack** at = &first_;
        for (int looks = 0; *at && looks < 8; at = &(*at)->next, ++looks) {
            if ((*at)->size == size) return take_from(at);
        }
        return {};
    }
    [[nodiscard]] bool keep(fiber_stack stack) noexcept {
        if (ended_ || bytes_ + stack.size > most_kept) return false;
        first_ = ::new (stack.top - sizeof(kept_stack)) kept_stack{first_, stack.size};
        bytes_ += stack.size;
        return true;
    }
    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

private:
    fiber_stack take_from(kept_stack** at) noexcept {
        kept_stack* const found = *at;
        *at = found->next;
        bytes_ -= found->size;
        return {reinterpret_cast<std::byte*>(found + 1), found->size};
    }

    kept_stack* first_ = nullptr;
    std::size_t bytes_ = 0;
    bool ended_ = false;
};

thread_local kept_stacks kept;

[[noreturn]] void no_stack(std::size_t size, int error) {
    throw std::system_error(error, std::system_category(),
                            "no stack of " + std::to_string(size / 1024) +
                                " KiB for a fiber (many at once need a higher "
                                "vm.max_map_count, two for each, or a smaller stack_size)");
}

} // namespace

fiber_stack take_fiber_stack(std::size_t size) {
    size = whole_pages(size);
    fiber_stack stack = kept.take(size);
    if (!stack.top) {
        constexpr int kind = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK;
        void* const place = ::mmap(nullptr, size + guard_size, PROT_NONE, kind, -1, 0);
        if (place == MAP_FAILED) no_stack(size, errno);
        auto* const bottom = static_cast<std::byte*>(place) + guard_size;
        if (::mprotect(bottom, size, PROT_READ | PROT_WRITE) != 0) {
            const int error = errno;
            ::munmap(place, size + guard_size);
            no_stack(size, error);
        }
        stack = {bottom + size, size};
    }
    live.fetch_add(1, std::memory_order_relaxed);
    return stack;
}

void give_back_fiber_stack(fiber_stack stack) noexcept {
    live.fetch_sub(1, std::memory_order_relaxed);
    if (!kept.keep(stack)) unmap(stack);
}

std::int64_t live_fiber_stacks() noexcept {
    return live.load(std::memory_order_relaxed);
}

std::size_t kept_fiber_stack_bytes() noexcept {
    return kept.bytes();
}

} // namespace toadstone::detail
