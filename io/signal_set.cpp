// The signal handler, its table, and the eventfd that wakes a waiting task.
//
// The handler may run on any thread at any moment, also in the middle of everything below, so
// it uses nothing but lock-free atomics and write(2). The table has a fixed size and is never
// freed.
#include <toadstone/io/signal_set.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/detail/handle.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>

#include <array>
#include <cstddef>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace toadstone::io {
namespace {

/// One set, as the handler sees it. A slot in use goes through these states:
///
///     free -> taken (table_lock) -> wanted != 0: the handler may come
///          -> wanted == 0: no new handler touches it -> visitors == 0: none is left -> free
///
/// The handler raises `visitors` before it reads `wanted`, the destructor clears `wanted`
/// before it reads `visitors`, all sequentially consistent: one of them sees the other. That is
/// why an eventfd is never written to after it was closed, when its number may be somebody
/// else's.
struct slot {
    toadstone::detail::atomic<unsigned> visitors{0};
    toadstone::detail::atomic<std::uint64_t> wanted{0}; // bit n - 1: signal n
    toadstone::detail::atomic<std::uint64_t> pending{
        0};                                      // set by the handler, cleared by wait()
    toadstone::detail::atomic<int> event_fd{-1}; // fixed while wanted != 0
    bool taken = false;                          // guarded by table_lock()
};
static_assert(toadstone::detail::atomic<std::uint64_t>::is_always_lock_free);
static_assert(toadstone::detail::atomic<int>::is_always_lock_free);

constexpr int most_signal = 64;

struct installed {
    unsigned sets = 0; // how many want it; guarded by table_lock
    struct sigaction before = {};
};

constinit std::array<slot, 64> slots;
std::array<installed, most_signal + 1> actions; // guarded by table_lock()

struct table_mutex : toadstone::detail::process_lock {};
table_mutex& table_lock() noexcept {
    return toadstone::detail::never_destroyed<table_mutex>();
}
const toadstone::detail::made_early<table_mutex> table_lock_early;

constexpr std::uint64_t bit_of(int signal) noexcept {
    return std::uint64_t{1} << (signal - 1);
}

extern "C" void toadstone_on_signal(int signal) {
    const int kept = errno;
    for (slot& each : slots) {
        each.visitors.fetch_add(1, std::memory_order_seq_cst);
        if (each.wanted.load(std::memory_order_seq_cst) & bit_of(signal)) {
            // (R) before the write that wakes: whoever was woken finds the bit.
            each.pending.fetch_or(bit_of(signal), std::memory_order_release);
            const std::uint64_t one = 1;
            [[maybe_unused]] const auto written =
                ::write(each.event_fd.load(std::memory_order_relaxed), &one, sizeof one);
        }
        each.visitors.fetch_sub(1, std::memory_order_release); // (R) done with the descriptor
    }
    errno = kept;
}

// Under table_lock.
void install(int signal) {
    auto& action = actions[static_cast<std::size_t>(signal)];
    if (action.sets == 0) {
        struct sigaction ours = {};
        ours.sa_handler = toadstone_on_signal;
        ours.sa_flags = SA_RESTART;
        sigfillset(&ours.sa_mask);
        if (::sigaction(signal, &ours, &action.before) != 0) {
            throw std::invalid_argument("signal_set: signal " + std::to_string(signal) +
                                        " cannot be caught");
        }
    }
    ++action.sets;
}

// Under table_lock.
void restore(int signal) noexcept {
    auto& action = actions[static_cast<std::size_t>(signal)];
    if (--action.sets == 0) ::sigaction(signal, &action.before, nullptr);
}

void restore_all(std::uint64_t mask) noexcept {
    for (; mask; mask &= mask - 1) restore(std::countr_zero(mask) + 1);
}

} // namespace

struct signal_set::state {
    slot* place = nullptr;
    std::uint64_t mask = 0;
    detail::handle event;
};

namespace {

class event_leaf : public detail::handle_op {
public:
    explicit event_leaf(detail::handle& on) noexcept : handle_op(on, detail::in_use::reading) {}
    [[nodiscard]] int await_resume() {
        if (refused()) detail::throw_in_use("wait for", "a signal", "waits on this signal_set");
        return finish();
    }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_read(&entry, fd(), &count_, sizeof count_, 0);
    }
    std::uint64_t count_ = 0;
};
using event_read = toadstone::detail::called_from<event_leaf, detail::handle&>;

} // namespace

signal_set::signal_set(std::initializer_list<int> signals) : state_(new state) {
    for (const int signal : signals) {
        if (signal < 1 || signal > most_signal) {
            throw std::invalid_argument("signal_set: " + std::to_string(signal) +
                                        " is no signal");
        }
        state_->mask |= bit_of(signal);
    }
    // Blocking mode: the ring waits for it by polling, and nobody else reads. A write would
    // only block after 2^64 - 2 signals.
    state_->event.fd = detail::descriptor(::eventfd(0, EFD_CLOEXEC));
    if (!state_->event.fd) detail::throw_io_error("make an eventfd for", "a signal_set", errno);

    const std::lock_guard hold(table_lock());
    slot* place = nullptr;
    for (slot& each : slots) {
        if (!each.taken && !place) place = &each;
    }
    if (!place) throw std::invalid_argument("signal_set: 64 sets exist already");
    place->pending.store(0, std::memory_order_relaxed);
    place->event_fd.store(state_->event.fd.get(), std::memory_order_relaxed);
    place->wanted.store(state_->mask, std::memory_order_seq_cst);
    std::uint64_t done = 0;
    try {
        for (std::uint64_t left = state_->mask; left; left &= left - 1) {
            const int signal = std::countr_zero(left) + 1;
            install(signal);
            done |= bit_of(signal);
        }
    } catch (...) {
        restore_all(done);
        place->wanted.store(0, std::memory_order_seq_cst);
        while (place->visitors.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
        throw;
    }
    place->taken = true;
    state_->place = place;
}

signal_set::signal_set(signal_set&& other) noexcept = default;

signal_set::~signal_set() {
    if (!state_) return;
    TOADSTONE_ASSERT(state_->event.use.unused(), "a signal_set outlives the wait() on it");
    const std::lock_guard hold(table_lock());
    restore_all(state_->mask);
    slot& place = *state_->place;
    place.wanted.store(0, std::memory_order_seq_cst);
    while (place.visitors.load(std::memory_order_seq_cst) != 0) std::this_thread::yield();
    place.taken = false;
}

toadstone::task<int> signal_set::wait(std::source_location where) {
    co_await toadstone::detail::checkpoint_for(where);
    if (!state_)
        toadstone::detail::throw_misuse("a signal_set that was moved from waits for "
                                        "nothing");
    state& self = *state_;
    for (;;) {
        const std::uint64_t there = self.place->pending.load(std::memory_order_acquire); // (A)
        if (there) {
            const int signal = std::countr_zero(there) + 1;
            self.place->pending.fetch_and(~bit_of(signal), std::memory_order_relaxed);
            co_return signal;
        }
        const int result = co_await event_read(where, self.event);
        if (result < 0) detail::throw_io_error("wait for", "a signal", -result);
    }
}

} // namespace toadstone::io
