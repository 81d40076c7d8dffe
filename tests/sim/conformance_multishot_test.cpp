// What the simulated kernel answers is what the real one answers: operations that complete
// again and again. One may end at any time, and who wants more of it asks again.
#include "support/two_rings.hpp"

#include <catch2/catch.hpp>

#include <functional>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

constexpr std::uint16_t group = 7;

/// A multishot operation, which is submitted anew as long as it ends without an error.
class shots {
public:
    using prepare = std::function<void(io_uring_sqe*)>;
    shots(rig& in, std::uint64_t first_tag, prepare how)
        : in_(in), tag_(first_tag), prepare_(std::move(how)) {
        in_.add(tag_, prepare_);
        in_.submit();
    }
    /// What has come since the last time.
    std::vector<rig::completion> fresh() {
        std::vector<rig::completion> found;
        for (bool again = true; again;) {
            again = false;
            in_.settle();
            const auto& all = in_.all(tag_);
            found.insert(found.end(), all.begin() + static_cast<std::ptrdiff_t>(seen_),
                         all.end());
            seen_ = all.size();
            if (!all.empty() && !(all.back().flags & IORING_CQE_F_MORE)) {
                end_ = all.back().res;
                again = !stays_ended_ && (all.back().res > 0 || takes_zero_);
            }
            if (again) ask_again();
        }
        return found;
    }
    /// What it has ended with, and was not asked again: an error, or the end of a stream.
    [[nodiscard]] std::string end() { return end_ ? name_of(*end_) : "goes on"; }
    void ask_again() {
        ++tag_;
        ++asked_;
        seen_ = 0;
        end_.reset();
        in_.add(tag_, prepare_);
        in_.submit();
    }
    void stop() {
        in_.cancels(tag_ + 500, tag_);
        in_.ends(tag_, tag_);
        in_.ends(tag_ + 500, tag_ + 500);
        stays_ended_ = true;
        in_.one_of("stopped, answer", in_.of(tag_ + 500), {"0", "EALREADY"}, "a race");
        fresh();
        in_.one_of("stopped, end", end(), {"ECANCELED", "EINTR"}, "a race");
    }
    [[nodiscard]] unsigned asked() const noexcept { return asked_; }
    [[nodiscard]] std::uint64_t tag() const noexcept { return tag_; }
    shots& zero_is_no_end() {
        takes_zero_ = true;
        return *this;
    }

private:
    rig& in_;
    std::uint64_t tag_;
    prepare prepare_;
    std::size_t seen_ = 0;
    std::optional<int> end_;
    unsigned asked_ = 1;
    bool stays_ended_ = false;
    bool takes_zero_ = false;
};

// --- accept ---

