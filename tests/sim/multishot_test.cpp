// The simulated kernel by itself: operations that complete again and again, and the buffers
// that are provided for them.
#include "support/rig.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <map>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr std::uint16_t group = 7;

auto accept(int fd) {
    return [=](io_uring_sqe* e) { io_uring_prep_multishot_accept(e, fd, nullptr, nullptr, 0); };
}
auto recv(int fd, unsigned flags = IORING_RECV_MULTISHOT) {
    return [=](io_uring_sqe* e) {
        io_uring_prep_recv(e, fd, nullptr, 0, 0);
        e->ioprio = static_cast<std::uint16_t>(flags);
        e->flags |= IOSQE_BUFFER_SELECT;
        e->buf_group = group;
    };
}
long last_ones(rig& in, std::uint64_t tag) {
    const auto& all = in.all(tag);
    return std::count_if(all.begin(), all.end(), [](const auto& each) {
        return (each.flags & IORING_CQE_F_MORE) == 0;
    });
}

} // namespace

TEST_CASE("simulated kernel: what completes again has one last completion, however it ends") {
    std::map<std::string, unsigned> ends;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        place at(sim::random_choices(seed));
        rig& in = at.in;
        const int listener = in.listener();
        for (int i = 0; i < 4; ++i) in.close(in.client_of(listener));
        in.add(1, accept(listener));
        in.settle();
        CHECK(at.kernel.in_flight() == (in.has_ended(1) ? 0 : 1));
        CHECK(at.kernel.balanced() == in.has_ended(1));
        if (!in.has_ended(1)) in.cancels(2, 1);
        in.settle();
        REQUIRE(last_ones(in, 1) == 1);
        CHECK((in.all(1).back().flags & IORING_CQE_F_MORE) == 0);
        CHECK(at.kernel.balanced());
        ++ends[in.all(1).back().res >= 0 ? "itself" : name_of(in.all(1).back().res)];
    }
    CHECK(ends.size() == 3); // by itself, ECANCELED, EINTR
}

TEST_CASE("simulated kernel: where the completion queue is full, what completes again ends") {
    place at(place::tame(), false, {4, 8});
    rig& in = at.in;
    const int listener = in.listener();
    for (int i = 0; i < 12; ++i) in.close(in.client_of(listener));
    in.add(1, accept(listener));
    in.settle();
    CHECK(in.all(1).size() == in.ring().completion_capacity() + 1);
    CHECK(last_ones(in, 1) == 1);
    CHECK(in.all(1).back().res >= 0);
}

TEST_CASE("simulated kernel: a poll that goes on may tell a thing again, but not for ever") {
    std::map<std::size_t, unsigned> times;
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
        place at(sim::random_choices(seed));
        rig& in = at.in;
        const auto pair = in.connected();
        in.add(1,
               [&](io_uring_sqe* e) { io_uring_prep_poll_multishot(e, pair.server, POLLIN); });
        in.send(pair.client, "a");
        if (in.has_ended(1)) continue;
        CHECK(in.all(1).back().res == POLLIN);
        ++times[in.all(1).size()];
    }
    CHECK(times.count(0) == 0);
    CHECK(times.count(1) == 1);
    CHECK(times.count(2) == 1);
    CHECK(times.rbegin()->first <= 4);
}

TEST_CASE("simulated kernel: a provided buffer holds nothing that anybody could use, and comes "
          "back as it was beyond what was received") {
    place at(place::tame(), false);
    rig& in = at.in;
    const auto pair = in.connected();
    in.make_group(group, 2, 4, 0);
    in.provide(group, 1);
    in.provide(group, 0);
    in.ring().submit();
    const rig::completion second{4, 1U << IORING_CQE_BUFFER_SHIFT};
    CHECK(in.text_of(group, second) == std::string(4, static_cast<char>(0xa5)));
    in.add(1, recv(pair.server));
    in.send(pair.client, "ab");
    REQUIRE(in.all(1).size() == 1);
    CHECK(in.all(1).back().flags >> IORING_CQE_BUFFER_SHIFT == 1); // in the order of the ring
    CHECK(in.text_of(group, second) == "ab..");
    CHECK(in.take_group_back(group) == 0);
    CHECK(in.text_of(group, {4, 0}) == "....");
    CHECK(at.kernel.complaint().empty());
}

TEST_CASE("simulated kernel: a provided buffer that is written to is complained of") {
    const bool received = GENERATE(true, false);
    place at(place::tame(), false);
    rig& in = at.in;
    const auto pair = in.connected();
    char* const memory = in.make_group(group, 2, 4, 2);
    in.add(1, recv(pair.server));
    in.settle();
    memory[3] = '!';
    CHECK(at.kernel.complaint().empty());
    if (received) {
        in.send(pair.client, "ab");
    } else {
        CHECK(in.take_group_back(group) == 0);
    }
    CHECK_THAT(at.kernel.complaint(), Catch::Contains("was written to"));
    CHECK_FALSE(at.kernel.balanced());
}

TEST_CASE("simulated kernel: what only some kernels do again and again is refused") {
    place at(place::tame(), false);
    rig& in = at.in;
    const int listener = in.listener();
    const auto pair = in.connected();
    in.make_group(group, 2, 4, 2);
    sockaddr_in name{};
    socklen_t length = sizeof name;
    in.add(1, accept(listener), IOSQE_IO_LINK);
    in.add(2, [&](io_uring_sqe* e) {
        io_uring_prep_multishot_accept(e, listener, reinterpret_cast<sockaddr*>(&name), &length,
                                       0);
    });
    in.add(3, [&](io_uring_sqe* e) {
        recv(pair.server)(e);
        e->len = 2;
    });
    in.add(4, recv(pair.server, IORING_RECV_MULTISHOT | IORING_RECVSEND_POLL_FIRST));
    in.add(5, [&](io_uring_sqe* e) {
        io_uring_prep_poll_multishot(e, pair.server, POLLIN);
        e->len |= IORING_POLL_ADD_LEVEL;
    });
    in.add(6, [&](io_uring_sqe* e) {
        io_uring_prep_send(e, pair.server, "x", 1, 0);
        e->flags |= IOSQE_BUFFER_SELECT;
    });
    in.settle();
    CHECK(in.of_chain(1, 6) == "EINVAL; EINVAL; EINVAL; EINVAL; EINVAL; EINVAL");
}
