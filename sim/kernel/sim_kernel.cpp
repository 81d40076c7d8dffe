// The simulated kernel: submissions in, completions out, as hostile as a real one may be.
#include <toadstone/sim/kernel/state.hpp>

#include <toadstone/runtime/detail/config.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace toadstone::sim::detail {

namespace {

// A completion that is ready may be held back this often, so that every run comes to an end.
constexpr unsigned most_delays = 3;

sockaddr_in address_of(std::uint16_t port) noexcept {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

} // namespace

struct sim_kernel::memory {
    memory(unsigned sq_size, unsigned cq_size)
        : sq_mask(sq_size - 1), sq_entries(sq_size), cq_mask(cq_size - 1), cq_entries(cq_size),
          array(sq_size), entries(sq_size), completions(cq_size) {}
    unsigned sq_head = 0, sq_tail = 0, sq_mask, sq_entries, flags = 0, dropped = 0;
    unsigned cq_head = 0, cq_tail = 0, cq_mask, cq_entries, cq_flags = 0, cq_overflow = 0;
    std::vector<unsigned> array;
    std::vector<io_uring_sqe> entries;
    std::vector<io_uring_cqe> completions;
    std::vector<io_uring_cqe> overflow;
};

sim_kernel::sim_kernel(world::state& world) noexcept : world_(world) {}
sim_kernel::~sim_kernel() = default;

int sim_kernel::setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept {
    unsigned sq_size = 1;
    while (sq_size < entries) sq_size *= 2;
    unsigned cq_size = 1;
    while (cq_size < std::max(params.cq_entries, 2 * sq_size)) cq_size *= 2;
    memory_ = std::make_unique<memory>(sq_size, cq_size);
    memory& m = *memory_;
    ring = io_uring{};
    ring.ring_fd = -1;
    ring.sq.khead = &m.sq_head;
    ring.sq.ktail = &m.sq_tail;
    ring.sq.kring_mask = &m.sq_mask;
    ring.sq.kring_entries = &m.sq_entries;
    ring.sq.kflags = &m.flags;
    ring.sq.kdropped = &m.dropped;
    ring.sq.array = m.array.data();
    ring.sq.sqes = m.entries.data();
    ring.cq.khead = &m.cq_head;
    ring.cq.ktail = &m.cq_tail;
    ring.cq.kring_mask = &m.cq_mask;
    ring.cq.kring_entries = &m.cq_entries;
    ring.cq.kflags = &m.cq_flags;
    ring.cq.koverflow = &m.cq_overflow;
    ring.cq.cqes = m.completions.data();
    params.sq_entries = sq_size;
    params.cq_entries = cq_size;
    params.features = IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;
    return 0;
}

void sim_kernel::teardown(io_uring&) noexcept {
    TOADSTONE_ASSERT(pending_.empty(), "a ring is torn down only when nothing is in flight");
}

bool sim_kernel::known(std::uint8_t opcode) noexcept {
    const auto& list = toadstone::detail::opcodes_in_use;
    return std::find(list.begin(), list.end(), opcode) != list.end();
}

int sim_kernel::enroll(io_uring&, unsigned opcode, void* argument, unsigned count) noexcept {
    if (opcode == IORING_REGISTER_PROBE) {
        auto* found = static_cast<io_uring_probe*>(argument);
        found->last_op = static_cast<std::uint8_t>(std::min(count, 256U) - 1);
        for (unsigned op = 0; op <= found->last_op; ++op) {
            found->ops[op].flags =
                known(static_cast<std::uint8_t>(op)) ? IO_URING_OP_SUPPORTED : 0;
        }
    }
    return 0;
}

int sim_kernel::enter(io_uring& ring, unsigned to_submit, unsigned, unsigned,
                      const __kernel_timespec*) noexcept {
    memory& m = *memory_;
    unsigned count = std::min(to_submit, m.sq_tail - m.sq_head);
    if (!prompt_) {
        switch (world_.choose(24, choice::timing)) {
        case 21:
            return -EINTR;
        case 22:
            return -EAGAIN;
        case 23:
            count = count / 2; // takes some now, the rest at the next call
            break;
        default:
            break;
        }
    }
    for (unsigned i = 0; i < count; ++i) {
        accept_entry(m.entries[m.array[m.sq_head & m.sq_mask]]);
        ++m.sq_head;
    }
    flush_overflow();
    world_.deliver();
    progress();
    static_cast<void>(ring);
    return static_cast<int>(count);
}

void sim_kernel::accept_entry(const io_uring_sqe& entry) {
    world_.mix(entry.opcode);
    if (!known(entry.opcode)) {
        post(entry.user_data, -EINVAL);
        return;
    }
    if (entry.opcode == IORING_OP_ASYNC_CANCEL) {
        cancel(entry);
        return;
    }
    request next;
    next.entry = submission(entry);
    switch (entry.opcode) {
    case IORING_OP_NOP:
    case IORING_OP_OPENAT:
        break;
    case IORING_OP_CLOSE: // resolved when it runs; never holds a reference
        break;
    default:
        next.file = world_.find(entry.fd);
        if (!next.file) {
            post(entry.user_data, -EBADF);
            return;
        }
    }
    if (entry.opcode == IORING_OP_RECV || entry.opcode == IORING_OP_READ) {
        // The buffer is the kernel's now. Whoever looks at it early, or frees it, is caught.
        std::memset(reinterpret_cast<void*>(entry.addr), 0xa5, entry.len);
    }
    pending_.push_back(std::move(next));
}

void sim_kernel::cancel(const io_uring_sqe& entry) {
    const auto target =
        std::find_if(pending_.begin(), pending_.end(),
                     [&](const request& each) { return each.entry.user_data == entry.addr; });
    if (target == pending_.end()) {
        post(entry.user_data, -ENOENT);
        return;
    }
    // What the kernel says of the cancellation has nothing to do with how the target ends.
    static constexpr int answers[] = {0, -EALREADY, -ENOENT};
    const int answer = answers[world_.choose(3, choice::race)];
    int result = 0;
    const bool first = world_.choose(2, choice::race) == 0;
    if (first) post(entry.user_data, answer);
    switch (world_.choose(3, choice::race)) {
    case 1: // it had just ended by itself, if it can
        if (attempt(*target, result, false)) {
            post(target->entry.user_data, result);
            pending_.erase(target);
            break;
        }
        [[fallthrough]];
    case 0:
        post(target->entry.user_data,
             world_.choose(8, choice::race) == 7 ? -EINTR : -ECANCELED);
        pending_.erase(target);
        break;
    default: // too far gone to be stopped at once
        target->forced = -ECANCELED;
        break;
    }
    if (!first) post(entry.user_data, answer);
}

bool sim_kernel::can_progress() noexcept {
    if (!memory_->overflow.empty() || memory_->sq_head != memory_->sq_tail) return true;
    world_.deliver();
    return std::any_of(pending_.begin(), pending_.end(), [&](request& each) {
        int ignored = 0;
        return each.forced != 0 || attempt(each, ignored, true);
    });
}

void sim_kernel::progress() {
    for (std::size_t i = 0; i < pending_.size();) {
        request& each = pending_[i];
        int result = 0;
        const bool could = each.forced != 0 || attempt(each, result, true);
        if (!could) {
            ++i;
            continue;
        }
        if (!prompt_ && each.delays < most_delays && world_.choose(3, choice::timing) == 2) {
            ++each.delays;
            ++i;
            continue;
        }
        if (each.forced == 0 ||
            (world_.choose(2, choice::race) && attempt(each, result, true))) {
            if (!attempt(each, result, false)) {
                ++i;
                continue;
            }
        } else {
            result = each.forced;
        }
        const std::uint64_t user_data = each.entry.user_data;
        pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(i));
        post(user_data, result);
    }
}

