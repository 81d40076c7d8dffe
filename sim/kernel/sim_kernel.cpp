// The simulated kernel: submissions in, completions out, as hostile as a real one may be.
#include <toadstone/sim/kernel/state.hpp>

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/sim/kernel/own_memory.hpp>

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

// What a buffer that the kernel will write holds in the meantime.
constexpr std::byte canary{0xa5};

std::byte* pointer(std::uint64_t address) noexcept {
    return reinterpret_cast<std::byte*>(address);
}

std::uint64_t sum_of(const std::byte* at, std::size_t size) noexcept {
    std::uint64_t sum = size;
    for (; size >= sizeof sum; at += sizeof sum, size -= sizeof sum) {
        std::uint64_t part = 0;
        std::memcpy(&part, at, sizeof part);
        sum = (sum ^ part) * 0x9e3779b97f4a7c15;
    }
    for (; size > 0; ++at, --size)
        sum = (sum ^ static_cast<std::uint64_t>(*at)) * 0x100000001b3;
    return sum;
}

bool is_send(std::uint8_t opcode) noexcept {
    return opcode == IORING_OP_SEND || opcode == IORING_OP_WRITE;
}

std::uint16_t port_at(std::uint64_t address) noexcept {
    sockaddr_in name{}; // the port of an IPv6 address is at the same place
    std::memcpy(&name, pointer(address), sizeof name);
    return ntohs(name.sin_port);
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
    const own_memory ours;
    switch (opcode) {
    case IORING_REGISTER_PROBE: {
        auto* found = static_cast<io_uring_probe*>(argument);
        found->last_op = static_cast<std::uint8_t>(std::min(count, 256U) - 1);
        for (unsigned op = 0; op <= found->last_op; ++op) {
            found->ops[op].flags =
                known(static_cast<std::uint8_t>(op)) ? IO_URING_OP_SUPPORTED : 0;
        }
        return 0;
    }
    case IORING_REGISTER_ENABLE_RINGS:
        return 0;
    default:
        return -EINVAL;
    }
}

// The errors of a call belong to what it did not do: with something submitted, it tells how
// much. So EAGAIN, for want of memory, comes only with submissions of which none was taken, and
// EINTR only where there was nothing but a wait. The driver never waits in here; its calls
// without submissions stand for those that would.
int sim_kernel::enter(io_uring&, unsigned to_submit, unsigned, unsigned,
                      const __kernel_timespec*) noexcept {
    const own_memory ours;
    memory& m = *memory_;
    unsigned count = std::min(to_submit, m.sq_tail - m.sq_head);
    if (!prompt_) {
        switch (world_.choose(24, choice::timing)) {
        case 21:
            if (count == 0) return -EINTR;
            break;
        case 22:
            if (count > 0) return -EAGAIN;
            break;
        case 23:
            count = (count + 1) / 2; // takes some now, the rest at the next call
            break;
        default:
            break;
        }
    }
    for (unsigned i = 0; i < count; ++i) {
        const auto doomed = std::find(doomed_.begin(), doomed_.end(), m.sq_head);
        accept_entry(m.entries[m.array[m.sq_head & m.sq_mask]], doomed != doomed_.end());
        ++m.sq_head;
    }
    flush_overflow();
    world_.deliver();
    progress();
    if (count == 0 && !m.overflow.empty()) return -EBUSY;
    return static_cast<int>(count);
}

// What the library never asks for is refused: better loudly than differently.
bool sim_kernel::known_flags(const io_uring_sqe& entry) noexcept {
    if ((entry.flags & ~IOSQE_ASYNC) || entry.ioprio || entry.file_index) return false;
    switch (entry.opcode) {
    case IORING_OP_NOP:
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_ASYNC_CANCEL:
        return entry.rw_flags == 0;
    case IORING_OP_FSYNC:
        return (entry.fsync_flags & ~IORING_FSYNC_DATASYNC) == 0;
    case IORING_OP_ACCEPT:
        return (entry.accept_flags & ~static_cast<unsigned>(SOCK_CLOEXEC | SOCK_NONBLOCK)) == 0;
    case IORING_OP_RECV:
    case IORING_OP_SEND:
        return (entry.msg_flags & ~static_cast<unsigned>(MSG_WAITALL | MSG_NOSIGNAL)) == 0;
    case IORING_OP_POLL_ADD:
        return entry.len == 0;
    default:
        return true;
    }
}

