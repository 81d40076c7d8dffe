// What the simulated kernel answers is what the real one answers: sockets.
#include "support/two_kernels.hpp"

#include <catch2/catch.hpp>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

// --- ACCEPT ---

task<> accept_ok(lab& in) {
    const int listener = in.listener();
    const int clients[] = {in.socket(), in.socket()};
    for (const int fd : clients) {
        in.same("connect", co_await in.run(in.connect(fd, in.port_of(listener))));
    }
    for (const int fd : clients) {
        auto* const name = reinterpret_cast<sockaddr*>(in.buffer(sizeof(sockaddr_storage)));
        auto& length = in.number(sizeof(sockaddr_storage));
        const int accepted = co_await in.run(in.accept(listener, name, &length));
        in.holds("accepted", accepted >= 0);
        const auto* const from = reinterpret_cast<const sockaddr_in*>(name);
        in.holds("in order, with its name", ntohs(from->sin_port) == in.port_of(fd));
        in.holds("of the family", from->sin_family == AF_INET);
        in.holds("and host", ntohl(from->sin_addr.s_addr) == INADDR_LOOPBACK);
        in.same("as long as it is", static_cast<int>(length));
        in.holds("the rest is left alone",
                 reinterpret_cast<const char*>(name)[sizeof(sockaddr_in)] == '.');
        in.holds("at the listener's port", in.port_of(accepted) == in.port_of(listener));
        co_await closes(in, accepted);
    }
    for (const int fd : {clients[0], clients[1], listener}) co_await closes(in, fd);
}
task<> accept_short(lab& in) {
    const int listener = in.listener();
    const int client = in.socket();
    in.same("connect", co_await in.run(in.connect(client, in.port_of(listener))));
    char* const name = in.buffer(sizeof(sockaddr_in));
    auto& length = in.number(4);
    const int accepted =
        co_await in.run(in.accept(listener, reinterpret_cast<sockaddr*>(name), &length));
    sockaddr_in whole = in.loopback(in.port_of(client));
    in.holds("as much of the name as there is room for", std::memcmp(name, &whole, 4) == 0);
    in.same("and no more", std::string(name + 4, 4));
    in.same("the length that it has", static_cast<int>(length));
    for (const int fd : {accepted, client, listener}) co_await closes(in, fd);
}
task<> accept_error(lab& in) {
    const int fresh = in.socket();
    in.same("on a fresh socket", co_await in.run(in.accept(fresh)));
    co_await closes(in, fresh);
    const auto pair = co_await in.connected();
    in.same("on a connected one", co_await in.run(in.accept(pair.client)));
    flight& waiting = in.start(in.accept(pair.listener));
    co_await in.submitted(waiting);
    in.same("for writing", in.shutdown(pair.listener, SHUT_WR));
    co_await in.quiet();
    in.holds("an accept goes on", !waiting.handle->done());
    in.same("shut down", in.shutdown(pair.listener, SHUT_RDWR));
    in.same("an accept that waits", co_await in.end_of(waiting));
    in.same("an accept that comes later", co_await in.run(in.accept(pair.listener)));
    in.same("shut down again", in.shutdown(pair.listener, SHUT_RDWR));
    co_await in.close_all(pair);
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    in.same("on a file", co_await in.run(in.accept(file)));
    co_await closes(in, file);
}
task<> accept_cancel(lab& in) {
    const int listener = in.listener();
    const auto idle = co_await cancels(in, in.accept(listener), false);
    in.one_of("nobody is there", idle.to_string(), ways_to_stop, "nothing would end it");
    const int client = in.socket();
    in.same("connect", co_await in.run(in.connect(client, in.port_of(listener))));
    auto late = co_await cancels(in, in.accept(listener), true);
    in.one_of("somebody is there", late.to_string("itself"), ways_to_end, "it may be over");
    // S58: whoever was accepted is somebody's, whoever was not is still in the queue.
    if (late.result < 0) late.result = co_await in.run(in.accept(listener));
    in.holds("nobody is lost", late.result >= 0);
    for (const int fd : {late.result, client, listener}) co_await closes(in, fd);
}
task<> accept_close(lab& in) {
    const int listener = in.listener();
    const std::uint16_t port = in.port_of(listener);
    flight& accepting = in.start(in.accept(listener));
    co_await in.submitted(accepting);
    co_await closes(in, listener);
    in.same("after the close", co_await in.run(in.accept(listener)));
    co_await in.quiet();
    in.holds("a close does not end it", !accepting.handle->done());
    const int client = in.socket();
    in.same("it still listens", co_await in.run(in.connect(client, port)));
    const int accepted = co_await in.end_of(accepting);
    in.holds("and accepts", accepted >= 0);
    const int late = in.socket();
    in.same("for the last time", co_await in.run(in.connect(late, port)));
    for (const int fd : {accepted, client, late}) co_await closes(in, fd);
}

