// received: bytes that tcp_stream::recv() has received, in a buffer that is lent.
#ifndef TOADSTONE_IO_RECEIVED_HPP
#define TOADSTONE_IO_RECEIVED_HPP

#include <toadstone/runtime/detail/received_buffer.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace toadstone::io {

/// Bytes of a stream, at least one; none at its end. They may be changed. Can be written as it
/// is: `co_await stream.write_all(bytes)`.
///
/// Threads: one at a time, any.
/// Shape: a pointer; move-only. The buffer, of 16 KiB, is one of those that the worker has for
///     all its streams: who keeps many of these for long should copy what he needs.
/// Lifetime: destroyed, on whatever thread, it goes back to the worker that it came from. It
///     may outlive the stream and the runtime: the memory of a worker's buffers stays until the
///     last of them has come back.
class [[nodiscard]] received {
public:
    /// No buffer.
    received() noexcept = default;
    received(received&& other) noexcept : buffer_(std::exchange(other.buffer_, nullptr)) {}
    received& operator=(received&& other) noexcept {
        if (this != &other) {
            reset();
            buffer_ = std::exchange(other.buffer_, nullptr);
        }
        return *this;
    }
    ~received() { reset(); }

    /// Gives the buffer back now.
    void reset() noexcept {
        if (buffer_) toadstone::detail::give_back(*std::exchange(buffer_, nullptr));
    }

    /// There are no bytes, and there is no buffer: the end of the stream.
    [[nodiscard]] bool empty() const noexcept { return !buffer_; }
    /// There are bytes.
    [[nodiscard]] explicit operator bool() const noexcept { return !empty(); }
    /// In bytes.
    [[nodiscard]] std::size_t size() const noexcept { return buffer_ ? buffer_->size : 0; }
    /// The first byte, which may be written to.
    [[nodiscard]] std::byte* data() const noexcept { return buffer_ ? buffer_->data : nullptr; }
    /// For loops.
    [[nodiscard]] std::byte* begin() const noexcept { return data(); }
    /// For loops.
    [[nodiscard]] std::byte* end() const noexcept { return data() + size(); }
    /// All of it.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data(), size()}; }
    /// The same as characters.
    [[nodiscard]] std::string_view text() const noexcept {
        return {reinterpret_cast<const char*>(data()), size()};
    }

    /// For the library.
    explicit received(toadstone::detail::received_buffer* buffer) noexcept : buffer_(buffer) {}

private:
    toadstone::detail::received_buffer* buffer_ = nullptr;
};

} // namespace toadstone::io

#endif