void sim_kernel::post(std::uint64_t user_data, int result) {
    memory& m = *memory_;
    world_.mix(user_data);
    world_.mix(static_cast<std::uint64_t>(static_cast<std::int64_t>(result)));
    io_uring_cqe completion{};
    completion.user_data = user_data;
    completion.res = result;
    if (m.cq_tail - m.cq_head >= m.cq_entries || !m.overflow.empty()) {
        m.overflow.push_back(completion);
        m.flags |= IORING_SQ_CQ_OVERFLOW;
        return;
    }
    m.completions[m.cq_tail & m.cq_mask] = completion;
    ++m.cq_tail;
}

void sim_kernel::flush_overflow() {
    memory& m = *memory_;
    auto waiting = std::exchange(m.overflow, {});
    m.flags &= ~static_cast<unsigned>(IORING_SQ_CQ_OVERFLOW);
    for (const auto& each : waiting) post(each.user_data, each.res);
}

bool sim_kernel::attempt(request& what, int& result, bool probe) {
    switch (what.entry.opcode) {
    case IORING_OP_NOP:
        result = 0;
        return true;
    case IORING_OP_OPENAT:
        if (!probe) {
            result =
                world_.open(reinterpret_cast<const char*>(what.entry.addr), what.entry.flags);
        }
        return true;
    case IORING_OP_CLOSE:
        if (!probe) result = world_.close(what.entry.fd);
        return true;
    default:
        break;
    }
    switch (what.file->type) {
    case object::kind::socket:
        return attempt_socket(what, result, probe);
    case object::kind::file:
        return attempt_file(what, result, probe);
    case object::kind::event: {
        auto& event = static_cast<event_object&>(*what.file);
        if (event.count == 0) return false;
        if (!probe) {
            std::memcpy(reinterpret_cast<void*>(what.entry.addr), &event.count,
                        sizeof event.count);
            event.count = 0;
            result = sizeof event.count;
        }
        return true;
    }
    }
    return false;
}

