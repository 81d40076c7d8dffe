// The locks of bench_poison, and the sections that nobody else disturbs. These have a source
// for each lock: how much g++ inlines depends on how many callers a source has.
#ifndef TOADSTONE_BENCH_POISON_SECTIONS_HPP
#define TOADSTONE_BENCH_POISON_SECTIONS_HPP

#include "measure.hpp"

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <cstdint>
#include <source_location>

namespace bench {

using toadstone::task;
using toadstone::sync::on_cancel;
using toadstone::sync::on_exception;

template <on_cancel Cancel, on_exception Exception>
using shared = toadstone::sync::mutex<int, Cancel, Exception>;
template <on_cancel Cancel, on_exception Exception>
using local = toadstone::sync::local_mutex<int, Cancel, Exception>;

/// A shared_mutex by the names of the others.
template <on_cancel Cancel, on_exception Exception>
class writer : public toadstone::sync::shared_mutex<int, Cancel, Exception> {
public:
    using here = std::source_location;
    [[nodiscard]] auto lock(here where = here::current()) noexcept {
        return this->write(where);
    }
};

template <template <on_cancel, on_exception> class Lock>
using poisons = Lock<on_cancel::poison, on_exception::poison>;
template <template <on_cancel, on_exception> class Lock>
using on_exceptions = Lock<on_cancel::release, on_exception::poison>;
template <template <on_cancel, on_exception> class Lock>
using on_cancellation = Lock<on_cancel::poison, on_exception::release>;
template <template <on_cancel, on_exception> class Lock>
using nothing = Lock<on_cancel::release, on_exception::release>;

/// `n` sections in a task: the ns that they took.
using body = task<double> (*)(std::uint64_t n);
struct sections {
    body poisons, on_exceptions, on_cancellation, nothing;
    body unlocked; ///< poisons, ended by unlock(), which asks for no level
};
[[nodiscard]] sections sections_of_mutex();
[[nodiscard]] sections sections_of_local_mutex();
[[nodiscard]] sections sections_of_shared_mutex();

template <class Mutex>
task<double> section(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        const auto hold = co_await mutex.lock();
        bench::keep(++*hold);
    }
    co_return clock.ns();
}

template <class Mutex>
task<double> section_unlocked(std::uint64_t n) {
    Mutex mutex;
    const stopwatch clock;
    for (; n; --n) {
        auto hold = co_await mutex.lock();
        bench::keep(++*hold);
        hold.unlock();
    }
    co_return clock.ns();
}

template <template <on_cancel, on_exception> class Lock>
[[nodiscard]] sections sections_of() {
    return {section<poisons<Lock>>, section<on_exceptions<Lock>>,
            section<on_cancellation<Lock>>, section<nothing<Lock>>,
            section_unlocked<poisons<Lock>>};
}

} // namespace bench

#endif
