// Filling the buffer, and finding whole pieces in it.
#include <toadstone/io/buffered_reader.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/pipe.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/checkpoint.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace toadstone::io {
namespace {

constexpr std::size_t first_room = 4096; // bytes

using toadstone::detail::context;

/// One read of a stream or of a pipe, in the frame of whoever fills a buffer.
class read_leaf {
public:
    read_leaf(context& ctx, std::source_location where, tcp_stream* stream, pipe_reader* pipe,
              mutable_buffer into)
        : of_stream_(stream) {
        if (of_stream_) {
            ::new (&stream_) stream_read(ctx, where, *stream, into);
        } else {
            ::new (&pipe_)
                pipe_read(detail::pipe_read_operation(*pipe, into).make_awaiter(ctx, where));
        }
    }
    read_leaf(const read_leaf&) = delete;
    read_leaf& operator=(const read_leaf&) = delete;
    ~read_leaf() { of_stream_ ? stream_.~stream_read() : pipe_.~pipe_read(); }

    bool await_ready() { return of_stream_ ? stream_.await_ready() : pipe_.await_ready(); }
    template <class Promise>
    void await_suspend(std::coroutine_handle<Promise> frame) noexcept {
        of_stream_ ? stream_.await_suspend(frame) : pipe_.await_suspend(frame);
    }
    std::size_t await_resume() {
        return of_stream_ ? stream_.await_resume() : pipe_.await_resume();
    }

private:
    using stream_read = toadstone::detail::bound<detail::tcp_read>;
    using pipe_read = detail::pipe_read;

    bool of_stream_;
    union {
        stream_read stream_;
        pipe_read pipe_;
    };
};

class [[nodiscard("write co_await")]] read_from {
public:
    [[maybe_unused]] static constexpr bool acquires = false;
    read_from(tcp_stream* stream, pipe_reader* pipe, mutable_buffer into,
              std::source_location where) noexcept
        : stream_(stream), pipe_(pipe), into_(into), where_(where) {}
    read_leaf make_awaiter(context& ctx, std::source_location) const {
        return {ctx, where_, stream_, pipe_, into_};
    }

private:
    tcp_stream* stream_;
    pipe_reader* pipe_;
    mutable_buffer into_;
    std::source_location where_; ///< of who called the reader
};

std::string text_of(std::string_view operation, std::string_view object, std::size_t limit) {
    std::string text(operation);
    text += ' ';
    text += object;
    text += ": it does not end within " + std::to_string(limit) + " bytes";
    return text;
}

} // namespace

limit_exceeded::limit_exceeded(std::string_view operation, std::string_view object,
                               std::size_t limit)
    : std::length_error(text_of(operation, object, limit)), limit_(limit) {}

buffered_reader::buffered_reader(tcp_stream& from, std::size_t most)
    : stream_(&from), most_(most) {
    if (most == 0) throw std::invalid_argument("buffered_reader: it may buffer nothing");
}

buffered_reader::buffered_reader(pipe_reader& from, std::size_t most)
    : pipe_(&from), most_(most) {
    if (most == 0) throw std::invalid_argument("buffered_reader: it may buffer nothing");
}

buffered_reader::~buffered_reader() {
    use_.check_unused([this] { return "reader of " + source(); });
}

std::string buffered_reader::source() const {
    return stream_ ? stream_->peer().to_string() : pipe_->name();
}

void buffered_reader::consume(std::size_t count) {
    if (count > size()) {
        throw std::out_of_range("buffered_reader: consume " + std::to_string(count) + " of " +
                                std::to_string(size()) + " bytes");
    }
    begin_ += count;
    if (begin_ == end_) begin_ = end_ = 0;
}

// Only while less than most_ is buffered, so that there is always some.
mutable_buffer buffered_reader::free_room() {
    if (end_ == room_.size() && begin_ > 0) {
        std::memmove(room_.data(), room_.data() + begin_, size());
        end_ -= std::exchange(begin_, 0);
    }
    if (end_ == room_.size()) {
        room_.resize(std::min(most_, std::max(first_room, 2 * room_.size())));
    }
    return mutable_buffer(room_.data() + end_, room_.size() - end_);
}

void buffered_reader::copy_out(void* to, std::size_t count) const noexcept {
    if (count > 0) std::memcpy(to, room_.data() + begin_, count);
}