void sim_kernel::accept_entry(const io_uring_sqe& entry, bool doomed) {
    world_.mix(entry.opcode);
    taken_.add(entry.user_data);
    if (!known(entry.opcode) || !known_flags(entry)) {
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
    case IORING_OP_FSYNC: // a thread of the kernel does it, and resolves it when it gets to it
        if (world_.choose(2, choice::race) == 0) next.file = world_.find(entry.fd);
        break;
    default:
        next.file = world_.find(entry.fd);
        if (!next.file) {
            post(entry.user_data, -EBADF);
            return;
        }
    }
    borrow(next);
    if (doomed && entry.opcode != IORING_OP_NOP) {
        // Linux closes the descriptor also when it reports an error.
        if (entry.opcode == IORING_OP_CLOSE) static_cast<void>(world_.close(entry.fd));
        next.end = -EIO;
    }
    pending_.push_back(std::move(next));
}

// The memory is the kernel's now. Whoever looks at it early, changes it or frees it is caught.
void sim_kernel::borrow(request& what) {
    const submission& entry = what.entry;
    loan& buffer = what.buffer;
    buffer.at = pointer(entry.addr);
    switch (entry.opcode) {
    case IORING_OP_RECV:
    case IORING_OP_READ:
        buffer.written = true;
        [[fallthrough]];
    case IORING_OP_SEND:
    case IORING_OP_WRITE:
        buffer.size = entry.len;
        break;
    case IORING_OP_ACCEPT:
        buffer.written = true;
        if (buffer.at) buffer.size = *reinterpret_cast<const socklen_t*>(entry.off);
        break;
    case IORING_OP_CONNECT:
        buffer.size = entry.off;
        break;
    case IORING_OP_OPENAT:
        buffer.size = std::strlen(reinterpret_cast<const char*>(entry.addr)) + 1;
        break;
    default:
        break;
    }
    if (!buffer.at) buffer.size = 0;
    if (buffer.written) {
        buffer.before.assign(buffer.at, buffer.at + buffer.size);
        std::fill_n(buffer.at, buffer.size, canary);
    } else {
        buffer.sum = sum_of(buffer.at, buffer.size);
    }
}

// Goes over all of it, whatever the result: a buffer that was freed before its completion shows
// up here. Beyond what was delivered a real kernel has left it alone.
void sim_kernel::give_back(request& what, int result) {
    loan& buffer = what.buffer;
    if (buffer.size == 0) return;
    if (!buffer.written) {
        if (sum_of(buffer.at, buffer.size) == buffer.sum) return;
        complaint_ = "the memory of a " +
                     std::string(toadstone::detail::opcode_name(what.entry.opcode)) +
                     " in flight was changed";
        return;
    }
    std::size_t kept = 0;
    if (result >= 0) {
        kept = what.entry.opcode == IORING_OP_ACCEPT ? sizeof(sockaddr_in)
                                                     : static_cast<std::size_t>(result);
        kept = std::min(kept, buffer.size);
    }
    kept = std::max(kept, static_cast<std::size_t>(what.done));
    const auto untouched = std::count(buffer.at + kept, buffer.at + buffer.size, canary);
    if (static_cast<std::size_t>(untouched) != buffer.size - kept) {
        complaint_ = "the buffer of a " +
                     std::string(toadstone::detail::opcode_name(what.entry.opcode)) +
                     " in flight was written to";
    }
    std::copy(buffer.before.begin() + static_cast<std::ptrdiff_t>(kept), buffer.before.end(),
              buffer.at + kept);
    [[maybe_unused]] const volatile std::uint64_t read = sum_of(buffer.at, kept);
}

// What the kernel says of the cancellation, and how the target ends:
//
//     0          it was found, and ends as cancelled, with -EINTR, with the bytes that it had
//                moved, or by itself because that came first
//     -EALREADY  it is running: it ends by itself if it can, or as above
//     -ENOENT    it has ended; only its completion may still be on its way
//
// The two completions come in any order. A close that is cancelled leaves its descriptor open;
// a connection that was being made may be made all the same.
void sim_kernel::cancel(const io_uring_sqe& entry) {
    const auto target =
        std::find_if(pending_.begin(), pending_.end(),
                     [&](const request& each) { return each.entry.user_data == entry.addr; });
    if (target == pending_.end() || target->end) {
        post(entry.user_data, -ENOENT);
        return;
    }
    if (target->stopped) {
        post(entry.user_data, -EALREADY);
        return;
    }
    int answer = 0;
    int result = 0;
    std::optional<int> ends_now;
    switch (world_.choose(4, choice::race)) {
    case 0:
        ends_now = stopped_result(*target);
        break;
    case 1:
        target->stopped = true;
        break;
    case 2:
        if (ready(*target) && attempt(*target, result)) {
            answer = -ENOENT;
            target->end = result;
            if (world_.choose(2, choice::race) == 0) ends_now = result;
            break;
        }
        [[fallthrough]];
    default:
        answer = -EALREADY;
        target->stopped = true;
        break;
    }
    const bool target_first = world_.choose(2, choice::race) == 1;
    if (!target_first) post(entry.user_data, answer);
    if (ends_now) {
        finish(static_cast<std::size_t>(target - pending_.begin()), *ends_now);
    }
    if (target_first) post(entry.user_data, answer);
}

