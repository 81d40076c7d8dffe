// How much memory the process has, for figures per task.
#ifndef TOADSTONE_BENCH_MEMORY_HPP
#define TOADSTONE_BENCH_MEMORY_HPP

#include <cstdio>

#include <malloc.h>
#include <unistd.h>

namespace bench {

/// Bytes that malloc has handed out, over all threads, its own headers included.
[[nodiscard]] inline double allocated_bytes() {
    const struct mallinfo2 now = mallinfo2();
    return static_cast<double>(now.uordblks) + static_cast<double>(now.hblkhd);
}

/// Bytes of the process that are in memory.
[[nodiscard]] inline double resident_bytes() {
    unsigned long pages = 0;
    if (std::FILE* file = std::fopen("/proc/self/statm", "re")) {
        if (std::fscanf(file, "%*u %lu", &pages) != 1) pages = 0;
        std::fclose(file);
    }
    return static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE));
}

} // namespace bench

#endif
