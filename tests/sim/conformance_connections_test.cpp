// What the simulated kernel answers is what the real one answers: names and ports of sockets,
// and the ways in which a connection ends.
#include "support/two_kernels.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

// --- names and ports ---

task<> names(lab& in) {
    const auto tell = [&in](const char* what, int fd) {
        sockaddr_in name{};
        socklen_t length = sizeof name;
        const int result = in.error(
            detail::system().getsockname(fd, reinterpret_cast<sockaddr*>(&name), &length));
        const bool loopback = ntohl(name.sin_addr.s_addr) == INADDR_LOOPBACK;
        in.same(what, name_of(result) + (loopback ? " loopback" : " any") +
                          (name.sin_port ? " a port" : " no port"));
        in.same("length", static_cast<int>(length));
    };
    const int fresh = in.socket();
    tell("fresh", fresh);
    in.same("bind", in.bind(fresh, 0));
    tell("bound", fresh);
    in.same("bound again", in.bind(fresh, 0));
    co_await closes(in, fresh);
    tell("closed", fresh);
    const int unbound = in.socket();
    in.same("listen, not bound", in.listen(unbound));
    tell("listening", unbound);
    co_await closes(in, unbound);
    const auto pair = co_await in.connected();
    tell("connected", pair.client);
    tell("accepted", pair.server);
    in.same("listening, connected", in.listen(pair.client));
    co_await in.close_all(pair);
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    in.same("a file's name", in.bind(file, 0));
    in.same("listening to a file", in.listen(file));
    in.same("shutting down a file", in.shutdown(file, SHUT_RDWR));
    in.same("options of a file", in.option(file, SOL_SOCKET, SO_REUSEADDR, 1));
    co_await closes(in, file);
    in.same("a name for nothing", in.bind(-1, 0));
    in.same("listening to nothing", in.listen(-1));
    in.same("shutting down nothing", in.shutdown(-1, SHUT_RDWR));
}
// Two sockets at one port, with these options before the bind, and one that listens or not.
task<> share(lab& in, const char* what, int option, bool first, bool second, bool listening) {
    const int one = in.socket();
    const int two = in.socket();
    if (first) in.same(what, in.option(one, SOL_SOCKET, option, 1));
    if (second) in.same(what, in.option(two, SOL_SOCKET, option, 1));
    in.same("bind", in.bind(one, 0));
    if (listening) in.same("listen", in.listen(one));
    const int bound = in.bind(two, in.port_of(one));
    in.same("the other", bound);
    if (bound == 0) {
        in.same("listens", in.listen(two));
        in.same("as the first does", in.listen(one));
    }
    co_await closes(in, one);
    co_await closes(in, two);
}
task<> ports(lab& in) {
    co_await share(in, "plain", 0, false, false, false);
    for (const bool listening : {false, true}) {
        for (const int option : {SO_REUSEADDR, SO_REUSEPORT}) {
            const char* const name = option == SO_REUSEADDR ? "reuse address" : "reuse port";
            co_await share(in, name, option, true, false, listening);
            co_await share(in, name, option, false, true, listening);
            co_await share(in, name, option, true, true, listening);
        }
    }
    const int listener = in.listener();
    in.same("listening twice", in.listen(listener));
    const int port = in.port_of(listener);
    co_await closes(in, listener);
    const int next = in.socket();
    in.same("a port that is free again", in.bind(next, static_cast<std::uint16_t>(port)));
    co_await closes(in, next);
}
// tcp_listener: the first of a port binds alone and lets others in afterwards.
task<> port_of_first(lab& in) {
    const int first = in.socket();
    in.same("bind", in.bind(first, 0));
    in.same("lets others in", in.option(first, SOL_SOCKET, SO_REUSEPORT, 1));
    in.same("listen", in.listen(first));
    const int second = in.socket();
    in.same("wants in", in.option(second, SOL_SOCKET, SO_REUSEPORT, 1));
    in.same("bind", in.bind(second, in.port_of(first)));
    in.same("listen", in.listen(second));
    const int third = in.socket();
    in.same("does not say so", in.bind(third, in.port_of(first)));
    for (const int fd : {first, second, third}) co_await closes(in, fd);
}
task<> port_with_connections(lab& in) {
    auto pair = co_await in.connected();
    const std::uint16_t port = in.port_of(pair.listener);
    co_await closes(in, std::exchange(pair.listener, -1));
    const int plain = in.socket();
    in.same("while a connection of it is open", in.bind(plain, port));
    co_await closes(in, plain);
    co_await in.close_all(pair);
}
task<> shut_down_states(lab& in) {
    const int fresh = in.socket();
    in.same("fresh", in.shutdown(fresh, SHUT_RDWR));
    in.same("in no known way", in.shutdown(fresh, 7));
    co_await closes(in, fresh);
    const auto pair = co_await in.connected();
    in.same("no more reading", in.shutdown(pair.server, SHUT_RD));
    in.same("reads the end", co_await in.receive(pair.server, 1));
    in.same("the peer may send", co_await in.send_all(pair.client, "late", 4));
    co_await in.quiet();
    in.same("what arrives is there", co_await in.receive(pair.server, 4));
    in.same("no more writing", in.shutdown(pair.server, SHUT_WR));
    in.same("twice", in.shutdown(pair.server, SHUT_WR));
    in.same("the end", co_await in.receive(pair.client, 1));
    in.same("by the other, too", in.shutdown(pair.client, SHUT_WR));
    in.same("the end", co_await in.receive(pair.server, 1));
    co_await in.quiet();
    in.same("after both", in.shutdown(pair.client, SHUT_WR));
    in.same("after both", in.shutdown(pair.server, SHUT_WR));
    co_await in.close_all(pair);
}

