// The simulated kernel: submissions in, completions out, as hostile as a real one may be.
#include <toadstone/sim/kernel/sim_kernel.hpp>

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

// Of Linux 6.10, and what else it has that toadstone asks for: IORING_ACCEPT_POLL_FIRST.
constexpr unsigned like_6_10 = 1U << 14;
constexpr unsigned poll_first = 4;

} // namespace

sim_kernel::submission::submission(const io_uring_sqe& entry) noexcept
    : opcode(entry.opcode), link(entry.flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)),
      fd(entry.fd), off(entry.off), addr(entry.addr), len(entry.len), flags(entry.rw_flags),
      user_data(entry.user_data), selects((entry.flags & IOSQE_BUFFER_SELECT) != 0),
      group(entry.buf_group) {
    switch (opcode) {
    case IORING_OP_ACCEPT:
        multishot = (entry.ioprio & IORING_ACCEPT_MULTISHOT) != 0;
        polls_first = (entry.ioprio & poll_first) != 0;
        break;
    case IORING_OP_RECV:
        multishot = (entry.ioprio & IORING_RECV_MULTISHOT) != 0;
        break;
    case IORING_OP_POLL_ADD:
        multishot = (entry.len & IORING_POLL_ADD_MULTI) != 0;
        break;
    default:
        break;
    }
}

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
    params.features |= like_6_10;
    return 0;
}

void sim_kernel::teardown(io_uring&) noexcept {
    TOADSTONE_ASSERT(pending_.empty(), "a ring is torn down only when nothing is in flight");
}

// What toadstone itself submits, and what it is to submit: its own list is also what it demands
// of a kernel when it starts.
bool sim_kernel::known(std::uint8_t opcode) noexcept {
    const auto& list = toadstone::detail::opcodes_in_use;
    return opcode == IORING_OP_SEND_ZC ||
           std::find(list.begin(), list.end(), opcode) != list.end();
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
    case IORING_REGISTER_PBUF_RING:
        return count == 1 ? provide(*static_cast<io_uring_buf_reg*>(argument)) : -EINVAL;
    case IORING_UNREGISTER_PBUF_RING:
        return count == 1 ? take_back(*static_cast<io_uring_buf_reg*>(argument)) : -EINVAL;
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
    for (auto& [number, group] : groups_) group.look();
    for (unsigned i = 0; i < count; ++i) {
        const auto doomed = std::find(doomed_.begin(), doomed_.end(), m.sq_head);
        accept_entry(m.entries[m.array[m.sq_head & m.sq_mask]], doomed != doomed_.end());
        ++m.sq_head;
    }
    end_of_chain(); // here, whatever its last entry says
    flush_overflow();
    world_.deliver();
    progress();
    if (count == 0 && !m.overflow.empty()) return -EBUSY;
    return static_cast<int>(count);
}

int sim_kernel::provide(const io_uring_buf_reg& wanted) {
    if (const int error = buffer_ring::check(wanted)) return error;
    return groups_.try_emplace(wanted.bgid, wanted).second ? 0 : -EEXIST;
}

int sim_kernel::take_back(const io_uring_buf_reg& wanted) {
    const auto found = groups_.find(wanted.bgid);
    if (found == groups_.end()) return -ENOENT;
    if (!found->second.give_all_back()) complaint_ = "a provided buffer was written to";
    groups_.erase(found);
    return 0;
}

buffer_ring* sim_kernel::group_of(const submission& entry) {
    const auto found = groups_.find(entry.group);
    return found == groups_.end() || found->second.empty() ? nullptr : &found->second;
}