// --- CONNECT ---

task<> connect_ok(lab& in) {
    const auto pair = co_await in.connected();
    in.same("there", co_await in.send_all(pair.client, "ping", 4));
    in.same("there", co_await in.receive(pair.server, 4));
    in.same("and back", co_await in.send_all(pair.server, "pong", 4));
    in.same("and back", co_await in.receive(pair.client, 4));
    co_await in.close_all(pair);
}
task<> connect_error(lab& in) {
    const int bound = in.socket();
    in.same("bind", in.bind(bound, 0));
    const int client = in.socket();
    in.same("nobody listens", co_await in.run(in.connect(client, in.port_of(bound))));
    in.same("listen", in.listen(bound));
    in.same("somebody listens", co_await in.run(in.connect(client, in.port_of(bound))));
    in.same("once more", co_await in.run(in.connect(client, in.port_of(bound))));
    in.same("a listener", co_await in.run(in.connect(bound, in.port_of(bound))));
    const int other = in.socket();
    const entry cut =
        in.connect(other, in.port_of(bound)).with([](io_uring_sqe* e) { e->off = 8; });
    in.same("half an address", co_await in.run(cut));
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    in.same("a file", co_await in.run(in.connect(file, in.port_of(bound))));
    for (const int fd : {client, bound, other, file}) co_await closes(in, fd);
}
task<> connect_cancel(lab& in) {
    const int listener = in.listener();
    const int client = in.socket();
    const auto end = co_await cancels(in, in.connect(client, in.port_of(listener)), true);
    in.one_of("a connect, cancelled", end.to_string("itself"), ways_to_end,
              "it may be over, and what was sent to the peer is on its way");
    const int sent = co_await in.run(in.send(client, "x", 1));
    const char* const made = end.result == 0 ? "made, " : "not made, ";
    in.one_of("a send then", made + name_of(sent),
              {"made, 1", "not made, 1", "not made, EPIPE"},
              "the handshake goes on behind a cancelled request");
    co_await closes(in, client);
    co_await closes(in, listener);
}
task<> connect_close(lab& in) {
    const int listener = in.listener();
    const int client = in.socket();
    co_await closes(in, client);
    in.same("of a closed one", co_await in.run(in.connect(client, in.port_of(listener))));
    co_await closes(in, listener);
}

// --- RECV ---

