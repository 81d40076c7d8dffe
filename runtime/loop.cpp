// The runtime: starting and stopping workers, waiting for tasks from plain threads.
#include <toadstone/runtime/loop.hpp>

#include <toadstone/runtime/blocking/pool.hpp>
#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>
#include <toadstone/runtime/detail/thread_lender.hpp>
#include <toadstone/runtime/detail/time_limit.hpp>
#include <toadstone/runtime/detail/unexplained_causes.hpp>
#include <toadstone/runtime/detail/program_end.hpp>
#include <toadstone/runtime/detail/sigpipe.hpp>
#include <toadstone/runtime/uring/leftovers.hpp>
#include <toadstone/runtime/uring/quota.hpp>
#include <toadstone/runtime/uring/ring_memory.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>

#include <pthread.h>
#include <sys/resource.h>

namespace toadstone {
namespace detail {
namespace {

using namespace std::chrono_literals;

/// Errors: std::invalid_argument that names the option.
const runtime_options& checked(const runtime_options& options) {
    struct bound {
        const char* name;
        unsigned value;
        unsigned most;
        const char* why;
    };
    // The kernel's own bounds. It would lower a number beyond them without a word.
    constexpr unsigned most_entries = 32768;
    constexpr unsigned most_completions = 65536;
    for (const bound& each : {
             bound{"workers", options.workers, 4096, "each is a thread with a ring"},
             bound{"ring_entries", options.ring_entries, most_entries,
                   "the kernel makes no larger ring"},
             bound{"max_operations", options.max_operations,
                   most_completions - most_completions / 4,
                   "the kernel makes no larger completion queue"},
             bound{"receive_buffers", options.receive_buffers, 32768,
                   "the kernel makes no larger ring of buffers"},
             bound{"unread_buffers", options.unread_buffers, 32768,
                   "no worker has more buffers"},
             bound{"blocking_threads", options.blocking_threads, 4096, "each is a thread"},
         }) {
        if (each.value <= each.most) continue;
        throw std::invalid_argument(std::string("runtime_options::") + each.name + " is " +
                                    std::to_string(each.value) + ", and at most " +
                                    std::to_string(each.most) + " are possible: " + each.why);
    }
    if (options.on_this_thread && executor::current()) {
        throw std::logic_error("runtime_options::on_this_thread was asked for inside a task, "
                               "whose worker this thread is already");
    }
    if (options.report_every < 1ms) {
        throw std::invalid_argument("runtime_options::report_every is " +
                                    std::to_string(options.report_every.count()) +
                                    " ms, and at least 1 ms has to pass between two reports");
    }
    return options;
}

// Files and sockets take none, and so fewer do than where they would.
constexpr unsigned usual_blocking_threads = 64;

} // namespace

class runtime_core final : worker_group, thread_lender {
public:
    explicit runtime_core(runtime_options options);
    ~runtime_core();

    [[nodiscard]] executor& choose(placement where);
    shutdown_report shutdown(std::chrono::milliseconds grace);
    [[nodiscard]] bool on_own_worker() const noexcept;
    /// This thread is the one that lends itself, and is no worker just now.
    [[nodiscard]] bool may_lend() const noexcept {
        return options_.on_this_thread && thread_serial() == maker_ && !executor::current();
    }
    [[nodiscard]] bool is_lent_elsewhere() const noexcept {
        return options_.on_this_thread && !may_lend();
    }
    /// Is worker 0 until `enough()`. Where may_lend().
    template <class Enough>
    void lend(Enough enough) noexcept {
        const sigpipe_lent signals;
        const own_exceptions_aside aside;
        lent_.store(true, std::memory_order_relaxed);
        workers_.front()->run_until(enough);
        lent_.store(false, std::memory_order_relaxed);
    }
    /// lend(), and on while another thread shuts down and waits for tasks of this one.
    template <class Enough>
    void lend_for(Enough enough) noexcept {
        lend(enough);
        const auto over = [this] {
            return shutdowns_.load(std::memory_order_acquire) == 0 || live() == 0;
        };
        if (!over()) lend(over);
    }
    [[nodiscard]] bool is_lent() const noexcept {
        return lent_.load(std::memory_order_relaxed);
    }
    /// What lend() waits for has come. Any thread, worker 0 itself too: it may be on its way to
    /// sleep, with nothing else to do.
    void wake_lent() noexcept {
        if (options_.on_this_thread) workers_.front()->wake();
    }
    // As thread_lender, for the blocking forms of locks and channels.
    void lend_until(const atomic<bool>& over) noexcept override {
        lend([&over] { return over.load(std::memory_order_acquire); });
    }
    void wake() noexcept override { wake_lent(); }
    [[nodiscard]] bool is_of_parent() const noexcept override { return forked(); }
    /// For every use that starts or waits for something. Errors: std::logic_error.
    void refuse_fork() const;
    /// For every wait. Errors: std::logic_error.
    void refuse_foreign_task() const;
    [[nodiscard]] bool forked() const noexcept { return made_in_.forked(); }
    /// Keeps the core for ever: its threads, and what they hold, are not in this process.
    static void leave(std::unique_ptr<runtime_core> core) noexcept;
    [[nodiscard]] bool stopping() const noexcept {
        return stopping_.load(std::memory_order_seq_cst);
    }
    [[nodiscard]] std::size_t live() const noexcept;
    [[nodiscard]] std::vector<std::unique_ptr<worker>>& workers() noexcept { return workers_; }

private:
    class stop_message;
    /// As long as one is under way, whoever waits in block_on() has tasks to end.
    struct count_of_shutdowns {
        explicit count_of_shutdowns(runtime_core& core) : of(core) {
            of.shutdowns_.fetch_add(1, std::memory_order_acq_rel);
        }
        count_of_shutdowns(const count_of_shutdowns&) = delete;
        count_of_shutdowns& operator=(const count_of_shutdowns&) = delete;
        ~count_of_shutdowns() {
            if (of.shutdowns_.fetch_sub(1, std::memory_order_acq_rel) == 1) of.wake_lent();
        }
        runtime_core& of;
    };
    class deadline_timer;