auto accept(int fd) {
    return [=](io_uring_sqe* e) {
        io_uring_prep_multishot_accept(e, fd, nullptr, nullptr, SOCK_CLOEXEC);
    };
}
/// How many have come, and closes them.
int close_accepted(const std::vector<rig::completion>& all) {
    int count = 0;
    for (const auto& each : all) {
        if (each.res < 0) continue;
        detail::system().close(each.res);
        ++count;
    }
    return count;
}
void accept_ok(rig& in) {
    const int listener = in.listener();
    const int early[] = {in.client_of(listener), in.client_of(listener)};
    shots all(in, 1, accept(listener));
    in.same("two have waited", close_accepted(all.fresh()));
    in.same("nobody else", close_accepted(all.fresh()));
    const int late = in.client_of(listener);
    in.same("one comes", close_accepted(all.fresh()));
    in.one_of("asked", all.asked() == 1 ? "once" : "again", {"once", "again"},
              "it may end at any time");
    all.stop();
    for (const int fd : {early[0], early[1], late, listener}) in.close(fd);
}
/// Only a hint: without it there may be more all the same.
void accept_hint(rig& in) {
    const int listener = in.listener();
    const int clients[] = {in.client_of(listener), in.client_of(listener)};
    in.add(1, accept(listener));
    in.settle();
    if (in.has_ended(1)) throw not_this_time();
    std::string hints;
    for (const auto& each : in.all(1)) {
        hints += (each.flags & IORING_CQE_F_SOCK_NONEMPTY) ? "more " : "perhaps ";
    }
    in.one_of("somebody else is waiting", hints, {"more perhaps ", "perhaps perhaps "},
              "some kernels do not look");
    close_accepted(in.all(1));
    in.cancels(2, 1);
    in.ends(1, 2);
    for (const int fd : {clients[0], clients[1], listener}) in.close(fd);
}
void accept_short(rig& in) {
    const int listener = in.listener();
    std::vector<int> clients;
    for (int i = 0; i < 12; ++i) clients.push_back(in.client_of(listener));
    shots all(in, 1, accept(listener));
    in.same("as many as connect", close_accepted(all.fresh()));
    // Where the queue is full it ends, with a connection that is as good as any.
    in.one_of("asked", all.asked() == 1 ? "once" : "again", {"once", "again"},
              "late completions leave room");
    all.stop();
    for (const int fd : clients) in.close(fd);
    in.close(listener);
}
void accept_error(rig& in) {
    const int file = in.file("");
    const int fresh = in.socket();
    for (const int fd : {-1, file, fresh}) {
        shots none(in, 1 + static_cast<unsigned>(fd != -1) + (fd == file ? 1U : 0U),
                   accept(fd));
        none.fresh();
        in.same("nothing to accept from", none.end());
    }
    const int listener = in.listener();
    shots all(in, 10, accept(listener));
    in.settle();
    in.shutdown(listener, SHUT_RDWR);
    all.fresh();
    in.same("shut down", all.end());
    for (const int fd : {file, fresh, listener}) in.close(fd);
}
void accept_no_descriptor(rig& in) {
    const int listener = in.listener();
    const int client = in.client_of(listener);
    in.exhaust_descriptors(true);
    shots all(in, 1, accept(listener));
    all.fresh();
    in.same("no descriptor", in.of(1));
    in.exhaust_descriptors(false);
    all.ask_again();
    in.same("it has waited", close_accepted(all.fresh()));
    all.stop();
    in.close(client);
    in.close(listener);
}
void accept_cancel(rig& in) {
    const int listener = in.listener();
    shots idle(in, 1, accept(listener));
    idle.fresh();
    idle.stop();
    const int client = in.client_of(listener);
    in.add(50, accept(listener));
    in.cancels(51, 50);
    in.ends(50, 51);
    const auto shown = in.all(50);
    const int end = shown.back().res;
    const char* const how = end >= 0 ? "itself" : end == -EINTR ? "EINTR" : "ECANCELED";
    const int accepted = close_accepted(shown);
    in.one_of("accepted on the way", std::to_string(accepted), {"0", "1"}, "a race");
    in.one_of("ended", how, {"ECANCELED", "EINTR", "itself"}, "a race");
    in.one_of("answer", in.of(51), {"0", "EALREADY", "ENOENT"}, "a race");
    in.close(client);
    in.close(listener);
}
void accept_close(rig& in) {
    const int listener = in.listener();
    shots all(in, 1, accept(listener));
    in.settle();
    const int client = in.client_of(listener);
    in.same("open", close_accepted(all.fresh()));
    // By name, not by number, before the close: it may have to be asked again until then.
    if (all.asked() > 1) throw not_this_time();
    const sockaddr* const name = in.address_of(listener);
    in.close(listener);
    in.same("a close does not end it", all.end());
    const int late = in.socket();
    in.same("connect", in.run(rig::to_connect(late, name)));
    in.settle();
    if (in.has_ended(1)) throw not_this_time();
    in.same("it accepts", close_accepted(all.fresh()));
    all.stop();
    in.close(client);
    in.close(late);
}

// --- several accepts ---