task<> recv_ok(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    flight& receiving = in.start(in.recv(pair.server, to, 8));
    co_await in.submitted(receiving);
    in.holds("it waits", !receiving.handle->done());
    in.same("one byte", co_await in.send_all(pair.client, "x", 1));
    in.same("which comes", co_await in.end_of(receiving));
    in.same("and leaves the rest alone", std::string(to, 8));
    in.same("more", co_await in.send_all(pair.client, "abcdefgh", 8));
    in.same("in order", co_await in.receive(pair.server, 8));
    co_await in.close_all(pair);
}
task<> recv_short(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    in.same("three", co_await in.send_all(pair.client, "abc", 3));
    const int count = co_await in.run(in.recv(pair.server, to, 8));
    in.holds("what is there, at most", count >= 1 && count <= 3);
    const auto got = static_cast<std::size_t>(count);
    in.holds("and no more is touched",
             std::string(to, 8) == std::string("abc", got) + std::string(8 - got, '.'));
    in.same("the rest", std::string(to, got) + co_await in.receive(pair.server, 3 - got));
    in.same("three more", co_await in.send_all(pair.client, "def", 3));
    flight& all = in.start(in.recv(pair.server, to, 6, MSG_WAITALL));
    co_await in.quiet();
    in.holds("a receive that wants all waits for it", !all.handle->done());
    in.same("and three more", co_await in.send_all(pair.client, "ghi", 3));
    in.same("then it has all", co_await in.end_of(all));
    in.same("in order", std::string(to, 6));
    in.same("the last", co_await in.send_all(pair.client, "jk", 2));
    in.same("half-closed", in.shutdown(pair.client, SHUT_WR));
    in.same("a receive that wants all gets what there was",
            co_await in.run(in.recv(pair.server, to, 6, MSG_WAITALL)));
    in.same("then the end", co_await in.run(in.recv(pair.server, to, 6)));
    in.same("and again", co_await in.run(in.recv(pair.server, to, 6)));
    in.same("the other way is open", co_await in.send_all(pair.server, "back", 4));
    in.same("the other way is open", co_await in.receive(pair.client, 4));
    co_await in.close_all(pair);
}
task<> recv_error(lab& in) {
    char* const to = in.buffer(8);
    const int fresh = in.socket();
    in.same("on a fresh socket", co_await in.run(in.recv(fresh, to, 8)));
    co_await closes(in, fresh);
    const int listener = in.listener();
    in.same("on a listener", co_await in.run(in.recv(listener, to, 8)));
    co_await closes(in, listener);
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    in.same("on a file", co_await in.run(in.recv(file, to, 8)));
    co_await closes(in, file);
    const auto pair = co_await reset_by_client(in);
    in.same("after a reset", co_await in.run(in.recv(pair.server, to, 8)));
    in.same("it is told once", co_await in.run(in.recv(pair.server, to, 8)));
    in.same("and all is left alone", std::string(to, 8));
    co_await in.close_all(pair);
}
task<> recv_cancel(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    const auto idle = co_await cancels(in, in.recv(pair.server, to, 8), false);
    in.one_of("nothing is there", idle.to_string(), ways_to_stop, "nothing would end it");
    in.same("nothing is touched", std::string(to, 8));
    in.same("three", co_await in.send_all(pair.client, "abc", 3));
    co_await in.quiet();
    const auto late = co_await cancels(in, in.recv(pair.server, to, 8), true);
    in.one_of("something is there", late.to_string("itself"), ways_to_end, "it may be over");
    // Not a byte is lost.
    const auto got = static_cast<std::size_t>(std::max(0, late.result));
    in.same("all", std::string(to, got) + co_await in.receive(pair.server, 3 - got));
    co_await in.close_all(pair);
}
// S59
task<> recv_all_cancel(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    flight& all = in.start(in.recv(pair.server, to, 8, MSG_WAITALL));
    co_await in.submitted(all);
    in.same("three of eight", co_await in.send_all(pair.client, "abc", 3));
    co_await in.quiet();
    const int answer = co_await in.run(in.cancel(all.tag));
    in.one_of("a receive that has three of eight", name_of(answer), {"0", "EALREADY"},
              "it waits for more");
    const int count = co_await in.end_of(all);
    in.same("tells so when it is cancelled", count);
    in.same("the bytes", std::string(to, 8));
    co_await in.close_all(pair);
}
task<> recv_close(lab& in) {
    auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    flight& receiving = in.start(in.recv(pair.server, to, 8));
    co_await in.submitted(receiving);
    const int server = std::exchange(pair.server, -1);
    co_await closes(in, server);
    in.same("after the close", co_await in.run(in.recv(server, to, 8)));
    co_await in.quiet();
    in.holds("a close does not end it", !receiving.handle->done());
    in.same("the peer sees nothing of it", co_await in.send_all(pair.client, "x", 1));
    in.same("it gets its byte", co_await in.end_of(receiving));
    in.same("then the peer sees the end", co_await in.receive(pair.client, 1));
    co_await in.close_all(pair);
}

// --- SEND ---

