// The worker's turn, and the life of an operation in its ring.
#include <toadstone/runtime/uring/worker.hpp>

#include <toadstone/runtime/detail/above_standard.hpp>
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>
#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/uring/buffer_ring.hpp>
#include <toadstone/runtime/uring/multishot_op.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <sys/eventfd.h>
#include <unistd.h>

#if TOADSTONE_TSAN
extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#endif

namespace toadstone::detail {
namespace {

// user_data: generation above, slot below. Slots of the library's own requests:
constexpr std::uint32_t wake_up_slot = 0xffffffff;
constexpr std::uint32_t cancel_slot = 0xfffffffe;
// All others are below io_op::notified, which is added to those of such operations, and
// multishot_op::mark to those of multishot operations.

constexpr std::uint64_t tag(std::uint32_t slot, std::uint32_t generation) noexcept {
    return (std::uint64_t{generation} << 32) | slot;
}

// The ring orders submission before completion, which ThreadSanitizer cannot see.
void tell_submitted([[maybe_unused]] void* operation) noexcept {
#if TOADSTONE_TSAN
    __tsan_release(operation);
#endif
}
void tell_completed([[maybe_unused]] void* operation) noexcept {
#if TOADSTONE_TSAN
    __tsan_acquire(operation);
#endif
}

// Turns with ready tasks after which the kernel is entered even if nothing seems to need it.
constexpr unsigned longest_without_enter = 32;

// Contexts that run in one turn, if there are more than were ready at its beginning.
constexpr unsigned most_drained = 64;

// Looks of a spinning worker between two at the clock, which costs as much as all of them.
constexpr unsigned looks_per_clock = 8;

// Tells the processor that this is a loop that waits for another one.
void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("isb");
#endif
}

struct waker_stock {
    process_lock lock;
    std::vector<eventfd_waker*> idle;
};

waker_stock& stock() noexcept {
    return never_destroyed<waker_stock>();
}
const made_early<waker_stock> stock_early;

} // namespace

void eventfd_waker::notify() noexcept {
    const std::lock_guard hold(lock_);
    if (fd_ < 0) return;
    const std::uint64_t one = 1;
    // EAGAIN means that the counter is full: the worker has something to read.
    [[maybe_unused]] const auto written = ::write(fd_, &one, sizeof one);
}

void eventfd_waker::open(int fd) noexcept {
    const std::lock_guard hold(lock_);
    fd_ = fd;
}

void eventfd_waker::close() noexcept {
    const std::lock_guard hold(lock_);
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
}

eventfd_waker& eventfd_waker::take() {
    auto& all = stock();
    const std::lock_guard hold(all.lock);
    if (all.idle.empty()) return *new eventfd_waker;
    auto* waker = all.idle.back();
    all.idle.pop_back();
    return *waker;
}

void eventfd_waker::release(eventfd_waker& waker) noexcept {
    waker.close();
    waker.asleep.store(false, std::memory_order_relaxed);
    auto& all = stock();
    const std::lock_guard hold(all.lock);
    all.idle.push_back(&waker);
}

worker::worker(kernel& kernel, ring_options options, unsigned max_operations,
               worker_group* group, unsigned index)
    : executor(lent_), kernel_(kernel), clock_(kernel), ring_(kernel, options), group_(group),
      index_(index), receiving_(options.receiving) {
    // Each operation has one completion at a time and may have one cancel request with another;
    // a quarter of the queue is kept for these.
    const std::size_t room = ring_.completion_capacity() - ring_.completion_capacity() / 4;
    limit_ = std::min<std::size_t>(max_operations, room);
    // All at once: what happens at a suspension or a completion must not need memory.
    slots_.resize(limit_);
    for (auto i = static_cast<std::uint32_t>(limit_); i-- > 0;) {
        slots_[i].next_free = free_first_;
        free_first_ = i;
    }
    event_fd_ = above_standard(::eventfd(0, EFD_CLOEXEC));
    if (event_fd_ < 0) {
        throw ring_unavailable(
            ring_unavailable::cause::descriptors, errno,
            "a worker could not be made: eventfd failed. Raise "
            "RLIMIT_NOFILE (ulimit -n, LimitNOFILE=): each worker needs two");
    }
    lent_.open(event_fd_);
}

