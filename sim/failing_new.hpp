// Lets every operator new of a test program fail when a simulation says so. Include it in
// exactly one source file of the program: it replaces the global operators new and delete.
//
// With it, cancel_options::allocations reaches every allocation of the code under test:
// strings, containers, std::function. Without it, only frames and records of tasks. And
// world_options::all_memory_back can look at what is left.
#ifndef TOADSTONE_SIM_FAILING_NEW_HPP
#define TOADSTONE_SIM_FAILING_NEW_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <cstdlib>
#include <new>

namespace toadstone::sim::detail {
/// This allocation is the one that has to fail.
[[nodiscard]] bool refuses_new() noexcept;
/// It has been made, and is to be given back before the run ends. Returns `block`.
void* count_in(void* block, std::size_t size) noexcept;
void count_out(void* block) noexcept;

[[gnu::noinline]] inline void* allocate_or_refuse(std::size_t size) noexcept {
    return refuses_new() ? nullptr : count_in(std::malloc(size > 0 ? size : 1), size);
}
[[gnu::noinline]] inline void* allocate_or_refuse(std::size_t size,
                                                  std::align_val_t alignment) noexcept {
    const auto to = static_cast<std::size_t>(alignment);
    if (size > static_cast<std::size_t>(-1) - to || refuses_new()) return nullptr;
    return count_in(std::aligned_alloc(to, (size + to - 1) / to * to), size);
}
template <class... Alignment>
void* allocate_or_throw(std::size_t size, Alignment... alignment) {
    if (void* block = allocate_or_refuse(size, alignment...)) return block;
    throw std::bad_alloc();
}
[[gnu::noinline]] inline void deallocate(void* block) noexcept {
    count_out(block);
    std::free(block);
}
} // namespace toadstone::sim::detail

void* operator new(std::size_t size) {
    return toadstone::sim::detail::allocate_or_throw(size);
}
void* operator new[](std::size_t size) {
    return toadstone::sim::detail::allocate_or_throw(size);
}
void* operator new(std::size_t size, std::align_val_t alignment) {
    return toadstone::sim::detail::allocate_or_throw(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
    return toadstone::sim::detail::allocate_or_throw(size, alignment);
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept {
    return toadstone::sim::detail::allocate_or_refuse(size);
}
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept {
    return toadstone::sim::detail::allocate_or_refuse(size);
}
void* operator new(std::size_t size, std::align_val_t alignment,
                   const std::nothrow_t&) noexcept {
    return toadstone::sim::detail::allocate_or_refuse(size, alignment);
}
void* operator new[](std::size_t size, std::align_val_t alignment,
                     const std::nothrow_t&) noexcept {
    return toadstone::sim::detail::allocate_or_refuse(size, alignment);
}

void operator delete(void* block) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete[](void* block) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete(void* block, std::size_t) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete[](void* block, std::size_t) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete(void* block, std::align_val_t) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete[](void* block, std::align_val_t) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete(void* block, std::size_t, std::align_val_t) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete[](void* block, std::size_t, std::align_val_t) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete(void* block, const std::nothrow_t&) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete[](void* block, const std::nothrow_t&) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete(void* block, std::align_val_t, const std::nothrow_t&) noexcept {
    toadstone::sim::detail::deallocate(block);
}
void operator delete[](void* block, std::align_val_t, const std::nothrow_t&) noexcept {
    toadstone::sim::detail::deallocate(block);
}

#endif
