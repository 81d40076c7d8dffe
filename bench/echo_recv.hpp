// An echo connection that receives ahead, with recv(), instead of into a buffer of its own.
#ifndef TOADSTONE_BENCH_ECHO_RECV_HPP
#define TOADSTONE_BENCH_ECHO_RECV_HPP

#include <toadstone/io/received.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/task.hpp>

namespace bench {

inline toadstone::task<> echo_received(toadstone::io::tcp_stream stream) {
    for (;;) {
        const toadstone::io::received bytes = co_await stream.recv();
        if (bytes.empty()) break;
        co_await stream.write_all(bytes);
    }
}

} // namespace bench

#endif
