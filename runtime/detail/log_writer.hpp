// log_writer: the one thread that writes log lines, so that nobody else waits for their reader.
#ifndef TOADSTONE_RUNTIME_DETAIL_LOG_WRITER_HPP
#define TOADSTONE_RUNTIME_DETAIL_LOG_WRITER_HPP

#include <toadstone/runtime/detail/log_queue.hpp>
#include <toadstone/runtime/log.hpp>

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>

#include <pthread.h>

namespace toadstone::detail {

/// One per process, and never destroyed: threads may outlive statics.
///
/// The thread is started by the first line and lives until exit(). All signals that are not
/// about itself are blocked in it: SIGPIPE, when standard error has lost its reader; SIGXFSZ,
/// when its file is full; and no handler of the program ever waits with it. The descriptor is
/// never made non-blocking, because whoever started the process shares that setting.
///
/// Threads: every member from any thread, unless it says otherwise. No lock is held while a
/// line is written or a sink runs.
class log_writer {
public:
    using sink = hook<std::string_view>;
    using clock = std::chrono::steady_clock;

    static log_writer& the() noexcept;

    void post(std::string_view text) noexcept;
    /// As flush_log().
    bool flush(clock::time_point until) noexcept;
    /// Ends the thread, after it has written what is there. False: it did not end in time, and
    /// goes on. The next line starts another one.
    bool stop(clock::time_point until) noexcept;
    void replace_sink(std::shared_ptr<sink> with) noexcept;
    /// At the end of the process.
    void leave() noexcept;

private:
    log_writer() noexcept;

    static void* thread_main(void* self);
    static void before_fork();
    static void after_fork_in_parent();
    static void after_fork_in_child();

    void run() noexcept;
    void start() noexcept;
    /// The next line, or the number of those that were dropped behind the last one, into
    /// present_. False: only that number.
    [[nodiscard]] bool take_next() noexcept;
    /// Everything that is there, on this thread; what takes longer than `until` is dropped.
    void write_here(clock::time_point until) noexcept;
    /// present_; without a limit, for as long as it takes.
    void hand_out(bool is_line, sink* to, std::optional<clock::time_point> until) noexcept;
    [[nodiscard]] bool on_own_thread() const noexcept;
    [[nodiscard]] bool nothing_left() const noexcept {
        return queue_.empty() && queue_.dropped() == 0;
    }

    // Guarded by lock_, all of them.
    std::mutex lock_;
    std::optional<std::condition_variable> more_; // for the writer; another one after fork()
    std::optional<std::condition_variable> less_; // for those who wait for it
    log_queue queue_;
    std::shared_ptr<sink> sink_;
    std::shared_ptr<sink> retired_; // at the end of the process
    sink* running_ = nullptr;       // the one that is being called
    std::uint64_t posted_ = 0;
    std::uint64_t handled_ = 0;
    bool started_ = false; // there is a thread, or one is being started
    bool busy_ = false;    // the thread is writing
    bool joinable_ = false;
    bool stopping_ = false;
    bool leaving_ = false;
    std::optional<clock::time_point>
        last_moment_; // once exit() has begun; shared by all handlers
    pthread_t thread_{};

    // Of whoever writes: the thread, or write_here(), which runs when there is none.
    std::uint64_t lost_ = 0; // lines that standard error did not take
    log_queue::line present_;
};

/// Writes `text` to standard error at once, as a line that must come out whatever state the
/// process is in: without allocation, lock, or SIGPIPE; at most `patience` is waited for a
/// reader.
void write_to_stderr(std::string_view text, std::chrono::milliseconds patience) noexcept;

} // namespace toadstone::detail

#endif
