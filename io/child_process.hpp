// child_process: another program, its pipes and its end.
#ifndef TOADSTONE_IO_CHILD_PROCESS_HPP
#define TOADSTONE_IO_CHILD_PROCESS_HPP

#include <toadstone/io/detail/handle.hpp>
#include <toadstone/io/pipe.hpp>
#include <toadstone/runtime/task.hpp>

#include <chrono>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::io {

/// How a process ended: by itself, with a code, or by a signal.
class exit_status {
public:
    /// As of a program that has returned `code`.
    [[nodiscard]] static constexpr exit_status exited(int code) noexcept {
        return exit_status(code, false);
    }
    /// As of a program that `signal` has ended.
    [[nodiscard]] static constexpr exit_status killed(int signal) noexcept {
        return exit_status(signal, true);
    }

    /// It ended by itself, with 0.
    [[nodiscard]] constexpr bool success() const noexcept { return !by_signal_ && value_ == 0; }
    /// Nothing if a signal ended it.
    [[nodiscard]] constexpr std::optional<int> code() const noexcept {
        return by_signal_ ? std::nullopt : std::optional(value_);
    }
    /// Nothing if it ended by itself.
    [[nodiscard]] constexpr std::optional<int> signal() const noexcept {
        return by_signal_ ? std::optional(value_) : std::nullopt;
    }
    /// "exit code 3", "signal 9 (Killed)".
    [[nodiscard]] std::string to_string() const;

    friend constexpr bool operator==(exit_status, exit_status) noexcept = default;

private:
    constexpr exit_status(int value, bool by_signal) noexcept
        : value_(value), by_signal_(by_signal) {}
    int value_;
    bool by_signal_;
};

/// What a child has as its standard input, output or error.
enum class child_stream : unsigned char {
    inherit, ///< this process's own
    null,    ///< /dev/null
    pipe,    ///< a pipe, whose other end the child_process has
};

/// What to run: `io::command("sort").argument("-n").input(io::child_stream::pipe)`.
class command {
public:
    /// A name without a slash is looked for in this process's PATH.
    explicit command(std::string program, std::vector<std::string> arguments = {})
        : program_(std::move(program)), arguments_(std::move(arguments)) {}

    /// One more argument. Returns: *this, as all of these do.
    command& argument(std::string value) {
        arguments_.push_back(std::move(value));
        return *this;
    }
    /// Sets a variable, beside those of this process.
    command& environment(std::string name, std::string value) {
        environment_.emplace_back(std::move(name), std::move(value));
        return *this;
    }
    /// Only what is set here.
    command& without_own_environment() noexcept {
        inherits_environment_ = false;
        return *this;
    }
    /// Where it runs. A path to the program that is not absolute begins there, too.
    command& working_directory(std::string path) {
        directory_ = std::move(path);
        return *this;
    }
    /// What it reads; nothing unless this says so.
    command& input(child_stream what) noexcept {
        streams_[0] = what;
        return *this;
    }
    /// Where its standard output goes; this process's own unless this says so.
    command& output(child_stream what) noexcept {
        streams_[1] = what;
        return *this;
    }
    /// Where its standard error goes; this process's own unless this says so.
    command& error(child_stream what) noexcept {
        streams_[2] = what;
        return *this;
    }
    /// What a cancelled wait() leaves it between SIGTERM and SIGKILL; 5 s by default.
    command& grace(std::chrono::milliseconds limit) noexcept {
        grace_ = limit;
        return *this;
    }

private:
    friend class child_process;

    std::string program_;
    std::vector<std::string> arguments_;
    std::vector<std::pair<std::string, std::string>> environment_;
    bool inherits_environment_ = true;
    std::string directory_;
    child_stream streams_[3] = {child_stream::inherit, child_stream::inherit,
                                child_stream::inherit};
    std::chrono::milliseconds grace_{5000};
};

