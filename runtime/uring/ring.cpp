// Setting up a ring, or saying why that is not possible; submitting and waiting.
#include <toadstone/runtime/uring/ring.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/uring/ring_memory.hpp>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include <sys/resource.h>

namespace toadstone::detail {
namespace {

using cause = ring_unavailable::cause;

// The first characters of a small file, or nothing.
std::string first_line(const char* path) {
    char text[64] = "";
    if (std::FILE* file = std::fopen(path, "re")) {
        if (!std::fgets(text, sizeof text, file)) text[0] = '\0';
        std::fclose(file);
    }
    std::string line = text; // when the file is closed: there may be no memory for it
    while (!line.empty() && line.back() == '\n') line.pop_back();
    return line;
}

bool seccomp_is_on() {
    bool on = false;
    if (std::FILE* file = std::fopen("/proc/self/status", "re")) {
        char text[128];
        while (std::fgets(text, sizeof text, file)) {
            if (std::strncmp(text, "Seccomp:", 8) == 0) on = std::atoi(text + 8) != 0;
        }
        std::fclose(file);
    }
    return on;
}

constexpr std::size_t one_page = 4096;

// IORING_FEAT_RECVSEND_BUNDLE, which liburing 2.3 does not know. IORING_ACCEPT_POLL_FIRST came
// in the same release and has no sign of its own.
constexpr unsigned feature_of_6_10 = 1U << 14;

[[noreturn]] void fail(int error, const char* doing, std::size_t bytes = 0) {
    const std::string start = std::string("io_uring is not available: ") + doing + " failed";
    switch (error) {
    case ENOSYS:
        throw ring_unavailable(
            cause::not_supported, error,
            start + ". The kernel does not have io_uring (Linux 6.1 or later is needed), or a "
                    "sandbox (gVisor, rr, a container's seccomp profile) hides it. Run on such "
                    "a kernel, outside of the sandbox, or with the seccomp profile of "
                    "docs/containers.md");
    case EPERM:
    case EACCES: {
        const std::string sysctl = first_line("/proc/sys/kernel/io_uring_disabled");
        if (!sysctl.empty() && sysctl != "0") {
            throw ring_unavailable(
                cause::forbidden, error,
                start + ". The sysctl kernel.io_uring_disabled is " + sysctl +
                    ". Ask the administrator to set it to 0, or at 1 to put this user into "
                    "the group kernel.io_uring_group");
        }
        throw ring_unavailable(
            cause::forbidden, error,
            start + (seccomp_is_on()
                         ? ". A seccomp filter forbids it, as the default seccomp profiles "
                           "of Docker and Kubernetes do. Allow io_uring_setup, "
                           "io_uring_enter and io_uring_register in the profile: "
                           "docs/containers.md has one that does"
                         : ". A security module forbids it. Look for the denial in the audit "
                           "log"));
    }
    case ENOMEM:
        throw ring_unavailable(cause::memory, error,
                               start + ". " + no_ring_memory_text(std::max(bytes, one_page)));
    case EMFILE:
    case ENFILE:
        throw ring_unavailable(
            cause::descriptors, error,
            start + ". There is no free file descriptor; RLIMIT_NOFILE is " +
                limit_text(RLIMIT_NOFILE, "") +
                ". Raise it (ulimit -n, LimitNOFILE=): each worker needs two");
    default:
        throw ring_unavailable(cause::other, error, start);
    }
}

// What the kernel has of a ring can be neither finished nor taken back without this call.
[[noreturn]] void end_of_ring(int error) noexcept {
    char line[128];
    std::snprintf(line, sizeof line, "toadstone: io_uring_enter failed: %s",
                  std::strerror(error));
    log_line(line);
    TOADSTONE_ASSERT(error != EBADR, "the kernel loses no completion");
    TOADSTONE_ASSERT(error != EPERM && error != EACCES && error != ENOSYS,
                     "a filter of system calls that is installed while a runtime is there "
                     "allows io_uring_enter");
    TOADSTONE_ASSERT(false, "io_uring_enter fails only in ways that can be survived");
    std::abort();
}

// Two signals with more between them than this are no storm.
constexpr std::chrono::microseconds long_between_signals{100};

struct optional_flag {
    unsigned flag;
    const char* name;
};

// Dropped one by one, from the front, on a kernel that does not know them.
constexpr optional_flag optional_flags[] = {
    {IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG, "defer_taskrun"},
    {IORING_SETUP_SINGLE_ISSUER, "single_issuer"},
    {IORING_SETUP_SUBMIT_ALL, "submit_all"},
};

} // namespace

ring::ring(kernel& kernel, ring_options options) : kernel_(kernel) {
    set_up(options);
    try {
        probe();
    } catch (...) {
        kernel_.teardown(ring_);
        throw;
    }
}

ring::~ring() {
    kernel_.teardown(ring_);
}

void ring::set_up(ring_options options) {
    std::size_t dropped = 0;
    for (;;) {
        io_uring_params params{};
        params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
        params.cq_entries = options.completions;
        for (std::size_t i = dropped; i < std::size(optional_flags); ++i) {
            params.flags |= optional_flags[i].flag;
        }
        const int error = -kernel_.setup(options.entries, ring_, params);
        if (error == 0) {
            capacity_ = params.cq_entries;
            skip_ = (params.features & IORING_FEAT_CQE_SKIP) != 0;
            poll_first_ = (params.features & feature_of_6_10) != 0;
            disabled_ = true;
            if (!(params.features & IORING_FEAT_EXT_ARG) ||
                !(params.features & IORING_FEAT_NODROP)) {
                kernel_.teardown(ring_);
                throw ring_unavailable(
                    cause::missing_opcode, ENOSYS,
                    "io_uring is not usable: the kernel is older than Linux 5.11. Linux 6.1 or "
                    "later is needed");
            }
            break;
        }
        if (error == EINVAL && dropped < std::size(optional_flags)) {
            ++dropped;
        } else if (error == ENOMEM && options.completions > 1024) {
            options.completions /= 2; // fewer operations in flight; RLIMIT_MEMLOCK is small
            options.entries = std::min(options.entries, options.completions);
        } else if (error == ENOMEM && options.entries > 64) {
            options.entries /= 2;
        } else {
            fail(error, "io_uring_setup", ring_bytes(options.entries, options.completions));
        }
    }
    for (std::size_t i = 0; i < std::size(optional_flags); ++i) {
        features_.push_back((i < dropped ? "no " : "") + std::string(optional_flags[i].name));
    }
    features_.push_back(skip_ ? "cqe_skip" : "no cqe_skip");
    features_.push_back(poll_first_ ? "accept_poll_first" : "no accept_poll_first");

    // liburing 2.3 keeps the masks behind pointers, later ones beside them too.
    sq_mask_ = *ring_.sq.kring_mask;
    cq_mask_ = *ring_.cq.kring_mask;
    const unsigned entries = *ring_.sq.kring_entries;
    if (ring_.sq.array) {
        for (unsigned i = 0; i < entries; ++i) ring_.sq.array[i] = i;
    }
}

void ring::probe() {
    constexpr unsigned most = 256;
    const std::size_t size = sizeof(io_uring_probe) + most * sizeof(io_uring_probe_op);
    const auto memory = std::make_unique<std::byte[]>(size);
    auto* found = reinterpret_cast<io_uring_probe*>(memory.get());
    const int error = -kernel_.enroll(ring_, IORING_REGISTER_PROBE, found, most);
    if (error > 0) fail(error, "io_uring_register(PROBE)");
    // Filters of system calls may forbid one of the three only. A ring that is not enabled yet
    // answers EBADFD.
    const int entered = -kernel_.enter(ring_, 0, 0, 0, nullptr);
    if (entered == EPERM || entered == EACCES || entered == ENOSYS) {
        fail(entered, "io_uring_enter");
    }
    const auto has = [found](std::uint8_t opcode) {
        return opcode <= found->last_op && (found->ops[opcode].flags & IO_URING_OP_SUPPORTED);
    };
    send_zero_copy_ = has(IORING_OP_SEND_ZC);
    features_.push_back(send_zero_copy_ ? "send_zero_copy" : "no send_zero_copy");
    for (const std::uint8_t opcode : opcodes_in_use) {
        if (has(opcode)) continue;
        throw ring_unavailable(cause::missing_opcode, EOPNOTSUPP,
                               std::string("io_uring is not usable: the kernel lacks the "
                                           "operation ") +
                                   opcode_name(opcode) + ". Linux 6.1 or later is needed");
    }
}

void ring::enable() {
    if (!disabled_) return;
    const int error = -kernel_.enroll(ring_, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    if (error > 0) fail(error, "io_uring_register(ENABLE_RINGS)");
    disabled_ = false;
    // Here, where an exception can still say so; later nothing can.
    const int entered = -kernel_.enter(ring_, 0, 0, IORING_ENTER_GETEVENTS, nullptr);
    if (entered == EPERM || entered == EACCES || entered == ENOSYS) {
        fail(entered, "io_uring_enter");
    }
}

inline void ring::enter(unsigned min_complete, unsigned flags,
                        const __kernel_timespec* wait) noexcept {
    io_uring_smp_store_release(ring_.sq.ktail, ring_.sq.sqe_tail);
    const int done = kernel_.enter(ring_, unsubmitted(), min_complete, flags, wait);
    // The head tells what was taken also when the call reports how its wait ended.
    submitted_ = io_uring_smp_load_acquire(ring_.sq.khead);
    if (done >= 0) [[likely]] {
        refusals_ = 0;
    } else {
        not_entered(-done);
    }
}

void ring::not_entered(int error) noexcept {
    switch (error) {
    case ETIME: // the wait is over
        refusals_ = 0;
        return;
    case EINTR: // a signal; whoever waits comes back
        // A signal now and then is no reason to slow down.
        if (kernel_.now() - refused_at_ > long_between_signals) refusals_ = 0;
        refused_at_ = kernel_.now();
        ++refusals_;
        return;
    case EAGAIN: // the kernel is short of memory: what is left is offered again
    case EBUSY:  // completions have to be reaped first
        ++refusals_;
        return;
    default:
        end_of_ring(error);
    }
}

void ring::back_off() noexcept {
    using namespace std::chrono_literals;
    const unsigned beyond = std::min(refusals_ - free_refusals, 8U);
    kernel_.pause(std::min<std::chrono::nanoseconds>(20us * (1U << beyond), 5ms));
    refused_at_ = kernel_.now();
}

void ring::submit() noexcept {
    enter(0, IORING_ENTER_GETEVENTS, nullptr);
}

void ring::submit_and_wait(std::chrono::steady_clock::time_point until,
                           std::chrono::steady_clock::time_point now) noexcept {
    using namespace std::chrono;
    if (until == steady_clock::time_point::max()) {
        enter(1, IORING_ENTER_GETEVENTS, nullptr);
        return;
    }
    const auto left = duration_cast<nanoseconds>(until - now).count();
    if (left <= 0) {
        submit();
        return;
    }
    __kernel_timespec wait{};
    wait.tv_sec = left / 1'000'000'000;
    wait.tv_nsec = left % 1'000'000'000;
    enter(1, IORING_ENTER_GETEVENTS, &wait);
}

} // namespace toadstone::detail