    [[nodiscard]] executor& place(placement where, executor& from) noexcept override;
    [[nodiscard]] unsigned size() const noexcept override {
        return static_cast<unsigned>(workers_.size());
    }
    [[nodiscard]] std::chrono::nanoseconds longest_spin() const noexcept override {
        const bool enough = workers_.size() > 1 && workers_.size() <= processors_;
        return enough ? options_.longest_spin : std::chrono::microseconds(0);
    }
    void root_gone() noexcept override;
    [[nodiscard]] blocking_service* blocking() noexcept override { return &blocking_; }

    class beginning;
    void make_workers(unsigned count, ring_options rings, unsigned operations);
    void start_threads();
    void start_thread(worker& which, const std::shared_ptr<beginning>& all);

    void stop_all(bool force);
    template <class Fn>
    void watched(Fn fn);
    [[nodiscard]] shutdown_report shut_down(std::chrono::milliseconds grace);
    void end_tasks();
    void take_by_force();
    [[nodiscard]] bool wait_until_empty(std::chrono::milliseconds grace);
    [[nodiscard]] std::vector<unstoppable_call> unstoppable();
    static void add_outside_waits(worker& of, std::vector<unstoppable_call>& calls);
    void name_unstoppable();
    [[nodiscard]] shutdown_report ask_for_leftovers();