task<> send_ok(lab& in) {
    const auto pair = co_await in.connected();
    in.same("bytes", co_await in.send_all(pair.client, "hello", 5));
    in.same("none", co_await in.run(in.send(pair.client, "", 0)));
    in.same("arrive", co_await in.receive(pair.server, 5));
    co_await in.close_all(pair);
}
task<> send_short(lab& in) {
    const auto pair = co_await in.connected();
    constexpr std::size_t chunk = 1 << 17;
    const char* const from = in.buffer(chunk, 's');
    std::size_t sent = 0;
    bool within = true;
    flight* last = nullptr;
    // Until nobody has room for more.
    for (;;) {
        last = &in.start(in.send(pair.client, from, chunk));
        co_await in.quiet();
        if (!last->handle->done()) break;
        const int count = co_await in.end_of(*last);
        within = within && count >= 1 && count <= static_cast<int>(chunk);
        sent += static_cast<std::size_t>(std::max(1, count));
    }
    in.holds("each is told how much of it was taken", within);
    in.same("half-closed", in.shutdown(pair.server, SHUT_WR));
    char* const to = in.buffer(chunk);
    std::size_t received = 0;
    while (received < sent) {
        const int count = co_await in.run(in.recv(pair.server, to, chunk));
        if (count <= 0) break;
        received += static_cast<std::size_t>(count);
    }
    const int count = co_await in.end_of(*last);
    in.holds("the last goes on when there is room", count >= 1);
    sent += static_cast<std::size_t>(count);
    in.same("done", in.shutdown(pair.client, SHUT_WR));
    for (;;) {
        const int more = co_await in.run(in.recv(pair.server, to, chunk));
        if (more <= 0) break;
        received += static_cast<std::size_t>(more);
    }
    in.holds("what was taken arrives", received == sent);
    co_await in.close_all(pair);
}
task<> send_error(lab& in) {
    const int fresh = in.socket();
    in.same("on a fresh socket", co_await in.run(in.send(fresh, "x", 1)));
    co_await closes(in, fresh);
    const int listener = in.listener();
    in.same("on a listener", co_await in.run(in.send(listener, "x", 1)));
    co_await closes(in, listener);
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    in.same("on a file", co_await in.run(in.send(file, "x", 1)));
    co_await closes(in, file);
    const auto pair = co_await in.connected();
    in.same("done", in.shutdown(pair.client, SHUT_WR));
    in.same("after its own end", co_await in.run(in.send(pair.client, "x", 1)));
    co_await in.close_all(pair);
}
// S59
task<> send_cancel(lab& in) {
    const auto pair = co_await in.connected();
    constexpr std::size_t much = 1 << 19;
    const char* const from = in.buffer(much, 's');
    const auto end = co_await cancels(in, in.send(pair.client, from, much, MSG_WAITALL), false);
    const char* const part = static_cast<std::size_t>(end.result) < much ? "part" : "all";
    in.one_of("a send that wants all out", end.to_string(part),
              {"0/part", "EALREADY/part", "ENOENT/part", "0/ECANCELED", "0/EINTR",
               "EALREADY/ECANCELED", "EALREADY/EINTR"},
              "the kernel may have begun; for want of memory it may have ended");
    in.same("half-closed", in.shutdown(pair.client, SHUT_WR));
    char* const to = in.buffer(1 << 17);
    std::size_t received = 0;
    for (;;) {
        const int count = co_await in.run(in.recv(pair.server, to, 1 << 17));
        if (count <= 0) break;
        received += static_cast<std::size_t>(count);
    }
    in.holds("so much arrives", received == static_cast<std::size_t>(std::max(0, end.result)));
    co_await in.close_all(pair);
}
task<> send_close(lab& in) {
    auto pair = co_await in.connected();
    constexpr std::size_t much = 1 << 19;
    const char* const from = in.buffer(much, 's');
    flight& sending = in.start(in.send(pair.client, from, much, MSG_WAITALL));
    co_await in.quiet();
    const int client = std::exchange(pair.client, -1);
    co_await closes(in, client);
    in.same("after the close", co_await in.run(in.send(client, "x", 1)));
    char* const to = in.buffer(1 << 17);
    std::size_t received = 0;
    for (;;) {
        const int count = co_await in.run(in.recv(pair.server, to, 1 << 17));
        if (count <= 0) break;
        received += static_cast<std::size_t>(count);
    }
    const int sent = co_await in.end_of(sending);
    in.holds("a close does not end it", sent > 0);
    in.holds("what it sent arrives, then the end", received == static_cast<std::size_t>(sent));
    co_await in.close_all(pair);
}

// --- POLL_ADD ---

