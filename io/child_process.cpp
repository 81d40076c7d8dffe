// Starting a process, and its end. posix_spawn(3) stops this thread alone until the program
// has begun, says by its result why it has not, and copies no memory, as a fork would.
#include <toadstone/io/child_process.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/finally.hpp>
#include <toadstone/runtime/with_timeout.hpp>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <string_view>

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace toadstone::io {
namespace {

constexpr int first_other = STDERR_FILENO + 1;
// The C library's waitid() takes it since 2.36 only under this number's name.
constexpr auto of_pidfd = static_cast<idtype_t>(3);

/// A pidfd is readable when its process has ended.
class end_leaf : public toadstone::detail::io_op {
public:
    explicit end_leaf(int pidfd) noexcept : pidfd_(pidfd) {}
    [[nodiscard]] int await_resume() const noexcept { return result(); }

private:
    void fill(io_uring_sqe& entry) noexcept override {
        io_uring_prep_poll_add(&entry, pidfd_, POLLIN);
    }
    int pidfd_;
};
using end_op = toadstone::detail::called_from<end_leaf, int>;

void check_text(const std::string& text, const std::string& program) {
    if (text.find('\0') == std::string::npos) return;
    throw std::invalid_argument("run " + program + ": a text for it contains a zero byte");
}

/// Pointers as exec(2) wants them. The texts stay where they are meanwhile.
class pointers {
public:
    void add(const std::string& text) { all_.push_back(const_cast<char*>(text.c_str())); }
    [[nodiscard]] char** get() {
        all_.push_back(nullptr);
        return all_.data();
    }

private:
    std::vector<char*> all_;
};

/// Of posix_spawn(3): where it has been told something, and what it was.
class spawn_plan {
public:
    spawn_plan() {
        check(posix_spawn_file_actions_init(&actions_));
        if (const int error = posix_spawnattr_init(&attributes_)) {
            posix_spawn_file_actions_destroy(&actions_);
            check(error);
        }
    }
    spawn_plan(const spawn_plan&) = delete;
    spawn_plan& operator=(const spawn_plan&) = delete;
    ~spawn_plan() {
        posix_spawnattr_destroy(&attributes_);
        posix_spawn_file_actions_destroy(&actions_);
    }

    void go_to(const std::string& directory) {
        check(posix_spawn_file_actions_addchdir_np(&actions_, directory.c_str()));
    }
    void give(int fd, int as) { check(posix_spawn_file_actions_adddup2(&actions_, fd, as)); }
    void give_null(int as) {
        const int flags = as == STDIN_FILENO ? O_RDONLY : O_WRONLY;
        check(posix_spawn_file_actions_addopen(&actions_, as, "/dev/null", flags, 0));
    }
    /// Also those that other threads make in this moment.
    void close_others() {
        check(posix_spawn_file_actions_addclosefrom_np(&actions_, first_other));
    }
    void clear_signals() {
        sigset_t none;
        sigset_t usual;
        sigemptyset(&none);
        sigemptyset(&usual);
        sigaddset(&usual, SIGPIPE);
        check(posix_spawnattr_setsigmask(&attributes_, &none));
        check(posix_spawnattr_setsigdefault(&attributes_, &usual));
        check(posix_spawnattr_setflags(&attributes_,
                                       POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF));
    }
    /// 0 or an errno.
    [[nodiscard]] int run(pid_t& id, const char* program, char** arguments,
                          char** environment) const noexcept {
        return posix_spawnp(&id, program, &actions_, &attributes_, arguments, environment);
    }

private:
    static void check(int error) {
        if (error) detail::throw_io_error("prepare", "a process", error);
    }
    posix_spawn_file_actions_t actions_;
    posix_spawnattr_t attributes_;
};

std::vector<std::string>
environment_of(bool inherits, const std::vector<std::pair<std::string, std::string>>& own) {
    std::vector<std::string> all;
    const auto set = [&all](std::string_view name, std::string text) {
        const auto same = std::find_if(all.begin(), all.end(), [&](const std::string& each) {
            return each.size() > name.size() && each[name.size()] == '=' &&
                   std::string_view(each).substr(0, name.size()) == name;
        });
        if (same == all.end()) {
            all.push_back(std::move(text));
        } else {
            *same = std::move(text);
        }
    };
    for (char** each = inherits ? environ : nullptr; each && *each; ++each) {
        all.emplace_back(*each);
    }
    for (const auto& [name, value] : own) {
        if (name.empty() || name.find('=') != std::string::npos) {
            throw std::invalid_argument("run a process: '" + name +
                                        "' is no name of a variable");
        }
        set(name, name + "=" + value);
    }
    return all;
}

// posix_spawn() does not say which of its steps has failed.
void check_directory(const std::string& path, const std::string& program) {
    struct stat about = {};
    int error = ::stat(path.c_str(), &about) != 0 ? errno : 0;
    if (!error && !S_ISDIR(about.st_mode)) error = ENOTDIR;
    if (!error && ::access(path.c_str(), X_OK) != 0) error = errno;
    if (error) detail::throw_io_error("run", program + " in " + path, error);
}

} // namespace

std::string exit_status::to_string() const {
    if (!by_signal_) return "exit code " + std::to_string(value_);
    const char* const text = ::sigdescr_np(value_);
    return "signal " + std::to_string(value_) + (text ? " (" + std::string(text) + ")" : "");
}

/// A child that runs. Until a child_process has it, its end is this one's business.
struct child_process::started {
    explicit started(const command& what) : name(what.program_), grace(what.grace_) {
        if (name.empty()) throw std::invalid_argument("run a process: no program is named");
        check_text(name, name);
        for (const auto& each : what.arguments_) check_text(each, name);
        check_text(what.directory_, name);
        const auto variables = environment_of(what.inherits_environment_, what.environment_);
        for (const auto& each : variables) check_text(each, name);
        if (!what.directory_.empty()) check_directory(what.directory_, name);

        spawn_plan plan;
        if (!what.directory_.empty()) plan.go_to(what.directory_);
        for (int each = 0; each < first_other; ++each) {
            if (what.streams_[each] == child_stream::null) plan.give_null(each);
            if (what.streams_[each] == child_stream::pipe) plan.give(make_pipe(each), each);
        }
        plan.close_others();
        plan.clear_signals();
        pointers arguments;
        arguments.add(name);
        for (const auto& each : what.arguments_) arguments.add(each);
        pointers environment;
        for (const auto& each : variables) environment.add(each);
        const int error = plan.run(id, name.c_str(), arguments.get(), environment.get());
        if (error) detail::throw_io_error("run", name, error);
        watch();
        name += " (process " + std::to_string(id) + ")";
    }
    started(const started&) = delete;
    started& operator=(const started&) = delete;

    /// Gives the child's end.
    int make_pipe(int as) {
        int ends[2] = {-1, -1};
        if (::pipe2(ends, O_CLOEXEC) != 0) {
            detail::throw_io_error("make a pipe for", name, errno);
        }
        const bool reads = as == STDIN_FILENO;
        theirs[as] = detail::descriptor(ends[reads ? 0 : 1]);
        ours[as] = detail::descriptor(ends[reads ? 1 : 0]);
        return theirs[as].get();
    }
    // Nobody has reaped it, so that the number is still its own, if SIGCHLD is not ignored.
    void watch() {
        pidfd = detail::descriptor(static_cast<int>(::syscall(SYS_pidfd_open, id, 0)));
        if (pidfd) return;
        const int error = errno;
        ::kill(id, SIGKILL);
        while (::waitpid(id, nullptr, 0) < 0 && errno == EINTR) {
        }
        detail::throw_io_error("watch", name, error);
    }

    std::string name;
    std::chrono::milliseconds grace;
    pid_t id = -1;
    detail::descriptor pidfd;
    detail::descriptor ours[3];
    detail::descriptor theirs[3];
};

child_process::child_process(started&& from) noexcept
    : pidfd_(std::move(from.pidfd)), id_(from.id), name_(std::move(from.name)),
      grace_(from.grace) {}

child_process child_process::spawn(const command& what) {
    started from(what);
    child_process made(std::move(from));
    if (from.ours[0]) {
        made.input_.emplace(
            pipe_writer(std::move(from.ours[0]), "the input of " + made.name_, true, false));
    }
    if (from.ours[1]) {
        made.output_.emplace(
            pipe_reader(std::move(from.ours[1]), "the output of " + made.name_, true, false));
    }
    if (from.ours[2]) {
        made.error_.emplace(pipe_reader(std::move(from.ours[2]),
                                        "the error output of " + made.name_, true, false));
    }
    return made;
}

child_process::child_process(child_process&& other) noexcept
    : pidfd_((other.check_unused(), std::move(other.pidfd_))), id_(other.id_),
      name_(std::move(other.name_)), grace_(other.grace_), status_(other.status_),
      gone_(other.gone_), input_(std::move(other.input_)), output_(std::move(other.output_)),
      error_(std::move(other.error_)) {}

child_process& child_process::operator=(child_process&& other) noexcept {
    check_unused();
    other.check_unused();
    if (this == &other) return *this;
    end_now();
    pidfd_ = std::move(other.pidfd_);
    id_ = other.id_;
    name_ = std::move(other.name_);
    grace_ = other.grace_;
    status_ = other.status_;
    gone_ = other.gone_;
    input_ = std::move(other.input_);
    output_ = std::move(other.output_);
    error_ = std::move(other.error_);
    return *this;
}

child_process::~child_process() {
    check_unused();
    end_now();
}

void child_process::end_now() noexcept {
    if (gone_ || !pidfd_.fd) return;
    ::syscall(SYS_pidfd_send_signal, pidfd_.fd.get(), SIGKILL, nullptr, 0);
    siginfo_t info = {};
    while (::waitid(of_pidfd, static_cast<id_t>(pidfd_.fd.get()), &info, WEXITED) != 0 &&
           errno == EINTR) {
    }
    gone_ = true;
}

bool child_process::reap(bool blocking) {
    if (gone_) return true;
    siginfo_t info = {};
    int result = 0;
    do {
        result = ::waitid(of_pidfd, static_cast<id_t>(pidfd_.fd.get()), &info,
                          WEXITED | (blocking ? 0 : WNOHANG));
    } while (result != 0 && errno == EINTR);
    if (result != 0) {
        gone_ = errno == ECHILD;
        detail::throw_io_error("wait for", name_, errno);
    }
    if (info.si_pid == 0) return false; // it runs
    gone_ = true;
    status_ = info.si_code == CLD_EXITED ? exit_status::exited(info.si_status)
                                         : exit_status::killed(info.si_status);
    return true;
}

toadstone::task<exit_status> child_process::wait(std::source_location where) {
    const detail::claim alone(pidfd_.use, detail::in_use::reading);
    if (!alone || gone_ || !pidfd_.fd) co_await toadstone::detail::checkpoint_for(where);
    if (!alone) detail::throw_in_use("wait for", name_, "waits for it");
    if (!pidfd_.fd) detail::throw_io_error("wait for", "a child that was moved from", EBADF);
    if (!gone_) co_await finally(ends(where), end_it(where));
    if (!status_) detail::throw_io_error("wait for", name_, ECHILD);
    co_return *status_;
}

toadstone::task<> child_process::ends(std::source_location where) {
    failed_ = false;
    try {
        const int result = co_await end_op(where, pidfd_.fd.get());
        if (result < 0) detail::throw_io_error("wait for", name_, -result);
        reap(false);
    } catch (...) {
        failed_ = true;
        throw;
    }
}

// What end_now() does, with time for the child, and for this worker's other tasks.
toadstone::task<> child_process::end_it(std::source_location where) {
    if (gone_ || failed_) co_return;
    kill(SIGTERM);
    const int pidfd = pidfd_.fd.get();
    const auto in_time = co_await try_with_timeout(grace_, end_op(where, pidfd));
    if (!in_time.has_value()) {
        kill(SIGKILL);
        static_cast<void>(co_await end_op(where, pidfd));
    }
    if (!reap(false)) end_now(); // a poll that has failed
}

std::optional<exit_status> child_process::try_wait() {
    const detail::claim alone(pidfd_.use, detail::in_use::reading);
    if (!alone) detail::throw_in_use("look after", name_, "waits for it");
    if (!pidfd_.fd) detail::throw_io_error("wait for", "a child that was moved from", EBADF);
    reap(false);
    return status_;
}

bool child_process::kill(int signal) {
    const detail::borrowed_fd fd(pidfd_);
    if (::syscall(SYS_pidfd_send_signal, fd.get(), signal, nullptr, 0) == 0) return true;
    if (errno == ESRCH) return false;
    detail::throw_io_error("send signal " + std::to_string(signal) + " to", name_, errno);
}

namespace {

template <class End>
End& there(std::optional<End>& which, const std::string& name, const char* what) {
    if (which) return *which;
    throw std::logic_error(name + " has no pipe as its " + what);
}

} // namespace

pipe_writer& child_process::input() {
    return there(input_, name_, "input");
}
pipe_reader& child_process::output() {
    return there(output_, name_, "output");
}
pipe_reader& child_process::error() {
    return there(error_, name_, "error output");
}

} // namespace toadstone::io