// --- how connections end ---

task<> send_to_closed_peer(lab& in) {
    auto pair = co_await in.connected();
    co_await closes(in, std::exchange(pair.server, -1));
    in.same("the end", co_await in.receive(pair.client, 1));
    in.same("a first send is taken", co_await in.run(in.send(pair.client, "x", 1)));
    co_await waits_for_hang_up(in, pair.client);
    in.same("the next is not", co_await in.run(in.send(pair.client, "x", 1)));
    in.same("nor the one after", co_await in.run(in.send(pair.client, "x", 1)));
    in.same("a receive sees the end, as before", co_await in.receive(pair.client, 1));
    co_await in.close_all(pair);
}
task<> receive_from_closed_peer(lab& in) {
    auto pair = co_await in.connected();
    co_await closes(in, std::exchange(pair.server, -1));
    in.same("the end", co_await in.receive(pair.client, 1));
    in.same("a first send is taken", co_await in.run(in.send(pair.client, "x", 1)));
    co_await waits_for_hang_up(in, pair.client);
    in.same("the end comes before the reset, and stays", co_await in.receive(pair.client, 1));
    in.same("which a send tells of", co_await in.run(in.send(pair.client, "x", 1)));
    co_await in.close_all(pair);
}
task<> send_after_reset(lab& in) {
    const auto pair = co_await reset_by_client(in);
    in.same("a first send tells of it", co_await in.run(in.send(pair.server, "x", 1)));
    in.same("the next does not", co_await in.run(in.send(pair.server, "x", 1)));
    in.same("nor does a receive", co_await in.receive(pair.server, 1));
    in.same("shutting down", in.shutdown(pair.server, SHUT_WR));
    co_await in.close_all(pair);
}
task<> close_with_unread(lab& in) {
    auto pair = co_await in.connected();
    in.same("unread", co_await in.send_all(pair.server, "unread", 6));
    in.same("answer", co_await in.send_all(pair.client, "answer", 6));
    co_await in.quiet();
    co_await closes(in, std::exchange(pair.client, -1));
    co_await waits_for_hang_up(in, pair.server);
    in.same("what had arrived is read first", co_await in.receive(pair.server, 6));
    in.same("then the reset", co_await in.receive(pair.server, 1));
    in.same("then the end", co_await in.receive(pair.server, 1));
    co_await in.close_all(pair);
}
task<> close_with_data_on_its_way(lab& in) {
    auto pair = co_await in.connected();
    in.same("hello", co_await in.send_all(pair.client, "hello", 5));
    co_await closes(in, std::exchange(pair.client, -1));
    in.same("arrives", co_await in.receive(pair.server, 5));
    in.same("before the end", co_await in.receive(pair.server, 1));
    co_await in.close_all(pair);
}
task<> never_accepted(lab& in) {
    const int listener = in.listener();
    const int first = in.socket();
    const int second = in.socket();
    in.same("connect", co_await in.run(in.connect(first, in.port_of(listener))));
    in.same("shut down", in.shutdown(listener, SHUT_RDWR));
    co_await waits_for_hang_up(in, first);
    in.same("is reset", co_await in.receive(first, 1));
    in.same("listen again", in.listen(listener));
    in.same("connect", co_await in.run(in.connect(second, in.port_of(listener))));
    co_await closes(in, listener);
    co_await waits_for_hang_up(in, second);
    in.same("is reset", co_await in.receive(second, 1));
    co_await closes(in, first);
    co_await closes(in, second);
}
task<> ends_what_waits(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    const char* const from = in.buffer(1 << 19);
    flight& receiving = in.start(in.recv(pair.client, to, 8));
    flight& sending = in.start(in.send(pair.client, from, 1 << 19));
    co_await in.quiet();
    flight& blocked = in.start(in.send(pair.client, from, 1 << 19));
    flight& polling = in.start(in.poll(pair.client, any_end));
    co_await in.quiet();
    in.holds("all wait", !receiving.handle->done() && !polling.handle->done());
    in.same("shut down", in.shutdown(pair.client, SHUT_RDWR));
    in.same("a receive", co_await in.end_of(receiving));
    in.same("a poll", name_of_events(co_await in.end_of(polling)));
    const int first = co_await in.end_of(sending);
    in.holds("a send had gone out in part", first > 0);
    const int second = co_await in.end_of(blocked);
    in.one_of("one that waited", second > 0 ? "in part" : name_of(second), {"in part", "EPIPE"},
              "there may have been room for some of it");
    co_await in.close_all(pair);
}

