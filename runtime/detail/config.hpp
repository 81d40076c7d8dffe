// Switches that depend on the compiler or on a sanitizer, and the assertion that reports
// misuse.
#ifndef TOADSTONE_RUNTIME_DETAIL_CONFIG_HPP
#define TOADSTONE_RUNTIME_DETAIL_CONFIG_HPP

// Every public header includes this one before anything of the standard library. An older
// compiler would go on after an #error and print pages about coroutines; a file that is not
// there stops it, so that this is the one thing it says. clang 17 and 18 may try.
#if defined(__clang__)
#if __clang_major__ < 17
#define TOADSTONE_TOO_OLD 1
#endif
#elif defined(__GNUC__)
#if __GNUC__ < 12 || (__GNUC__ == 12 && __GNUC_MINOR__ < 2)
#define TOADSTONE_TOO_OLD 1
#endif
#endif
#ifdef TOADSTONE_TOO_OLD
#include <toadstone needs g++ 12.2 or newer, or clang 19 or newer>
#endif
#if __cplusplus < 202002L
#include <toadstone needs C++20: -std=c++20, or cpp_std=c++20 in a Meson project>
#endif

#include <string_view>

#if defined(__SANITIZE_ADDRESS__)
#define TOADSTONE_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TOADSTONE_ASAN 1
#endif
#endif
#ifndef TOADSTONE_ASAN
#define TOADSTONE_ASAN 0
#endif

#if defined(__SANITIZE_THREAD__)
#define TOADSTONE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TOADSTONE_TSAN 1
#endif
#endif
#ifndef TOADSTONE_TSAN
#define TOADSTONE_TSAN 0
#endif

// g++ before 13 destroys some temporaries of a co_await expression twice
// (docs/cancellation.md).
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ < 13
#define TOADSTONE_OLD_GCC 1
#else
#define TOADSTONE_OLD_GCC 0
#endif

// With -DTOADSTONE_FIND_DANGLING clang's -Wdangling sees coroutines that keep a reference to a
// temporary: a parameter, or the captures of a lambda. Not always on, because then every
// function that returns a task and is no coroutine is an error unless it says
// TOADSTONE_CORO_WRAPPER, those inside std::function and std::invoke too.
#if defined(TOADSTONE_FIND_DANGLING) && defined(__clang__)
#define TOADSTONE_CORO_TASK [[clang::coro_return_type, clang::coro_lifetimebound]]
#define TOADSTONE_CORO_WRAPPER [[clang::coro_wrapper]]
#else
#define TOADSTONE_CORO_TASK
#define TOADSTONE_CORO_WRAPPER
#endif

namespace toadstone::detail {

/// Prints the sentence that is false, with the task that runs here and its last co_await, and
/// the place of the check; then aborts.
[[noreturn, gnu::cold]] void contract_violated(const char* sentence, const char* file,
                                               int line) noexcept;
/// The same, with the object that it is about: "mutex 'accounts'"; nothing if that is empty.
[[noreturn, gnu::cold]] void contract_violated(const char* sentence, std::string_view object,
                                               const char* file, int line) noexcept;

/// For misuse that a program survives: throws std::logic_error with the sentence and, if it is
/// not empty, the object.
[[noreturn, gnu::cold]] void throw_misuse(const char* sentence, std::string_view object = {});

} // namespace toadstone::detail

// Contract checks stay on in every build: a violated one means that somebody's data is wrong.
// What a program can survive is thrown instead (docs/contracts.md).
#define TOADSTONE_ASSERT(condition, sentence)                                                  \
    ((condition) ? void()                                                                      \
                 : ::toadstone::detail::contract_violated(sentence, __FILE__, __LINE__))

/// The same about an object, which is something that converts to std::string_view, evaluated
/// only when it is violated.
#define TOADSTONE_ASSERT_OF(condition, sentence, object)                                       \
    ((condition)                                                                               \
         ? void()                                                                              \
         : ::toadstone::detail::contract_violated(sentence, object, __FILE__, __LINE__))

#endif
