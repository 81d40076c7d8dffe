// What the simulated kernel answers is what the real one answers: sends without a copy, which
// complete once for their result and once more when the memory is free again.
#include "support/two_rings.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr unsigned soft = IOSQE_IO_LINK;
constexpr unsigned plenty = 1U << 20; // more than a connection holds

auto send_zc(int fd, const char* from, unsigned size, int flags = 0) {
    return [=](io_uring_sqe* e) {
        io_uring_prep_send_zc(e, fd, from, size, flags | MSG_NOSIGNAL, 0);
    };
}
void nop(io_uring_sqe* e) {
    io_uring_prep_nop(e);
}
auto recv(int fd, char* to, unsigned size) {
    return [=](io_uring_sqe* e) { io_uring_prep_recv(e, fd, to, size, 0); };
}
/// An error may come with a notification or without one; F_MORE says which.
std::set<std::string> with_or_without(const std::string& error) {
    return {error, error + " MORE, 0 NOTIF"};
}
constexpr const char* unsaid = "whether an error is notified is not said";

void ok(rig& in) {
    const auto pair = in.connected();
    in.add(1, send_zc(pair.client, "a", 1));
    in.ends(1, 1);
    in.same("a byte", in.of(1));
    in.add(2, send_zc(pair.client, "b", 1), soft);
    in.add(3, send_zc(pair.client, "c", 1));
    in.ends(2, 3);
    in.same("two more", in.of_chain(2, 3));
    char* const to = in.buffer(3);
    for (unsigned i = 0; i < 3; ++i) {
        in.same("it comes", in.run(recv(pair.server, to + i, 1)));
    }
    in.same("in order", std::string(to, 3));
    in.add(4, send_zc(pair.client, "", 0));
    in.ends(4, 4);
    in.same("nothing at all", in.of(4));
    in.close(pair);
}
void is_short(rig& in) {
    auto pair = in.connected();
    in.add(1, send_zc(pair.client, in.buffer(plenty), plenty), soft);
    in.add(2, nop);
    in.settle();
    const auto first = in.all(1).at(0);
    in.holds("a part of it", first.res > 0 && first.res < static_cast<int>(plenty));
    in.holds("and a notification later", first.flags & IORING_CQE_F_MORE);
    in.same("which is good enough for a chain", in.of(2));
    in.close(pair.server);
    in.ends(1, 1);
    in.holds("the notification", in.all(1).back().flags & IORING_CQE_F_NOTIF);
    in.holds("and no more", in.all(1).size() == 2);
    in.close(pair.client);
}
void error(rig& in) {
    const int file = in.file("");
    in.add(1, send_zc(-1, "a", 1));
    in.add(2, send_zc(file, "a", 1));
    in.ends(1, 2);
    in.one_of("no descriptor", in.of(1), with_or_without("EBADF"), unsaid);
    in.one_of("no socket", in.of(2), with_or_without("ENOTSOCK"), unsaid);
    in.close(file);
    const auto pair = in.connected();
    in.shutdown(pair.client, SHUT_WR);
    in.add(3, send_zc(pair.client, "a", 1), soft);
    in.add(4, nop);
    in.ends(3, 4);
    in.one_of("shut", in.of(3), with_or_without("EPIPE"), unsaid);
    in.same("what follows it", in.of(4));
    in.abort_on_close(pair.client);
    in.close(pair.client);
    in.settle();
    in.add(5, send_zc(pair.server, "a", 1));
    in.ends(5, 5);
    // It was told first that the peer would send no more.
    in.one_of("reset", in.of(5), with_or_without("EPIPE"), unsaid);
    in.close(pair.server);
}
void reset(rig& in) {
    const auto pair = in.connected();
    in.abort_on_close(pair.client);
    in.close(pair.client);
    in.settle();
    in.add(1, send_zc(pair.server, "a", 1));
    in.ends(1, 1);
    in.one_of("reset", in.of(1), with_or_without("ECONNRESET"), unsaid);
    in.close(pair.server);
}
void severed(rig& in) {
    const auto pair = in.connected();
    in.add(1, send_zc(-1, "a", 1), soft);
    in.add(2, send_zc(pair.client, "b", 1), soft);
    in.add(3, nop);
    in.ends(1, 3);
    // The notification of Linux 6.18 comes without a word before.
    in.one_of("its chain broke", in.of(2),
              {"ECANCELED", "ECANCELED, 0 NOTIF", "ECANCELED MORE, 0 NOTIF"}, unsaid);
    in.same("what follows it", in.of(3));
    in.close(pair);
}
void cancel(rig& in) {
    const auto pair = in.connected();
    in.add(1, [&](io_uring_sqe* e) {
        io_uring_prep_send(e, pair.client, in.buffer(plenty), plenty,
                           MSG_WAITALL | MSG_NOSIGNAL);
    });
    // Until one has to wait, too.
    std::uint64_t tag = 10;
    for (; tag < 500; ++tag) {
        in.add(tag, send_zc(pair.client, "a", 1));
        in.settle();
        if (in.has_ended(1)) throw not_this_time();
        if (in.all(tag).empty()) break;
    }
    in.cancels(2, tag);
    in.ends(2, 2);
    in.ends(tag, tag);
    auto ends = with_or_without("ECANCELED");
    ends.merge(with_or_without("EINTR"));
    in.one_of("ended", in.of(tag), ends, unsaid);
    in.one_of("answer", in.of(2), {"0", "EALREADY"}, "a race");
    in.cancels(3, tag);
    in.ends(3, 3);
    in.same("once more", in.of(3));
    in.cancels(4, 1);
    in.ends(1, 1);
    in.ends(4, 4);
    in.close(pair);
    in.settle();
}
void cancel_part(rig& in) {
    const auto pair = in.connected();
    in.add(1, send_zc(pair.client, in.buffer(plenty), plenty, MSG_WAITALL), soft);
    in.add(2, nop);
    in.settle();
    if (!in.all(1).empty()) throw not_this_time();
    in.cancels(3, 1);
    in.settle();
    in.holds("the part that was sent", in.all(1).at(0).res > 0);
    in.holds("and a notification later", in.all(1).at(0).flags & IORING_CQE_F_MORE);
    in.same("is not enough for a chain", in.of(2));
    in.close(pair.server);
    in.ends(1, 1);
    in.holds("the notification", in.all(1).back().flags & IORING_CQE_F_NOTIF);
    in.close(pair.client);
}
void closes(rig& in) {
    const auto pair = in.connected();
    in.add(1, send_zc(pair.client, "a", 1), soft);
    in.add(2, [&](io_uring_sqe* e) { io_uring_prep_close(e, pair.client); }, soft);
    in.add(3, send_zc(pair.client, "b", 1));
    in.ends(1, 3);
    in.same("sent and closed", in.of_chain(1, 2));
    in.one_of("what is closed is gone", in.of(3), with_or_without("EBADF"), unsaid);
    char* const to = in.buffer(2);
    in.same("it comes", in.run(recv(pair.server, to, 2)));
    in.same("and the end", in.run(recv(pair.server, to, 2)));
    in.close(pair.server);
}

constexpr ring_body sends[] = {
    {"ok", ok},
    {"short", is_short},
    {"error", error},
    {"error: reset", reset},
    {"error: a broken chain", severed},
    {"cancel", cancel},
    {"cancel: a part is sent", cancel_part},
    {"close", closes},
};

} // namespace

TEST_CASE("conformance: zero-copy sends end on the simulated kernel as on the real one") {
    run_bodies(sends);
}