// What the library never asks for is refused: better loudly than differently. So is what only
// the newer of the supported kernels know, and a chain of what does not end by itself.
bool sim_kernel::known_flags(const io_uring_sqe& entry) noexcept {
    constexpr unsigned links = IOSQE_IO_LINK | IOSQE_IO_HARDLINK;
    constexpr unsigned flags = IOSQE_ASYNC | IOSQE_BUFFER_SELECT | links;
    if ((entry.flags & ~flags) || entry.file_index) return false;
    const submission read(entry);
    if (read.multishot && read.link) return false;
    if (read.selects && entry.opcode != IORING_OP_RECV) return false;
    switch (entry.opcode) {
    case IORING_OP_ACCEPT: {
        constexpr unsigned known = SOCK_CLOEXEC | SOCK_NONBLOCK;
        if (read.multishot && entry.addr) return false; // whose name would it be?
        return (entry.ioprio & ~(IORING_ACCEPT_MULTISHOT | poll_first)) == 0 &&
               (entry.accept_flags & ~known) == 0;
    }
    case IORING_OP_RECV: {
        const unsigned known = MSG_NOSIGNAL | (read.selects ? 0 : MSG_WAITALL);
        if (read.multishot && (!read.selects || entry.len != 0)) return false;
        return (entry.ioprio & ~IORING_RECV_MULTISHOT) == 0 && (entry.msg_flags & ~known) == 0;
    }
    default:
        break;
    }
    if (entry.ioprio) return false;
    switch (entry.opcode) {
    case IORING_OP_NOP:
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_ASYNC_CANCEL:
        return entry.rw_flags == 0;
    case IORING_OP_FSYNC:
        return (entry.fsync_flags & ~IORING_FSYNC_DATASYNC) == 0;
    case IORING_OP_SEND_ZC:
        if (entry.addr2 || entry.buf_index) return false;
        [[fallthrough]];
    case IORING_OP_SEND:
        return (entry.msg_flags & ~static_cast<unsigned>(MSG_WAITALL | MSG_NOSIGNAL)) == 0;
    case IORING_OP_POLL_ADD:
        return (entry.len & ~IORING_POLL_ADD_MULTI) == 0;
    case IORING_OP_RENAMEAT: // an exchange is not simulated
        return (entry.rename_flags & ~static_cast<unsigned>(RENAME_NOREPLACE)) == 0;
    case IORING_OP_UNLINKAT:
        return (entry.unlink_flags & ~static_cast<unsigned>(AT_REMOVEDIR)) == 0;
    default:
        return true;
    }
}

void sim_kernel::accept_entry(const io_uring_sqe& entry, bool doomed) {
    world_.mix(entry.opcode);
    taken_.add(entry.user_data);
    request next;
    next.entry = submission(entry);
    next.valid = known(entry.opcode) && known_flags(entry);
    next.doomed = doomed;
    const bool alone = forming_.empty() && !next.entry.link;
    if (alone && !next.valid) {
        post(entry.user_data, -EINVAL);
    } else if (alone) {
        begin(std::move(next));
    } else {
        const bool more = next.entry.link != 0;
        forming_.push_back(std::move(next));
        if (!more) end_of_chain();
    }
}

// An entry that is not valid breaks its chain before it begins. What was not submitted in the
// same call is no part of it: a partial submission makes two chains of one.
void sim_kernel::end_of_chain() {
    if (forming_.empty()) return;
    std::vector<request> chain = std::exchange(forming_, {});
    for (auto each = chain.begin() + 1; each != chain.end(); ++each) {
        const extent own = extent_of(each->entry);
        const bool made = std::any_of(chain.begin(), each, [&](const request& earlier) {
            const extent other = extent_of(earlier.entry);
            return other.written && other.at < own.at + own.size &&
                   own.at < other.at + other.size;
        });
        if (!own.written && !made) each->sum_when_submitted = sum_of(own.at, own.size);
    }
    request first = std::move(chain.front());
    first.severed = std::any_of(chain.begin(), chain.end(),
                                [](const request& each) { return !each.valid; });
    first.rest.assign(std::move_iterator(chain.begin() + 1), std::move_iterator(chain.end()));
    if (first.severed) {
        pending_.push_back(std::move(first));
    } else {
        begin(std::move(first));
    }
}