worker::~worker() {
    TOADSTONE_ASSERT(in_flight() == 0, "a worker ends when the kernel holds nothing of it");
}

void worker::attach() {
    ring_.enable();
    bind_thread(this);
    if (group_) spin_ = adaptive_spin(group_->longest_spin());
}

executor& worker::place(placement where) noexcept {
    return where.is_here() || !group_ ? *this : group_->place(where, *this);
}

unsigned worker::peer_count() const noexcept {
    return group_ ? group_->size() : 1;
}

blocking_service* worker::blocking() noexcept {
    refuse_fork();
    return group_ ? group_->blocking() : nullptr;
}

void worker::root_gone() noexcept {
    executor::root_gone();
    if (group_) group_->root_gone();
}

unsigned worker::step(bool may_wait, unsigned most, bool drains) noexcept {
    executor* const outer = bind_thread(this); // a test thread steps several workers
    const slice_scope nobody(nullptr);
    const unsigned done = turn(may_wait, most, drains);
    bind_thread(outer);
    return done;
}

void worker::complete_other(const io_uring_cqe& completion) noexcept {
    const auto index = static_cast<std::uint32_t>(completion.user_data);
    if (index == wake_up_slot) {
        wake_up_armed_ = false;
    } else if (index == cancel_slot) {
        --pending_cancels_; // it decides nothing; the target's own completion does
    } else {
        complete_marked(completion);
    }
}

inline void worker::complete(const io_uring_cqe& completion) noexcept {
    const auto index = static_cast<std::uint32_t>(completion.user_data);
    const auto generation = static_cast<std::uint32_t>(completion.user_data >> 32);
    if (index >= limit_ || slots_[index].generation != generation || !slots_[index].operation)
        [[unlikely]] {
        complete_other(completion);
        return;
    }
    io_op& operation = *slots_[index].operation;
    tell_completed(&operation);
    free_slot(index);
    bool never_ran = false;
    if (operation.cancel_sent_) [[unlikely]] {
        if (operation.cancel_waits_) unlink_cancel(operation);
        // A no-op that stands for a cancelled entry says 0; its operation never ran.
        never_ran = operation.result_ == -ECANCELED;
    }
    if (!never_ran) operation.result_ = completion.res;
    operation.stage_ = io_op::stage::completed;
    if (operation.in_parts_ && operation.go_on()) return;
    push(*operation.ctx_);
}

// Without what a turn does besides, which is for what comes from outside: and that is looked at
// after each round.
void worker::drain(unsigned ran) noexcept {
    for (unsigned rounds = 0; has_ready() && ran < most_drained; ++rounds) {
        if (inbox_seems_filled() || ring_.has_completion() || ring_.kernel_has_work()) return;
        // A timer may be due by now, and the kernel may have had its work done.
        if (rounds > 0 && (!timers_.empty() || ring_.unsubmitted() > 0)) return;
        refuse_fork(); // one of them may have forked, and goes on in the child
        ran += run_ready(most_drained - ran);
    }
}