// connect(2) to nobody.
entry disconnects(lab& in, int fd) {
    auto* const nobody = reinterpret_cast<sockaddr*>(in.buffer(sizeof(sockaddr), '\0'));
    return entry(
        [&](io_uring_sqe* e) { io_uring_prep_connect(e, fd, nobody, sizeof(sockaddr)); });
}
task<> disconnected(lab& in) {
    const auto pair = co_await in.connected();
    in.same("half a message", co_await in.send_all(pair.client, "half", 4));
    in.same("never read", co_await in.send_all(pair.server, "lost", 4));
    co_await in.quiet();
    in.same("disconnect", co_await in.run(disconnects(in, pair.client)));
    co_await waits_for_hang_up(in, pair.server);
    in.same("the peer reads what had come", co_await in.receive(pair.server, 4));
    in.same("and then learns of it", co_await in.receive(pair.server, 1));
    in.same("this side is told once", co_await in.run(in.recv(pair.client, in.buffer(1), 1)));
    in.same("then it is not connected", co_await in.run(in.recv(pair.client, in.buffer(1), 1)));
    in.same("nor for a send", co_await in.run(in.send(pair.client, "x", 1)));
    in.same("nor for a shutdown", in.shutdown(pair.client, SHUT_WR));
    in.same("twice", co_await in.run(disconnects(in, pair.client)));
    co_await in.close_all(pair);
}
task<> disconnected_under_operations(lab& in) {
    const auto pair = co_await in.connected();
    char* const to = in.buffer(8);
    const char* const from = in.buffer(1 << 19);
    flight& sending = in.start(in.send(pair.client, from, 1 << 19));
    co_await in.quiet();
    flight& blocked = in.start(in.send(pair.client, from, 1 << 19, MSG_WAITALL));
    flight& receiving = in.start(in.recv(pair.client, to, 8));
    flight& polling = in.start(in.poll(pair.client, any_end));
    co_await in.quiet();
    in.holds("all wait", !receiving.handle->done() && !polling.handle->done());
    in.same("disconnect", co_await in.run(disconnects(in, pair.client)));
    const int events = co_await in.end_of(polling);
    in.holds("a poll is told", events > 0);
    const int received = co_await in.end_of(receiving);
    in.one_of("a receive", name_of(received), {"ECONNRESET", "ENOTCONN"},
              "the error is told once, to whoever comes first");
    const int first = co_await in.end_of(sending);
    in.holds("a send had gone out in part", first > 0);
    const int last = co_await in.end_of(blocked);
    in.one_of("one that waited", last > 0 ? "in part" : name_of(last),
              {"in part", "EPIPE", "ECONNRESET"}, "there may have been room for some of it");
    co_await waits_for_hang_up(in, pair.server);
    const std::string got = co_await in.receive(pair.server, 1 << 20);
    in.holds("the peer never sees an end",
             got.size() > 10 && got.substr(got.size() - 10) == "ECONNRESET");
    co_await in.close_all(pair);
}

// --- no descriptors left ---

constexpr std::size_t most_descriptors = 64;