auto accept_once(int fd, unsigned flags = 0) {
    return [=](io_uring_sqe* e) {
        io_uring_prep_accept(e, fd, nullptr, nullptr, SOCK_CLOEXEC);
        e->ioprio = static_cast<std::uint16_t>(flags);
    };
}
/// Of these operations, which were accepts of one connection: who has it, which is closed.
std::string close_found(rig& in, std::uint64_t first, std::uint64_t last) {
    std::string who;
    for (std::uint64_t tag = first; tag <= last; ++tag) {
        if (!in.has_ended(tag) || in.all(tag).back().res < 0) continue;
        who += who.empty() ? "" : " and ";
        who += std::to_string(tag);
        const int fd = in.all(tag).back().res;
        in.run([fd](io_uring_sqe* e) { io_uring_prep_close(e, fd); });
    }
    return who.empty() ? "nobody" : who;
}
// One is woken, and what becomes of that is its own affair: the other learns nothing.
void accept_beside_cancelled(rig& in) {
    const int listener = in.listener();
    const int client = in.socket();
    in.add(1, accept_once(listener));
    in.submit();
    in.add(2, accept_once(listener));
    in.settle();
    in.add(3, rig::to_connect(client, in.address_of(listener)));
    in.cancels(4, 1);
    in.ends(3, 4);
    in.ends(1, 1);
    in.same("connect", in.of(3));
    const std::string who = close_found(in, 1, 2);
    in.one_of("one connection, of", who, {"nobody", "1", "2"}, "a race");
    in.add(5, accept_once(listener));
    in.settle();
    in.holds("whoever looks finds it", in.has_ended(5) == (who == "nobody"));
    close_found(in, 5, 5);
    for (const std::uint64_t tag : {2, 5}) {
        in.cancels(tag + 10, tag);
        in.ends(tag, tag);
        in.ends(tag + 10, tag + 10);
    }
    in.close(client);
    in.close(listener);
}
void accepts_wake_in_order(rig& in) {
    const int listener = in.listener();
    for (const std::uint64_t tag : {1, 2, 3}) {
        in.add(tag, accept_once(listener));
        in.submit();
    }
    in.settle();
    for (const std::uint64_t tag : {1, 2, 3}) {
        const int client = in.client_of(listener);
        in.settle();
        in.same("who has it", close_found(in, tag, tag));
        in.holds("nobody else", tag == 3 || !in.has_ended(tag + 1));
        in.close(client);
    }
    in.close(listener);
}
constexpr unsigned poll_first = 4; // IORING_ACCEPT_POLL_FIRST
void accept_polls_first(rig& in) {
    const int listener = in.listener();
    const int client = in.socket();
    in.exhaust_descriptors(true);
    in.add(1, accept_once(listener, poll_first));
    in.settle();
    in.same("waits though there is no descriptor", in.of(1));
    in.connect(client, listener);
    in.ends(1, 1);
    in.same("somebody comes", in.of(1));
    in.exhaust_descriptors(false);
    in.add(2, accept_once(listener, poll_first));
    in.ends(2, 2);
    in.same("is still there, for", close_found(in, 2, 2));
    in.close(client);
    in.close(listener);
}

// --- poll ---

auto poll(int fd, unsigned mask) {
    return [=](io_uring_sqe* e) { io_uring_prep_poll_multishot(e, fd, mask); };
}
/// Asked again, a poll tells once more what it has told: so only the last one counts.
std::string last_of(const std::vector<rig::completion>& all) {
    return all.empty() ? "nothing" : name_of_events(all.back().res);
}
constexpr unsigned any_end = POLLRDHUP | POLLHUP | POLLERR;

