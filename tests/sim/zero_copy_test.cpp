// The simulated kernel by itself: the memory of a send without a copy, and its notification.
#include "support/rig.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cstddef>
#include <map>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

/// A notification waits for the bytes to arrive; all else is tame.
class travelling final : public sim::choices {
public:
    std::string name() const override { return "travelling"; }

private:
    unsigned decide(unsigned n, sim::choice about) override {
        return about == sim::choice::timing && n == 2 ? 1 : 0;
    }
};

auto send_zc(int fd, const char* from, unsigned size) {
    return [=](io_uring_sqe* e) { io_uring_prep_send_zc(e, fd, from, size, MSG_NOSIGNAL, 0); };
}
/// What is sent has not arrived: no time passes.
void enter(rig& in) {
    for (int i = 0; i < 10; ++i) in.turn();
}

} // namespace

TEST_CASE("simulated kernel: the memory of a zero-copy send is the kernel's until the "
          "notification") {
    const bool changed = GENERATE(false, true);
    place at(std::make_unique<travelling>());
    rig& in = at.in;
    const auto pair = in.connected();
    char* const text = in.buffer(5);
    in.add(1, send_zc(pair.client, text, 5));
    enter(in);
    CHECK(in.of(1) == "5 MORE");
    CHECK(at.kernel.in_flight() == 1);
    CHECK_FALSE(at.kernel.balanced());
    in.cancels(2, 1);
    enter(in);
    CHECK(in.of(2) == "ENOENT");
    if (changed) text[4] = '!';
    in.settle();
    CHECK(in.of(1) == "5 MORE, 0 NOTIF");
    CHECK(at.kernel.in_flight() == 0);
    CHECK(at.kernel.balanced() == !changed);
    CHECK_THAT(at.kernel.complaint(), Catch::Contains(changed ? "SEND_ZC" : ""));
    text[4] = '?';
    CHECK(at.kernel.balanced() == !changed);
}

// What is closed says goodbye behind its last byte, not only when the notification is there.
TEST_CASE("simulated kernel: a descriptor can be closed before the notification") {
    place at(std::make_unique<travelling>());
    rig& in = at.in;
    const auto pair = in.connected();
    const auto begun = at.world.now();
    in.add(1, send_zc(pair.client, "a", 1));
    enter(in);
    in.close(pair.client);
    enter(in);
    CHECK(in.of(1) == "1 MORE");
    in.settle();
    CHECK(in.of(1) == "1 MORE, 0 NOTIF");
    CHECK(at.world.now() - begun == 10 * at.world.options().latency);
    char* const to = in.buffer(1);
    const auto receives = [&](io_uring_sqe* e) {
        io_uring_prep_recv(e, pair.server, to, 1, 0);
    };
    CHECK(in.run(receives) == 1);
    CHECK(in.run(receives) == 0);
}

TEST_CASE("simulated kernel: notifications come late, and in any order") {
    std::map<std::string, unsigned> seen;
    for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
        place at(sim::random_choices(seed));
        rig& in = at.in;
        const auto first = in.connected();
        const auto second = in.connected();
        in.add(1, send_zc(first.client, "a", 1));
        in.add(2, send_zc(second.client, "b", 1));
        in.add(3, [](io_uring_sqe* e) { io_uring_prep_nop(e); });
        in.settle();
        REQUIRE(in.of_chain(1, 3) == "1 MORE, 0 NOTIF; 1 MORE, 0 NOTIF; 0");
        CHECK(at.kernel.balanced());
        std::string order;
        for (const std::uint64_t tag : in.order()) {
            if (tag <= 3) order += std::to_string(tag);
        }
        ++seen[order];
    }
    CHECK(seen["12312"] > 0);
    CHECK(seen["12321"] > 0);
    CHECK(seen["11223"] > 0);
    CHECK(seen.size() > 20); // of 5! / (2! 2!), some of which are rare
}

// Toadstone does not ask for it when it starts; who wants it does.
TEST_CASE("simulated kernel: a probe tells that there are zero-copy sends") {
    place at(place::tame(), false);
    alignas(io_uring_probe)
        std::byte memory[sizeof(io_uring_probe) + 64 * sizeof(io_uring_probe_op)] = {};
    auto* const found = reinterpret_cast<io_uring_probe*>(memory);
    REQUIRE(at.in.ring().enroll(IORING_REGISTER_PROBE, found, 64) == 0);
    CHECK(found->ops[IORING_OP_SEND_ZC].flags == IO_URING_OP_SUPPORTED);
    CHECK(found->ops[IORING_OP_SENDMSG_ZC].flags == 0);
    const auto& own = detail::opcodes_in_use;
    CHECK(std::count(own.begin(), own.end(), IORING_OP_SEND_ZC) == 0);
}

TEST_CASE("simulated kernel: of a zero-copy send only what both kernels have is taken") {
    place at(place::tame(), false);
    rig& in = at.in;
    const auto pair = in.connected();
    sockaddr_in name{};
    in.add(1, [&](io_uring_sqe* e) {
        send_zc(pair.client, "a", 1)(e);
        e->ioprio = IORING_RECVSEND_FIXED_BUF;
    });
    in.add(2, [&](io_uring_sqe* e) {
        io_uring_prep_send_zc(e, pair.client, "a", 1, MSG_DONTWAIT, 0);
    });
    in.add(3, [&](io_uring_sqe* e) {
        send_zc(pair.client, "a", 1)(e);
        e->addr2 = reinterpret_cast<std::uintptr_t>(&name);
        e->addr_len = sizeof name;
    });
    in.settle();
    CHECK(in.of_chain(1, 3) == "EINVAL; EINVAL; EINVAL");
}