bool sim_kernel::attempt_socket(request& what, int& result, bool probe) {
    auto& socket = static_cast<socket_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_ACCEPT: {
        if (socket.now != socket_object::state::listening) {
            result = -EINVAL;
            return true;
        }
        if (socket.arrivals.empty()) return false;
        if (probe) return true;
        if (world_.network_fault(20)) {
            static constexpr int faults[] = {-ECONNABORTED, -EPROTO, -EMFILE, -ENOBUFS};
            result = faults[world_.choose(4, choice::fault)];
            return true;
        }
        auto arrival = std::move(socket.arrivals.front());
        socket.arrivals.pop_front();
        auto accepted = std::make_shared<socket_object>(socket.home);
        accepted->now = socket_object::state::connected;
        accepted->port = socket.port;
        accepted->peer_port = arrival.port;
        accepted->link = std::move(arrival.link);
        accepted->side = 1;
        if (entry.addr) {
            const sockaddr_in address = address_of(arrival.port);
            std::memcpy(reinterpret_cast<void*>(entry.addr), &address, sizeof address);
            *reinterpret_cast<socklen_t*>(entry.off) = sizeof address;
        }
        result = world_.add(std::move(accepted));
        return true;
    }
    case IORING_OP_CONNECT: {
        sockaddr_in address{};
        std::memcpy(&address, reinterpret_cast<const void*>(entry.addr),
                    std::min<std::size_t>(sizeof address, entry.off));
        if (probe) return true;
        result = world_.connect(socket, ntohs(address.sin_port));
        return result != -EAGAIN;
    }
    case IORING_OP_RECV:
        result =
            world_.receive(socket, reinterpret_cast<std::byte*>(entry.addr), entry.len, probe);
        return result != -EAGAIN;
    case IORING_OP_SEND: {
        if (probe) {
            if (!socket.link || socket.link->reset) return true;
            const stream& way = socket.link->to[1 - socket.side];
            return way.fin_sent || way.held < world_.options().stream_capacity;
        }
        result = world_.send(socket, reinterpret_cast<const std::byte*>(entry.addr), entry.len);
        return result != -EAGAIN;
    }
    case IORING_OP_POLL_ADD: {
        if (!socket.link) return false;
        const stream& way = socket.link->to[socket.side];
        int events = 0;
        if (socket.link->reset) events |= POLLERR | POLLHUP | POLLRDHUP | POLLIN;
        if (way.fin_arrived) events |= POLLRDHUP | POLLIN;
        if (!way.ready.empty()) events |= POLLIN;
        events &= entry.flags | POLLERR | POLLHUP;
        if (!events) return false;
        result = events;
        return true;
    }
    default:
        result = -EINVAL;
        return true;
    }
}

bool sim_kernel::attempt_file(request& what, int& result, bool probe) {
    if (probe) return true;
    auto& file = static_cast<file_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_READ:
        result =
            world_.read(file, reinterpret_cast<std::byte*>(entry.addr), entry.len, entry.off);
        return true;
    case IORING_OP_WRITE:
        result = world_.write(file, reinterpret_cast<const std::byte*>(entry.addr), entry.len,
                              entry.off);
        return true;
    case IORING_OP_FSYNC:
        result = world_.sync(file);
        return true;
    default:
        result = -EINVAL;
        return true;
    }
}

} // namespace toadstone::sim::detail
