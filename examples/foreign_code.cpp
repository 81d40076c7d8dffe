// Code that knows nothing of toadstone: a C library with callbacks, a coroutine of another
// library, a std::future, and a thread that wants something done on a worker.
//
// Shows: with_completion() around a callback, cancelled by the library's own means or waited
// for; foreign() around a lazy coroutine as other libraries have them; await_future();
// runtime::post(); block_on() with a limit in a plain thread.
//
//     $ foreign_code
//     looked up: 42
//     no such name: the library said -2
//     cancelled: the library gave the request back
//     cancelled too late: 42 came all the same, then the task ended
//     nobody is left to answer
//     a foreign coroutine gave 7
//     a future gave 5
//     posted to a worker by a thread
//     a plain thread waited 20 ms and no longer
#include <toadstone/runtime.hpp>

#include <chrono>
#include <condition_variable>
#include <coroutine>
#include <cstdio>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <future>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

// A C library as many are: one thread of its own, a callback with a void*.
extern "C" {
using lookup_callback = void (*)(void* context, int result);
}
class lookup_library {
public:
    lookup_library() : thread_([this] { work(); }) {}
    ~lookup_library() {
        {
            const std::lock_guard hold(lock_);
            ends_ = true;
        }
        more_.notify_all();
        thread_.join();
    }

    int lookup(const char* name, lookup_callback done, void* context) {
        const std::lock_guard hold(lock_);
        queue_.push_back({++last_, name, done, context});
        more_.notify_all();
        return last_;
    }
    // 0: it was waiting, and its callback will not be called. -1: it is being called, or was.
    int cancel(int id) {
        const std::lock_guard hold(lock_);
        for (auto each = queue_.begin(); each != queue_.end(); ++each) {
            if (each->id != id) continue;
            queue_.erase(each);
            return 0;
        }
        return -1;
    }
    void pause(bool on) {
        const std::lock_guard hold(lock_);
        paused_ = on;
        more_.notify_all();
    }

private:
    struct request {
        int id;
        const char* name;
        lookup_callback done;
        void* context;
    };
    void work() {
        std::unique_lock hold(lock_);
        for (;;) {
            more_.wait(hold, [this] { return ends_ || (!queue_.empty() && !paused_); });
            if (ends_) return;
            const request next = queue_.front();
            queue_.pop_front();
            hold.unlock();
            next.done(next.context, std::strcmp(next.name, "answer") == 0 ? 42 : -2);
            hold.lock();
        }
    }

    std::mutex lock_;
    std::condition_variable more_;
    std::deque<request> queue_;
    int last_ = 0;
    bool paused_ = false;
    bool ends_ = false;
    std::thread thread_;
};

// What the library calls back, on its thread: takes the token, and answers.
extern "C" void lookup_done(void* context, int result) {
    auto answer = completion<int>::from_token(context);
    if (result >= 0) {
        answer.complete(result);
    } else {
        answer.fail(std::make_exception_ptr(
            std::runtime_error("the library said " + std::to_string(result))));
    }
}

task<int> lookup(lookup_library& library, const char* name) {
    void* token = nullptr;
    int id = 0;
    const auto start = [&](completion<int> c) {
        token = c.release_token(); // the callback's, or on_cancel()'s
        id = library.lookup(name, lookup_done, token);
    };
    const auto on_cancel = [&] {
        if (library.cancel(id) != 0) return false; // the callback comes, or has come
        static_cast<void>(completion<int>::from_token(token));
        return true;
    };
    const int result = co_await with_completion<int>(start, on_cancel);
    co_return result;
}

// Of another library: it is resumed by what it awaits, and knows no tasks.
class other_task {
public:
    struct promise_type {
        other_task get_return_object() {
            return other_task(std::coroutine_handle<promise_type>::from_promise(*this));
        }
        std::suspend_always initial_suspend() noexcept { return {}; }
        struct back {
            bool await_ready() noexcept { return false; }
            std::coroutine_handle<>
            await_suspend(std::coroutine_handle<promise_type> self) noexcept {
                return self.promise().awaiting;
            }
            void await_resume() noexcept {}
        };
        back final_suspend() noexcept { return {}; }
        void return_value(int given) { value = given; }
        void unhandled_exception() { error = std::current_exception(); }
        std::coroutine_handle<> awaiting;
        std::exception_ptr error;
        int value = 0;
    };
    other_task(other_task&& other) noexcept : frame_(std::exchange(other.frame_, nullptr)) {}
    other_task& operator=(other_task&&) = delete;
    ~other_task() {
        if (frame_) frame_.destroy();
    }
    bool await_ready() const noexcept { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> by) const noexcept {
        frame_.promise().awaiting = by;
        return frame_;
    }
    int await_resume() const {
        if (frame_.promise().error) std::rethrow_exception(frame_.promise().error);
        return frame_.promise().value;
    }

private:
    explicit other_task(std::coroutine_handle<promise_type> frame) : frame_(frame) {}
    std::coroutine_handle<promise_type> frame_;
};
other_task seven() {
    co_return 7;
}

task<> looks_up(lookup_library& library) {
    const int found = co_await lookup(library, "answer");
    std::printf("looked up: %d\n", found);
    try {
        co_await lookup(library, "question");
    } catch (const std::runtime_error& error) {
        std::printf("no such name: %s\n", error.what());
    }
}

task<> is_cancelled(lookup_library& library) {
    library.pause(true);
    auto waiting = spawn(lookup(library, "answer"));
    co_await yield_now();
    waiting.cancel();
    const outcome<int> end = co_await waiting.outcome();
    if (end.is_cancelled()) std::puts("cancelled: the library gave the request back");
    library.pause(false);
}

// The request is with the library: nobody can take it back.
task<> stays(completion<int>& pending, int& got) {
    const auto start = [&pending](completion<int> c) { pending = std::move(c); };
    got = co_await with_completion<int>(start);
    co_await checkpoint(); // here it ends
}
task<> is_too_late() {
    completion<int> pending;
    int got = 0;
    auto waiting = spawn(stays(pending, got));
    co_await yield_now();
    waiting.cancel();
    co_await yield_now();
    std::thread([&pending] { pending.complete(42); }).join();
    const outcome<> end = co_await waiting.outcome();
    if (end.is_cancelled()) {
        std::printf("cancelled too late: %d came all the same, then the task ended\n", got);
    }
}

task<> is_dropped() {
    try {
        co_await with_completion<int>([](const completion<int>&) {});
    } catch (const broken_completion&) {
        std::puts("nobody is left to answer");
    }
}

task<> story() {
    lookup_library library;
    co_await looks_up(library);
    co_await is_cancelled(library);
    co_await is_too_late();
    co_await is_dropped();
    const int from_other = co_await foreign(seven());
    std::printf("a foreign coroutine gave %d\n", from_other);
    const int from_future =
        co_await await_future(std::async(std::launch::async, [] { return 5; }));
    std::printf("a future gave %d\n", from_future);
}

// No task runs on this thread: it hands work to a worker, and waits for a task, with a limit.
void plain_thread(runtime& here) {
    std::promise<void> done;
    here.post([&done] {
        std::puts("posted to a worker by a thread");
        done.set_value();
    });
    done.get_future().wait();
    try {
        here.block_on(with_timeout(20ms, sleep_for(1h)));
    } catch (const timeout_error&) {
        std::puts("a plain thread waited 20 ms and no longer");
    }
}

} // namespace

int main() {
    runtime_options options;
    options.workers = 1;
    runtime here(options);
    here.block_on(story());
    std::thread(plain_thread, std::ref(here)).join();
}
