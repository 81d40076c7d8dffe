// The driver of one run: several workers on one thread, a clock, and the checks at the end.
#ifndef TOADSTONE_SIM_KERNEL_DRIVER_HPP
#define TOADSTONE_SIM_KERNEL_DRIVER_HPP

#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/uring/worker.hpp>
#include <toadstone/sim/kernel/blocking_threads.hpp>
#include <toadstone/sim/kernel/sim_kernel.hpp>
#include <toadstone/sim/simulate.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace toadstone::sim::detail {

/// One cancellation to make in a run.
struct planned_cancel {
    std::uint64_t point = 0; ///< number of the suspension
    cancel_moment moment = cancel_moment::submitted;
};

/// What is done to one run.
struct run_plan {
    std::vector<planned_cancel> cancels;
    std::optional<std::uint64_t> refused; ///< the number of the allocation that fails
};

class driver final : toadstone::detail::worker_group,
                     toadstone::detail::run_observer,
                     toadstone::detail::allocation_watcher {
public:
    driver(const world_options& options, choices& dice);
    ~driver();

    /// What is to go wrong, and whose awaits count.
    void plan(const run_plan& what, std::string_view victims, cancel_reason reason);

    [[nodiscard]] report run(scenario& what);
    [[nodiscard]] const std::vector<await_point>& points() const noexcept { return points_; }
    /// The allocation that was to fail has been asked for.
    [[nodiscard]] bool refused() const noexcept { return refused_; }
    /// For operator new: this is the one that has to fail.
    [[nodiscard]] bool refuses_next() noexcept;
    void count_in(void* block, std::size_t size) noexcept;
    void count_out(void* block) noexcept;

private:
    class watched_memory;
    class run_log;
    struct seat {
        explicit seat(world::state& world) : kernel(world) {}
        sim_kernel kernel;
        std::unique_ptr<toadstone::detail::worker> worker;
    };

    // worker_group
    toadstone::detail::executor& place(placement where,
                                       toadstone::detail::executor& from) noexcept override;
    unsigned size() const noexcept override { return static_cast<unsigned>(seats_.size()); }
    void root_gone() noexcept override {}
    toadstone::detail::blocking_service* blocking() noexcept override { return &blocking_; }

    // run_observer
    void before_run(toadstone::detail::context& ctx) noexcept override;
    void resuming(toadstone::detail::context& ctx) noexcept override;
    void suspended(toadstone::detail::context& ctx) noexcept override;

    // allocation_watcher
    bool refuses() noexcept override;
    [[nodiscard]] bool counts() const noexcept;

    /// Counted from the scenario, which is task 1: the same in every run of a process.
    [[nodiscard]] std::uint64_t
    number_of(const toadstone::detail::context& task) const noexcept {
        return task.id() - root_id_ + 1;
    }
    [[nodiscard]] seat& seat_of(toadstone::detail::context& ctx) noexcept;
    [[nodiscard]] bool is_victim(toadstone::detail::context& ctx) const noexcept;
    [[nodiscard]] bool can_run(unsigned who) noexcept;
    /// Workers, numbered first, and threads for functions that block.
    [[nodiscard]] unsigned threads() const noexcept { return size() + blocking_threads::count; }
    [[nodiscard]] bool turn();
    [[nodiscard]] bool any_root() const noexcept;
    /// Turns until `done`; false, with failure_ set, if it never comes.
    template <class Done>
    bool drive(Done done);
    [[nodiscard]] std::string describe_stuck() const;
    void check_blocks();
    void fail(std::string what);

    world_options options_;
    choices& dice_;
    world::state state_;
    world world_;
    blocking_threads blocking_;
    std::vector<std::unique_ptr<seat>> seats_;
    std::vector<unsigned> candidates_;
    unsigned present_ = 0; // the thread that went last
    static constexpr unsigned longest_turn = 200;
    unsigned turns_in_a_row_ = 0; // of that thread
    unsigned placed_ = 0;
    std::uint64_t steps_ = 0;
    std::string failure_;

    static constexpr std::uint64_t no_point = ~std::uint64_t{0};
    std::vector<planned_cancel> cancels_; // no_point: made
    std::string victims_;
    cancel_reason reason_ = cancel_reason::requested;
    bool watching_ = false;
    std::uint64_t resumed_ = 0; // number of the slice that starts now
    std::uint64_t root_id_ = 0; // the scenario itself
    std::vector<await_point> points_;
    struct awaited_end {
        const toadstone::detail::context* ctx;
        cancel_moment moment;
    };
    std::vector<awaited_end> awaited_ends_;
    unsigned position_before_ = 0; // of the last submission before the slice
    std::optional<std::uint64_t> refuse_;
    std::uint64_t allocations_ = 0;
    bool refusing_ = false;
    // The next operator new is the pool's: already counted, and its own business.
    bool counted_ = false;
    bool pooled_ = false;
    std::unordered_map<void*, std::size_t> blocks_;
    bool refused_ = false;
};

} // namespace toadstone::sim::detail

#endif
