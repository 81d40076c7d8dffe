// The runtime: starting and stopping workers, waiting for tasks from plain threads.
#include <toadstone/runtime/loop.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <stdexcept>
#include <thread>

#include <pthread.h>
#include <sched.h>

namespace toadstone {
namespace detail {
namespace {

using namespace std::chrono_literals;

unsigned processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
    return static_cast<unsigned>(std::max(1, CPU_COUNT(&set)));
}

// How long a worker that is asked for its tasks may take before it is reported as busy.
constexpr auto answer_time = 1s;

} // namespace

class runtime_core final : worker_group {
public:
    explicit runtime_core(runtime_options options);
    ~runtime_core();

    [[nodiscard]] executor& choose(placement where);
    shutdown_report shutdown(std::chrono::milliseconds grace);
    [[nodiscard]] bool on_own_worker() const noexcept;
    [[nodiscard]] bool stopping() const noexcept {
        return stopping_.load(std::memory_order_seq_cst);
    }
    [[nodiscard]] std::size_t live() const noexcept;
    [[nodiscard]] std::vector<std::unique_ptr<worker>>& workers() noexcept { return workers_; }

private:
    class stop_message;
    class question;

    [[nodiscard]] executor& place(placement where, executor& from) noexcept override;
    [[nodiscard]] unsigned size() const noexcept override {
        return static_cast<unsigned>(workers_.size());
    }
    void root_gone() noexcept override;

    void stop_all(bool force);
    [[nodiscard]] bool wait_until_empty(std::chrono::milliseconds grace);
    [[nodiscard]] shutdown_report ask_for_leftovers();

    runtime_options options_;
    std::vector<std::unique_ptr<worker>> workers_;
    std::vector<std::thread> threads_;
    atomic<unsigned> turn_{0};
    atomic<bool> stopping_{false};
    std::mutex lock_;
    std::condition_variable changed_;
};

runtime_core::runtime_core(runtime_options options) : options_(options) {
    const unsigned count = options.workers ? options.workers : processors();
    ring_options rings;
    rings.entries = options.ring_entries ? options.ring_entries : 256;
    const unsigned operations = options.max_operations ? options.max_operations : 16384;
    rings.completions = operations + operations / 2;
    worker_group* const group = this;
    for (unsigned i = 0; i < count; ++i) {
        workers_.push_back(
            std::make_unique<worker>(real_kernel(), rings, operations, group, i));
    }
    try {
        for (auto& each : workers_) {
            threads_.emplace_back([&worker = *each] {
                char name[16];
                std::snprintf(name, sizeof name, "toadstone/%u", worker.index() % 10000);
                pthread_setname_np(pthread_self(), name);
                worker.attach();
                worker.run();
                worker.detach();
            });
        }
    } catch (...) {
        for (auto& each : workers_) each->stop();
        for (auto& each : threads_) each.join();
        throw;
    }
}

runtime_core::~runtime_core() {
    const shutdown_report report = shutdown(options_.grace);
    if (!report.clean()) {
        std::fprintf(stderr,
                     "toadstone: these tasks did not end within %lld ms after their "
                     "cancellation and are taken by force:\n%s",
                     static_cast<long long>(options_.grace.count()),
                     report.to_string().c_str());
        stop_all(true);
        while (!wait_until_empty(5s)) {
            std::fprintf(stderr,
                         "toadstone: still waiting for tasks that do not reach a "
                         "cancellation point:\n%s",
                         ask_for_leftovers().to_string().c_str());
        }
    }
    for (auto& each : workers_) each->stop();
    for (auto& each : threads_) each.join();
}

executor& runtime_core::place(placement where, executor& from) noexcept {
    if (where.is_here()) return from;
    const unsigned index =
        where.is_any() ? turn_.fetch_add(1, std::memory_order_relaxed) : where.index();
    return *workers_[index % workers_.size()];
}

executor& runtime_core::choose(placement where) {
    if (executor* here = executor::current(); here && on_own_worker()) {
        return place(where, *here);
    }
    if (stopping()) {
        throw std::logic_error("the runtime is shutting down and takes no new tasks");
    }
    return place(where.is_here() ? placement::any() : where, *workers_.front());
}

bool runtime_core::on_own_worker() const noexcept {
    const executor* here = executor::current();
    return std::any_of(workers_.begin(), workers_.end(),
                       [here](const auto& each) { return each.get() == here; });
}

// Whoever has ended was launched before, so with the ends read first, equal sums mean that
// nothing was running in between.
std::size_t runtime_core::live() const noexcept {
    std::uint64_t ended = 0;
    for (const auto& each : workers_) ended += each->roots_ended();
    std::uint64_t launched = 0;
    for (const auto& each : workers_) launched += each->roots_launched();
    return static_cast<std::size_t>(launched - ended);
}

void runtime_core::root_gone() noexcept {
    if (!stopping()) return;
    const std::lock_guard hold(lock_);
    changed_.notify_all();
}

/// Tells a worker, on its own thread, to stop its tasks. Frees itself.
class runtime_core::stop_message final : posted {
public:
    static void send(worker& to, bool force) {
        auto* message = new stop_message(to, force);
        to.post(*message);
    }

private:
    stop_message(worker& to, bool force) noexcept : to_(to), force_(force) {}
    void run_posted() noexcept override {
        to_.stop_roots(cancel_reason::shutdown, force_);
        delete this;
    }
    worker& to_;
    bool force_;
};

void runtime_core::stop_all(bool force) {
    for (auto& each : workers_) stop_message::send(*each, force);
}

bool runtime_core::wait_until_empty(std::chrono::milliseconds grace) {
    const auto until = std::chrono::steady_clock::now() + grace;
    std::unique_lock hold(lock_);
    return changed_.wait_until(hold, until, [this] { return live() == 0; });
}

/// Asks a worker, on its own thread, which tasks it has. Shared with the worker, which may
/// answer after the asker has given up.
class runtime_core::question final : posted {
public:
    static std::vector<leftover_task> ask(worker& whom) {
        auto state = std::make_shared<answer>();
        whom.post(*new question(whom, state));
        std::unique_lock hold(state->lock);
        state->ready.wait_for(hold, answer_time, [&] { return state->done; });
        if (state->done) return std::move(state->tasks);
        leftover_task busy;
        busy.worker = whom.index();
        busy.where = "a task of this worker is running and does not reach a co_await";
        return {std::move(busy)};
    }

private:
    struct answer {
        std::mutex lock;
        std::condition_variable ready;
        std::vector<leftover_task> tasks;
        bool done = false;
    };
    question(worker& whom, std::shared_ptr<answer> state)
        : whom_(whom), state_(std::move(state)) {}