// Here a descriptor is looked up: one that an earlier member of the chain has closed is gone.
void sim_kernel::begin(request&& what) {
    what.begun = true;
    const submission& entry = what.entry;
    switch (entry.opcode) {
    case IORING_OP_ASYNC_CANCEL:
        cancel(std::move(what));
        return;
    case IORING_OP_NOP:
    case IORING_OP_OPENAT:
    case IORING_OP_RENAMEAT:
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
        break;
    case IORING_OP_CLOSE: // resolved when it runs; never holds a reference
        break;
    case IORING_OP_FSYNC: // a thread of the kernel does it, and resolves it when it gets to it
        if (world_.choose(2, choice::race) == 0) what.file = world_.find(entry.fd);
        break;
    default:
        what.file = world_.find(entry.fd);
        if (!what.file) {
            conclude(std::move(what), -EBADF);
            return;
        }
        // Linux waits on what it can poll, whatever O_NONBLOCK says; it has not always.
        if (const auto* end = dynamic_cast<const pipe_object*>(what.file.get())) {
            what.never_waits = end->nonblocking && world_.choose(2, choice::race) == 1;
        }
        // Linux looks for a free number first, whether anybody is there to be accepted or not;
        // with IORING_ACCEPT_POLL_FIRST when somebody is.
        if (entry.opcode == IORING_OP_ACCEPT && !entry.polls_first && world_.full()) {
            what.end = -EMFILE;
        }
    }
    if (entry.selects && !group_of(entry)) { // also where nothing has come
        conclude(std::move(what), -ENOBUFS);
        return;
    }
    borrow(what);
    if (what.doomed && entry.opcode != IORING_OP_NOP) {
        // Linux closes the descriptor also when it reports an error.
        if (entry.opcode == IORING_OP_CLOSE) static_cast<void>(world_.close(entry.fd));
        what.end = -EIO;
    }
    pending_.push_back(std::move(what));
}

// A receive or a send has failed if it is short of what MSG_WAITALL asks for; without it any
// count will do. A read or a write is to be complete.
bool sim_kernel::breaks_chain(const request& ended, int result) noexcept {
    if (ended.severed) return true;
    if (ended.entry.link & IOSQE_IO_HARDLINK) return false;
    if (result < 0) return true;
    const bool is_short = static_cast<std::uint32_t>(result) != ended.entry.len;
    switch (ended.entry.opcode) {
    case IORING_OP_READ:
    case IORING_OP_WRITE:
        return is_short;
    case IORING_OP_RECV:
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
        return is_short && (ended.entry.flags & MSG_WAITALL);
    default:
        return false;
    }
}

// The next one's turn. It need not come at once: meanwhile others go on, and can see how this
// one has ended.
void sim_kernel::follow(request& ended, int result) {
    if (ended.rest.empty()) return;
    request next = std::move(ended.rest.front());
    next.rest.assign(std::move_iterator(ended.rest.begin() + 1),
                     std::move_iterator(ended.rest.end()));
    next.severed = breaks_chain(ended, result);
    pending_.push_back(std::move(next));
}

sim_kernel::extent sim_kernel::extent_of(const submission& entry) noexcept {
    std::byte* const at = reinterpret_cast<std::byte*>(entry.addr);
    if (!at || entry.selects) return {};
    switch (entry.opcode) {
    case IORING_OP_RECV:
    case IORING_OP_READ:
        return {at, entry.len, true};
    case IORING_OP_SEND:
    case IORING_OP_SEND_ZC:
    case IORING_OP_WRITE:
        return {at, entry.len, false};
    case IORING_OP_ACCEPT:
        return {at, *reinterpret_cast<const socklen_t*>(entry.off), true};
    case IORING_OP_CONNECT:
        return {at, entry.off, false};
    case IORING_OP_OPENAT:
    case IORING_OP_RENAMEAT: // of its other path the kernel has a copy soon enough
    case IORING_OP_UNLINKAT:
    case IORING_OP_MKDIRAT:
        return {at, std::strlen(reinterpret_cast<const char*>(at)) + 1, false};
    default:
        return {};
    }
}

