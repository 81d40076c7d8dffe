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
    refused_ = !claim_.take(stream_->handle_.use, in_use::reading);
    receiver* const from = stream_->ahead_;
    if (refused_ || !from || !from->is_open_to(*ctx_) || !from->has_something() ||
        stream_->read_poison_.set() || !may_complete_at_once()) {
        return false;
    }
    found(*from);
    return true;
}

void tcp_recv_leaf::begin() noexcept {
    if (refused_ || stream_->read_poison_.set()) return answer_later();
    receiver* from = stream_->ahead_;
    const bool here = from && from->is_open_to(*ctx_);
    if (here && from->has_something()) {
        found(*from);
        return answer_later();
    }
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
    if (refused_) throw_in_use("read from", stream_->peer().to_string(), "reads from it");
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
    if (!which_->is_open_to(*ctx_) || !which_->has_something()) return wait(*which_);
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