    void run_posted() noexcept override {
        std::vector<leftover_task> tasks;
        whom_.for_each_root([&](const context& task) {
            leftover_task left;
            left.id = task.id();
            left.name = task.name();
            left.worker = whom_.index();
            left.where = task.where().line() ? describe_place(task.where())
                                             : "not started, or not suspended yet";
            tasks.push_back(std::move(left));
        });
        {
            const std::lock_guard hold(state_->lock);
            state_->tasks = std::move(tasks);
            state_->done = true;
            state_->ready.notify_all();
        }
        delete this;
    }

    worker& whom_;
    std::shared_ptr<answer> state_;
};

shutdown_report runtime_core::ask_for_leftovers() {
    shutdown_report report;
    for (auto& each : workers_) {
        auto tasks = question::ask(*each);
        for (auto& task : tasks) report.leftover.push_back(std::move(task));
    }
    return report;
}

shutdown_report runtime_core::shutdown(std::chrono::milliseconds grace) {
    stopping_.store(true, std::memory_order_seq_cst); // before live() is looked at
    stop_all(false);
    if (wait_until_empty(grace)) return {};
    return ask_for_leftovers();
}

struct thread_joiner::state {
    std::mutex lock;
    std::condition_variable changed;
    bool done = false;
};

thread_joiner::thread_joiner() : state_(std::make_unique<state>()) {}
thread_joiner::~thread_joiner() = default;

void thread_joiner::wait(root_task& root) {
    if (root.wait(*this) != root_task::wait_result::waits) return;
    std::unique_lock hold(state_->lock);
    state_->changed.wait(hold, [this] { return state_->done; });
}

void thread_joiner::root_ended() noexcept {
    const std::lock_guard hold(state_->lock); // held while notifying: the waiter owns the state
    state_->done = true;
    state_->changed.notify_one();
}

} // namespace detail

std::string shutdown_report::to_string() const {
    std::string text;
    for (const leftover_task& task : leftover) {
        text += "  ";
        text += task.id ? detail::describe_task(task.id, task.name) : std::string("?");
        text += " on worker " + std::to_string(task.worker) + " at " + task.where + "\n";
    }
    return text;
}

runtime::runtime(runtime_options options)
    : core_(std::make_unique<detail::runtime_core>(options)) {}

runtime::~runtime() = default;

shutdown_report runtime::shutdown(std::chrono::milliseconds grace) {
    if (core_->on_own_worker()) {
        throw std::logic_error(
            "shutdown() was called by a task of the same runtime, which would "
            "wait for itself; end the main task instead");
    }
    return core_->shutdown(grace);
}

unsigned runtime::workers() const noexcept {
    return static_cast<unsigned>(core_->workers().size());
}

std::vector<std::string> runtime::features() const {
    return core_->workers().front()->queue().features();
}

std::size_t runtime::live_tasks() const noexcept {
    return core_->live();
}

std::size_t runtime::operations_in_flight() const noexcept {
    std::size_t sum = 0;
    for (const auto& each : core_->workers()) sum += each->in_flight();
    return sum;
}

detail::executor& runtime::choose(placement where) {
    return core_->choose(where);
}

void runtime::check_block_on() const {
    if (core_->on_own_worker()) {
        throw std::logic_error("block_on() was called by a task of the same runtime, which "
                               "would wait for itself; co_await the task instead");
    }
}

namespace {

template <class T>
int run_main(task<T> body, runtime_options options) {
    try {
        runtime here(options);
        if constexpr (std::is_void_v<T>) {
            here.block_on(std::move(body));
            return 0;
        } else {
            return here.block_on(std::move(body));
        }
    } catch (const std::exception& error) {
        std::fprintf(stderr, "toadstone: %s\n", error.what());
    } catch (...) {
        std::fprintf(stderr, "toadstone: the main task failed with an unknown exception\n");
    }
    return 1;
}

} // namespace

int run(task<int> body, runtime_options options) {
    return run_main(std::move(body), options);
}

int run(task<void> body, runtime_options options) {
    return run_main(std::move(body), options);
}

} // namespace toadstone
