// Workers that a test steps by hand, with a clock that the test moves: every schedule is the
// test's own, and a wait for something that never comes fails instead of hanging.
#ifndef TOADSTONE_TESTS_SUPPORT_STEPPED_HPP
#define TOADSTONE_TESTS_SUPPORT_STEPPED_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <cerrno>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace toadstone::tests {

/// The real ring with a clock that stands still until the test moves it.
class test_kernel final : public detail::kernel {
public:
    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override {
        return detail::real_kernel().setup(entries, ring, params);
    }
    void teardown(io_uring& ring) noexcept override { detail::real_kernel().teardown(ring); }
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        ++enters;
        if (stalled) return 0;
        last_submitted.clear();
        for (unsigned i = 0; i < to_submit; ++i) {
            const unsigned at = (ring.sq.sqe_tail - to_submit + i) & *ring.sq.kring_mask;
            last_submitted.push_back(ring.sq.sqes[at].user_data);
        }
        for (const std::uint64_t user_data : std::exchange(extra_completions, {})) {
            io_uring_sqe& entry = ring.sq.sqes[ring.sq.sqe_tail & *ring.sq.kring_mask];
            io_uring_prep_nop(&entry);
            entry.user_data = user_data;
            io_uring_smp_store_release(ring.sq.ktail, ++ring.sq.sqe_tail);
            ++to_submit;
        }
        return detail::real_kernel().enter(ring, to_submit, min_complete, flags, wait);
    }
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        if (opcode == IORING_REGISTER_PBUF_RING && no_buffer_rings) return -EINVAL;
        return detail::real_kernel().enroll(ring, opcode, argument, count);
    }
    std::chrono::steady_clock::time_point now() noexcept override { return time; }
    std::chrono::system_clock::time_point calendar_now() noexcept override { return calendar; }
    std::uint64_t entropy() noexcept override { return 4; }

    std::chrono::steady_clock::time_point time{std::chrono::hours(1)};
    /// Moved by the test alone: a calendar may be set to any time.
    std::chrono::system_clock::time_point calendar;
    unsigned enters = 0;
    /// As one that knows nothing of provided buffers.
    bool no_buffer_rings = false;
    /// The kernel takes nothing and completes nothing, as one that is short of memory.
    bool stalled = false;
    /// The user_data of what the last enter handed over.
    std::vector<std::uint64_t> last_submitted;
    /// The next enter brings completions with these user_data besides its own.
    std::vector<std::uint64_t> extra_completions;
};

/// One or more workers on this thread.
///
///     stepped w;                       auto h = w.spawn(some_task());
///     w.step();                        // one turn of every worker
///     w.settle();                      // turns until nothing is ready any more
///     w.advance(10ms);                 // moves the clock, then settles
///     h.cancel(); w.settle(); CHECK(h.done());
class stepped final : detail::worker_group {
public:
    explicit stepped(unsigned workers = 1, unsigned max_operations = 512,
                     detail::receive_options receiving = {}) {
        for (unsigned i = 0; i < workers; ++i) {
            detail::ring_options rings;
            rings.entries = 64;
            rings.completions = 1024;
            rings.receiving = receiving;
            detail::worker_group* const group = this;
            workers_.push_back(
                std::make_unique<detail::worker>(kernel_, rings, max_operations, group, i));
            workers_.back()->attach();
        }
    }
    /// Whatever is left is cancelled and torn down.
    ~stepped() {
        for (auto& each : workers_) each->stop_roots(cancel_reason::shutdown, true);
        for (int turns = 0; turns < 100000 && any_root(); ++turns) step();
        TOADSTONE_ASSERT(!any_root(), "a test's tasks end when they are cancelled");
        settle();
        for (auto& each : workers_) each->detach();
    }

    /// On worker 0 unless the options say otherwise.
    template <detail::library_awaitable A>
    join_handle<detail::spawned_t<A>> spawn(A&& body, spawn_options options = {}) {
        return detail::spawn_on(workers_.front()->place(options.where), options,
                                std::forward<A>(body));
    }
    template <detail::callable_for_spawn Fn, class... Args>
    join_handle<detail::spawned_t<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
        return detail::spawn_on(workers_.front()->place({}), {}, std::forward<Fn>(fn),
                                std::forward<Args>(args)...);
    }
    template <class Fn, class... Args>
    join_handle<detail::spawned_t<Fn, Args...>> spawn(spawn_options options, Fn&& fn,
                                                      Args&&... args) {
        return detail::spawn_on(workers_.front()->place(options.where), options,
                                std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// One turn of each worker. Returns how much happened.
    unsigned step() {
        unsigned done = 0;
        for (auto& each : workers_) done += each->step(false);
        return done;
    }
    /// One turn of one worker.
    unsigned step(unsigned index) { return workers_[index]->step(false); }

    /// Turns until three in a row did nothing.
    void settle() {
        for (int idle = 0, turns = 0; idle < 3; ++turns) {
            idle = step() ? 0 : idle + 1;
            TOADSTONE_ASSERT(turns < 1000000, "a test settles");
        }
    }
    void advance(std::chrono::nanoseconds by) {
        kernel_.time += by;
        settle();
    }
    [[nodiscard]] detail::worker& worker(unsigned index = 0) { return *workers_[index]; }
    [[nodiscard]] test_kernel& kernel() { return kernel_; }
    /// Who runs functions that block, if anybody does. Outlives this object.
    detail::blocking_service* calls = nullptr;

    /// Runs a task, or an awaitable, to its end, in virtual time.
    template <detail::library_awaitable A>
    detail::await_result_t<A> run(A body) {
        auto handle = spawn(detail::as_task(std::move(body)));
        for (int turns = 0; !handle.done(); ++turns) {
            TOADSTONE_ASSERT(turns < 1000000, "a task that a test runs comes to its end");
            if (step() == 0) {
                const auto next = worker().next_timer();
                if (next != std::chrono::steady_clock::time_point::max()) {
                    kernel_.time = std::max(kernel_.time, next);
                }
            }
        }
        return end_of(handle).value();
    }

    /// How a task that has ended, or ends now, ended; fetched by a task of its own.
    template <class T>
    outcome<T> end_of(join_handle<T>& handle) {
        settle();
        TOADSTONE_ASSERT(handle.done(), "a test asks for the end of a task that has ended");
        std::optional<outcome<T>> end;
        auto fetch = [](join_handle<T>& from, std::optional<outcome<T>>& to) -> task<> {
            to.emplace(co_await from.outcome());
        };
        auto fetched = spawn(fetch(handle, end));
        settle();
        return std::move(*end);
    }

private:
    [[nodiscard]] detail::executor& place(placement where,
                                          detail::executor& from) noexcept override {
        if (where.is_here()) return from;
        const unsigned index = where.is_any() ? turn_++ : where.index();
        return *workers_[index % workers_.size()];
    }
    [[nodiscard]] unsigned size() const noexcept override {
        return static_cast<unsigned>(workers_.size());
    }
    void root_gone() noexcept override {}
    [[nodiscard]] detail::blocking_service* blocking() noexcept override { return calls; }
    [[nodiscard]] bool any_root() const {
        for (const auto& each : workers_) {
            if (each->first_root()) return true;
        }
        return false;
    }

    test_kernel kernel_;
    std::vector<std::unique_ptr<detail::worker>> workers_;
    unsigned turn_ = 0;
};

} // namespace toadstone::tests

#endif
