// buffer_ring: the buffers that a worker's kernel receives into.
#ifndef TOADSTONE_RUNTIME_URING_BUFFER_RING_HPP
#define TOADSTONE_RUNTIME_URING_BUFFER_RING_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/posted.hpp>
#include <toadstone/runtime/detail/received_buffer.hpp>
#include <toadstone/runtime/detail/timer_wheel.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>

#include <liburing.h>

namespace toadstone::detail {

class receiver;
class ring;
class worker;

/// Buffers of one size, provided to the kernel (IORING_REGISTER_PBUF_RING), which takes one
/// when bytes have come, and receivers that wait until it has one again.
///
/// A receiver for which the kernel had no buffer is served when one comes back. If none has
/// come back for `patience`, others keep them, and tasks that wait for bytes are not to depend
/// on that: until one does come back, receives are given blocks of their own.
///
/// Threads: home worker only, but for references, post_home() and what other threads give back.
/// Lifetime: counted; its worker has a reference, each receiver that points here, and, once the
///     worker has ended, each buffer that is out.
class buffer_ring final : timer_node, posted {
public:
    static constexpr std::chrono::milliseconds patience{1};

    /// Null: there is no memory. Where the kernel has no such rings it is not usable().
    [[nodiscard]] static buffer_ring* make(worker& home, ring& into) noexcept;
    buffer_ring(const buffer_ring&) = delete;
    buffer_ring& operator=(const buffer_ring&) = delete;

    /// The kernel's name for it.
    static constexpr std::uint16_t group = 0;
    [[nodiscard]] bool usable() const noexcept { return shared_ != nullptr; }
    /// What the worker has room for in a block of its own, too.
    [[nodiscard]] std::size_t buffer_size() const noexcept { return size_; }

    /// The kernel has none left, as far as its completions tell.
    [[nodiscard]] bool is_empty() noexcept {
        if (free_ == 0) [[unlikely]]
            collect();
        return free_ == 0;
    }
    /// It has been empty for so long that nobody should wait for it.
    [[nodiscard]] bool is_stalled() const noexcept { return stalled_; }

    /// The kernel has received so many bytes into the buffer with this number.
    [[nodiscard]] received_buffer& taken(unsigned number, std::size_t bytes) noexcept {
        received_buffer& buffer = buffers_[number];
        buffer.size = bytes;
        --free_;
        return buffer;
    }
    void give_back(received_buffer& buffer) noexcept {
        put(buffer);
        if (waiting_first_ || stalled_) [[unlikely]]
            serve(1);
    }

    /// Serves `which`, by its served(), when a buffer has come back, or will not.
    void wait(receiver& which) noexcept;
    void leave(receiver& which) noexcept;

    /// The worker ends: takes the buffers back from the kernel. Whatever comes back later is
    /// freed with the last of it.
    void end() noexcept;

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept;
    /// False: the worker has ended, and with it every receive. Any thread.
    [[nodiscard]] bool post_home(posted& work) noexcept;
    /// Null once it has ended.
    [[nodiscard]] worker* home() const noexcept {
        return home_.load(std::memory_order_relaxed);
    }
    /// As give_back(), on any thread.
    void give_back_from_anywhere(received_buffer& buffer) noexcept;

private:
    buffer_ring(worker& home, ring& into) noexcept;
    ~buffer_ring() override;
    [[nodiscard]] bool provide(unsigned count) noexcept;
    void collect() noexcept;
    [[nodiscard]] received_buffer* take_returned() noexcept;
    void put(received_buffer& buffer) noexcept {
        buffer.data = first_ + buffer.number * size_;
        io_uring_buf_ring_add(shared_, buffer.data, static_cast<unsigned>(size_), buffer.number,
                              mask_, 0);
        io_uring_buf_ring_advance(shared_, 1);
        ++free_;
    }
    void serve(unsigned most) noexcept;
    void expired() noexcept override;
    void run_posted() noexcept override;

    atomic<worker*> home_; // changed under lock_
    ring& ring_;
    const std::size_t size_;
    io_uring_buf_ring* shared_ = nullptr; // with the kernel
    std::byte* memory_ = nullptr;         // the shared part, then the buffers
    std::byte* first_ = nullptr;          // of the buffers
    received_buffer* buffers_ = nullptr;
    unsigned count_ = 0;
    int mask_ = 0;
    unsigned free_ = 0;
    bool stalled_ = false;
    receiver* waiting_first_ = nullptr;
    receiver* waiting_last_ = nullptr;

    atomic<std::size_t> references_{1};
    mutex lock_;
    plain<received_buffer*> returned_ = nullptr; // by other threads; guarded by lock_
    plain<bool> wanted_ = false;                 // somebody waits for these; guarded by lock_
    plain<bool> posted_ = false;                 // that they are there; guarded by lock_
};

} // namespace toadstone::detail

#endif
