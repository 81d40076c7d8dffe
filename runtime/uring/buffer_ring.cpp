// Providing buffers, and getting them back from whatever thread.
#include <toadstone/runtime/uring/buffer_ring.hpp>

#include <toadstone/runtime/uring/receiver.hpp>
#include <toadstone/runtime/uring/ring.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <algorithm>
#include <bit>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include <liburing.h>

namespace toadstone::detail {
namespace {

constexpr std::align_val_t page{4096};

} // namespace

received_buffer* make_received_buffer(std::size_t room) noexcept {
    void* const block = ::operator new(sizeof(received_buffer) + room, std::nothrow);
    if (!block) return nullptr;
    auto* const buffer = new (block) received_buffer;
    buffer->data = static_cast<std::byte*>(block) + sizeof(received_buffer);
    return buffer;
}

void give_back(received_buffer& buffer) noexcept {
    buffer_ring* const home = buffer.home;
    if (!home) {
        ::operator delete(&buffer);
        return;
    }
    executor* const here = executor::current();
    if (here && here == home->home()) {
        home->give_back(buffer);
    } else {
        home->give_back_from_anywhere(buffer);
    }
}

buffer_ring* buffer_ring::make(worker& home, ring& into) noexcept {
    auto* const made = new (std::nothrow) buffer_ring(home, into);
    if (made && !made->provide(home.receiving().buffers)) made->count_ = 0;
    return made;
}

buffer_ring::buffer_ring(worker& home, ring& into) noexcept
    : home_(&home), ring_(into), size_(home.receiving().buffer_size) {}

buffer_ring::~buffer_ring() {
    delete[] buffers_;
    ::operator delete(memory_, page);
}

// False: the kernel has not got them, for want of memory or because it knows no such thing.
// Memory that nothing has been received into yet is only reserved.
bool buffer_ring::provide(unsigned count) noexcept {
    if (count == 0) return false;
    const unsigned entries = std::bit_ceil(count);
    const std::size_t shared_size =
        (entries * sizeof(io_uring_buf) + static_cast<std::size_t>(page) - 1) &
        ~(static_cast<std::size_t>(page) - 1);
    buffers_ = new (std::nothrow) received_buffer[count];
    if (!buffers_) return false;
    memory_ = static_cast<std::byte*>(
        ::operator new(shared_size + count * size_, page, std::nothrow));
    if (!memory_) return false;
    std::fill_n(memory_, shared_size, std::byte{});
    auto* const shared = reinterpret_cast<io_uring_buf_ring*>(memory_);
    io_uring_buf_reg wanted{};
    wanted.ring_addr = reinterpret_cast<std::uintptr_t>(shared);
    wanted.ring_entries = entries;
    wanted.bgid = group;
    if (ring_.enroll(IORING_REGISTER_PBUF_RING, &wanted, 1) < 0) return false;
    shared_ = shared;
    mask_ = io_uring_buf_ring_mask(entries);
    count_ = count;
    first_ = memory_ + shared_size;
    for (unsigned i = 0; i < count; ++i) {
        received_buffer& each = buffers_[i];
        each.home = this;
        each.number = static_cast<std::uint16_t>(i);
        put(each);
    }
    return true;
}

// One for each buffer that has come back: more of them would find none again.
void buffer_ring::serve(unsigned most) noexcept {
    stalled_ = false;
    for (; most > 0 && waiting_first_; --most) {
        receiver& next = *waiting_first_;
        leave(next);
        next.served();
    }
}

void buffer_ring::wait(receiver& which) noexcept {
    which.previous_waiting_ = waiting_last_;
    which.next_waiting_ = nullptr;
    (waiting_last_ ? waiting_last_->next_waiting_ : waiting_first_) = &which;
    waiting_last_ = &which;
    which.listed_ = true;
    if (!armed()) home()->arm(*this, home()->now() + patience);
    {
        const std::lock_guard hold(lock_);
        wanted_ = true;
        if (!returned_) return;
    }
    collect();
    serve(free_);
}

void buffer_ring::leave(receiver& which) noexcept {
    (which.previous_waiting_ ? which.previous_waiting_->next_waiting_ : waiting_first_) =
        which.next_waiting_;
    (which.next_waiting_ ? which.next_waiting_->previous_waiting_ : waiting_last_) =
        which.previous_waiting_;
    which.listed_ = false;
    if (!waiting_first_ && armed()) home()->disarm(*this);
}

void buffer_ring::expired() noexcept {
    collect();
    stalled_ = free_ == 0;
    receiver* each = std::exchange(waiting_first_, nullptr);
    waiting_last_ = nullptr;
    for (unsigned left = stalled_ ? ~0U : free_; each; left -= left > 0) {
        receiver* const next = each->next_waiting_;
        each->listed_ = false;
        if (left > 0) {
            each->served();
        } else {
            wait(*each);
        }
        each = next;
    }
}

received_buffer* buffer_ring::take_returned() noexcept {
    const std::lock_guard hold(lock_);
    wanted_ = waiting_first_ != nullptr;
    return std::exchange(static_cast<received_buffer*&>(returned_), nullptr);
}

void buffer_ring::collect() noexcept {
    for (received_buffer* each = take_returned(); each;) {
        received_buffer* const next = each->next;
        put(*each);
        stalled_ = false;
        each = next;
    }
}

void buffer_ring::run_posted() noexcept {
    {
        const std::lock_guard hold(lock_);
        posted_ = false;
    }
    if (!home()) return;
    collect();
    serve(free_);
}

void buffer_ring::give_back_from_anywhere(received_buffer& buffer) noexcept {
    {
        const std::lock_guard hold(lock_);
        if (worker* const home = this->home()) {
            buffer.next = returned_;
            returned_ = &buffer;
            if (wanted_ && !posted_) {
                posted_ = true;
                home->post(*this);
            }
            return;
        }
    }
    drop_reference();
}

bool buffer_ring::post_home(posted& work) noexcept {
    const std::lock_guard hold(lock_);
    worker* const home = this->home();
    if (!home) return false;
    home->post(work);
    return true;
}

void buffer_ring::end() noexcept {
    if (shared_) {
        io_uring_buf_reg ours{};
        ours.bgid = group;
        static_cast<void>(ring_.enroll(IORING_UNREGISTER_PBUF_RING, &ours, 1));
    }
    const std::lock_guard hold(lock_);
    home_.store(nullptr, std::memory_order_relaxed);
    std::size_t out = count_ - free_;
    for (received_buffer* each = returned_; each; each = each->next) --out;
    returned_ = nullptr;
    references_.fetch_add(out, std::memory_order_relaxed);
}

void buffer_ring::drop_reference() noexcept {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) delete this;
}

} // namespace toadstone::detail
