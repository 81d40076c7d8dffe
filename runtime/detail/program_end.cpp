// Noticing exit(), and telling the data of loaded images from the heap and the stacks.
#include <toadstone/runtime/detail/program_end.hpp>

#include <toadstone/runtime/detail/atomic.hpp>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include <link.h>

namespace toadstone::detail {
namespace {

// Set by the handler, never cleared. Usable at any time of the program's life: its initialiser
// is constant, its destructor trivial.
constinit atomic<bool> exit_has_begun{false};

void note_exit() noexcept {
    exit_has_begun.store(true, std::memory_order_relaxed);
}

/// For dl_iterate_phdr: 1, which ends the search, when a writable segment has the object.
int has_in_its_data(dl_phdr_info* image, std::size_t, void* object) noexcept {
    const auto at = reinterpret_cast<std::uintptr_t>(object);
    for (unsigned i = 0; i < image->dlpi_phnum; ++i) {
        const auto& segment = image->dlpi_phdr[i];
        const std::uintptr_t from = image->dlpi_addr + segment.p_vaddr;
        if (segment.p_type == PT_LOAD && (segment.p_flags & PF_W) != 0 && at >= from &&
            at - from < segment.p_memsz) {
            return 1;
        }
    }
    return 0;
}

} // namespace

bool ends_with_program(const void* object) noexcept {
    return exit_has_begun.load(std::memory_order_relaxed) ||
           dl_iterate_phdr(has_in_its_data, const_cast<void*>(object)) != 0;
}

void notice_exit() noexcept {
    // Where there is no room for a handler, globals on the heap are checked at exit() too.
    [[maybe_unused]] static const bool registered = std::atexit(note_exit) == 0;
}

} // namespace toadstone::detail
