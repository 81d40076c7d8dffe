// Between a stream and its receiver.
#include <toadstone/io/detail/ahead.hpp>

#include <toadstone/io/detail/error.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/executor.hpp>
#include <toadstone/runtime/uring/receiver.hpp>

#include <cerrno>
#include <new>

namespace toadstone::io::detail {

using toadstone::detail::receiver;

bool ahead_leaf::cancel(toadstone::cancel_reason, bool) noexcept {
    return from_ && from_->stop_waiting();
}

bool ahead_leaf::taken() noexcept {
    return from_ && !from_->has_something();
}

void ahead_leaf::wait(receiver& from) noexcept {
    from_ = &from;
    from.wait(*ctx_);
}

void ahead_leaf::answer_later() noexcept {
    ctx_->home().push(*ctx_);
}

bool tcp_recv_leaf::await_ready() noexcept {
    next_ = step::refused;
    if (!claim_.take(stream_->handle_.use, in_use::reading)) return false;
    next_ = step::answer;
    if (stream_->read_poison_.set()) return false;
    next_ = step::wait;
    receiver* const from = stream_->ahead_;
    if (!from || !from->is_open_to(ctx_->home()) || !from->has_something()) return false;
    next_ = step::answer;
    found(*from);
    return may_complete_at_once();
}

void tcp_recv_leaf::begin() noexcept {
    if (next_ != step::wait) return answer_later();
    receiver* from = stream_->ahead_;
    const int fd = stream_->handle_.use.being_closed() ? -1 : stream_->handle_.fd.get();
    if (fd < 0) error_ = EBADF;
    if (!from && !error_) {
        from = stream_->ahead_ = new (std::nothrow) receiver(fd);
        if (!from) error_ = ENOMEM;
    }
    if (error_) return answer_later();
    wait(*from);
}

received tcp_recv_leaf::await_resume() {
    if (next_ == step::refused)
        throw_in_use("read from", stream_->peer().to_string(), "reads from it");
    const struct end_of_use {
        claim& of;
        ~end_of_use() { of.drop(); }
    } at_end{claim_};
    stream_->read_poison_.check();
    if (error_ == ENOMEM) throw std::bad_alloc();
    if (error_) throw_io_error("read from", stream_->peer().to_string(), error_);
    if (auto* const buffer = from()->take()) return received(buffer);
    stream_->check_received(from()->take_end());
    return received();
}

void copy_ahead_leaf::wait_or_find() noexcept {
    if (!which_->is_open_to(ctx_->home()) || !which_->has_something()) return wait(*which_);
    found(*which_);
    answer_later();
}

int copy_ahead_leaf::await_resume() noexcept {
    return which_->copy_to(into_.data(), into_.size());
}

void rest_leaf::begin() noexcept {
    which_->rest(*ctx_);
}

} // namespace toadstone::io::detail
