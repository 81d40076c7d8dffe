// Stepping simulated workers: who goes next, when the clock moves, what went wrong.
#include <toadstone/sim/kernel/driver.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/spawn.hpp>
#include <toadstone/sim/kernel/own_memory.hpp>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <new>
#include <utility>

namespace toadstone::sim::detail {

using toadstone::detail::context;
using toadstone::detail::describe_exception;
using toadstone::detail::describe_place;
using toadstone::detail::describe_task;
using toadstone::detail::executor;
using toadstone::detail::worker;

thread_local constinit unsigned own_memory::depth_ = 0;

namespace {

/// Whose workers this thread runs just now.
thread_local constinit driver* stepping = nullptr;
/// Whose blocks are counted on this thread.
thread_local constinit driver* counting = nullptr;
/// The program has failing_new.hpp in it.
thread_local constinit bool new_is_replaced = false;

bool is_bad_alloc(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::bad_alloc&) {
        return true;
    } catch (...) {
        return false;
    }
}

} // namespace

driver::driver(const world_options& options, choices& dice)
    : options_(options), dice_(dice), state_(options, dice), world_(state_), blocking_(state_) {
    toadstone::detail::ring_options rings;
    rings.entries = 64;
    rings.completions = 256;
    // Few and small, so that messages need several, and sometimes there is none.
    rings.receiving.buffers = 8;
    rings.receiving.buffer_size = 64;
    for (unsigned i = 0; i < std::max(1U, options.workers); ++i) {
        seats_.push_back(std::make_unique<seat>(state_));
        seat& each = *seats_.back();
        toadstone::detail::worker_group* const group = this;
        each.worker = std::make_unique<worker>(each.kernel, rings, 128, group, i);
        each.worker->attach();
        each.worker->observe(this);
    }
}

driver::~driver() = default;

void driver::plan(const run_plan& what, std::string_view victims, cancel_reason reason) {
    cancels_ = what.cancels;
    refuse_ = what.refused;
    victims_ = victims;
    reason_ = reason;
    watching_ = true;
    // Every leaf goes through the ready queue, so that every await is a suspension.
    for (auto& each : seats_) each->worker->set_turn_budget(1);
}

/// Declared in failing_new.hpp, for the operators that it replaces.
[[nodiscard]] bool refuses_new() noexcept;
bool refuses_new() noexcept {
    new_is_replaced = true;
    return stepping && !own_memory::in_use() && stepping->refuses_next();
}
void* count_in(void* block, std::size_t size) noexcept;
void* count_in(void* block, std::size_t size) noexcept {
    if (stepping && !own_memory::in_use()) stepping->count_in(block, size);
    return block;
}
void count_out(void* block) noexcept;
void count_out(void* block) noexcept {
    if (counting && !own_memory::in_use()) counting->count_out(block);
}

void driver::count_in(void* block, std::size_t size) noexcept {
    if (!options_.all_memory_back || std::exchange(pooled_, false)) return;
    const own_memory ours;
    blocks_.emplace(block, size);
}

void driver::count_out(void* block) noexcept {
    const own_memory ours;
    blocks_.erase(block);
}

// Of a frame. When it is not refused, the pool asks operator new, which is the same allocation.
bool driver::refuses() noexcept {
    const bool refused = refuses_next();
    const bool follows = new_is_replaced && stepping && !own_memory::in_use();
    pooled_ = counted_ = !refused && follows;
    return refused;
}

bool driver::refuses_next() noexcept {
    if (std::exchange(counted_, false) || !refusing_ || !counts()) return false;
    if (allocations_++ != refuse_) return false;
    refused_ = true;
    return true;
}

bool driver::counts() const noexcept {
    if (victims_.empty()) return true;
    context* const task = toadstone::detail::current_context();
    return task && is_victim(*task);
}

executor& driver::place(placement where, executor& from) noexcept {
    if (where.is_here()) return from;
    const unsigned index = where.is_any() ? placed_++ : where.index();
    return *seats_[index % seats_.size()]->worker;
}

bool driver::is_victim(context& ctx) const noexcept {
    context& root = ctx.root();
    if (root.id() == root_id_) return false;
    return victims_.empty() || root.name().substr(0, victims_.size()) == victims_;
}

driver::seat& driver::seat_of(context& ctx) noexcept {
    return **std::find_if(seats_.begin(), seats_.end(),
                          [&](const auto& each) { return each->worker.get() == &ctx.home(); });
}

// The number of a slice is the number of the suspension that it ends in. A task that is
// cancelled here never suspends again, so the next one has the same number, and is to go on.
void driver::resuming(context& ctx) noexcept {
    if (!watching_ || !is_victim(ctx)) return;
    position_before_ = seat_of(ctx).worker->queue().last_position();
    for (auto& each : cancels_) {
        if (each.moment != cancel_moment::before_start || each.point != resumed_) continue;
        each.point = no_point;
        static_cast<toadstone::detail::root_task&>(ctx.root()).request_from_anywhere(reason_);
    }
}