/// A process that this one has started, and that does not outlive this object.
///
/// Shape: one descriptor (a pidfd), and one for each pipe.
/// Lifetime: stays where it is while somebody waits for it. The destructor of one that has not
///     been waited for kills it by SIGKILL and stops this thread until that is done, usually
///     for less than a millisecond: it leaves no zombie and no process behind.
/// Threads: kill() from any; of everything else one task at a time, on any worker.
class child_process {
public:
    /// Starts a program. Stops this thread until it runs, for about a millisecond.
    ///
    /// The child has its standard descriptors and no others, no signal blocked, and SIGPIPE not
    /// ignored. Nothing else is changed: it is in this process's group, so that the terminal's
    /// Ctrl-C reaches it, too.
    ///
    /// Errors: std::system_error that says what failed: "run sorrt: No such file or directory",
    ///     "run sort in /nowhere: ..." for its working directory, "make a pipe for sort: ...";
    ///     std::invalid_argument for a zero byte, for no program, and for the name of a
    ///     variable that is empty or has a '='.
    /// Lifetime: whoever ignores SIGCHLD, or reaps every child (waitpid(-1)), takes the status
    ///     away: wait() then fails with ECHILD.
    [[nodiscard]] static child_process spawn(const command& what);

    child_process(child_process&& other) noexcept;
    child_process& operator=(child_process&& other) noexcept;
    ~child_process();

    /// Waits until it has ended, and reaps it. What it writes into a pipe that nobody reads may
    /// keep it from ending. May be called again, and then gives the same.
    ///
    /// Errors: std::system_error; std::logic_error while another task waits.
    /// Cancellation: a cancellation point, that ends the child: it gets SIGTERM, and SIGKILL
    ///     when command::grace() is over, and is reaped before the task is torn down. So does a
    ///     time limit: with_timeout(1s, child.wait()) leaves no child. If it ended by itself
    ///     meanwhile, that is delivered. What waits without ending it is
    ///     readiness(child.native_handle(), events::readable). A forced shutdown leaves out the
    ///     grace.
    [[nodiscard]] toadstone::task<exit_status>
    wait(std::source_location where = std::source_location::current());

    /// As wait(), of one that has ended; nothing of one that has not. Does not suspend.
    [[nodiscard]] std::optional<exit_status> try_wait();

    /// Sends a signal. False: it has ended already. Never reaches another process.
    ///
    /// Errors: std::system_error for what is no signal, or may not be sent.
    bool kill(int signal);

    /// The pipes, where command asked for them. They may be moved away.
    ///
    /// Errors: std::logic_error where it did not.
    [[nodiscard]] pipe_writer& input();
    /// The reading end of its standard output. Errors: std::logic_error if that is not a pipe.
    [[nodiscard]] pipe_reader& output();
    /// The reading end of its standard error. Errors: std::logic_error if that is not a pipe.
    [[nodiscard]] pipe_reader& error();

    /// Its process id.
    [[nodiscard]] int id() const noexcept { return id_; }
    /// Its pidfd.
    [[nodiscard]] int native_handle() const noexcept { return pidfd_.fd.get(); }
    /// What errors call it: "sort (process 4711)".
    [[nodiscard]] const std::string& name() const noexcept { return name_; }

private:
    struct started;
    explicit child_process(started&& from) noexcept;

    toadstone::task<> ends(std::source_location where);
    toadstone::task<> end_it(std::source_location where);
    /// True: it has ended, and is reaped.
    bool reap(bool blocking);
    void end_now() noexcept;
    void check_unused() const noexcept {
        pidfd_.use.check_unused([this] { return name_; });
    }

    detail::handle pidfd_;
    int id_ = -1;
    std::string name_;
    std::chrono::milliseconds grace_{};
    std::optional<exit_status> status_;
    bool gone_ = false;   ///< reaped, by this one or by somebody else
    bool failed_ = false; ///< the wait has, and so the child goes on
    std::optional<pipe_writer> input_;
    std::optional<pipe_reader> output_;
    std::optional<pipe_reader> error_;
};

} // namespace toadstone::io

#endif
