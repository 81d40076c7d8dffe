// A process that was started without standard descriptors: the library takes none of them.
#include <toadstone/io/file.hpp>
#include <toadstone/io/signal_set.hpp>
#include <toadstone/io/tcp_listener.hpp>
#include <toadstone/runtime/loop.hpp>

#include "support/capture.hpp"
#include "support/skip.hpp"

#include <catch2/catch.hpp>

#include <csignal>

#include <fcntl.h>
#include <unistd.h>

namespace toadstone::tests {
namespace {

bool closed(int fd) noexcept {
    return ::fcntl(fd, F_GETFD) < 0;
}

task<int> uses_everything() {
    io::signal_set signals({SIGUSR1});
    if (!closed(0) || !closed(1)) co_return 11;
    io::tcp_listener listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    if (!closed(0) || !closed(1)) co_return 12;
    io::tcp_stream near = co_await io::tcp_stream::connect(listener.local_endpoint());
    if (!closed(0) || !closed(1)) co_return 13;
    io::tcp_stream far = co_await listener.accept();
    if (!closed(0) || !closed(1)) co_return 14;
    io::file zero = co_await io::file::open("/dev/zero", {.read = true});
    if (!closed(0) || !closed(1)) co_return 15;
    co_return 0;
}

} // namespace

TEST_CASE("S136: rings, eventfds, sockets and files of the library are above descriptor 2") {
    const auto end = in_child([] {
        ::close(0);
        ::close(1);
        runtime here({.workers = 2});
        if (!closed(0) || !closed(1)) return 10;
        return here.block_on(uses_everything());
    });
    CHECK(end.exited);
    CHECK(end.code == 0);
}

} // namespace toadstone::tests