task<> polls(lab& in, const char* what, int fd, unsigned mask) {
    const int events = co_await in.run(in.poll(fd, mask));
    in.same(what, name_of_events(events));
}
task<> stays(lab& in, const char* what, int fd, unsigned mask) {
    flight& polling = in.start(in.poll(fd, mask));
    co_await in.submitted(polling);
    co_await in.quiet();
    in.holds(std::string(what) + ": nothing", !polling.handle->done());
    static_cast<void>(co_await in.run(in.cancel(polling.tag)));
    static_cast<void>(co_await in.end_of(polling));
}
task<> poll_ok(lab& in) {
    const auto pair = co_await in.connected();
    flight& polling = in.start(in.poll(pair.server, POLLIN));
    co_await in.submitted(polling);
    in.holds("nothing is there", !polling.handle->done());
    in.same("a byte", co_await in.send_all(pair.client, "x", 1));
    in.same("is seen", name_of_events(co_await in.end_of(polling)));
    co_await polls(in, "and again", pair.server, POLLIN | any_end);
    in.same("and still there", co_await in.receive(pair.server, 1));
    co_await stays(in, "both open", pair.server, any_end);
    in.same("half-closed", in.shutdown(pair.client, SHUT_WR));
    co_await polls(in, "half-closed by the peer", pair.server, any_end);
    co_await polls(in, "which can be read", pair.server, any_end | POLLIN);
    co_await stays(in, "half-closed by itself", pair.client, any_end);
    in.same("and the other half", in.shutdown(pair.server, SHUT_WR));
    co_await polls(in, "both closed, first", pair.client, any_end);
    co_await polls(in, "both closed, second", pair.server, any_end);
    co_await in.close_all(pair);
}
task<> poll_short(lab& in) {
    const auto pair = co_await in.connected();
    co_await polls(in, "one of what was asked for", pair.client, POLLIN | POLLOUT | POLLRDHUP);
    co_await stays(in, "a listener alone", pair.listener, POLLIN | any_end);
    const int client = in.socket();
    in.same("connect", co_await in.run(in.connect(client, in.port_of(pair.listener))));
    co_await polls(in, "a listener with somebody", pair.listener, POLLIN | any_end);
    co_await closes(in, client);
    co_await in.close_all(pair);
}
task<> poll_error(lab& in) {
    const int fresh = in.socket();
    co_await polls(in, "a fresh socket", fresh, any_end);
    co_await closes(in, fresh);
    const int listener = in.listener();
    in.same("shut down", in.shutdown(listener, SHUT_RDWR));
    co_await polls(in, "a listener shut down", listener, POLLHUP | POLLERR);
    co_await closes(in, listener);
    const auto pair = co_await reset_by_client(in);
    co_await polls(in, "reset", pair.server, any_end | POLLIN | POLLOUT);
    in.same("the error", co_await in.receive(pair.server, 1));
    co_await polls(in, "reset, and told", pair.server, any_end | POLLIN | POLLOUT);
    co_await in.close_all(pair);
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    co_await polls(in, "a file", file, POLLIN);
    co_await polls(in, "a file, for what files never are", file, any_end);
    co_await closes(in, file);
}
task<> poll_cancel(lab& in) {
    const auto pair = co_await in.connected();
    const auto idle = co_await cancels(in, in.poll(pair.server, any_end), false);
    in.one_of("nothing happens", idle.to_string(), ways_to_stop, "nothing would end it");
    co_await in.close_all(pair);
}
task<> poll_close(lab& in) {
    auto pair = co_await in.connected();
    flight& polling = in.start(in.poll(pair.server, any_end));
    co_await in.submitted(polling);
    const int server = std::exchange(pair.server, -1);
    co_await closes(in, server);
    in.same("after the close", co_await in.run(in.poll(server, any_end)));
    co_await in.quiet();
    in.holds("a close does not end it", !polling.handle->done());
    in.same("the peer closes", in.shutdown(pair.client, SHUT_WR));
    in.same("it sees that", name_of_events(co_await in.end_of(polling)));
    co_await in.close_all(pair);
}

constexpr cell cells[] = {
    {IORING_OP_ACCEPT, how::ok, accept_ok},
    {IORING_OP_ACCEPT, how::falls_short, accept_short},
    {IORING_OP_ACCEPT, how::error, accept_error},
    {IORING_OP_ACCEPT, how::cancel, accept_cancel},
    {IORING_OP_ACCEPT, how::close, accept_close},

    {IORING_OP_CONNECT, how::ok, connect_ok},
    {IORING_OP_CONNECT, how::falls_short, nullptr, "it moves no bytes"},
    {IORING_OP_CONNECT, how::error, connect_error},
    {IORING_OP_CONNECT, how::cancel, connect_cancel},
    {IORING_OP_CONNECT, how::close, connect_close},

    {IORING_OP_RECV, how::ok, recv_ok},
    {IORING_OP_RECV, how::falls_short, recv_short},
    {IORING_OP_RECV, how::error, recv_error},
    {IORING_OP_RECV, how::cancel, recv_cancel},
    {IORING_OP_RECV, how::close, recv_close},

    {IORING_OP_SEND, how::ok, send_ok},
    {IORING_OP_SEND, how::falls_short, send_short},
    {IORING_OP_SEND, how::error, send_error},
    {IORING_OP_SEND, how::cancel, send_cancel},
    {IORING_OP_SEND, how::close, send_close},

    {IORING_OP_POLL_ADD, how::ok, poll_ok},
    {IORING_OP_POLL_ADD, how::falls_short, poll_short},
    {IORING_OP_POLL_ADD, how::error, poll_error},
    {IORING_OP_POLL_ADD, how::cancel, poll_cancel},
    {IORING_OP_POLL_ADD, how::close, poll_close},
};

} // namespace

TEST_CASE("conformance: every opcode of sockets has a cell for each of its ends") {
    check_complete(cells, socket_opcodes);
}
TEST_CASE("conformance: sockets end on the simulated kernel as on the real one") {
    run_cells(cells);
}
TEST_CASE("conformance: S59: a receive that wants all and is cancelled tells what it has") {
    same_on_both_kernels(recv_all_cancel);
}