unsigned worker::turn(bool may_wait, unsigned most, bool drains) noexcept {
    refuse_fork();
    turns_.store(turns_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    unsigned done = 0;
    take_inbox();
    if (!timers_.empty() && !clock_.surely_before(timers_.next_or_before())) {
        done += timers_.advance(now());
    }
    const unsigned ran = run_ready(most);
    done += ran;
    if (drains) drain(ran);
    if (cancels_first_) [[unlikely]]
        send_waiting_cancels();
    if (waiting_first_) [[unlikely]]
        start_waiting();

    // Nobody notifies again once stop() has: with nothing left, the loop has to look.
    const bool ending = stop_.load(std::memory_order_acquire) && !first_root();
    // What the ring refused is tried again the next turn.
    bool sleep = may_wait && !has_ready() && !ending && !cancels_first_ &&
                 !(waiting_first_ && in_flight() < limit_);
    bool handed = sleep && spin_.pays() && spin();
    if (sleep && !handed) {
        if (!wake_up_armed_) arm_wake_up();
        sleep = wake_up_armed_;
        handed = sleep && !may_sleep();
    }
    if (sleep && !handed) {
        wait();
    } else if (ring_.unsubmitted() > 0 || ring_.kernel_has_work() ||
               (!has_ready() && !handed) || ++turns_without_enter_ >= longest_without_enter) {
        ring_.submit();
        turns_without_enter_ = 0;
    }
    woke_up();
    done += ring_.reap([this](const io_uring_cqe& completion) { complete(completion); });
    if (ring_.is_refused() && done == 0 && !has_ready()) ring_.back_off();
    return done;
}

// Waits awake, for a moment, for the next thing that another worker hands over. `asleep` is not
// said, so that this takes no system call on either side. The worker's own operations are
// submitted, and a completion ends the spin; so does the next timer. True: something has come.
bool worker::spin() noexcept {
    if (ring_.unsubmitted() > 0) ring_.submit();
    const clock::time_point until = std::min(now() + spin_.longest(), timers_.next());
    do {
        for (unsigned looks = 0; looks < looks_per_clock; ++looks) {
            if (inbox_seems_filled()) {
                spin_.found();
                return true;
            }
            if (ring_.has_completion() || ring_.kernel_has_work() ||
                stop_.load(std::memory_order_relaxed)) {
                spin_.in_vain();
                return true;
            }
            relax();
        }
    } while (now() < until);
    spin_.in_vain();
    return false;
}

void worker::wait() noexcept {
    const clock::time_point begun = spin_.learns() ? now() : clock::time_point();
    const clock::time_point until = timers_.next_or_before();
    if (until == clock::time_point::max()) {
        ring_.submit_and_wait(until, until);
    } else if (clock_.surely_before(until - std::chrono::seconds(1))) {
        ring_.submit_and_wait(until, clock_.now_or_earlier());
    } else {
        ring_.submit_and_wait(until, now());
    }
    turns_without_enter_ = 0;
    if (spin_.learns() && inbox_seems_filled()) spin_.woken_after(now() - begun);
}

void worker::run() noexcept {
    run_until([this] { return ended(); });
}

void worker::stop() noexcept {
    stop_.store(true, std::memory_order_release);
    waker_->notify();
}

void worker::detach() noexcept {
    executor* const outer = bind_thread(this);
    take_inbox();
    detaching_ = true;
    end_multishots();
    bool told = !wake_up_armed_;
    while (wake_up_armed_ || pending_cancels_ > 0 || in_flight() > 0) {
        if (!told) told = send_cancel(tag(wake_up_slot, 0));
        if (cancels_first_) send_waiting_cancels();
        ring_.submit_and_wait(clock::time_point::max());
        ring_.reap([this](const io_uring_cqe& completion) { complete(completion); });
        if (ring_.is_refused()) ring_.back_off();
    }
    if (buffers_) {
        buffers_->end();
        take_inbox(); // the last that was posted for them
        std::exchange(buffers_, nullptr)->drop_reference();
    }
    bind_thread(outer == this ? nullptr : outer);
}

void worker::arm_wake_up() noexcept {
    io_uring_sqe* sqe = entry();
    if (!sqe) return; // the ring is full, so something will complete; tried again next turn
    io_uring_prep_read(sqe, event_fd_, &event_count_, sizeof event_count_, 0);
    sqe->user_data = tag(wake_up_slot, 0);
    wake_up_armed_ = true;
}

io_uring_sqe* worker::entry_of_full_queue() noexcept {
    ring_.submit();
    return ring_.next_entry();
}

inline io_uring_sqe* worker::entry() noexcept {
    refuse_fork();
    io_uring_sqe* const sqe = ring_.next_entry();
    return sqe ? sqe : entry_of_full_queue();
}

void worker::start(io_op& operation) noexcept {
    if (waiting_first_ || !prepare(operation)) [[unlikely]]
        wait_for_slot(operation);
}

void worker::wait_for_slot(io_op& operation) noexcept {
    operation.stage_ = io_op::stage::waiting;
    operation.next_ = nullptr;
    operation.previous_ = waiting_last_;
    (waiting_last_ ? waiting_last_->next_ : waiting_first_) = &operation;
    waiting_last_ = &operation;
}

void worker::unlink_waiting(io_op& operation) noexcept {
    (operation.previous_ ? operation.previous_->next_ : waiting_first_) = operation.next_;
    (operation.next_ ? operation.next_->previous_ : waiting_last_) = operation.previous_;
}

void worker::start_waiting() noexcept {
    while (waiting_first_ && in_flight() < limit_) {
        io_op& operation = *waiting_first_;
        if (!prepare(operation)) return; // no entry: next turn
        unlink_waiting(operation);
    }
}

// Gives the operation a slot and an entry. False: it needs one that is not there.
inline bool worker::prepare(io_op& operation) noexcept {
    if (free_first_ == no_slot) return false;
    io_uring_sqe* const sqe = entry();
    if (!sqe) return false;
    const std::uint32_t index = free_first_;
    slot& place = slots_[index];
    free_first_ = place.next_free;
    place.operation = &operation;
    operation.slot_ = index;
    operation.fill(*sqe);
    sqe->user_data = tag_of(operation);
    if (operation.kind_) [[unlikely]]
        ++going_on_;
    operation.position_ = ring_.last_position();
    operation.stage_ = io_op::stage::prepared;
    operation.cancel_sent_ = false;
    in_flight_.store(in_flight() + 1, std::memory_order_relaxed);
    tell_submitted(&operation);
    return true;
}

bool worker::withdraw(io_op& operation) noexcept {
    switch (operation.stage_) {
    case io_op::stage::waiting:
        unlink_waiting(operation);
        operation.stage_ = io_op::stage::completed;
        return true;
    case io_op::stage::prepared:
        // Positions come again after 2^32 entries, and an operation may wait for longer.
        if (!ring_.is_submitted(operation.position_) &&
            ring_.entry_at(operation.position_).user_data == tag_of(operation)) {
            if (!operation.cancellable_) return false;
            // Not submitted yet: a no-op takes its place, and its completion ends the
            // operation. The kernel never sees the descriptor or the buffer.
            io_uring_sqe& entry = ring_.entry_at(operation.position_);
            const std::uint64_t user_data = entry.user_data;
            entry = io_uring_sqe{};
            io_uring_prep_nop(&entry);
            entry.user_data = user_data;
            operation.cancel_sent_ = true;
            operation.result_ = -ECANCELED;
            operation.stage_ = io_op::stage::submitted;
            return false;
        }
        [[fallthrough]];
    case io_op::stage::submitted:
        if (operation.cancellable_ && !operation.cancel_sent_) send_cancel(operation);
        return false;
    case io_op::stage::idle:
    case io_op::stage::completed:
        return false;
    }
    return false;
}

void worker::send_cancel(io_op& operation) noexcept {
    operation.cancel_sent_ = true;
    if (send_cancel(tag_of(operation))) return;
    // The ring is full and the kernel takes nothing just now: at the next turn.
    operation.cancel_waits_ = true;
    operation.next_ = nullptr;
    operation.previous_ = cancels_last_;
    (cancels_last_ ? cancels_last_->next_ : cancels_first_) = &operation;
    cancels_last_ = &operation;
}

void worker::unlink_cancel(io_op& operation) noexcept {
    (operation.previous_ ? operation.previous_->next_ : cancels_first_) = operation.next_;
    (operation.next_ ? operation.next_->previous_ : cancels_last_) = operation.previous_;
    operation.cancel_waits_ = false;
}

void worker::send_waiting_cancels() noexcept {
    while (cancels_first_) {
        io_op& operation = *cancels_first_;
        if (!send_cancel(tag_of(operation))) return;
        unlink_cancel(operation);
    }
}

bool worker::send_cancel(std::uint64_t target) noexcept {
    io_uring_sqe* sqe = entry();
    if (!sqe) return false;
    io_uring_prep_cancel64(sqe, target, 0);
    sqe->user_data = tag(cancel_slot, 0);
    ++pending_cancels_;
    return true;
}

// A place is an operation's until its last completion, so that none comes late.
void worker::complete_marked(const io_uring_cqe& completion) noexcept {
    const auto marked = static_cast<std::uint32_t>(completion.user_data);
    const std::uint32_t kind = marked & (multishot_op::mark | io_op::notified);
    const std::uint32_t index = marked & ~kind;
    const auto generation = static_cast<std::uint32_t>(completion.user_data >> 32);
    if (index >= slots_.size() || slots_[index].generation != generation ||
        !slots_[index].operation || slots_[index].operation->kind_ != kind || !kind) {
        ++strays_; // late or unknown: counted and dropped, nobody is woken
        return;
    }
    io_op& operation = *slots_[index].operation;
    tell_completed(&operation);
    if (kind == io_op::notified) return complete_notified(operation, completion);
    complete_multishot(static_cast<multishot_op&>(operation), completion);
}

void worker::complete_notified(io_op& operation, const io_uring_cqe& completion) noexcept {
    // A no-op that stands for a cancelled entry says 0, and its operation never ran.
    const bool never_ran = operation.result_ == -ECANCELED;
    const bool notifies = (completion.flags & IORING_CQE_F_NOTIF) != 0;
    if (!never_ran && !notifies) operation.result_ = completion.res;
    if (completion.flags & IORING_CQE_F_MORE) {
        // It still needs the memory, and cannot be asked to give it back.
        operation.stage_ = io_op::stage::submitted;
        return;
    }
    if (operation.cancel_waits_) unlink_cancel(operation);
    free_slot(operation.slot_);
    --going_on_;
    operation.stage_ = io_op::stage::completed;
    if (operation.in_parts_ && operation.go_on()) return;
    push(*operation.ctx_);
}

void worker::complete_multishot(multishot_op& operation,
                                const io_uring_cqe& completion) noexcept {
    if (completion.flags & IORING_CQE_F_MORE) {
        operation.stage_ = io_op::stage::submitted;
        operation.completed(completion.res, completion.flags);
        return;
    }
    end_multishot(operation, completion);
}

void worker::end_multishot(multishot_op& operation, const io_uring_cqe& completion) noexcept {
    if (operation.cancel_waits_) unlink_cancel(operation);
    free_slot(operation.slot_);
    --going_on_;
    // A no-op that stands for a cancelled entry says 0.
    const bool never_ran = operation.cancel_sent_ && operation.result_ == -ECANCELED;
    operation.stage_ = io_op::stage::completed;
    operation.completed(never_ran ? -ECANCELED : completion.res, completion.flags);
}

// No task is left that would arm one again.
void worker::end_multishots() noexcept {
    for (io_op* each = waiting_first_; each;) {
        io_op* const next = each->next_;
        if (each->kind_ == multishot_op::mark) {
            static_cast<multishot_op*>(each)->ask_to_end(*this);
        }
        each = next;
    }
    for (std::size_t i = 0; i < slots_.size() && going_on_ > 0; ++i) {
        io_op* const each = slots_[i].operation;
        if (each && each->kind_ == multishot_op::mark) {
            static_cast<multishot_op*>(each)->ask_to_end(*this);
        }
    }
}

buffer_ring* worker::receive_buffers() noexcept {
    if (!buffers_) buffers_ = buffer_ring::make(*this, ring_);
    return buffers_;
}

void io_op::begin() noexcept {
    result_ = 0;
    static_cast<worker&>(ctx_->home()).start(*this);
}

bool io_op::cancel(cancel_reason, bool) noexcept {
    return static_cast<worker&>(ctx_->home()).withdraw(*this);
}

bool io_op::taken() noexcept {
    return result_ == -ECANCELED || result_ == -EINTR;
}

} // namespace toadstone::detail
