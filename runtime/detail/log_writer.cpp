// The log's thread, and what becomes of it at fork() and exit().
#include <toadstone/runtime/detail/log_writer.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <exception>
#include <new>
#include <utility>

#include <poll.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

using namespace std::chrono;
using std::chrono::steady_clock;

// How long the end of the process waits for a reader of its log.
constexpr milliseconds exit_patience = 1s;
constexpr std::size_t stack_size = 512 * 1024;

constexpr std::size_t stamp_size = sizeof "2026-05-04T11:22:33.123Z " - 1;
// Below PIPE_BUF: a line is one piece among those of other processes.
constexpr std::size_t longest_output = stamp_size + log_queue::longest + 1;
static_assert(longest_output <= 4096);

/// No signal comes to this thread while one lives, but for those that it causes by a fault.
class no_signals {
public:
    no_signals() noexcept {
        sigset_t all;
        sigfillset(&all);
        for (const int each : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS}) {
            sigdelset(&all, each);
        }
        pthread_sigmask(SIG_SETMASK, &all, &before_);
    }
    ~no_signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
    no_signals(const no_signals&) = delete;
    no_signals& operator=(const no_signals&) = delete;

protected:
    sigset_t before_{};
};

/// As no_signals; a SIGPIPE or SIGXFSZ that came up meanwhile is gone, not only late.
class no_write_signals : no_signals {
public:
    no_write_signals() noexcept { sigpending(&pending_); }
    ~no_write_signals() {
        sigset_t ours;
        sigemptyset(&ours);
        bool any = false;
        for (const int each : {SIGPIPE, SIGXFSZ}) {
            if (sigismember(&pending_, each) || sigismember(&before_, each)) continue;
            sigaddset(&ours, each);
            any = true;
        }
        const timespec at_once{};
        if (any) sigtimedwait(&ours, nullptr, &at_once);
    }
    no_write_signals(const no_write_signals&) = delete;
    no_write_signals& operator=(const no_write_signals&) = delete;

private:
    sigset_t pending_{};
};

/// False: there is no room in time. No limit: waits.
bool wait_for_room(std::optional<steady_clock::time_point> until) noexcept {
    for (;;) {
        int patience = -1;
        if (until) {
            const auto left = ceil<milliseconds>(*until - steady_clock::now());
            patience = static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000));
        }
        pollfd wanted{STDERR_FILENO, POLLOUT, 0};
        const int ready = ::poll(&wanted, 1, patience);
        if (ready > 0) return true; // or an error, which write(2) names
        if (ready == 0) return false;
        if (errno != EINTR && errno != EAGAIN) return false;
    }
}

/// False: standard error does not take it. With a limit, nothing is begun that could block.
bool write_all(std::string_view text, std::optional<steady_clock::time_point> until) noexcept {
    while (!text.empty()) {
        if (until && !wait_for_room(until)) return false;
        const auto done = ::write(STDERR_FILENO, text.data(), text.size());
        if (done > 0) {
            text.remove_prefix(static_cast<std::size_t>(done));
        } else if (done < 0 && errno == EAGAIN) {
            // Another process has made the shared description non-blocking.
            if (!wait_for_room(until)) return false;
        } else if (done == 0 || errno != EINTR) {
            return false; // closed, or without a reader
        }
    }
    return true;
}

std::size_t put_stamp(char* to, std::int64_t when) noexcept {
    const nanoseconds since(when);
    const auto day = floor<days>(since);
    const year_month_day date{sys_days(day)};
    const hh_mm_ss time(floor<milliseconds>(since - day));
    const int length = std::snprintf(
        to, stamp_size + 1, "%04d-%02u-%02uT%02d:%02d:%02d.%03dZ ",
        static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
        static_cast<unsigned>(date.day()), static_cast<int>(time.hours().count()),
        static_cast<int>(time.minutes().count()), static_cast<int>(time.seconds().count()),
        static_cast<int>(time.subseconds().count()));
    return std::min(static_cast<std::size_t>(length), stamp_size);
}

void leave_at_exit() noexcept {
    log_writer::the().leave();
}

std::int64_t now_of_the_system() noexcept {
    return duration_cast<nanoseconds>(system_clock::now().time_since_epoch()).count();
}

} // namespace

void write_to_stderr(std::string_view text, milliseconds patience) noexcept {
    const no_write_signals none;
    write_all(text, steady_clock::now() + patience);
}

log_writer& log_writer::the() noexcept {
    alignas(log_writer) static std::byte place[sizeof(log_writer)];
    static log_writer* const one = ::new (place) log_writer;
    return *one;
}

log_writer::log_writer() noexcept : more_(std::in_place), less_(std::in_place) {
    pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    std::atexit(leave_at_exit);
}

void log_writer::before_fork() {
    the().lock_.lock();
}
void log_writer::after_fork_in_parent() {
    the().lock_.unlock();
}
// The parent's thread writes the parent's lines; here there is none.
void log_writer::after_fork_in_child() {
    log_writer& self = the();
    // Those of the parent may have waiters in them, who are not here: never destroyed, because
    // that would wait for them.
    ::new (static_cast<void*>(&*self.more_)) std::condition_variable;
    ::new (static_cast<void*>(&*self.less_)) std::condition_variable;
    self.queue_.clear();
    self.handled_ = self.posted_;
    self.running_ = nullptr;
    self.busy_ = false;
    self.started_ = self.joinable_ = self.stopping_ = false;
    self.lost_ = 0;
    self.lock_.unlock();
}

bool log_writer::on_own_thread() const noexcept {
    return joinable_ && pthread_equal(thread_, pthread_self());
}