// The memory is the kernel's now. That of a later member of a chain was, too, but what earlier
// ones do to it is fine.
void sim_kernel::borrow(request& what) {
    const extent memory = extent_of(what.entry);
    if (what.sum_when_submitted && sum_of(memory.at, memory.size) != *what.sum_when_submitted) {
        complain(what);
    }
    if (memory.size == 0) return;
    what.buffer = memory.written ? loan::to_write(memory.at, memory.size)
                                 : loan::to_read(memory.at, memory.size);
}

void sim_kernel::give_back(request& what, int result) {
    std::size_t kept = what.done;
    if (result >= 0) {
        // What accept() has of the name, it says beside it.
        const bool named = what.entry.opcode == IORING_OP_ACCEPT && what.entry.off != 0;
        kept = std::max(kept, named ? *reinterpret_cast<const socklen_t*>(what.entry.off)
                                    : static_cast<std::size_t>(result));
    }
    if (!what.buffer.give_back(kept)) complain(what);
}

void sim_kernel::complain(const request& of) {
    const std::string name = toadstone::detail::opcode_name(of.entry.opcode);
    complaint_ = of.buffer.is_written()
                     ? "the buffer of a " + name + " in flight was written to"
                     : "the memory of a " + name + " in flight was changed";
}

// What the kernel says of the cancellation, and how the target ends:
//
//     0          it was found, and ends as cancelled, with -EINTR, with the bytes that it had
//                moved, or by itself because that came first
//     -EALREADY  it is running: it ends by itself if it can, or as above
//     -ENOENT    it has ended; only its completion may still be on its way. Or its turn in a
//                chain has not come: then it goes on
//
// The two completions come in any order. A close that is cancelled leaves its descriptor open;
// a connection that was being made may be made all the same.
void sim_kernel::cancel(request&& by) {
    const auto target =
        std::find_if(pending_.begin(), pending_.end(), [&](const request& each) {
            return each.begun && !each.notifies && each.entry.user_data == by.entry.addr;
        });
    if (target == pending_.end() || target->end) {
        conclude(std::move(by), -ENOENT);
        return;
    }
    if (target->stopped) {
        conclude(std::move(by), -EALREADY);
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
        if (!target->entry.multishot && ready(*target) && attempt(*target, result)) {
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
    if (!target_first) post(by.entry.user_data, answer);
    if (ends_now) finish(static_cast<std::size_t>(target - pending_.begin()), *ends_now);
    if (target_first) post(by.entry.user_data, answer);
    follow(by, answer);
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
    return std::any_of(pending_.begin(), pending_.end(), [&](request& each) {
        return !each.begun || each.end || each.stopped || ready(each);
    });
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
        const bool could = !each.begun || each.end || each.stopped || ready(each);
        if (!could) fall_asleep(each);
        if (!could || later(each, 3)) {
            ++i;
            continue;
        }
        if (!each.begun) {
            request next = take(i);
            if (next.severed) {
                conclude(std::move(next), next.valid ? -ECANCELED : -EINVAL);
            } else {
                begin(std::move(next));
            }
            continue;
        }
        int result = 0;
        if (each.notifies) {
            // nothing is left but to say so
        } else if (each.end) {
            result = *each.end;
        } else if (each.stopped) {
            const bool itself = ready(each) && world_.choose(2, choice::race) == 1;
            if (!itself || !attempt(each, result)) {
                result = stopped_result(each);
            } else if (goes_on(each, result)) {
                continue;
            }
        } else if (!attempt(each, result)) {
            ++i; // some of it is done
            continue;
        } else if (goes_on(each, result)) {
            continue;
        } else if (later(each, 4)) {
            each.end = result;
            ++i;
            continue;
        }
        finish(i, result);
    }
}

std::size_t sim_kernel::in_flight() const noexcept {
    std::size_t count = pending_.size();
    for (const request& each : pending_) count += each.rest.size();
    return count;
}

sim_kernel::request sim_kernel::take(std::size_t index) {
    request taken = std::move(pending_[index]);
    get_up(taken);
    pending_.erase(pending_.begin() + static_cast<std::ptrdiff_t>(index));
    return taken;
}

void sim_kernel::conclude(request&& ended, int result) {
    if (ended.entry.opcode == IORING_OP_SEND_ZC && !ended.notifies) {
        if (const auto flags = announces(ended, result)) {
            post_early(ended.entry.user_data, result, *flags);
            follow(ended, result);
            await_notification(std::move(ended));
            return;
        }
    }
    give_back(ended, result);
    const unsigned flags = ended.notifies ? IORING_CQE_F_NOTIF : ended.flags;
    post(ended.entry.user_data, result, flags);
    follow(ended, result);
}

// F_MORE promises a notification, also after an error; whether one that has failed gives it is
// not said. Linux 6.18 always does, and for one whose chain broke before its turn it notifies
// without having promised.
std::optional<unsigned> sim_kernel::announces(const request& sent, int result) {
    if (sent.severed) {
        switch (world_.choose(3, choice::race)) {
        case 0:
            return 0U;
        case 1:
            return IORING_CQE_F_MORE;
        default:
            return std::nullopt;
        }
    }
    if (result < 0 && world_.choose(4, choice::race) == 3) return std::nullopt;
    return IORING_CQE_F_MORE;
}

// The memory stays lent for as long as the bytes travel, or for less: then they were copied.
// The descriptor does not: a close is one.
void sim_kernel::await_notification(request&& sent) {
    const auto socket = std::dynamic_pointer_cast<socket_object>(std::exchange(sent.file, {}));
    if (socket && socket->link && world_.choose(2, choice::timing) == 1) {
        sent.route = socket->link;
        sent.to_side = 1 - socket->side;
        sent.until = sent.route->to[sent.to_side].sent;
    }
    sent.notifies = true;
    sent.begun = true;
    sent.stopped = false;
    sent.end.reset();
    sent.rest.clear();
    sent.delays = 0;
    pending_.push_back(std::move(sent));
}

// A multishot operation may end after any completion: it does when the completion queue has no
// room for one more, which then waits in the overflow list like any last one.
bool sim_kernel::goes_on(request& what, int result) {
    if (!what.entry.multishot || result < 0) return false;
    switch (what.entry.opcode) {
    case IORING_OP_RECV:
        if (result == 0) return false;
        break;
    case IORING_OP_POLL_ADD:
        if (what.file->type != object::kind::socket) return false; // can never wait
        break;
    default:
        break;
    }
    // A hint, which some kernels give for receives only.
    const bool more = what.entry.opcode != IORING_OP_POLL_ADD && ready(what);
    if (more && world_.choose(2, choice::race) == 0) what.flags |= IORING_CQE_F_SOCK_NONEMPTY;
    if (!has_room() || world_.choose(16, choice::timing) == 15) return false;
    post_early(what.entry.user_data, result, std::exchange(what.flags, 0) | IORING_CQE_F_MORE);
    what.delays = 0;
    // Some kernels try once more at once, and others when something has come.
    if (what.entry.selects && !group_of(what.entry) && world_.choose(4, choice::race) == 3) {
        what.end = -ENOBUFS;
    }
    return true;
}

void sim_kernel::post(std::uint64_t user_data, int result, unsigned flags) {
    ended_.add(user_data);
    post_early(user_data, result, flags);
}

void sim_kernel::post_early(std::uint64_t user_data, int result, unsigned flags) {
    world_.mix(user_data);
    world_.mix(static_cast<std::uint64_t>(static_cast<std::int64_t>(result)));
    io_uring_cqe completion{};
    completion.user_data = user_data;
    completion.res = result;
    completion.flags = flags;
    put(completion);
}

bool sim_kernel::has_room() const noexcept {
    return memory_->cq_tail - memory_->cq_head < memory_->cq_entries &&
           memory_->overflow.empty();
}

void sim_kernel::put(const io_uring_cqe& completion) {
    memory& m = *memory_;
    if (!has_room()) {
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

} // namespace toadstone::sim::detail
