// The end of a program that broke a contract.
#include <toadstone/runtime/detail/config.hpp>

#include <toadstone/runtime/detail/log_writer.hpp>
#include <toadstone/runtime/log.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>

namespace toadstone::detail {

void contract_violated(const char* sentence, const char* file, int line) noexcept {
    using namespace std::chrono_literals;
    char text[1024];
    const int length =
        std::snprintf(text, sizeof text, "toadstone: %s (%s:%d)\n", sentence, file, line);
    // What was said before comes first, if its reader is there; the sentence itself goes past
    // the log, whose thread may be the one that broke the contract.
    flush_log(100ms);
    write_to_stderr({text, std::min(static_cast<std::size_t>(length), sizeof text - 1)}, 1s);
    std::abort();
}

} // namespace toadstone::detail
