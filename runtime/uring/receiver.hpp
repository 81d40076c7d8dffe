// receiver: receives ahead of a stream's reader, and keeps what has come until it is taken.
#ifndef TOADSTONE_RUNTIME_URING_RECEIVER_HPP
#define TOADSTONE_RUNTIME_URING_RECEIVER_HPP

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/posted.hpp>
#include <toadstone/runtime/detail/received_buffer.hpp>
#include <toadstone/runtime/uring/multishot_op.hpp>

#include <cstddef>

namespace toadstone::detail {

class buffer_ring;
class context;

/// The part of a stream that the kernel's completions refer to: a block of its own, so that the
/// stream may move, and go, while a receive is armed.
///
///     at rest     nothing is in flight      whoever has the stream's reading claim
///     armed       a receive is in flight    its home worker: that of the task that armed it
///
/// An armed one whose reader is on another worker is brought to rest first, by a message to its
/// home and one back. A multishot stays armed between two readers until `most_unread` buffers
/// are unread; one batch of completions may bring more than these. Where there are no buffers
/// for it, a reader that waits has one receive into a block of its own.
///
/// Threads: as above; in_flight() and is_open_to() from any.
class receiver final : public multishot_op, posted {
public:
    /// Receives from `fd`. Once that is closed, nobody waits any more.
    explicit receiver(int fd) noexcept : fd_(fd) {}
    receiver(const receiver&) = delete;
    receiver& operator=(const receiver&) = delete;

    [[nodiscard]] bool in_flight() const noexcept { return home() != nullptr; }
    /// A task of this worker may ask what is there.
    [[nodiscard]] bool is_open_to(const executor& here) const noexcept {
        const worker* const at = home();
        return !at || at == &here;
    }
    /// Bytes, or how receiving ended. Ask what is open to you.
    [[nodiscard]] bool has_something() const noexcept { return first_ || ended_; }
    [[nodiscard]] bool is_idle() const noexcept { return !in_flight() && !has_something(); }

    /// Makes `reader`, which has suspended, ready when there is something.
    void wait(context& reader) noexcept;
    /// It is no longer wanted. False: the reader has been made ready, or will be soon.
    [[nodiscard]] bool stop_waiting() noexcept;
    /// Makes `closer`, which has suspended, ready when nothing is in flight. No reader waits.
    void rest(context& closer) noexcept;
    /// Nothing is in flight, nobody reads any more: what is unread goes back.
    void forget_unread() noexcept;
    /// The stream goes. `fd` is closed when no entry names it any more; if that is so already,
    /// false, and it is the caller's to close. Destroys *this, now or later.
    [[nodiscard]] bool abandon(int fd) noexcept;

    /// The oldest bytes, or null and how receiving ended. There is something.
    [[nodiscard]] received_buffer* take() noexcept;
    /// 0 at the end of the stream, -errno, or no_memory. Says so once.
    [[nodiscard]] int take_end() noexcept;
    /// Copies what there is, and fits. There is something; as take_end() if it is no
    /// bytes.
    [[nodiscard]] int copy_to(std::byte* to, std::size_t room) noexcept;

    /// What take_end() tells when there was no memory to receive into.
    static constexpr int no_memory = -4096;

private:
    friend class buffer_ring;
    enum class errand : unsigned char {
        none,
        rest,    ///< to its home: stop
        arrived, ///< back: it is at rest
        abandon, ///< to its home: the stream is gone
    };

    ~receiver() override;
    [[nodiscard]] worker* home() const noexcept {
        return home_.load(std::memory_order_acquire); // (A) what its home has done
    }
    void come_to_rest() noexcept {
        home_.store(nullptr, std::memory_order_release); // (R) what has come
    }
    void completed(int result, unsigned flags) noexcept override;
    void ended(int result) noexcept;
    void append(received_buffer& buffer) noexcept {
        buffer.next = nullptr;
        (last_ ? last_->next : first_) = &buffer;
        last_ = &buffer;
        ++unread_;
        retried_ = false;
    }
    void fill(io_uring_sqe& entry) noexcept override;
    void run_posted() noexcept override;
    void arm(worker& here) noexcept;
    void arm_ahead() noexcept;
    void begin(worker& here) noexcept;
    void served() noexcept;
    void stop() noexcept;
    void go_home(context& sender) noexcept;
    void send_back() noexcept;
    void arrive() noexcept;
    void wake() noexcept;
    void tell_end(int result) noexcept;
    void close_fd() noexcept;
    void use(buffer_ring& ring) noexcept;

    buffer_ring* ring_ = nullptr; // of its home, or of the last; with a reference
    received_buffer* first_ = nullptr;
    received_buffer* last_ = nullptr;
    unsigned unread_ = 0;
    const int fd_;
    context* waiter_ = nullptr; // for something
    int end_ = 0;
    atomic<worker*> home_{nullptr}; // while something is in flight
    bool ended_ = false;            // end_ is to be told
    bool retried_ = false;          // after it had no buffer, and nothing has come since
    bool listed_ = false;           // waits for a buffer
    bool abandoned_ = false;
    // While messages are under way: of the worker that has sent the first.
    bool away_ = false;
    bool unwanted_ = false; // the reader has been cancelled meanwhile
    bool for_good_ = false; // to be closed
    // With the message.
    errand errand_ = errand::none;
    context* sender_ = nullptr;
    bool resting_ = false; // for the sender
    int closes_ = -1;
    received_buffer* block_ = nullptr; // being received into; null: of the ring
    receiver* next_waiting_ = nullptr;
    receiver* previous_waiting_ = nullptr;
};

} // namespace toadstone::detail

#endif
