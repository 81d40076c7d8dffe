// write_all() that lends its bytes to the real kernel, or copies where that cannot be.
#include <toadstone/io/tcp_stream.hpp>

#include <toadstone/runtime.hpp>
#include <toadstone/runtime/uring/worker.hpp>

#include <support/forwarding_kernel.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <string>
#include <thread>

#include <liburing.h>
#include <sys/socket.h>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr std::uint32_t lent = 0x20000000; // io_op::notified, in the user_data

bool lends(const test_kernel& kernel) {
    const auto& all = kernel.last_submitted;
    return std::any_of(all.begin(), all.end(), [](std::uint64_t user_data) {
        return (static_cast<std::uint32_t>(user_data) & 0xf0000000) == lent;
    });
}

/// The real ring, of a kernel that may know nothing of sends without a copy.
class maybe_old_kernel final : public forwarding_kernel {
public:
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override {
        for (unsigned i = 0; i < to_submit; ++i) {
            const unsigned at = (ring.sq.sqe_tail - to_submit + i) & *ring.sq.kring_mask;
            lent |= ring.sq.sqes[at].opcode == IORING_OP_SEND_ZC;
        }
        return detail::real_kernel().enter(ring, to_submit, min_complete, flags, wait);
    }
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override {
        const int result = detail::real_kernel().enroll(ring, opcode, argument, count);
        if (opcode == IORING_REGISTER_PROBE && result == 0 && !knows) {
            static_cast<io_uring_probe*>(argument)->ops[IORING_OP_SEND_ZC].flags = 0;
        }
        return result;
    }

    bool knows = true;
    bool lent = false;
};

} // namespace

TEST_CASE("zero copy: all is written, in order, however slowly the peer reads") {
    runtime rt({.workers = 1});
    auto body = []() -> task<> {
        auto pair = co_await connect_pair();
        pair.stream.set_zero_copy(10000);
        std::string sent(4 << 20, '\0');
        for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 7 / 5);
        std::string received;
        std::thread reader([&] { received = pair.peer.receive_all(); });
        co_await pair.stream.write_all(sent);
        const std::string copy = sent;
        std::fill(sent.begin(), sent.end(), '!');
        co_await pair.stream.close();
        reader.join();
        CHECK((received == copy));
    };
    rt.block_on(body());
}

TEST_CASE("zero copy: only what is asked for is lent") {
    stepped world;
    auto pair = world.run(connect_pair());
    const std::string much(1000, 'x');
    auto lent_by = [&] {
        auto writing = world.spawn(pair.stream.write_all(much));
        world.step();
        const bool is = lends(world.kernel());
        world.settle();
        CHECK(writing.done());
        return is;
    };
    CHECK_FALSE(lent_by());
    pair.stream.set_zero_copy(much.size() + 1);
    CHECK_FALSE(lent_by());
    pair.stream.set_zero_copy(much.size());
    CHECK(lent_by());
    io::tcp_stream moved(std::move(pair.stream));
    pair.stream = std::move(moved);
    CHECK(lent_by());
    pair.stream.set_zero_copy(io::tcp_stream::never);
    CHECK_FALSE(lent_by());
}

// S177.
TEST_CASE("zero copy: a socket that cannot be lent to gets a copy") {
    stepped world;
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const raw_socket peer(ends[1]);
    io::tcp_stream stream(io::detail::descriptor{ends[0]}, io::endpoint::loopback(1));
    stream.set_zero_copy(1);
    world.run(stream.write_all("copied"));
    CHECK(peer.receive() == "copied");
    CHECK_FALSE(stream.poisoned());
}

// S178.
TEST_CASE("zero copy: a kernel without it copies") {
    const bool known = GENERATE(true, false);
    maybe_old_kernel kernel;
    kernel.knows = known;
    detail::worker worker(kernel, {.entries = 64, .completions = 1024}, 512, nullptr, 0);
    worker.attach();
    const auto& features = worker.queue().features();
    CHECK(std::count(features.begin(), features.end(),
                     known ? "send_zero_copy" : "no send_zero_copy") == 1);
    int ends[2];
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    const raw_socket peer(ends[1]);
    io::tcp_stream stream(io::detail::descriptor{ends[0]}, io::endpoint::loopback(1));
    stream.set_zero_copy(1);
    auto writing = detail::spawn_on(worker, {}, stream.write_all("x"));
    for (int idle = 0; idle < 3;) idle = worker.step(false) ? 0 : idle + 1;
    CHECK(writing.done());
    CHECK(kernel.lent == known);
    CHECK(peer.receive() == "x");
    worker.detach();
}