task<> opens(lab& in, const char* what, const char* path, int flags) {
    const int fd = co_await in.run(in.open(path, flags));
    in.same(what, fd < 0 ? name_of(fd) : "opened");
    if (fd >= 0) co_await closes(in, fd);
}
task<> uses_table(lab& in, bool full) {
    const int listener = in.listener();
    const std::uint16_t port = in.port_of(listener);
    const int client = in.socket();
    const int fresh = in.socket();
    const int file = co_await in.run(in.open(in.path("file"), O_RDWR | O_CREAT));
    const int accepting = full ? listener : fresh; // which answers at once
    flight& early = in.start(in.accept(listener));
    co_await in.submitted(early);
    std::vector<int> others{in.socket()};
    while (full && others.back() >= 0) others.push_back(in.socket());
    in.same("one socket too many", others.back());
    if (full) others.pop_back();
    in.same("of no family", in.error(detail::system().socket(250, SOCK_STREAM, 0)));
    co_await in.quiet();
    in.holds("an accept that waits goes on", !early.handle->done());
    in.same("connect", co_await in.run(in.connect(client, port)));
    const int end = co_await in.end_of(early);
    in.same("it fails when somebody comes", end);
    if (end >= 0) others.push_back(end);
    in.same("as does one that comes later", co_await in.run(in.accept(accepting)));
    co_await opens(in, "a file", in.path("file"), O_RDONLY);
    co_await opens(in, "a file to make", in.path("new"), O_RDWR | O_CREAT);
    co_await opens(in, "a file that is missing", in.path("gone"), O_RDONLY);
    co_await opens(in, "a file without a name", "", O_RDONLY);
    const int last = others.back();
    co_await closes(in, last);
    others.pop_back();
    co_await opens(in, "nothing was made", in.path("new"), O_RDONLY);
    const int accepted = co_await in.run(in.accept(accepting));
    in.holds("whoever had come is still there", (accepted == last) == full);
    if (accepted >= 0) others.push_back(accepted);
    in.same("an accept where nobody is", co_await in.run(in.accept(accepting)));
    in.same("on a file", co_await in.run(in.accept(file)));
    in.same("on a fresh socket", co_await in.run(in.accept(fresh)));
    in.same("on nothing", co_await in.run(in.accept(-1)));
    int failures = 0;
    for (const int fd : others) failures += co_await in.run(in.close(fd)) != 0;
    in.same("of all the others could not be closed", failures);
    for (const int fd : {listener, client, fresh, file}) co_await closes(in, fd);
}
task<> full_table(lab& in) {
    co_await uses_table(in, true);
}
task<> roomy_table(lab& in) {
    co_await uses_table(in, false);
}

} // namespace

TEST_CASE("conformance: without a number for a descriptor nothing is made and nobody is lost") {
    sim::world_options options;
    options.max_descriptors = most_descriptors - 20;
    // UBSan gets to know the type of an object through a pipe, and finds every object wrong
    // where none can be made: it is to meet all of them before.
    static_cast<void>(seen_on_real_ring(roomy_table));
    const limit_scope limited(RLIMIT_NOFILE, most_descriptors);
    same_on_both_kernels(full_table, options);
}
TEST_CASE("conformance: sockets have the same names, and refuse the same calls") {
    same_on_both_kernels(names);
}
TEST_CASE("conformance: ports are shared with whom they are shared on Linux") {
    same_on_both_kernels(ports);
    same_on_both_kernels(port_of_first);
    same_on_both_kernels(port_with_connections);
}
TEST_CASE("conformance: shutdown answers by what the socket is") {
    same_on_both_kernels(shut_down_states);
}
TEST_CASE("conformance: a peer that is gone takes one send, and then none") {
    same_on_both_kernels(send_to_closed_peer);
    same_on_both_kernels(receive_from_closed_peer);
}
TEST_CASE("conformance: a reset is told once, by whichever call comes first") {
    same_on_both_kernels(send_after_reset);
}
TEST_CASE("conformance: what arrived before a reset is read before it") {
    same_on_both_kernels(close_with_unread);
}
TEST_CASE("conformance: a close sends what is on its way first") {
    same_on_both_kernels(close_with_data_on_its_way);
}
TEST_CASE("conformance: whom nobody accepts is reset when the listener goes") {
    same_on_both_kernels(never_accepted);
}
TEST_CASE("conformance: a connection that is disconnected is reset") {
    same_on_both_kernels(disconnected);
}
TEST_CASE(
    "conformance: disconnecting ends what waits, and the peer sees no end of the stream") {
    same_on_both_kernels(disconnected_under_operations);
}
TEST_CASE("conformance: shutting a connection down ends what waits on it") {
    same_on_both_kernels(ends_what_waits);
}
