// The page by which a forked process knows that it is one.
#include <toadstone/runtime/detail/fork_mark.hpp>

#include <new>

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

} // namespace toadstone::detail