void poll_ok(rig& in) {
    const auto pair = in.connected();
    shots all(in, 1, poll(pair.server, POLLIN | any_end));
    in.same("quiet", last_of(all.fresh()));
    in.send(pair.client, "a");
    in.same("a byte", last_of(all.fresh()));
    in.same("the same byte", last_of(all.fresh()));
    in.send(pair.client, "b");
    in.same("another", last_of(all.fresh()));
    char* const to = in.buffer(1);
    for (int i = 0; i < 2; ++i) {
        in.same("read",
                in.run([&](io_uring_sqe* e) { io_uring_prep_recv(e, pair.server, to, 1, 0); }));
    }
    in.same("which wakes nobody", last_of(all.fresh()));
    in.send(pair.client, "c");
    in.same("a third", last_of(all.fresh()));
    in.shutdown(pair.client, SHUT_WR);
    in.same("half-closed", last_of(all.fresh()));
    in.shutdown(pair.server, SHUT_WR);
    in.same("closed", last_of(all.fresh()));
    in.one_of("asked", all.asked() == 1 ? "once" : "again", {"once", "again"},
              "it may end at any time");
    all.stop();
    in.close(pair);
}
void poll_listener(rig& in) {
    const int listener = in.listener();
    shots all(in, 1, poll(listener, POLLIN));
    in.same("nobody", last_of(all.fresh()));
    const int first = in.client_of(listener);
    in.same("somebody", last_of(all.fresh()));
    const int second = in.client_of(listener);
    in.same("somebody else", last_of(all.fresh()));
    in.shutdown(listener, SHUT_RDWR);
    in.same("shut down", last_of(all.fresh()));
    all.stop();
    for (const int fd : {first, second, listener}) in.close(fd);
}
void poll_short(rig& in) {
    const auto pair = in.connected();
    shots all(in, 1, poll(pair.server, POLLIN | POLLOUT));
    in.same("a part of what was asked for", last_of(all.fresh()));
    in.send(pair.client, "a");
    in.one_of("the other part", last_of(all.fresh()), {"IN", "IN|OUT"},
              "what is still so need not be told");
    all.stop();
    in.close(pair);
}
void poll_error(rig& in) {
    shots none(in, 1, poll(-1, POLLIN));
    none.fresh();
    in.same("no descriptor", in.of(1));
    const int file = in.file("");
    in.add(2, poll(file, POLLIN));
    in.add(3, poll(file, POLLRDHUP));
    in.ends(2, 3);
    in.same("a file can never wait", in.of(2));
    in.same("and not for everything", in.of(3));
    in.close(file);
    const auto pair = in.connected();
    shots all(in, 10, poll(pair.server, POLLIN | any_end));
    in.settle();
    in.abort_on_close(pair.client);
    in.close(pair.client);
    in.same("reset", last_of(all.fresh()));
    all.stop();
    in.close(pair.server);
}
void poll_cancel(rig& in) {
    const auto pair = in.connected();
    shots idle(in, 1, poll(pair.server, POLLIN));
    idle.fresh();
    idle.stop();
    in.send(pair.client, "a");
    in.add(50, poll(pair.server, POLLIN));
    in.cancels(51, 50);
    in.ends(50, 51);
    const int end = in.all(50).back().res;
    in.one_of("ended", end >= 0 ? "itself" : name_of(end), {"ECANCELED", "EINTR", "itself"},
              "a race");
    in.one_of("told on the way", end >= 0 || in.all(50).size() > 1 ? "yes" : "no",
              {"yes", "no"}, "a race");
    in.one_of("answer", in.of(51), {"0", "EALREADY", "ENOENT"}, "a race");
    in.close(pair);
}
void poll_close(rig& in) {
    const auto pair = in.connected();
    shots all(in, 1, poll(pair.server, POLLIN));
    in.settle();
    in.close(pair.server);
    in.same("a close does not end it", last_of(all.fresh()));
    in.send(pair.client, "a");
    in.settle();
    if (in.has_ended(1)) throw not_this_time();
    in.same("a byte", last_of(all.fresh()));
    all.stop();
    in.close(pair.client);
}

// --- recv ---

