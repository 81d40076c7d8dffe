// Which limit stands in the way is found out by trying, not by guessing.
#include <toadstone/runtime/uring/ring_memory.hpp>

#include <toadstone/runtime/detail/atomic.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <linux/capability.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

constexpr std::size_t pages(std::size_t bytes) noexcept {
    return (bytes + 4095) / 4096 * 4096;
}

/// The address space has no room for so many bytes, whatever they are for.
bool no_address_space_for(std::size_t bytes) noexcept {
    void* const there =
        ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (there == MAP_FAILED) return true;
    ::munmap(there, bytes);
    return false;
}

/// The value of a line "Name:\tvalue" of a file in /proc, as a hexadecimal number.
unsigned long long status_line(const char* name) noexcept {
    unsigned long long value = 0;
    if (std::FILE* file = std::fopen("/proc/self/status", "re")) {
        char text[128];
        while (std::fgets(text, sizeof text, file)) {
            if (std::strncmp(text, name, std::strlen(name)) == 0) {
                value = std::strtoull(text + std::strlen(name), nullptr, 16);
            }
        }
        std::fclose(file);
    }
    return value;
}

/// Capabilities count in the first user namespace only, which maps all users to themselves.
bool in_first_user_namespace() noexcept {
    unsigned long inside = 1;
    unsigned long outside = 1;
    unsigned long count = 0;
    if (std::FILE* file = std::fopen("/proc/self/uid_map", "re")) {
        char text[128] = "";
        if (std::fgets(text, sizeof text, file)) {
            char* at = text;
            inside = std::strtoul(at, &at, 10);
            outside = std::strtoul(at, &at, 10);
            count = std::strtoul(at, &at, 10);
        }
        std::fclose(file);
    }
    return inside == 0 && outside == 0 && count == 0xffffffff;
}

/// The limit on locked memory, or RLIM_INFINITY where the kernel does not count this process.
rlim_t locked_memory_limit() noexcept {
    rlimit limit{};
    if (::getrlimit(RLIMIT_MEMLOCK, &limit) != 0) return RLIM_INFINITY;
    const bool exempt = ((status_line("CapEff:") >> CAP_IPC_LOCK) & 1) != 0;
    return exempt && in_first_user_namespace() ? RLIM_INFINITY : limit.rlim_cur;
}

// Nanoseconds of the steady clock: when the present wait ends, or the last one did. 0: never.
constinit atomic<std::int64_t> patience_ends{0};

} // namespace

std::size_t ring_bytes(unsigned entries, unsigned completions) noexcept {
    constexpr std::size_t sqe = 64;
    constexpr std::size_t cqe = 16;
    constexpr std::size_t index = 4;
    constexpr std::size_t head = 320;
    return pages(entries * sqe) + pages(head + completions * cqe + entries * index);
}

bool late_memory::may_come(std::size_t bytes, clock::time_point now) noexcept {
    const std::int64_t at =
        std::chrono::duration_cast<std::chrono::nanoseconds>(now.time_since_epoch()).count();
    std::int64_t ends = patience_ends.load(std::memory_order_relaxed);
    if (at < ends) return true;
    constexpr std::int64_t pause_ns = std::chrono::nanoseconds(pause).count();
    if (ends != 0 && at - ends < pause_ns) return false;
    // Looked at once for each wait: what never fits or is not counted does not come back.
    const rlim_t limit = locked_memory_limit();
    if (limit == RLIM_INFINITY || bytes > limit || no_address_space_for(bytes)) return false;
    constexpr std::int64_t patience_ns = std::chrono::nanoseconds(patience).count();
    patience_ends.compare_exchange_strong(ends, at + patience_ns, std::memory_order_relaxed,
                                          std::memory_order_relaxed);
    return true;
}

void late_memory::came() noexcept {
    patience_ends.store(0, std::memory_order_relaxed);
}

std::string limit_text(int resource, const char* unit) {
    rlimit limit{};
    if (::getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) return "unknown";
    if (limit.rlim_cur == RLIM_INFINITY) return "unlimited";
    return std::to_string(limit.rlim_cur) + unit;
}

std::string no_ring_memory_text(std::size_t bytes) {
    constexpr const char* or_less = ", or use fewer workers or a smaller max_operations";
    if (no_address_space_for(bytes)) {
        return "The address space has no room for it: RLIMIT_AS is " +
               limit_text(RLIMIT_AS, " bytes") + ". Raise it (ulimit -v, LimitAS=)" + or_less;
    }
    const std::string locked = "RLIMIT_MEMLOCK is " + limit_text(RLIMIT_MEMLOCK, " bytes");
    if (locked_memory_limit() == RLIM_INFINITY) {
        return "The kernel has no memory for it, or the memory limit of the cgroup leaves "
               "none (" +
               locked + ", but does not hold for this process). Make room" + or_less;
    }
    return locked + " (per user, all rings together). Raise it (ulimit -l, LimitMEMLOCK=)" +
           or_less;
}

std::string no_thread_text() {
    std::size_t stack = 0;
    pthread_attr_t standard;
    if (::pthread_getattr_default_np(&standard) == 0) {
        ::pthread_attr_getstacksize(&standard, &stack);
        ::pthread_attr_destroy(&standard);
    }
    if (stack > 0 && no_address_space_for(stack)) {
        return "The address space has no room for its stack of " + std::to_string(stack) +
               " bytes: RLIMIT_AS is " + limit_text(RLIMIT_AS, " bytes") +
               ". Raise it (ulimit -v, LimitAS=), or use fewer workers or a smaller "
               "RLIMIT_STACK";
    }
    return "The number of threads is limited: RLIMIT_NPROC is " + limit_text(RLIMIT_NPROC, "") +
           " (per user); the cgroup has pids.max, the system kernel.threads-max. Raise the "
           "limit (ulimit -u, LimitNPROC=, TasksMax=), or use fewer workers";
}

} // namespace toadstone::detail