void driver::suspended(context& ctx) noexcept {
    if (!watching_ || !is_victim(ctx)) return;
    const std::uint64_t number = resumed_++;
    auto& root = static_cast<toadstone::detail::root_task&>(ctx.root());
    {
        const own_memory ours;
        points_.push_back(
            {number, describe_place(ctx.where()), describe_task(number_of(root), root.name())});
        awaited_ends_.reserve(awaited_ends_.size() + cancels_.size());
    }
    // A request may run code of the scenario, whose memory is its own: an on_cancel().
    for (const auto& each : cancels_) {
        if (each.point != number) continue;
        switch (each.moment) {
        case cancel_moment::prepared:
            root.request(reason_);
            break;
        case cancel_moment::submitted:
            root.request_from_anywhere(reason_);
            break;
        case cancel_moment::twice:
            root.request(reason_);
            root.request_from_anywhere(cancel_reason::timeout);
            break;
        case cancel_moment::completed:
        case cancel_moment::timed_out:
            awaited_ends_.push_back({&ctx, each.moment});
            break;
        case cancel_moment::failed: {
            const own_memory ours;
            seat& here = seat_of(ctx);
            const unsigned position = here.worker->queue().last_position();
            if (position != position_before_) here.kernel.doom(position);
            break;
        }
        case cancel_moment::before_start:
            break;
        }
    }
}

void driver::before_run(context& ctx) noexcept {
    const auto found = std::find_if(awaited_ends_.begin(), awaited_ends_.end(),
                                    [&](const auto& each) { return each.ctx == &ctx; });
    if (found == awaited_ends_.end()) return;
    const cancel_moment moment = found->moment;
    awaited_ends_.erase(found);
    auto& root = static_cast<toadstone::detail::root_task&>(ctx.root());
    if (moment == cancel_moment::timed_out) {
        root.request(cancel_reason::timeout);
    } else {
        root.request_from_anywhere(reason_);
    }
}

bool driver::can_run(unsigned who) noexcept {
    if (who >= size()) return blocking_.can_run(who - size());
    seat& which = *seats_[who];
    return which.worker->has_work() || which.kernel.can_progress() ||
           which.worker->next_timer() <= state_.now();
}

// One context of one worker, or a batch, or one look at its ring; or one step of a thread for
// functions that block. False: nobody can go on.
bool driver::turn() {
    candidates_.clear();
    for (unsigned i = 0; i < threads(); ++i) {
        const unsigned index = (present_ + i) % threads();
        if (can_run(index)) candidates_.push_back(index);
    }
    if (candidates_.empty()) {
        auto next = std::min(state_.next_arrival(), blocking_.next_end());
        for (auto& each : seats_) next = std::min(next, each->worker->next_timer());
        if (next == time_point::max()) next = state_.next_calm();
        if (next == time_point::max()) return false;
        state_.set_now(next);
        return true;
    }
    // No kernel lets a thread spin for ever while another is ready.
    if (++turns_in_a_row_ > longest_turn && candidates_.size() > 1 &&
        candidates_.front() == present_) {
        std::rotate(candidates_.begin(), candidates_.begin() + 1, candidates_.end());
    }
    const unsigned next = candidates_[dice_.pick(candidates_)];
    if (next != present_) turns_in_a_row_ = 0;
    present_ = next;
    state_.mix(present_);
    if (present_ >= size()) {
        blocking_.run(present_ - size());
        return true;
    }
    stepping = this;
    seats_[present_]->worker->step(false, std::max(1U, options_.batch));
    stepping = nullptr;
    return true;
}

// By their numbers: a task that is on its way to another worker is in no list yet.
bool driver::any_root() const noexcept {
    return std::any_of(seats_.begin(), seats_.end(), [](const auto& each) {
        return each->worker->roots_launched() != each->worker->roots_ended();
    });
}

template <class Done>
bool driver::drive(Done done) {
    while (!done()) {
        if (++steps_ > options_.most_steps) {
            fail("no end after " + std::to_string(steps_) +
                 " steps (a livelock?): " + describe_stuck());
            return false;
        }
        if (!turn()) {
            fail("nobody can go on: " + describe_stuck());
            return false;
        }
        if (state_.late()) {
            fail("the world has been calm for long, and no end: " + describe_stuck());
            return false;
        }
    }
    return true;
}

std::string driver::describe_stuck() const {
    std::string text;
    for (const auto& each : seats_) {
        each->worker->for_each_root([&](const context& task) {
            if (!text.empty()) text += ", ";
            text += describe_task(number_of(task), task.name()) + " at " +
                    describe_place(task.where());
        });
    }
    return text.empty() ? "no task is left" : text;
}

void driver::fail(std::string what) {
    if (failure_.empty()) failure_ = std::move(what);
}

