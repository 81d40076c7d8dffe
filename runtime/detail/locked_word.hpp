// A word of state whose changes go by one compare-and-swap, or under a lock that is one of its
// bits.
#ifndef TOADSTONE_RUNTIME_DETAIL_LOCKED_WORD_HPP
#define TOADSTONE_RUNTIME_DETAIL_LOCKED_WORD_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>

#include <cstdint>

namespace toadstone::detail {

/// Sets the bit, which is clear before. Returns: the word without it. Pairs with (R).
[[nodiscard]] std::uint32_t lock_word(atomic<std::uint32_t>& word,
                                      std::uint32_t bit) noexcept; // (A)
[[nodiscard]] std::uint64_t lock_word(atomic<std::uint64_t>& word,
                                      std::uint64_t bit) noexcept; // (A)

/// Fast paths change the word in one step, and only while the `Lock` bit is clear. Whoever has
/// set that bit, for a few instructions, alone changes the word and whatever it guards: mostly
/// a wait_queue.
///
/// Orderings: (A) pairs with (R).
template <class Word, Word Lock>
class locked_word {
public:
    constexpr explicit locked_word(Word word) noexcept : word_(word) {}

    /// Orders nothing.
    [[nodiscard]] Word look() const noexcept { return word_.load(std::memory_order_relaxed); }
    /// What the last change published is seen.
    [[nodiscard]] Word read() const noexcept {
        return word_.load(std::memory_order_acquire); // (A)
    }
    /// False: it is not `seen`, without the lock, any more; what it is, `seen` is then.
    [[nodiscard]] bool acquire(Word& seen, Word next) noexcept {
        return word_.compare_exchange_strong(seen, next, std::memory_order_acquire, // (A)
                                             std::memory_order_relaxed);
    }
    [[nodiscard]] bool release(Word& seen, Word next) noexcept {
        return word_.compare_exchange_strong(seen, next, std::memory_order_release, // (R)
                                             std::memory_order_relaxed);
    }

    /// Returns: the word without the lock bit.
    [[nodiscard]] Word lock() const noexcept { return lock_word(word_, Lock); }
    void unlock(Word word) const noexcept {
        word_.store(word, std::memory_order_release); // (R)
    }

private:
    mutable atomic<Word> word_;
};

} // namespace toadstone::detail

#endif
