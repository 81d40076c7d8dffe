// The runtime: workers, each with one thread, one ring and one run queue.
#ifndef TOADSTONE_RUNTIME_LOOP_HPP
#define TOADSTONE_RUNTIME_LOOP_HPP

#include <toadstone/runtime/detail/root_task.hpp>
#include <toadstone/runtime/spawn.hpp>
#include <toadstone/runtime/task.hpp>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace toadstone {

/// What the end of a runtime does about tasks that even force cannot end: those that compute
/// without a co_await, or wait for what cannot be stopped, such as a function of
/// spawn_blocking(), another library's awaitable, or a callback.
enum class on_stuck : unsigned char {
    wait,  ///< waits, and names them in the log every runtime_options::report_every
    abort, ///< after the grace has passed once more: names them and aborts the process
};

/// How a runtime is made.
struct runtime_options {
    /// Threads, each with its own ring; 4096 at most. 0: one for each processor that the
    /// process may use, by its affinity and by the quota of its cgroups, rounded up.
    unsigned workers = 0;
    /// Worker 0 has no thread of its own: it is the thread that makes the runtime, while that
    /// waits: in block_on(), in shutdown(), in the destructor, and in the blocking_ forms of
    /// locks and channels (of several such runtimes of one thread, the newest). In between, the
    /// tasks on that worker stand still, and whoever waits for one of them waits; so that
    /// thread does not wait for them in another way. It also destroys the runtime. Where
    /// tasks are left at the end, a thread is started that looks after it. run() does so by
    /// itself where there is one worker.
    bool on_this_thread = false;
    /// Submission entries per ring, rounded up to a power of two; 32768 at most. 0: 256.
    unsigned ring_entries = 0;
    /// Operations that one worker may have in flight; more wait for their turn. The completion
    /// queue is sized after it. 49152 at most. 0: 16384. Fewer where RLIMIT_MEMLOCK does not
    /// allow so many.
    unsigned max_operations = 0;
    /// How long a worker that runs out of work stays awake if others have just handed it some,
    /// in place of a sleep and a wake-up for each task; 0: not at all. Only where there is a
    /// processor for each worker, and for as long as it pays.
    std::chrono::microseconds longest_spin{50};
    /// Buffers of 16 KiB that each worker has for tcp_stream::recv(), from its first call on;
    /// 32768 at most. 0: 128, which are 2 MiB, of which only what has been in use at the same
    /// time takes memory. Bytes that tasks hold, or leave unread, are in them; where all are
    /// taken for long, recv() makes blocks of its own.
    unsigned receive_buffers = 0;
    /// Buffers that one stream may have unread before it stops to receive ahead; 0: 4.
    unsigned unread_buffers = 0;
    /// Threads for functions of spawn_blocking(), over all workers; 4096 at most. 0: 64. They
    /// are made when all others are in use, so that none is there where none is needed; more
    /// functions wait for their turn. What they do waits for something else than this machine's
    /// processors, so that there may be more of them than of these; each takes the memory of a
    /// stack. Functions that wait for each other need a thread each.
    unsigned blocking_threads = 0;
    /// How long such a thread stays when it has nothing to do.
    std::chrono::milliseconds blocking_keep_alive{10'000};
    /// How often a shutdown names what it waits for and cannot stop; at least 1 ms.
    std::chrono::milliseconds report_every{10'000};
    /// How long the destructor waits for cancelled tasks before it takes them by force.
    std::chrono::milliseconds grace{5000};
    /// And what it does about those that remain then.
    toadstone::on_stuck on_stuck = toadstone::on_stuck::wait;
};

/// io_uring cannot be used here. what() names the cause and the remedy.
class ring_unavailable : public std::system_error {
public:
    /// What stands in the way, as far as it could be found out.
    enum class cause : unsigned char {
        not_supported,  ///< ENOSYS: an old kernel, or a filter that hides the call
        forbidden,      ///< EPERM or EACCES: a sysctl or a seccomp filter
        memory,         ///< ENOMEM: RLIMIT_MEMLOCK, RLIMIT_AS, or memory itself
        descriptors,    ///< EMFILE or ENFILE
        missing_opcode, ///< the kernel lacks an operation that toadstone needs
        other,
    };
    /// As the library throws it.
    ring_unavailable(cause why, int error, const std::string& text)
        : std::system_error(error, std::generic_category(), text), why_(why) {}
    /// What stands in the way.
    [[nodiscard]] cause why() const noexcept { return why_; }

private:
    cause why_;
};

/// A task that was still there when the grace of a shutdown was over.
struct leftover_task {
    std::uint64_t id = 0; ///< as in causes
    std::string name;     ///< as it was spawned with
    unsigned worker = 0;  ///< where it lives
    /// The co_await where it is suspended, "server.cpp:88"; or what it does instead, "running,
    /// and does not reach a co_await".
    std::string where;
    bool suspended = false; ///< `where` is a place
};

/// What a task waits for and nobody can stop.
struct unstoppable_call {
    /// "a blocking function on thread block-3", "the answer of a completion", "a foreign
    /// awaitable"
    std::string what;
    std::uint64_t task = 0;            ///< the id of the task that waits
    std::string task_name;             ///< and its name
    std::string where;                 ///< the co_await that started it, "store.cpp:88"
    std::chrono::milliseconds lasts{}; ///< so far
};

/// Which tasks are left, and what of that cannot be stopped. A worker that does not answer
/// within a second is looked at from outside: the task that it runs is named, and so are its
/// neighbours.
struct shutdown_report {
    std::vector<leftover_task> leftover;       ///< tasks
    std::vector<unstoppable_call> unstoppable; ///< calls and foreign code
    /// Nothing was left.
    [[nodiscard]] bool clean() const noexcept { return leftover.empty(); }
    /// One line per task, and behind them one per call.
    [[nodiscard]] std::string to_string() const;
};

namespace detail {

class runtime_core;

/// Holds a plain thread until a root has ended: it blocks, or is a worker meanwhile.
class thread_joiner final : root_waiter, public root_group {
public:
    explicit thread_joiner(runtime_core& of);
    ~thread_joiner();
    void wait(root_task& root);

private:
    struct state;
    void root_ended() noexcept override;
    void root_ended(root_task&, std::exception_ptr) noexcept override {}
    std::unique_ptr<state> state_;
};

/// A task that calls a plain function.
template <class Fn>
class posted_function {
public:
    template <class F>
    explicit posted_function(F&& fn) : fn_(std::forward<F>(fn)) {
        static_assert(std::is_invocable_v<Fn&>, "post() calls a function without arguments");
        static_assert(!library_awaitable<std::invoke_result_t<Fn&>>,
                      "post() calls a plain function: a task is started by spawn()");
    }
    task<> operator()() {
        static_cast<void>(fn_());
        co_return;
    }

private:
    Fn fn_;
};

} // namespace detail

/// Owns the workers. Tasks run on the workers' own threads, and the thread that made the
/// runtime is free, or waits in block_on(); or it is the first of the workers then, see
/// runtime_options::on_this_thread.
///
/// Errors: the constructor throws ring_unavailable when io_uring cannot be used, also when a
///     filter of system calls comes in the middle of it; std::system_error when a thread cannot
///     be started; std::invalid_argument for options that cannot be. A ring for which
///     RLIMIT_MEMLOCK has no room is tried again for a fifth of a second: the kernel gives back
///     the memory of rings that are gone some milliseconds late. Once it has returned, every
///     worker has entered its ring and needs io_uring_enter only: a filter that forbids that
///     later ends the process with a sentence.
/// Threads: spawn(), block_on() and shutdown() from any thread that is not one of its workers;
///     spawn() from workers too.
/// Lifetime: the destructor cancels what is left with cancel_reason::shutdown, waits for the
///     grace, takes the rest by force (through shields), and waits for that (see on_stuck), and
///     for functions of spawn_blocking() that have begun. It returns when every frame is
///     destroyed, the kernel holds no buffer, and all threads have ended. On one of its own
///     workers it would wait for itself: the process ends with a sentence that says so.
/// Fork: a forked process has none of the threads. There, the members that start or wait for
///     something throw std::logic_error; a task that forks and goes on in the child, instead of
///     calling exec, ends the child with a sentence at its next operation or turn; the
///     destructor does nothing. A new runtime may be made in the child.
class runtime {
public:
    /// Starts the workers. Errors: ring_unavailable; std::system_error where a thread cannot
    /// start.
    explicit runtime(runtime_options options = {});
    ~runtime();
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;

    /// Runs a task and waits for it on this thread.
    ///
    /// Returns: its value. Errors: its exception; task_cancelled; std::logic_error on a worker
    ///     of this runtime, which would wait for itself, and after shutdown().
    template <detail::library_awaitable A>
    detail::spawned_t<A> block_on(A&& body) {
        return wait_for<A>(std::forward<A>(body));
    }
    /// Runs `fn(args...)`, a function that returns a task; see toadstone::spawn().
    template <detail::callable_for_spawn Fn, class... Args>
    detail::spawned_t<Fn, Args...> block_on(Fn&& fn, Args&&... args) {
        return wait_for<Fn, Args...>(std::forward<Fn>(fn), std::forward<Args>(args)...);
    }

    /// Starts a task. Errors: std::logic_error after shutdown().
    template <detail::library_awaitable A>
    [[nodiscard("dropping the handle detaches the task; say so with detach()")]]
    join_handle<detail::spawned_t<A>> spawn(A&& body, spawn_options options = {}) {
        return detail::spawn_on(choose(options.where), options, std::forward<A>(body));
    }
    /// Starts a task that calls `fn(args...)`; see toadstone::spawn().
    template <detail::callable_for_spawn Fn, class... Args>
    [[nodiscard("dropping the handle detaches the task; say so with detach()")]]
    join_handle<detail::spawned_t<Fn, Args...>> spawn(Fn&& fn, Args&&... args) {
        return detail::spawn_on(choose({}), {}, std::forward<Fn>(fn),
                                std::forward<Args>(args)...);
    }
    /// The same with options: a name, a worker, a token.
    template <class Fn, class... Args>
    [[nodiscard("dropping the handle detaches the task; say so with detach()")]]
    join_handle<detail::spawned_t<Fn, Args...>> spawn(spawn_options options, Fn&& fn,
                                                      Args&&... args) {
        return detail::spawn_on(choose(options.where), options, std::forward<Fn>(fn),
                                std::forward<Args>(args)...);
    }

    /// Has `fn()`, a plain function, called on a worker, soon, after what is ready there: the
    /// way into a worker from a callback or a thread. `fn` is moved or copied, and destroyed on
    /// that worker. From one thread to one worker in order.
    ///
    /// Errors: std::logic_error after shutdown(); std::bad_alloc. What `fn` throws is told as
    ///     the failure of a task that nobody joins.
    /// Cancellation: none: it is called although the runtime shuts down meanwhile.
    /// Threads: any.
    template <class Fn>
    void post(Fn&& fn, placement where = placement::any()) {
        detail::spawn_on(choose(where), {.name = "posted"},
                         detail::posted_function<std::decay_t<Fn>>(std::forward<Fn>(fn)))
            .detach();
    }

    /// Cancels every task with cancel_reason::shutdown and waits for their end, at most
    /// `grace`. Says which tasks are left, where each of them is suspended, and what cannot be
    /// stopped. That is named in the log, too, while it is waited for. May be called again.
    /// From its start on, spawn() from outside is refused.
    ///
    /// Errors: std::logic_error on a worker of this runtime, and in a forked process.
    /// Units: a grace beyond 146 years is that; a negative one is none.
    shutdown_report shutdown(std::chrono::milliseconds grace);

    /// How many there are.
    [[nodiscard]] unsigned workers() const noexcept;

    /// The optional features of io_uring that are in use, and those that are missing, prefixed
    /// with "no ": "defer_taskrun", "no cqe_skip".
    [[nodiscard]] std::vector<std::string> features() const;

    /// Tasks that have been spawned and have not ended. Exact when nothing is running; a task
    /// whose joiner has just been told may still be counted for a few instructions.
    [[nodiscard]] std::size_t live_tasks() const noexcept;

    /// Operations that the kernel has and has not completed, over all workers, the library's
    /// own not counted. Exact when nothing is running.
    [[nodiscard]] std::size_t operations_in_flight() const noexcept;

private:
    template <class... A>
    detail::spawned_t<A...> wait_for(A&&... body) {
        check_block_on();
        detail::thread_joiner joiner(*core_); // before the launch: nothing may fail after it
        const auto made =
            detail::prepare_root(choose({}), {"block_on"}, std::forward<A>(body)...);
        auto& root = made.root;
        const join_handle<detail::spawned_t<A...>> keep(root);
        root.launch(made.body, &joiner);
        joiner.wait(root);
        root.mark_observed();
        if (root.unwound()) throw task_cancelled(root.reason());
        return root.outcome.take();
    }
    [[nodiscard]] detail::executor& choose(placement where);
    void check_block_on() const;

    std::unique_ptr<detail::runtime_core> core_;
};

/// A whole main(): makes a runtime, runs `body`, and returns its value; 1, with the reason on
/// stderr, when it fails or io_uring cannot be used.
///
/// Errors: std::logic_error inside a task, whose worker it would block.
int run(task<int> body, runtime_options options = {});
/// As above; 0 when `body` returns. The value is meant to be returned from main().
int run(task<void> body, runtime_options options = {});

} // namespace toadstone

#endif
