// Arming, disarming, and what completions bring.
#include <toadstone/runtime/uring/receiver.hpp>

#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/uring/buffer_ring.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <liburing.h>

namespace toadstone::detail {
namespace {

worker& home_of(const context& task) noexcept {
    return static_cast<worker&>(task.home());
}

} // namespace

receiver::~receiver() {
    forget_unread();
    if (ring_) ring_->drop_reference();
}

void receiver::use(buffer_ring& ring) noexcept {
    if (ring_ == &ring) return;
    ring.add_reference();
    if (ring_) ring_->drop_reference();
    ring_ = &ring;
}

// --- the reader's side ---

void receiver::wait(context& reader) noexcept {
    const worker* const at = home();
    if (at && at != &reader.home()) {
        for_good_ = false;
        return go_home(reader);
    }
    waiter_ = &reader;
    if (at) return;
    if (has_something()) return wake(); // it came to rest just now
    arm(home_of(reader));
}

bool receiver::stop_waiting() noexcept {
    if (away_) {
        unwanted_ = true;
        return false;
    }
    if (!waiter_) return false;
    waiter_ = nullptr;
    if (listed_) ring_->leave(*this);
    return true;
}

void receiver::forget_unread() noexcept {
    while (received_buffer* const buffer = first_) {
        first_ = buffer->next;
        give_back(*buffer);
    }
    last_ = nullptr;
    unread_ = 0;
    ended_ = false;
}

received_buffer* receiver::take() noexcept {
    received_buffer* const taken = first_;
    if (!taken) return nullptr;
    first_ = taken->next;
    --unread_;
    if (!first_) {
        last_ = nullptr;
        if (!ended_) arm_ahead();
    }
    return taken;
}

int receiver::take_end() noexcept {
    ended_ = false;
    return end_;
}

int receiver::copy_to(std::byte* to, std::size_t room) noexcept {
    if (!first_) return take_end();
    std::size_t copied = 0;
    while (first_ && copied < room) {
        const std::size_t count = std::min(first_->size, room - copied);
        std::memcpy(to + copied, first_->data, count);
        copied += count;
        first_->data += count;
        first_->size -= count;
        if (first_->size > 0) break;
        received_buffer* const emptied = first_;
        first_ = emptied->next;
        --unread_;
        if (!first_) last_ = nullptr;
        give_back(*emptied);
    }
    return static_cast<int>(copied);
}

// --- its home ---

void receiver::wake() noexcept {
    context* const reader = std::exchange(waiter_, nullptr);
    home_of(*reader).push(*reader);
}

void receiver::tell_end(int result) noexcept {
    end_ = result;
    ended_ = true;
}

// At rest, with a waiter.
void receiver::arm(worker& here) noexcept {
    buffer_ring* const ring = here.receive_buffers();
    if (ring) {
        use(*ring);
        if (ring->usable() && here.may_go_on()) {
            if (!ring->is_empty()) return begin(here);
            if (!ring->is_stalled()) return ring->wait(*this);
        }
        block_ = make_received_buffer(ring->buffer_size());
        if (block_) return begin(here);
    }
    tell_end(no_memory);
    wake();
}

// The last bytes have been taken, and more may come while they are worked on.
void receiver::arm_ahead() noexcept {
    if (in_flight()) return;
    worker* const here = ring_->home();
    if (!here || !here->is_current()) return;
    if (ring_->usable() && here->may_go_on() && !ring_->is_empty()) begin(*here);
}

void receiver::begin(worker& here) noexcept {
    home_.store(&here, std::memory_order_relaxed);
    start(here);
}

void receiver::served() noexcept {
    arm(*ring_->home());
}

void receiver::fill(io_uring_sqe& entry) noexcept {
    if (block_) {
        io_uring_prep_recv(&entry, fd_, block_->data, ring_->buffer_size(), 0);
        return;
    }
    io_uring_prep_recv(&entry, fd_, nullptr, 0, 0);
    entry.ioprio = IORING_RECV_MULTISHOT;
    entry.flags |= IOSQE_BUFFER_SELECT;
    entry.buf_group = buffer_ring::group;
}

void receiver::completed(int result, unsigned flags) noexcept {
    if (flags & IORING_CQE_F_BUFFER) {
        const std::size_t bytes = result > 0 ? static_cast<std::size_t>(result) : 0;
        received_buffer& buffer = ring_->taken(flags >> IORING_CQE_BUFFER_SHIFT, bytes);
        if (bytes > 0) {
            append(buffer);
        } else {
            ring_->give_back(buffer);
        }
    }
    if (!(flags & IORING_CQE_F_MORE)) return ended(result);
    if (waiter_) return wake();
    if (unread_ >= home()->receiving().most_unread) stop();
}

void receiver::ended(int result) noexcept {
    if (received_buffer* const block = std::exchange(block_, nullptr)) {
        block->size = result > 0 ? static_cast<std::size_t>(result) : 0;
        if (block->size > 0) {
            append(*block);
        } else {
            give_back(*block);
        }
    }
    if (abandoned_) {
        close_fd();
        delete this;
        return;
    }
    const bool stopped = asked_to_end() && (result == -ECANCELED || result == -EINTR);
    if (result <= 0 && result != -ENOBUFS && !stopped) tell_end(result);
    if (resting_) return send_back();
    const bool wanted = waiter_ != nullptr; // else it is the reader's from here on
    worker& here = *home();
    come_to_rest();
    if (!wanted) return;
    if (has_something()) return wake();
    // Its buffers may have come back since the kernel said that it has none. Once: then its
    // completions have told which it has taken.
    if (result == -ENOBUFS && std::exchange(retried_, true)) return ring_->wait(*this);
    arm(here);
}

void receiver::stop() noexcept {
    ask_to_end(*home());
}

// --- messages ---

void receiver::rest(context& closer) noexcept {
    for_good_ = true;
    go_home(closer);
}

void receiver::go_home(context& sender) noexcept {
    sender_ = &sender;
    away_ = true;
    unwanted_ = false;
    errand_ = errand::rest;
    if (!ring_->post_home(*this)) arrive();
}

void receiver::run_posted() noexcept {
    switch (std::exchange(errand_, errand::none)) {
    case errand::rest:
        if (!in_flight()) return send_back();
        resting_ = true;
        return stop();
    case errand::arrived:
        return arrive();
    case errand::abandon:
        abandoned_ = true;
        if (in_flight()) return stop();
        close_fd();
        delete this;
        return;
    case errand::none:
        return;
    }
}

void receiver::send_back() noexcept {
    resting_ = false;
    errand_ = errand::arrived;
    come_to_rest();
    sender_->home().post(*this);
}

void receiver::arrive() noexcept {
    away_ = false;
    waiter_ = sender_;
    if (for_good_ || unwanted_ || has_something()) return wake();
    arm(home_of(*waiter_));
}

bool receiver::abandon(int fd) noexcept {
    worker* const at = home();
    if (!at) {
        delete this;
        return false;
    }
    if (at->is_current()) {
        abandoned_ = true;
        stop();
        return false;
    }
    // Its home may have an entry with this descriptor that the kernel has not seen.
    closes_ = fd;
    errand_ = errand::abandon;
    if (ring_->post_home(*this)) return true;
    delete this;
    return false;
}

void receiver::close_fd() noexcept {
    if (closes_ >= 0) system().close(std::exchange(closes_, -1));
}

} // namespace toadstone::detail
