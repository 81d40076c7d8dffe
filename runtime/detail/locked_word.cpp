// Taking the lock that is a bit of a word.
#include <toadstone/runtime/detail/locked_word.hpp>

namespace toadstone::detail {
namespace {

template <class Word>
Word lock_bit_of(atomic<Word>& of, Word bit) noexcept {
    for (unsigned tries = 0;; ++tries) {
        Word word = of.load(std::memory_order_relaxed);
        if (!(word & bit) &&
            of.compare_exchange_weak(word, word | bit, std::memory_order_acquire,
                                     std::memory_order_relaxed)) {
            return word;
        }
        spin(tries);
    }
}

} // namespace

std::uint32_t lock_word(atomic<std::uint32_t>& word, std::uint32_t bit) noexcept {
    return lock_bit_of(word, bit);
}

std::uint64_t lock_word(atomic<std::uint64_t>& word, std::uint64_t bit) noexcept {
    return lock_bit_of(word, bit);
}

} // namespace toadstone::detail