void log_writer::post(std::string_view text) noexcept {
    std::unique_lock hold(lock_);
    if (queue_.push(now_of_the_system(), text)) ++posted_;
    if (leaving_ && !started_) {
        write_here(*last_moment_);
        return;
    }
    if (!started_) {
        started_ = true;
        hold.unlock();
        start();
        return;
    }
    more_->notify_one();
}

// started_ is true already, so that one thread at a time is here.
void log_writer::start() noexcept {
    pthread_attr_t attributes;
    const bool usual = pthread_attr_init(&attributes) != 0;
    // Room for a sink. Address space only.
    if (!usual) pthread_attr_setstacksize(&attributes, stack_size);
    {
        const no_signals inherited;
        const std::lock_guard hold(lock_); // thread_ is there before the thread looks at it
        if (joinable_) pthread_join(thread_, nullptr); // one that was stopped, and has nothing
        started_ = joinable_ =
            pthread_create(&thread_, usual ? nullptr : &attributes, thread_main, this) == 0;
        // If not, the next line tries again, and flush() writes what is there.
        if (!started_) less_->notify_all();
    }
    if (!usual) pthread_attr_destroy(&attributes);
}

void* log_writer::thread_main(void* self) {
    pthread_setname_np(pthread_self(), "toadstone/log");
    static_cast<log_writer*>(self)->run();
    return nullptr;
}

void log_writer::run() noexcept {
    std::unique_lock hold(lock_);
    for (;;) {
        while (nothing_left() && !stopping_) more_->wait(hold);
        if (nothing_left()) break;
        const bool is_line = take_next();
        busy_ = true;
        std::shared_ptr<sink> to = sink_;
        running_ = to.get();
        hold.unlock();
        hand_out(is_line, to.get(), std::nullopt);
        to.reset(); // a sink that has replaced itself ends here, outside of the lock
        hold.lock();
        running_ = nullptr;
        busy_ = false;
        handled_ += is_line;
        less_->notify_all();
    }
    started_ = false;
    less_->notify_all();
}

bool log_writer::take_next() noexcept {
    if (queue_.empty()) {
        // Dropped lines, and none behind them.
        present_.when = now_of_the_system();
        present_.dropped = queue_.take_dropped();
        return false;
    }
    queue_.pop(present_);
    return true;
}

// The lock is held all the while: there is one writer, and this one is soon done.
void log_writer::write_here(clock::time_point until) noexcept {
    const no_write_signals none;
    while (!nothing_left()) {
        const bool is_line = take_next();
        hand_out(is_line, nullptr, until);
        handled_ += is_line;
    }
    less_->notify_all();
}

void log_writer::hand_out(bool is_line, sink* to,
                          std::optional<clock::time_point> until) noexcept {
    const auto deliver = [&](std::string_view text) noexcept {
        if (to) {
            try {
                to->call(text);
                return true;
            } catch (...) {
                // The line is shown all the same.
            }
        }
        char whole[longest_output];
        std::size_t size = put_stamp(whole, present_.when);
        std::memcpy(whole + size, text.data(), text.size());
        size += text.size();
        whole[size++] = '\n';
        return write_all({whole, size}, until);
    };
    lost_ += present_.dropped;
    if (lost_ > 0) {
        char count[80];
        const int length =
            std::snprintf(count, sizeof count, "toadstone: %llu lines of the log were dropped",
                          static_cast<unsigned long long>(lost_));
        if (deliver({count, static_cast<std::size_t>(length)})) lost_ = 0;
    }
    if (is_line && (lost_ > 0 || !deliver(present_.text()))) ++lost_;
}

bool log_writer::flush(clock::time_point until) noexcept {
    std::unique_lock hold(lock_);
    if (on_own_thread()) return false;
    const std::uint64_t target = posted_;
    // The number of dropped lines is told last, if no line comes behind them.
    while (handled_ < target || (queue_.empty() && (busy_ || !nothing_left()))) {
        if (!started_) {
            write_here(until); // no thread could be made, and a sink is for that thread only
            return true;
        }
        if (less_->wait_until(hold, until) == std::cv_status::timeout) return false;
    }
    return true;
}

bool log_writer::stop(clock::time_point until) noexcept {
    std::unique_lock hold(lock_);
    if (on_own_thread()) return false;
    stopping_ = true;
    more_->notify_one();
    while (started_) {
        if (less_->wait_until(hold, until) == std::cv_status::timeout) break;
    }
    stopping_ = false;
    if (started_) return false;
    if (std::exchange(joinable_, false)) pthread_join(thread_, nullptr);
    return true;
}

void log_writer::replace_sink(std::shared_ptr<sink> with) noexcept {
    // Behind the destructors of what the sink may refer to, so that it runs before them.
    if (with) std::atexit(leave_at_exit);
    std::unique_lock hold(lock_);
    if (leaving_) return;
    sink_.swap(with);
    if (on_own_thread()) return;
    while (with && running_ == with.get()) less_->wait(hold);
    hold.unlock();
    with.reset(); // its destructor is the user's
}

void log_writer::leave() noexcept {
    clock::time_point until;
    {
        const std::lock_guard hold(lock_);
        if (!last_moment_) last_moment_ = clock::now() + exit_patience;
        until = *last_moment_;
    }
    flush(until);
    {
        const std::lock_guard hold(lock_);
        leaving_ = true;
        // What it refers to may be gone before the last line; it is kept for the same reason.
        if (sink_) retired_ = std::move(sink_);
    }
    if (stop(until)) return;
    // Blocked for good, or the one that has called exit().
    const std::lock_guard hold(lock_);
    if (std::exchange(joinable_, false)) pthread_detach(thread_);
}

} // namespace toadstone::detail
