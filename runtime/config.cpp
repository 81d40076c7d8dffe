// The end of a program that broke a contract.
#include <toadstone/runtime/detail/config.hpp>

#include <cstdio>
#include <cstdlib>

namespace toadstone::detail {

void contract_violated(const char* sentence, const char* file, int line) noexcept {
    std::fprintf(stderr, "toadstone: %s (%s:%d)\n", sentence, file, line);
    std::fflush(stderr);
    std::abort();
}

} // namespace toadstone::detail
