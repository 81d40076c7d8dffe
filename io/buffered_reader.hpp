// buffered_reader: lines and whole messages from a stream, where a cut read loses nothing.
#ifndef TOADSTONE_IO_BUFFERED_READER_HPP
#define TOADSTONE_IO_BUFFERED_READER_HPP

#include <toadstone/io/buffer.hpp>
#include <toadstone/io/detail/in_use.hpp>
#include <toadstone/io/unexpected_end.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <optional>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace toadstone::io {

class pipe_reader;
class tcp_stream;

/// Thrown where what is to be read does not end within the limit: "read a line from
/// 127.0.0.1:50412: it does not end within 8192 bytes". Nothing has been consumed.
class limit_exceeded : public std::length_error {
public:
    /// As the library throws it.
    limit_exceeded(std::string_view operation, std::string_view object, std::size_t limit);
    /// In bytes: what it had to end within.
    [[nodiscard]] std::size_t limit() const noexcept { return limit_; }

private:
    std::size_t limit_;
};

/// Reads ahead from a stream, or from a pipe, and gives out whole pieces.
///
/// Errors: those of the stream's reads; std::logic_error where another task reads.
/// Cancellation: every suspending member is a cancellation point that loses no byte: what a cut
///     call had read stays in the buffer, and the next call, of whatever kind, goes on from
///     there. The one exception is a read_exactly() of more than `most` bytes.
/// Threads: one task at a time; nobody reads from the stream beside it.
/// Shape: the buffer is allocated by the first read, grows as it has to, up to `most` bytes,
///     and does not shrink.
/// Lifetime: not longer than the stream, which stays where it is; neither moves. A view that it
///     gave is good until the next call.
class buffered_reader {
public:
    /// The default of `most`, in bytes.
    static constexpr std::size_t usual_most = 65536;
    /// A `limit` that says: what fits into the buffer.
    static constexpr std::size_t as_buffered = ~std::size_t{0};

    /// Never has more than `most` bytes in its buffer. Errors: std::invalid_argument for 0.
    explicit buffered_reader(tcp_stream& from, std::size_t most = usual_most);
    /// The same from a pipe, a terminal or standard input.
    explicit buffered_reader(pipe_reader& from, std::size_t most = usual_most);
    buffered_reader(const buffered_reader&) = delete;
    buffered_reader& operator=(const buffered_reader&) = delete;
    ~buffered_reader();

    /// What has been read and not consumed; asks nobody.
    [[nodiscard]] std::string_view buffered() const noexcept {
        return {room_.data() + begin_, end_ - begin_};
    }
    /// Drops that many bytes of buffered(). Errors: std::out_of_range if there are not so many.
    void consume(std::size_t count);

    /// Reads until at least so many bytes are there, and leaves them.
    ///
    /// Returns: buffered(), which is shorter if the stream ended.
    /// Errors also: std::invalid_argument for more than `most`.
    [[nodiscard]] toadstone::task<std::string_view>
    peek(std::size_t at_least = 1,
         std::source_location where = std::source_location::current());

    /// Gives what is there, at least one byte; 0 at the end, or for an empty buffer.
    [[nodiscard]] toadstone::task<std::size_t>
    read_some(mutable_buffer into,
              std::source_location where = std::source_location::current());

    /// Fills all of `into`, which stays alive until this returns or is torn down.
    ///
    /// Errors also: unexpected_end; up to `most` bytes nothing is consumed then. Of a pipe,
    ///     std::invalid_argument for more.
    /// Poisoning: one of more than `most` bytes goes past the buffer. Cut after some of them,
    ///     it poisons the reading half, as tcp_stream::read_exactly().
    [[nodiscard]] toadstone::task<>
    read_exactly(mutable_buffer into,
                 std::source_location where = std::source_location::current());

    /// Reads up to a delimiter that is not empty.
    ///
    /// Returns: everything before it, and the delimiter; nothing if the stream ended before the
    ///     first byte.
    /// Errors also: unexpected_end if it ended in between: the bytes are in buffered().
    ///     limit_exceeded if it does not come within `limit` bytes, itself included, or within
    ///     `most`. std::invalid_argument for an empty delimiter.
    [[nodiscard]] toadstone::task<std::optional<std::string>>
    read_until(std::string delimiter, std::size_t limit = as_buffered,
               std::source_location where = std::source_location::current());

    /// Reads up to "\n" and gives the line without it and without a "\r" before it.
    ///
    /// Returns, Errors: as read_until(). `limit` counts the end of the line, too.
    [[nodiscard]] toadstone::task<std::optional<std::string>>
    read_line(std::size_t limit = as_buffered,
              std::source_location where = std::source_location::current());

private:
    [[nodiscard]] std::size_t size() const noexcept { return end_ - begin_; }
    [[nodiscard]] mutable_buffer free_room();
    [[nodiscard]] std::string source() const;
    void copy_out(void* to, std::size_t count) const noexcept;
    [[noreturn]] void refuse() const;
    toadstone::task<std::optional<std::string>> read_piece(std::string delimiter,
                                                           std::size_t limit,
                                                           std::string_view operation,
                                                           std::source_location where);

    tcp_stream* stream_ = nullptr; ///< one of the two
    pipe_reader* pipe_ = nullptr;
    std::size_t most_;
    std::vector<char> room_;
    std::size_t begin_ = 0; ///< what is buffered: [begin_, end_) of room_
    std::size_t end_ = 0;
    detail::in_use use_;
};

} // namespace toadstone::io

#endif