int sim_kernel::stopped_result(request& what) {
    if (what.done > 0) return static_cast<int>(what.done);
    if (what.entry.opcode == IORING_OP_CONNECT && world_.choose(2, choice::race) == 1) {
        int ignored = 0;
        static_cast<void>(attempt(what, ignored));
    }
    return world_.choose(4, choice::race) == 3 ? -EINTR : -ECANCELED;
}

bool sim_kernel::can_progress() noexcept {
    if (!memory_->overflow.empty() || memory_->sq_head != memory_->sq_tail) return true;
    world_.deliver();
    return std::any_of(pending_.begin(), pending_.end(),
                       [&](request& each) { return each.end || each.stopped || ready(each); });
}

void sim_kernel::progress() {
    // Held back, again and again, but not for ever.
    const auto later = [this](request& which, unsigned one_in) {
        if (prompt_ || which.delays >= most_delays) return false;
        if (world_.choose(one_in, choice::timing) != one_in - 1) return false;
        ++which.delays;
        return true;
    };
    for (std::size_t i = 0; i < pending_.size();) {
        request& each = pending_[i];
        const bool could = each.end || each.stopped || ready(each);
        if (!could || later(each, 3)) {
            ++i;
            continue;
        }
        int result = 0;
        if (each.end) {
            result = *each.end;
        } else if (each.stopped) {
            const bool itself = ready(each) && world_.choose(2, choice::race) == 1;
            if (!itself || !attempt(each, result)) result = stopped_result(each);
        } else if (!attempt(each, result)) {
            ++i; // some of it is done
            continue;
        } else if (later(each, 4)) {
            each.end = result;
            ++i;
            continue;
        }
        finish(i, result);
    }
}

void sim_kernel::finish(std::size_t index, int result) {
    request ended = std::move(pending_[index]);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
    give_back(ended, result);
    post(ended.entry.user_data, result);
}

void sim_kernel::post(std::uint64_t user_data, int result) {
    ended_.add(user_data);
    world_.mix(user_data);
    world_.mix(static_cast<std::uint64_t>(static_cast<std::int64_t>(result)));
    io_uring_cqe completion{};
    completion.user_data = user_data;
    completion.res = result;
    put(completion);
}

void sim_kernel::put(const io_uring_cqe& completion) {
    memory& m = *memory_;
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
    m.flags &= ~static_cast<unsigned>(IORING_SQ_CQ_OVERFLOW);
    for (const auto& each : std::exchange(m.overflow, {})) put(each);
}

bool sim_kernel::ready(request& what) {
    const submission& entry = what.entry;
    if (!what.file || what.file->type == object::kind::file) return true;
    if (what.file->type == object::kind::event) {
        return entry.opcode != IORING_OP_READ ||
               static_cast<event_object&>(*what.file).count > 0;
    }
    auto& socket = static_cast<socket_object&>(*what.file);
    switch (entry.opcode) {
    case IORING_OP_ACCEPT:
        return socket.now != socket_object::state::listening || !socket.arrivals.empty();
    case IORING_OP_CONNECT:
        return entry.off < sizeof(sockaddr_in) ||
               world_.can_connect(socket, port_at(entry.addr));
    case IORING_OP_RECV:
    case IORING_OP_READ:
        return world_.can_receive(socket);
    case IORING_OP_SEND:
    case IORING_OP_WRITE:
        return world_.can_send(socket);
    case IORING_OP_POLL_ADD:
        return (world_.events(socket) & (entry.flags | POLLERR | POLLHUP)) != 0;
    default:
        return true;
    }
}