/// Asks the driver of each allocation of this thread that interests it.
class driver::watched_memory {
public:
    explicit watched_memory(driver& by) noexcept {
        if (!by.refuse_ && !by.options_.all_memory_back) return;
        watching_ = true;
        toadstone::detail::watch_allocations(&by);
        if (by.options_.all_memory_back) counting = &by;
    }
    ~watched_memory() {
        if (!watching_) return;
        toadstone::detail::watch_allocations(nullptr);
        counting = nullptr;
    }
    watched_memory(const watched_memory&) = delete;
    watched_memory& operator=(const watched_memory&) = delete;

private:
    bool watching_ = false;
};

/// Keeps what the run has to say: of many runs, nobody wants to read all.
class driver::run_log final : toadstone::detail::log_diversion {
public:
    explicit run_log(world::state& world) noexcept : world_(world), begun_(world.now()) {}
    ~run_log() {
        const own_memory ours;
        std::string().swap(text_);
    }
    run_log(const run_log&) = delete;
    run_log& operator=(const run_log&) = delete;

    [[nodiscard]] std::string take() noexcept { return std::move(text_); }

private:
    static constexpr std::size_t most = 65536;

    void line(std::string_view text) noexcept override {
        const own_memory ours;
        if (text_.size() + text.size() > most) return;
        const std::chrono::duration<double, std::milli> since = world_.now() - begun_;
        char stamp[40];
        std::snprintf(stamp, sizeof stamp, "%.3f ms: ", since.count());
        try {
            text_.append(stamp).append(text) += '\n';
        } catch (...) {
            // A line of a log is no reason to end the run.
        }
    }

    world::state& world_;
    std::chrono::steady_clock::time_point begun_;
    std::string text_;
};

void driver::check_blocks() {
    if (blocks_.empty()) return;
    std::size_t bytes = 0;
    for (const auto& each : blocks_) bytes += each.second;
    fail(std::to_string(blocks_.size()) + " blocks of memory (" + std::to_string(bytes) +
         " bytes) that tasks have allocated are left");
}

report driver::run(scenario& what) {
    const use_world use(state_);
    const watched_memory watch(*this);
    run_log said(state_);
    const auto frames_before = toadstone::detail::live_frames();
    const auto begun = state_.now();
    {
        toadstone::task<> body = what.start(world_);
        auto* root = new toadstone::detail::typed_root<void>(
            *seats_.front()->worker, toadstone::detail::root_options{"scenario"});
        join_handle<void> handle(*root);
        root_id_ = 0;
        root->launch(body.release(root->outcome), nullptr);
        root_id_ = root->id();
        root->mark_observed();
        refusing_ = refuse_.has_value();
        drive([&] { return root->ended(); });
        refusing_ = false;
        if (root->ended()) {
            if (root->unwound()) {
                fail("the scenario was cancelled (" + std::string(to_string(root->reason())) +
                     ")");
            } else if (const auto error = root->outcome.error();
                       error && !(refused_ && is_bad_alloc(error))) {
                fail("the scenario failed: " + describe_exception(error));
            } else {
                // What was spawned and not joined comes to its end, or can be stopped.
                for (auto& each : seats_) {
                    each->worker->stop_roots(cancel_reason::shutdown, false);
                }
                drive([&] { return !any_root(); });
            }
        }
    }
    const bool sound = failure_.empty();
    for (auto& each : seats_) {
        if (sound && each->worker->next_timer() != time_point::max()) {
            fail("a timer is armed although nobody waits for it");
        }
    }
    // Whatever happened, nothing may be left behind for the next run.
    for (auto& each : seats_) {
        each->kernel.be_prompt();
        each->worker->stop_roots(cancel_reason::shutdown, true);
    }
    for (unsigned i = 0; i < 1'000'000 && any_root(); ++i) {
        if (!turn()) break;
    }
    if (any_root()) {
        fail("tasks cannot be torn down even by force: " + describe_stuck());
        TOADSTONE_ASSERT(!any_root(), failure_.c_str());
    }
    for (auto& each : seats_) each->worker->detach();
    if (sound) {
        for (auto& each : seats_) {
            if (each->worker->strays() != 0) fail("a completion belonged to nobody");
            if (!each->kernel.balanced()) {
                const std::string& complaint = each->kernel.complaint();
                fail(complaint.empty() ? "submissions and completions do not match"
                                       : complaint);
            }
        }
        seats_.clear(); // they have allocated for the tasks, too
        check_blocks();
        const auto frames = toadstone::detail::live_frames() - frames_before;
        if (frames != 0) fail(std::to_string(frames) + " frames are left");
        if (state_.descriptors() != 0) {
            fail(std::to_string(state_.descriptors()) + " descriptors are left open");
        }
    }
    report result;
    result.ok = failure_.empty();
    result.failure = failure_;
    result.reproduce = dice_.name();
    result.trace = dice_.trace();
    result.hash = state_.hash();
    result.steps = steps_;
    result.elapsed = state_.now() - begun;
    result.log = said.take();
    return result;
}

} // namespace toadstone::sim::detail
