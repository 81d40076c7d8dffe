// Which tasks a worker has, told by itself or from outside.
#include <toadstone/runtime/uring/leftovers.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/root_task.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>

namespace toadstone {
namespace detail {
namespace {

using namespace std::chrono_literals;

// How long a worker that is asked for its tasks may take before it is reported as busy.
constexpr auto answer_time = 1s;

/// Asks a worker, on its own thread, which tasks it has. Shared with the worker, which may
/// answer after the asker has given up.
class question final : posted {
public:
    static std::vector<leftover_task> ask(worker& whom) {
        auto state = std::make_shared<answer>();
        whom.post(*new question(whom, state));
        std::unique_lock hold(state->lock);
        state->ready.wait_for(hold, answer_time, [&] { return state->done; });
        if (state->done) return std::move(state->tasks);
        hold.unlock();
        return look_at(whom, true);
    }
    /// Of one that no thread runs just now.
    static std::vector<leftover_task> rest(worker& whom) {
        std::vector<leftover_task> tasks = look_at(whom, false);
        if (tasks.empty()) return tasks;
        tasks.push_back(about(whom, "they stand still: the thread that made the runtime runs "
                                    "them while it waits in it"));
        return tasks;
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

    static leftover_task describe(const context& task, const worker& home) {
        leftover_task left;
        left.id = task.id();
        left.name = task.name();
        left.worker = home.index();
        left.suspended = task.where().line() != 0;
        left.where =
            left.suspended ? describe_place(task.where()) : "not started, or not suspended yet";
        return left;
    }
    static leftover_task about(const worker& whom, std::string what) {
        leftover_task left;
        left.worker = whom.index();
        left.where = std::move(what);
        return left;
    }

    /// `runs`: a task of the worker does not let it answer.
    static std::vector<leftover_task> look_at(worker& whom, bool runs) {
        std::vector<leftover_task> tasks;
        const std::uint64_t running = whom.running();
        bool named = false;
        const bool seen = whom.look_at_roots([&](const context& task) {
            leftover_task left = describe(task, whom);
            if (task.id() == running) {
                named = true;
                const std::string last =
                    left.suspended ? " (the last was at " + left.where + ")" : std::string();
                left.where = "running, and does not reach a co_await" + last;
                left.suspended = false;
            }
            tasks.push_back(std::move(left));
        });
        if (runs && !named) {
            tasks.push_back(about(whom, "a task that is running and does not reach a "
                                        "co_await"));
        }
        const std::uint64_t live = whom.roots_launched() - whom.roots_ended();
        if (!seen) {
            tasks.push_back(about(whom, "its other tasks cannot be told"));
        } else if (live > tasks.size()) {
            tasks.push_back(about(whom, std::to_string(live - tasks.size()) +
                                            " more, which have not begun"));
        }
        return tasks;
    }

    void run_posted() noexcept override {
        std::vector<leftover_task> tasks;
        whom_.for_each_root(
            [&](const context& task) { tasks.push_back(describe(task, whom_)); });
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

} // namespace

std::vector<leftover_task> leftovers_of(worker& whom) {
    return question::ask(whom);
}
std::vector<leftover_task> leftovers_at_rest(worker& whom) {
    return question::rest(whom);
}

} // namespace detail

std::string shutdown_report::to_string() const {
    std::string text;
    for (const leftover_task& task : leftover) {
        text += "  ";
        text += task.id ? detail::describe_task(task.id, task.name) : std::string("?");
        text += " on worker " + std::to_string(task.worker);
        text += (task.suspended ? " at " : ": ") + task.where + "\n";
    }
    for (const unstoppable_call& call : unstoppable) {
        const auto tenths = call.lasts.count() / 100;
        text += "  " + detail::describe_task(call.task, call.task_name) + " waits for " +
                call.what + ", started at " + call.where + ", for " +
                std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " s\n";
    }
    return text;
}

} // namespace toadstone
