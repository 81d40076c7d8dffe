// The page by which a forked process knows that it is one, and the locks that it finds free.
#include <toadstone/runtime/detail/fork_mark.hpp>

#include <new>

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

atomic<std::uint64_t>& number_of_process() noexcept {
    static atomic<std::uint64_t>& number = []() -> atomic<std::uint64_t>& {
        static constinit atomic<std::uint64_t> without_page{0};
        const auto size = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
        void* const page =
            ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (page == MAP_FAILED) return without_page;
        if (::madvise(page, size, MADV_WIPEONFORK) != 0) {
            ::munmap(page, size);
            return without_page;
        }
        return *new (page) atomic<std::uint64_t>(0); // for the life of the process
    }();
    return number;
}
[[maybe_unused]] const atomic<std::uint64_t>& made_before_main = number_of_process();

} // namespace

fork_mark::fork_mark() noexcept {
    static constinit atomic<std::uint64_t> last{0};
    atomic<std::uint64_t>& number = number_of_process();
    std::uint64_t none = 0; // the first in this process
    number.compare_exchange_strong(none, last.fetch_add(1, std::memory_order_relaxed) + 1,
                                   std::memory_order_relaxed);
    number_ = &number;
    made_in_ = number.load(std::memory_order_relaxed);
}

struct process_lock::fork_handlers {
    static inline constinit atomic<process_lock*> first{nullptr};
    /// Where the list began that a fork has taken. Guarded by all locks of that list.
    static inline constinit process_lock* taken = nullptr;

    static void before() {
        process_lock* const begin = first.load(std::memory_order_acquire);
        for (process_lock* each = begin; each; each = each->next_) each->lock();
        taken = begin;
    }
    static void after() {
        for (process_lock* each = taken; each;) {
            process_lock* const next = each->next_;
            each->unlock();
            each = next;
        }
    }
};

// Without memory for the handlers, a fork at a bad moment is what it is without them.
process_lock::process_lock() noexcept {
    using handlers = fork_handlers;
    static const int registered =
        pthread_atfork(handlers::before, handlers::after, handlers::after);
    static_cast<void>(registered);
    next_ = handlers::first.load(std::memory_order_relaxed);
    while (!handlers::first.compare_exchange_weak(next_, this, std::memory_order_release,
                                                  std::memory_order_relaxed)) {
    }
}

} // namespace toadstone::detail
