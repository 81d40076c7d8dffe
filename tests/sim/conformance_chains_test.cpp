// What the simulated kernel answers is what the real one answers: entries that are linked.
#include "support/two_rings.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr unsigned soft = IOSQE_IO_LINK;
constexpr unsigned hard = IOSQE_IO_HARDLINK;

void nop(io_uring_sqe* e) {
    io_uring_prep_nop(e);
}
auto read(int fd, char* to, unsigned size) {
    return [=](io_uring_sqe* e) { io_uring_prep_read(e, fd, to, size, 0); };
}
auto recv(int fd, char* to, unsigned size, int flags = 0) {
    return [=](io_uring_sqe* e) { io_uring_prep_recv(e, fd, to, size, flags); };
}
auto send(int fd, const char* from, unsigned size, int flags = 0) {
    return
        [=](io_uring_sqe* e) { io_uring_prep_send(e, fd, from, size, flags | MSG_NOSIGNAL); };
}
auto close(int fd) {
    return [=](io_uring_sqe* e) { io_uring_prep_close(e, fd); };
}
void invalid(io_uring_sqe* e) {
    io_uring_prep_fsync(e, 0, 77);
}

/// Of 1, 2 and 3, which were submitted in this order.
bool in_order(const rig& in) {
    std::vector<std::uint64_t> seen;
    for (const std::uint64_t tag : in.order()) {
        if (tag <= 3) seen.push_back(tag);
    }
    return seen == std::vector<std::uint64_t>{1, 2, 3};
}