void buffered_reader::refuse() const {
    detail::throw_in_use("read from", source(), "reads from it");
}

// In all that follows a read's bytes are counted in before the next cancellation point, and
// nothing is consumed before all of a piece is there.

toadstone::task<std::string_view> buffered_reader::peek(std::size_t at_least,
                                                        std::source_location where) {
    const detail::claim alone(use_, detail::in_use::reading);
    co_await toadstone::detail::checkpoint_for(where);
    if (!alone) refuse();
    if (at_least > most_) {
        throw std::invalid_argument("peek at " + std::to_string(at_least) + " bytes of " +
                                    source() + ": the reader buffers at most " +
                                    std::to_string(most_));
    }
    while (size() < at_least) {
        const std::size_t count = co_await read_from(stream_, pipe_, free_room(), where);
        if (count == 0) break;
        end_ += count;
    }
    co_return buffered();
}

toadstone::task<std::size_t> buffered_reader::read_some(mutable_buffer into,
                                                        std::source_location where) {
    const detail::claim alone(use_, detail::in_use::reading);
    if (!alone || size() > 0) co_await toadstone::detail::checkpoint_for(where);
    if (!alone) refuse();
    std::size_t count = std::min(size(), into.size());
    if (size() > 0) {
        copy_out(into.data(), count);
        consume(count);
    } else {
        count = co_await read_from(stream_, pipe_, into, where);
    }
    co_return count;
}

toadstone::task<> buffered_reader::read_exactly(mutable_buffer into,
                                                std::source_location where) {
    const detail::claim alone(use_, detail::in_use::reading);
    co_await toadstone::detail::checkpoint_for(where);
    if (!alone) refuse();
    if (into.size() > most_) {
        if (!stream_) {
            throw std::invalid_argument("read " + std::to_string(into.size()) + " bytes from " +
                                        source() + ": the reader buffers at most " +
                                        std::to_string(most_));
        }
        const std::size_t have = size();
        copy_out(into.data(), have);
        co_await stream_->read_rest(into, have, where);
        consume(have);
        co_return;
    }
    while (size() < into.size()) {
        const std::size_t count = co_await read_from(stream_, pipe_, free_room(), where);
        if (count == 0) {
            throw unexpected_end("read " + std::to_string(into.size()) + " bytes from",
                                 source(), size());
        }
        end_ += count;
    }
    copy_out(into.data(), into.size());
    consume(into.size());
}

toadstone::task<std::optional<std::string>>
buffered_reader::read_until(std::string delimiter, std::size_t limit,
                            std::source_location where) {
    return read_piece(std::move(delimiter), limit, "read up to a delimiter from", where);
}

toadstone::task<std::optional<std::string>>
buffered_reader::read_line(std::size_t limit, std::source_location where) {
    std::optional<std::string> line =
        co_await read_piece("\n", limit, "read a line from", where);
    if (line) {
        line->pop_back();
        if (!line->empty() && line->back() == '\r') line->pop_back();
    }
    co_return line;
}

toadstone::task<std::optional<std::string>>
buffered_reader::read_piece(std::string delimiter, std::size_t limit,
                            std::string_view operation, std::source_location where) {
    const detail::claim alone(use_, detail::in_use::reading);
    co_await toadstone::detail::checkpoint_for(where);
    if (!alone) refuse();
    if (delimiter.empty()) throw std::invalid_argument("read_until: the delimiter is empty");
    const std::size_t most = std::min(limit, most_);
    std::optional<std::string> piece;
    std::size_t searched = 0; // no delimiter begins before this
    for (;;) {
        const std::size_t at = buffered().substr(0, most).find(delimiter, searched);
        if (at != std::string_view::npos) {
            piece.emplace(buffered().substr(0, at + delimiter.size()));
            consume(piece->size());
            break;
        }
        if (size() >= most) throw limit_exceeded(operation, source(), most);
        searched = size() < delimiter.size() ? 0 : size() - delimiter.size() + 1;
        const std::size_t count = co_await read_from(stream_, pipe_, free_room(), where);
        if (count == 0 && size() == 0) break;
        if (count == 0) throw unexpected_end(operation, source(), size());
        end_ += count;
    }
    co_return piece;
}

} // namespace toadstone::io