    const fork_mark made_in_;
    const std::uint64_t maker_ = thread_serial();
    const unsigned processors_ = processors();
    runtime_options options_;
    runtime_core* left_before_ = nullptr; // see leave()
    std::vector<std::unique_ptr<worker>> workers_;
    std::vector<std::thread> threads_;
    atomic<unsigned> turn_{0};
    atomic<bool> stopping_{false};
    atomic<bool> lent_{false};
    atomic<unsigned> shutdowns_{0}; // that are under way
    std::mutex lock_;
    std::condition_variable changed_;
    blocking_pool blocking_; // ends first, after the last task
};

runtime_core::runtime_core(runtime_options options)
    : options_(checked(options)),
      blocking_(options.blocking_threads ? options.blocking_threads : usual_blocking_threads,
                to_nanoseconds(options.blocking_keep_alive)) {
    const unsigned count = options.workers ? options.workers : processors_;
    ring_options rings;
    rings.entries = options.ring_entries ? options.ring_entries : 256;
    const unsigned operations = options.max_operations ? options.max_operations : 16384;
    // The kernel wants no smaller completion queue than submission queue, which it rounds up.
    rings.completions =
        std::max(operations + operations / 2, std::bit_ceil(std::max(rings.entries, 64U)));
    if (options.receive_buffers) rings.receiving.buffers = options.receive_buffers;
    if (options.unread_buffers) rings.receiving.most_unread = options.unread_buffers;
    notice_exit();
    make_workers(count, rings, operations);
    start_threads();
}

void runtime_core::make_workers(unsigned count, ring_options rings, unsigned operations) {
    worker_group* const group = this;
    try {
        for (unsigned i = 0; i < count; ++i) {
            workers_.push_back(
                std::make_unique<worker>(real_kernel(), rings, operations, group, i));
        }
    } catch (const std::bad_alloc&) {
        throw ring_unavailable(ring_unavailable::cause::memory, ENOMEM,
                               "a worker could not be made: there is no memory for its "
                               "operations. RLIMIT_AS is " +
                                   limit_text(RLIMIT_AS, " bytes") + ", RLIMIT_DATA is " +
                                   limit_text(RLIMIT_DATA, " bytes") +
                                   ". Raise them (ulimit -v, ulimit -d), or use fewer workers "
                                   "or a smaller max_operations");
    }
}

/// What the constructor and the workers' threads tell each other before the first step.
class runtime_core::beginning {
public:
    /// On a worker's thread. False: end, without a step.
    [[nodiscard]] bool begin(worker& which) noexcept {
        std::exception_ptr failure;
        try {
            which.attach();
        } catch (...) {
            failure = std::current_exception();
        }
        std::unique_lock hold(lock_);
        ++attached_;
        if (failure && !failure_) failure_ = std::move(failure);
        changed_.notify_all();
        changed_.wait(hold, [this] { return decided_; });
        return go_;
    }
    /// Waits for so many threads to have told. Rethrows the first failure.
    void wait_for(std::size_t threads) {
        std::unique_lock hold(lock_);
        changed_.wait(hold, [&] { return attached_ == threads; });
        if (failure_) std::rethrow_exception(failure_);
    }
    void decide(bool go) noexcept {
        const std::lock_guard hold(lock_);
        go_ = go;
        decided_ = true;
        changed_.notify_all();
    }

private:
    std::mutex lock_;
    std::condition_variable changed_;
    std::size_t attached_ = 0;
    std::exception_ptr failure_;
    bool decided_ = false;
    bool go_ = false;
};

// No worker steps before all of them can: those that could have nothing to undo then, which
// would need the calls that may just have become forbidden.
void runtime_core::start_threads() {
    const auto all = std::make_shared<beginning>();
    try {
        for (auto& each : workers_) {
            if (each != workers_.front() || !options_.on_this_thread) start_thread(*each, all);
        }
        if (options_.on_this_thread) {
            workers_.front()->attach();
            workers_.front()->leave_thread();
        }
        all->wait_for(threads_.size());
    } catch (...) {
        all->decide(false);
        for (auto& each : threads_) each.join();
        throw;
    }
    all->decide(true);
    if (options_.on_this_thread) enter_here();
}

void runtime_core::start_thread(worker& which, const std::shared_ptr<beginning>& all) {
    const auto body = [&which, all] {
        char name[16];
        std::snprintf(name, sizeof name, "toadstone/%u", which.index() % 10000);
        pthread_setname_np(pthread_self(), name);
        if (!all->begin(which)) return;
        which.run();
        which.detach();
    };
    try {
        threads_.emplace_back(body);
    } catch (const std::system_error& error) {
        throw std::system_error(error.code(), "the thread of worker " +
                                                  std::to_string(which.index() + 1) + " of " +
                                                  std::to_string(workers_.size()) +
                                                  " could not be started. " + no_thread_text());
    }
}

// Somebody else looks after the end, so that a task that computes for ever is named, too.
template <class Fn>
void runtime_core::watched(Fn fn) {
    if (!may_lend() || live() == 0) return fn();
    atomic<bool> over{false};
    std::exception_ptr failure;
    std::thread watcher;
    try {
        watcher = std::thread([&] {
            pthread_setname_np(pthread_self(), "toadstone/end");
            try {
                fn();
            } catch (...) {
                failure = std::current_exception();
            }
            over.store(true, std::memory_order_release);
            wake_lent();
        });
    } catch (const std::system_error&) {
        return fn(); // as well as it goes
    }
    lend_until(over);
    watcher.join();
    if (failure) std::rethrow_exception(failure);
}

runtime_core::~runtime_core() {
    leave_here();
    watched([this] { end_tasks(); });
    for (auto& each : workers_) each->stop();
    if (options_.on_this_thread) {
        lend([this] { return workers_.front()->ended(); });
        workers_.front()->detach();
    }
    for (auto& each : threads_) each.join();
}

void runtime_core::end_tasks() {
    const shutdown_report report = shut_down(options_.grace);
    if (!report.clean()) {
        log_lines("toadstone: these tasks did not end within " +
                  std::to_string(options_.grace.count()) +
                  " ms after their cancellation and are taken by force:\n" +
                  report.to_string());
        take_by_force();
    }
}

void runtime_core::take_by_force() {
    stop_all(true);
    const bool gives_up = options_.on_stuck == on_stuck::abort;
    const auto patience = std::max<std::chrono::milliseconds>(options_.grace, 1s);
    while (!wait_until_empty(gives_up ? patience : options_.report_every)) {
        log_lines(std::string("toadstone: ") +
                  (gives_up ? "these tasks cannot be ended, and on_stuck is abort:\n"
                            : "still waiting for tasks that do not reach a cancellation "
                              "point, or for what cannot be stopped:\n") +
                  ask_for_leftovers().to_string());
        if (gives_up) {
            flush_log(std::chrono::seconds(1));
            std::abort();
        }
    }
}

void runtime_core::refuse_fork() const {
    if (!forked()) return;
    throw std::logic_error("a runtime was used in a fork of the process that made it, where "
                           "its threads do not exist; make a new runtime in the child");
}

void runtime_core::refuse_foreign_task() const {
    if (!options_.on_this_thread || thread_serial() != maker_) return;
    if (!executor::current() || on_own_worker()) return;
    throw std::logic_error("a runtime with on_this_thread was waited for inside a task of "
                           "another runtime, whose worker this thread is just now; wait for "
                           "it outside of every task");
}

void runtime_core::leave(std::unique_ptr<runtime_core> core) noexcept {
    static constinit atomic<runtime_core*> left{nullptr};
    runtime_core* const own = core.release();
    own->leave_here();
    own->left_before_ = left.exchange(own, std::memory_order_relaxed);
}

executor& runtime_core::place(placement where, executor& from) noexcept {
    if (where.is_here()) return from;
    if (!where.is_any()) return *workers_[where.index() % workers_.size()];
    // Where nobody runs them just now, tasks would stand still.
    const bool away = options_.on_this_thread && !is_lent() && !may_lend();
    const std::size_t first = away && workers_.size() > 1 ? 1 : 0;
    const unsigned turn = turn_.fetch_add(1, std::memory_order_relaxed);
    return *workers_[first + turn % (workers_.size() - first)];
}

executor& runtime_core::choose(placement where) {
    refuse_fork();
    if (executor* here = executor::current(); here && on_own_worker()) {
        return place(where, *here);
    }
    if (stopping()) {
        throw std::logic_error("the runtime is shutting down and takes no new tasks");
    }
    const bool anywhere = where.is_here() && !may_lend();
    return place(anywhere ? placement::any() : where, *workers_.front());
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
    {
        const std::lock_guard hold(lock_);
        changed_.notify_all();
    }
    if (live() == 0) wake_lent();
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
    for (auto& each : workers_) each->announce_stop(cancel_reason::shutdown, force);
}

/// Wakes its worker at a time. Made and destroyed by the thread that lends itself.
class runtime_core::deadline_timer final : timer_node {
public:
    deadline_timer(worker& of, std::chrono::steady_clock::time_point when) : of_(of) {
        of_.arm(*this, when);
    }
    deadline_timer(const deadline_timer&) = delete;
    deadline_timer& operator=(const deadline_timer&) = delete;
    ~deadline_timer() override {
        if (armed()) of_.disarm(*this);
    }
    [[nodiscard]] bool is_over() const noexcept { return !armed(); }

private:
    void expired() noexcept override { of_.wake(); }
    worker& of_;
};

bool runtime_core::wait_until_empty(std::chrono::milliseconds grace) {
    using clock = std::chrono::steady_clock;
    const auto until = deadline_after(clock::now(), to_nanoseconds(grace));
    for (;;) {
        const auto report = deadline_after(clock::now(), to_nanoseconds(options_.report_every));
        const auto empty = [this] { return live() == 0; };
        if (may_lend()) {
            const deadline_timer deadline(*workers_.front(), std::min(until, report));
            lend([&] { return empty() || deadline.is_over(); });
            if (empty()) return true;
        } else {
            std::unique_lock hold(lock_);
            if (changed_.wait_until(hold, std::min(until, report), empty)) return true;
        }
        if (report >= until) return false;
        name_unstoppable();
    }
}

std::vector<unstoppable_call> runtime_core::unstoppable() {
    std::vector<unstoppable_call> calls;
    for (auto& each : blocking_.entries()) {
        unstoppable_call& call = calls.emplace_back();
        call.what = each.thread
                        ? "a blocking function on thread block-" + std::to_string(*each.thread)
                        : "a blocking function that waits for a thread";
        call.task = each.task_id;
        call.task_name = std::move(each.task_name);
        call.where = describe_place(each.where);
        call.lasts = std::chrono::floor<std::chrono::milliseconds>(each.lasts);
    }
    for (auto& each : workers_) add_outside_waits(*each, calls);
    return calls;
}

void runtime_core::add_outside_waits(worker& of, std::vector<unstoppable_call>& calls) {
    const auto now = std::chrono::steady_clock::now();
    const bool seen = of.unstoppable().look([&](const unstoppable_wait& each) {
        unstoppable_call& call = calls.emplace_back();
        call.what = each.what();
        call.task = each.who().id();
        call.task_name = each.who().name();
        call.where = describe_place(each.started_at());
        // The worker's clock may be a little ahead.
        call.lasts = std::max(std::chrono::floor<std::chrono::milliseconds>(now - each.since()),
                              std::chrono::milliseconds(0));
    });
    if (!seen)
        calls.emplace_back().what = "what cannot be told: the worker cannot be looked at";
}

void runtime_core::name_unstoppable() {
    shutdown_report report;
    report.unstoppable = unstoppable();
    if (report.unstoppable.empty()) return;
    log_lines("toadstone: the shutdown waits for what cannot be stopped:\n" +
              report.to_string());
}

shutdown_report runtime_core::ask_for_leftovers() {
    shutdown_report report;
    for (auto& each : workers_) {
        const bool rests = options_.on_this_thread && each == workers_.front() && !is_lent();
        auto tasks = rests ? leftovers_at_rest(*each) : leftovers_of(*each);
        for (auto& task : tasks) report.leftover.push_back(std::move(task));
    }
    report.unstoppable = unstoppable();
    return report;
}

shutdown_report runtime_core::shutdown(std::chrono::milliseconds grace) {
    shutdown_report report;
    watched([&] { report = shut_down(grace); });
    return report;
}

shutdown_report runtime_core::shut_down(std::chrono::milliseconds grace) {
    const count_of_shutdowns under_way(*this);
    stopping_.store(true, std::memory_order_seq_cst); // before live() is looked at
    stop_all(false);
    if (wait_until_empty(grace)) return {};
    return ask_for_leftovers();
}

struct thread_joiner::state {
    explicit state(runtime_core& core) : of(core), lends(core.may_lend()) {}
    runtime_core& of;
    const bool lends; ///< is a worker while it waits
    std::mutex lock;
    std::condition_variable changed;
    atomic<bool> done{false};
};

thread_joiner::thread_joiner(runtime_core& of) : state_(std::make_unique<state>(of)) {}
thread_joiner::~thread_joiner() = default;

void thread_joiner::wait(root_task& root) {
    if (root.wait(*this) != root_task::wait_result::waits) return;
    const auto done = [this] { return state_->done.load(std::memory_order_acquire); };
    if (state_->lends) state_->of.lend_for(done);
    std::unique_lock hold(state_->lock);
    state_->changed.wait(hold, done);
}

void thread_joiner::root_ended() noexcept {
    const std::lock_guard hold(state_->lock); // held while notifying: the waiter owns the state
    state_->done.store(true, std::memory_order_release);
    state_->changed.notify_one();
    if (state_->lends) state_->of.wake_lent();
}

} // namespace detail

runtime::runtime(runtime_options options)
    : core_(std::make_unique<detail::runtime_core>(options)) {}

runtime::~runtime() {
    if (core_->forked()) {
        detail::runtime_core::leave(std::move(core_));
        return;
    }
    TOADSTONE_ASSERT(!core_->on_own_worker(),
                     "a runtime is not destroyed by a task of its own, which would wait for "
                     "itself; let it outlive its tasks");
    TOADSTONE_ASSERT(!core_->is_lent_elsewhere(),
                     "a runtime with on_this_thread is destroyed by the thread that made it, "
                     "outside of every task: its first worker is that thread");
}

shutdown_report runtime::shutdown(std::chrono::milliseconds grace) {
    core_->refuse_fork();
    if (core_->on_own_worker()) {
        throw std::logic_error(
            "shutdown() was called by a task of the same runtime, which would "
            "wait for itself; end the main task instead");
    }
    core_->refuse_foreign_task();
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
    core_->refuse_fork();
    core_->refuse_foreign_task();
    if (core_->on_own_worker()) {
        throw std::logic_error("block_on() was called by a task of the same runtime, which "
                               "would wait for itself; co_await the task instead");
    }
}

} // namespace toadstone