void ok(rig& in) {
    const int fd = in.file("");
    char* const to = in.buffer(1);
    in.add(1, [&](io_uring_sqe* e) { io_uring_prep_write(e, fd, "x", 1, 0); }, soft);
    in.add(2, [&](io_uring_sqe* e) { io_uring_prep_fsync(e, fd, 0); }, soft);
    in.add(3, read(fd, to, 1));
    in.ends(1, 3);
    in.same("a write, made durable, and read", in.of_chain(1, 3));
    in.same("what was read", std::string(to, 1));
    in.holds("they end in order", in_order(in));
    in.close(fd);
}
void each_waits(rig& in) {
    const auto pair = in.connected();
    char* const to = in.buffer(2);
    in.add(1, recv(pair.server, to, 1), soft);
    in.add(2, recv(pair.server, to + 1, 1), soft);
    in.add(3, nop);
    in.settle();
    in.same("nothing has come", in.of_chain(1, 3));
    in.send(pair.client, "a");
    in.same("a byte has come", in.of_chain(1, 3));
    in.send(pair.client, "b");
    in.ends(1, 3);
    in.same("and another", in.of_chain(1, 3));
    in.same("in the order of the chain", std::string(to, 2));
    in.holds("they end in order", in_order(in));
    in.close(pair);
}
/// A connection, and the first byte on it.
void connects(rig& in) {
    const int listener = in.listener();
    const sockaddr* const name = in.address_of(listener);
    for (const bool open : {true, false}) {
        if (!open) in.shutdown(listener, SHUT_RDWR);
        const std::uint64_t at = open ? 1 : 11;
        const int client = in.socket();
        in.add(at, rig::to_connect(client, name), soft);
        in.add(at + 1, send(client, "a", 1));
        in.ends(at, at + 1);
        in.same(open ? "somebody listens" : "nobody listens", in.of_chain(at, at + 1));
        in.close(client);
    }
    in.close(listener);
}
void is_short(rig& in) {
    const int fd = in.file("abc");
    in.add(1, read(fd, in.buffer(4), 4), soft);
    in.add(2, nop, soft);
    in.add(3, nop);
    in.ends(1, 3);
    in.one_of("a short read", in.of_chain(1, 3),
              {"3; ECANCELED; ECANCELED", "2; ECANCELED; ECANCELED", "1; ECANCELED; ECANCELED"},
              "a read may be shorter still");
    in.holds("they end in order", in_order(in));
    in.close(fd);
}
void end_of_file(rig& in) {
    const int fd = in.file("");
    in.add(1, read(fd, in.buffer(4), 4), hard);
    in.add(2, nop, soft);
    in.add(3, nop);
    in.ends(1, 3);
    in.same("a hard link does not mind", in.of_chain(1, 3));
    in.add(11, read(fd, in.buffer(4), 4), soft);
    in.add(12, nop);
    in.ends(11, 12);
    in.same("a soft one does", in.of_chain(11, 12));
    in.close(fd);
}
void short_on_socket(rig& in) {
    const auto pair = in.connected();
    in.send(pair.client, "a");
    in.add(1, recv(pair.server, in.buffer(4), 4), soft);
    in.add(2, nop);
    in.ends(1, 2);
    in.same("a receive of less than there is room for", in.of_chain(1, 2));
    in.send(pair.client, "b");
    in.shutdown(pair.client, SHUT_WR);
    in.add(11, recv(pair.server, in.buffer(4), 4, MSG_WAITALL), soft);
    in.add(12, nop);
    in.ends(11, 12);
    in.same("of one that wants all", in.of_chain(11, 12));
    in.add(21, recv(pair.server, in.buffer(4), 4), soft);
    in.add(22, nop);
    in.ends(21, 22);
    in.same("the end of the stream", in.of_chain(21, 22));
    in.add(31, read(pair.server, in.buffer(4), 4), soft);
    in.add(32, nop);
    in.ends(31, 32);
    in.same("which a read takes for a failure", in.of_chain(31, 32));
    in.close(pair);
}
void error(rig& in) {
    in.add(1, read(-1, in.buffer(4), 4), soft);
    in.add(2, nop, soft);
    in.add(3, nop);
    in.ends(1, 3);
    in.same("the first fails", in.of_chain(1, 3));
    in.holds("they end in order", in_order(in));
    in.add(11, read(-1, in.buffer(4), 4), hard);
    in.add(12, read(-1, in.buffer(4), 4), soft);
    in.add(13, nop, hard);
    in.add(14, nop);
    in.ends(11, 14);
    in.same("hard, soft, hard", in.of_chain(11, 14));
    for (const unsigned kind : {soft, hard}) {
        in.add(20 + kind, nop, kind);
        in.add(21 + kind, invalid, kind);
        in.add(22 + kind, nop);
        in.ends(20 + kind, 22 + kind);
        in.same("one that is not valid", in.of_chain(20 + kind, 22 + kind));
    }
    in.add(41, invalid, soft);
    in.add(42, nop);
    in.ends(41, 42);
    in.same("the first is not valid", in.of_chain(41, 42));
    in.add(51, [](io_uring_sqe* e) { io_uring_prep_cancel64(e, 999, 0); }, soft);
    in.add(52, nop);
    in.ends(51, 52);
    in.same("a cancellation that finds nothing", in.of_chain(51, 52));
}
void cut(rig& in) {
    in.add(1, read(-1, in.buffer(4), 4), soft);
    in.submit();
    in.add(2, nop);
    in.ends(1, 2);
    in.same("two calls make two chains", in.of_chain(1, 2));
    in.add(11, read(-1, in.buffer(4), 4), soft);
    in.add(12, nop, soft);
    in.add(13, nop);
    in.submit(true);
    in.ends(11, 13);
    const std::string end = in.of_chain(11, 13);
    // The real kernel cuts one only for want of memory.
    in.one_of("three together", end, {"EBADF; ECANCELED; ECANCELED", "EBADF; ECANCELED; 0"},
              "a part of them is submitted");
    in.add(21, nop, soft);
    in.add(22, nop, soft);
    in.ends(21, 22);
    in.same("a link to nothing", in.of_chain(21, 22));
}
void cancel(rig& in) {
    const auto pair = in.connected();
    for (const unsigned kind : {soft, hard}) {
        const std::uint64_t at = 10 * kind;
        in.add(at + 1, recv(pair.server, in.buffer(1), 1), kind);
        in.add(at + 2, nop, soft);
        in.add(at + 3, nop);
        in.settle();
        in.cancels(at + 4, at + 2);
        in.ends(at + 4, at + 4);
        in.same("one whose turn has not come is not found", in.of_chain(at + 1, at + 4));
        in.cancels(at + 5, at + 1);
        in.ends(at + 1, at + 5);
        in.one_of("the first, answered", in.of(at + 5), {"0", "EALREADY"}, "a race");
        in.one_of("the first, ended", in.of(at + 1), {"ECANCELED", "EINTR"}, "a race");
        in.same("the others", in.of_chain(at + 2, at + 3));
    }
    char* const to = in.buffer(2);
    in.add(1, recv(pair.server, to, 2, MSG_WAITALL), soft);
    in.add(2, nop);
    in.settle();
    in.send(pair.client, "a");
    in.cancels(3, 1);
    in.ends(1, 3);
    in.same("with a part of what it wants", in.of_chain(1, 2));
    in.add(4, recv(pair.server, to, 1));
    in.settle();
    in.add(5, [](io_uring_sqe* e) { io_uring_prep_cancel64(e, 4, 0); }, soft);
    in.add(6, nop);
    in.ends(4, 6);
    in.one_of("by a member of another chain", in.of_chain(5, 6),
              {"0; 0", "EALREADY; ECANCELED"}, "a race");
    in.close(pair);
}
void closes(rig& in) {
    const auto pair = in.connected();
    in.send(pair.client, "a");
    in.add(1, close(pair.server), soft);
    in.add(2, recv(pair.server, in.buffer(1), 1), soft);
    in.add(3, nop);
    in.ends(1, 3);
    in.same("what is closed is gone", in.of_chain(1, 3));
    in.close(pair.client);
    const auto other = in.connected();
    in.send(other.client, "a");
    in.add(11, recv(other.server, in.buffer(1), 1), soft);
    in.add(12, send(other.server, "b", 1), soft);
    in.add(13, close(other.server));
    in.ends(11, 13);
    in.same("the last one closes", in.of_chain(11, 13));
    char* const to = in.buffer(1);
    in.same("which the peer sees", in.run(recv(other.client, to, 1)));
    in.same("at the end", in.run(recv(other.client, to, 1)));
    in.close(other.client);
}
/// The memory of one is what the one before it has filled.
void copies(rig& in) {
    const auto pair = in.connected();
    char* const between = in.buffer(1);
    in.add(1, recv(pair.server, between, 1), soft);
    in.add(2, send(pair.server, between, 1));
    in.settle();
    in.send(pair.client, "x");
    in.ends(1, 2);
    in.same("an echo", in.of_chain(1, 2));
    char* const to = in.buffer(1);
    in.same("comes back", in.run(recv(pair.client, to, 1)));
    in.same("as it was", std::string(to, 1));
    in.close(pair);
}

constexpr ring_body chains[] = {
    {"ok", ok},
    {"ok: each waits for its turn", each_waits},
    {"ok: a buffer goes on", copies},
    {"ok: connect and send", connects},
    {"short: read", is_short},
    {"short: end of file", end_of_file},
    {"short: socket", short_on_socket},
    {"error", error},
    {"error: more than one call", cut},
    {"cancel", cancel},
    {"close", closes},
};

} // namespace

TEST_CASE("conformance: chains end on the simulated kernel as on the real one") {
    run_bodies(chains);
}