auto recv(int fd, unsigned flags = IORING_RECV_MULTISHOT, unsigned size = 0) {
    return [=](io_uring_sqe* e) {
        io_uring_prep_recv(e, fd, nullptr, size, 0);
        e->ioprio = static_cast<std::uint16_t>(flags);
        e->flags |= IOSQE_BUFFER_SELECT;
        e->buf_group = group;
    };
}
/// What they have brought; each buffer goes back if `again`.
std::string text_of(rig& in, const std::vector<rig::completion>& all, bool again) {
    std::string text;
    for (const auto& each : all) {
        if (each.res <= 0) continue;
        if (!(each.flags & IORING_CQE_F_BUFFER)) return "a count without a buffer";
        text += in.text_of(group, each);
        if (again) in.provide(group, each.flags >> IORING_CQE_BUFFER_SHIFT);
    }
    return text;
}
void recv_ok(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 16, 8, 16);
    shots all(in, 1, recv(pair.server));
    in.same("nothing yet", text_of(in, all.fresh(), true));
    in.send(pair.client, "abc");
    in.same("a little", text_of(in, all.fresh(), true));
    in.send(pair.client, "0123456789012");
    in.same("more than one buffer holds", text_of(in, all.fresh(), true));
    in.one_of("asked", all.asked() == 1 ? "once" : "again", {"once", "again"},
              "it may end at any time");
    all.stop();
    in.same("taken back", in.take_group_back(group));
    in.same("twice", in.take_group_back(group));
    in.close(pair);
}
void recv_short(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 2, 4, 2);
    shots all(in, 1, recv(pair.server));
    in.settle();
    in.send(pair.client, "abcdefghijkl");
    std::string text = text_of(in, all.fresh(), false);
    in.holds("no more than there is room for", text.size() <= 8 && !text.empty());
    in.same("no buffer is left", all.end());
    while (all.end() == "ENOBUFS" && text.size() < 12) {
        for (unsigned each = 0; each < 2; ++each) in.provide(group, each);
        all.ask_again();
        text += text_of(in, all.fresh(), false);
    }
    in.same("all of it, in order", text);
    if (all.end() == "goes on") in.cancels(900, all.tag());
    in.settle();
    in.same("taken back", in.take_group_back(group));
    in.close(pair);
}
void recv_last_buffer(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 1, 4, 0);
    in.add(1, recv(pair.server));
    in.ends(1, 1);
    in.same("no buffer, and nothing has come", in.of(1));
    in.provide(group, 0);
    shots all(in, 2, recv(pair.server));
    in.settle();
    in.send(pair.client, "a");
    in.same("into the last buffer", text_of(in, all.fresh(), false));
    in.one_of("and then", all.end(), {"goes on", "ENOBUFS"}, "it may try at once");
    in.send(pair.client, "b");
    all.fresh();
    in.same("with more to come", all.end());
    in.same("taken back", in.take_group_back(group));
    in.add(900, recv(pair.server));
    in.ends(900, 900);
    in.same("no group", in.of(900));
    in.close(pair);
}
void recv_group_gone(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 2, 4, 2);
    shots all(in, 1, recv(pair.server));
    all.fresh();
    in.same("taken back", in.take_group_back(group));
    in.same("which does not end it", all.end());
    in.send(pair.client, "a");
    all.fresh();
    in.same("until something comes", all.end());
    in.close(pair);
}
void recv_end(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 4, 4, 4);
    shots all(in, 1, recv(pair.server));
    in.send(pair.client, "ab");
    in.shutdown(pair.client, SHUT_WR);
    in.same("the last bytes", text_of(in, all.fresh(), true));
    in.same("the end", all.end());
    in.add(50, recv(pair.server));
    in.ends(50, 50);
    in.same("and again", in.of(50));
    in.same("taken back", in.take_group_back(group));
    in.close(pair);
}
void recv_error(rig& in) {
    auto pair = in.connected();
    in.make_group(group, 4, 4, 4);
    in.add(1, [&](io_uring_sqe* e) {
        io_uring_prep_recv(e, pair.server, nullptr, 0, 0);
        e->ioprio = IORING_RECV_MULTISHOT;
    });
    in.add(2, [&](io_uring_sqe* e) {
        recv(pair.server)(e);
        e->msg_flags = MSG_WAITALL;
    });
    const int fresh = in.socket();
    in.add(3, recv(fresh));
    in.add(4, recv(-1));
    in.ends(1, 4);
    in.same("no group named, all wanted, not connected, no descriptor", in.of_chain(1, 4));
    shots all(in, 10, recv(pair.server));
    in.settle();
    in.abort_on_close(pair.client);
    in.close(pair.client);
    all.fresh();
    in.same("reset", all.end());
    in.same("taken back", in.take_group_back(group));
    in.close(pair.server);
    in.close(fresh);
}
void recv_cancel(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 1, 4, 1);
    shots all(in, 1, recv(pair.server));
    all.fresh();
    all.stop();
    in.send(pair.client, "a");
    in.add(50, recv(pair.server, 0));
    in.ends(50, 50);
    in.same("the buffer is still there", in.of(50));
    in.same("and holds", text_of(in, in.all(50), true));
    in.same("taken back", in.take_group_back(group));
    in.close(pair);
}
void recv_close(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 4, 4, 4);
    shots all(in, 1, recv(pair.server));
    in.settle();
    in.close(pair.server);
    in.send(pair.client, "a");
    in.settle();
    if (in.has_ended(1)) throw not_this_time();
    in.same("a close does not end it", text_of(in, all.fresh(), true));
    in.shutdown(pair.client, SHUT_WR);
    all.fresh();
    in.same("the peer does", all.end());
    in.same("taken back", in.take_group_back(group));
    in.close(pair.client);
}
void recv_once(rig& in) {
    const auto pair = in.connected();
    in.make_group(group, 2, 4, 2);
    in.send(pair.client, "abc");
    std::string text;
    for (std::uint64_t tag = 1; text.size() < 3; ++tag) {
        in.add(tag, recv(pair.server, 0, 1));
        in.ends(tag, tag);
        text += text_of(in, in.all(tag), true);
        in.holds("no more than was asked for", in.all(tag).back().res == 1);
    }
    in.same("byte for byte", text);
    in.same("taken back", in.take_group_back(group));
    in.close(pair);
}
void registering(rig& in) {
    in.make_group(group, 4, 4, 0);
    std::unique_ptr<void, decltype(&std::free)> page(std::aligned_alloc(4096, 4096), std::free);
    const auto enroll = [&](unsigned count, unsigned entries, std::uint16_t number,
                            unsigned offset) {
        io_uring_buf_reg about{};
        about.ring_addr = reinterpret_cast<std::uintptr_t>(page.get()) + offset;
        about.ring_entries = entries;
        about.bgid = number;
        return in.ring().enroll(IORING_REGISTER_PBUF_RING, &about, count);
    };
    in.same("a group that there is", enroll(1, 4, group, 0));
    in.same("no power of two", enroll(1, 3, 8, 0));
    in.same("too many", enroll(1, 65536, 8, 0));
    in.same("none", enroll(1, 0, 8, 0));
    in.same("not the start of a page", enroll(1, 4, 8, 16));
    in.same("two at once", enroll(2, 4, 8, 0));
    in.same("taken back", in.take_group_back(group));
}