bool sim_kernel::attempt(request& what, int& result) {
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_NOP:
        result = 0;
        return true;
    case IORING_OP_OPENAT:
        result =
            world_.open_at(entry.fd, reinterpret_cast<const char*>(entry.addr), entry.flags);
        return true;
    case IORING_OP_CLOSE:
        result = world_.close(entry.fd);
        return true;
    case IORING_OP_FSYNC:
        if (!what.file) what.file = world_.find(entry.fd);
        if (what.file) break;
        result = -EBADF;
        return true;
    default:
        break;
    }
    switch (what.file->type) {
    case object::kind::socket:
        return attempt_socket(what, result);
    case object::kind::file:
        return attempt_file(what, result);
    case object::kind::event: {
        auto& event = static_cast<event_object&>(*what.file);
        if (entry.opcode != IORING_OP_READ) {
            result = -EINVAL;
            return true;
        }
        if (event.count == 0) return false;
        std::memcpy(pointer(entry.addr), &event.count, sizeof event.count);
        event.count = 0;
        result = sizeof event.count;
        return true;
    }
    }
    return false;
}

bool sim_kernel::attempt_socket(request& what, int& result) {
    auto& socket = static_cast<socket_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_ACCEPT:
        result = accept(socket, entry);
        return result != -EAGAIN;
    case IORING_OP_CONNECT:
        if (entry.off < sizeof(sockaddr_in)) {
            result = -EINVAL;
            return true;
        }
        result = world_.connect(std::static_pointer_cast<socket_object>(what.file),
                                port_at(entry.addr));
        return result != -EAGAIN;
    case IORING_OP_RECV:
    case IORING_OP_READ:
    case IORING_OP_SEND:
    case IORING_OP_WRITE:
        return attempt_transfer(what, result);
    case IORING_OP_POLL_ADD:
        result = world_.events(socket) & (entry.flags | POLLERR | POLLHUP);
        return result != 0;
    default:
        result = -EINVAL;
        return true;
    }
}

int sim_kernel::accept(socket_object& listener, const submission& entry) {
    if (listener.now != socket_object::state::listening) return -EINVAL;
    if (listener.arrivals.empty()) return -EAGAIN;
    if (world_.network_fault(20)) {
        static constexpr int faults[] = {-ECONNABORTED, -EPROTO, -EMFILE, -ENOBUFS};
        return faults[world_.choose(4, choice::fault)];
    }
    auto accepted = world_.accept(listener);
    if (entry.addr) {
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_port = htons(accepted->peer_port);
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        auto& length = *reinterpret_cast<socklen_t*>(entry.off);
        std::memcpy(pointer(entry.addr), &name, std::min<std::size_t>(length, sizeof name));
        length = sizeof name;
    }
    return world_.add(std::move(accepted));
}

// With MSG_WAITALL the kernel goes on after a short transfer, until all is done, the stream
// ends or fails, or it is cancelled. A passing want of memory cuts a send short, too: then the
// bytes are told and the error is not.
bool sim_kernel::attempt_transfer(request& what, int& result) {
    auto& socket = static_cast<socket_object&>(*what.file);
    const submission& entry = what.entry;
    std::byte* const at = pointer(entry.addr) + what.done;
    const std::size_t left = entry.len - what.done;
    const bool sending = is_send(entry.opcode);
    const int count =
        sending ? world_.send(socket, at, left) : world_.receive(socket, at, left);
    if (count == -EAGAIN) return false;
    if (count > 0) what.done += static_cast<std::uint32_t>(count);
    result = what.done > 0 ? static_cast<int>(what.done) : count;
    const bool of_ring = entry.opcode == IORING_OP_RECV || entry.opcode == IORING_OP_SEND;
    const bool all = of_ring && (entry.flags & MSG_WAITALL);
    if (!all || count <= 0 || what.done == entry.len) return true;
    return sending && world_.choose(8, choice::amount) == 7;
}

bool sim_kernel::attempt_file(request& what, int& result) {
    auto& file = static_cast<file_object&>(*what.file);
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_READ:
        result = world_.read(file, pointer(entry.addr), entry.len, entry.off);
        return true;
    case IORING_OP_WRITE:
        result = world_.write(file, pointer(entry.addr), entry.len, entry.off);
        return true;
    case IORING_OP_FSYNC:
        result = world_.sync(file);
        return true;
    case IORING_OP_POLL_ADD: // always ready for what files can be ready for, and for no more
        result = entry.flags & (POLLIN | POLLOUT);
        if (result == 0) result = -EINVAL;
        return true;
    default:
        result = -ENOTSOCK;
        return true;
    }
}

} // namespace toadstone::sim::detail