constexpr detail::ring_options small = {8, 16};

constexpr ring_body accepts[] = {
    {"ok", accept_ok},
    {"ok: more than one", accept_hint},
    {"short", accept_short, {4, 8}},
    {"error", accept_error},
    {"error: no descriptor", accept_no_descriptor},
    {"cancel", accept_cancel},
    {"close", accept_close},
};
constexpr ring_body several_accepts[] = {
    {"one is cancelled", accept_beside_cancelled},
    {"in order", accepts_wake_in_order},
};
constexpr ring_body polls[] = {
    {"ok", poll_ok},       {"ok: listener", poll_listener}, {"short", poll_short},
    {"error", poll_error}, {"cancel", poll_cancel},         {"close", poll_close},
};
constexpr ring_body receives[] = {
    {"ok", recv_ok},
    {"ok: completions overflow", recv_ok, small},
    {"ok: one receive", recv_once},
    {"ok: groups", registering},
    {"short: no buffer", recv_short},
    {"short: the last buffer", recv_last_buffer},
    {"short: no group", recv_group_gone},
    {"short: end of the stream", recv_end},
    {"error", recv_error},
    {"cancel", recv_cancel},
    {"close", recv_close},
};

} // namespace

TEST_CASE("conformance: multishot accepts end on the simulated kernel as on the real one") {
    run_bodies(accepts);
}
TEST_CASE("conformance: a connection wakes one of several accepts") {
    run_bodies(several_accepts);
}
TEST_CASE(
    "conformance: an accept that polls first looks for a descriptor when somebody comes") {
    if (!detail::ring(detail::real_kernel(), {64, 256}).accepts_poll_first()) {
        WARN("this kernel knows nothing of it");
        return;
    }
    same_on_both_rings({"", accept_polls_first});
}
TEST_CASE("conformance: multishot polls end on the simulated kernel as on the real one") {
    run_bodies(polls);
}
TEST_CASE("conformance: multishot receives end on the simulated kernel as on the real one") {
    run_bodies(receives);
}
