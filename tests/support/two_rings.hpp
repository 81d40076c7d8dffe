// Runs a plain function that submits entries and reaps completions on the real ring and on the
// simulated kernel, tame and hostile, without tasks: here an operation may complete more than
// once.
#ifndef TOADSTONE_TESTS_SUPPORT_TWO_RINGS_HPP
#define TOADSTONE_TESTS_SUPPORT_TWO_RINGS_HPP

#include <toadstone/runtime/uring/kernel.hpp>
#include <toadstone/runtime/uring/ring.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/sim/kernel/sim_kernel.hpp>

#include "support/io.hpp"
#include "support/record.hpp"

#include <catch2/catch.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

namespace toadstone::tests {

/// A chain fell into two because a part of its batch was submitted: another run, please.
struct chain_was_cut {};

/// One run of a body: a ring, and all that has come out of it.
class rig : public record {
public:
    rig(detail::kernel& kernel, std::string folder, detail::ring_options sizes)
        : ring_(kernel, sizes), folder_(std::move(folder)) {
        ring_.enable();
    }
    rig(const rig&) = delete;
    rig& operator=(const rig&) = delete;

    // Entries and their completions.
    template <class Prepare>
    void add(std::uint64_t tag, Prepare prepare, unsigned flags = 0) {
        io_uring_sqe* const entry = ring_.next_entry();
        prepare(entry);
        entry->user_data = tag;
        entry->flags = static_cast<std::uint8_t>(entry->flags | flags);
        links_.push_back((entry->flags & (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)) != 0);
    }
    /// All that was added. The kernel may take it in parts.
    void submit(bool may_be_cut = false) {
        while (ring_.unsubmitted() > 0) {
            const std::size_t before = ring_.unsubmitted();
            ring_.submit();
            reap();
            const std::size_t taken = before - ring_.unsubmitted();
            const bool cut = taken > 0 && taken < before && links_[taken - 1];
            links_.erase(links_.begin(), links_.begin() + static_cast<std::ptrdiff_t>(taken));
            if (cut && !may_be_cut) throw chain_was_cut();
        }
    }
    /// Until nothing happens any more by itself.
    void settle() {
        submit();
        while (go_on()) reap();
    }
    /// Until each of these has ended, and as above.
    void ends(std::uint64_t first, std::uint64_t last) {
        submit();
        for (std::uint64_t tag = first; tag <= last; ++tag) {
            for (int patience = 500; patience > 0 && !has_ended(tag); --patience) {
                if (go_on()) reap();
            }
        }
        settle();
    }
    [[nodiscard]] bool has_ended(std::uint64_t tag) const {
        const auto found = completions_.find(tag);
        return found != completions_.end() && !(found->second.back().flags & IORING_CQE_F_MORE);
    }
    /// "5 MORE, 0 NOTIF": all completions of an operation so far, in order.
    [[nodiscard]] std::string of(std::uint64_t tag) const {
        std::string text;
        const auto found = completions_.find(tag);
        if (found == completions_.end()) return "nothing";
        for (const auto& each : found->second) {
            if (!text.empty()) text += ", ";
            text += name_of(each.res);
            if (each.flags & IORING_CQE_F_BUFFER) text += " BUFFER";
            if (each.flags & IORING_CQE_F_MORE) text += " MORE";
            if (each.flags & IORING_CQE_F_NOTIF) text += " NOTIF";
        }
        return text;
    }
    /// "5; ECANCELED": of several operations.
    [[nodiscard]] std::string of_chain(std::uint64_t first, std::uint64_t last) const {
        std::string text;
        for (std::uint64_t tag = first; tag <= last; ++tag) {
            text += (text.empty() ? "" : "; ") + of(tag);
        }
        return text;
    }
    struct completion {
        int res;
        unsigned flags;
    };
    [[nodiscard]] const std::vector<completion>& all(std::uint64_t tag) {
        return completions_[tag];
    }
    /// The tags of all completions, in order.
    [[nodiscard]] const std::vector<std::uint64_t>& order() const noexcept { return order_; }
    /// One operation, to its end.
    template <class Prepare>
    int run(Prepare prepare) {
        const std::uint64_t tag = ++own_tag_;
        add(tag, prepare);
        submit();
        for (int patience = 500; patience > 0 && !has_ended(tag); --patience) {
            if (go_on()) reap();
        }
        return has_ended(tag) ? completions_[tag].back().res : -ETIME;
    }
    [[nodiscard]] detail::ring& ring() noexcept { return ring_; }

    // Files and sockets; -errno on failure.
    [[nodiscard]] char* buffer(std::size_t size, char filled_with = '.') {
        return memory_.emplace_back(size, filled_with).data();
    }
    int file(const char* content) {
        const char* const path = memory_.emplace_back(folder_ + "/file").c_str();
        const int fd = run([&](io_uring_sqe* e) {
            io_uring_prep_openat(e, AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
        });
        for (std::size_t at = 0; content[at]; ++at) {
            run([&](io_uring_sqe* e) { io_uring_prep_write(e, fd, content + at, 1, at); });
        }
        return fd;
    }
    [[nodiscard]] static int socket() {
        return detail::system().socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    }
    [[nodiscard]] static int listener() {
        const int fd = socket();
        sockaddr_in name{};
        name.sin_family = AF_INET;
        name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        detail::system().bind(fd, reinterpret_cast<const sockaddr*>(&name), sizeof name);
        detail::system().listen(fd, 16);
        return fd;
    }
    /// A socket that is connected to a listener.
    int client_of(int listener) {
        auto& name = names_.emplace_back();
        socklen_t length = sizeof name;
        auto* const address = reinterpret_cast<sockaddr*>(&name);
        detail::system().getsockname(listener, address, &length);
        const int fd = socket();
        const int result =
            run([&](io_uring_sqe* e) { io_uring_prep_connect(e, fd, address, sizeof name); });
        holds("a client is connected", result == 0);
        return fd;
    }
    struct pair_of_ends {
        int client = -1;
        int server = -1;
    };
    pair_of_ends connected() {
        pair_of_ends made;
        const int from = listener();
        // As small as a simulated connection, so that it is soon full. Inherited when accepted.
        const int size = 65536;
        detail::system().setsockopt(from, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        made.client = client_of(from);
        made.server =
            run([&](io_uring_sqe* e) { io_uring_prep_accept(e, from, nullptr, nullptr, 0); });
        close(from);
        return made;
    }
    void close(int fd) { holds("a descriptor is closed", detail::system().close(fd) == 0); }
    void close(pair_of_ends both) {
        close(both.client);
        close(both.server);
    }
    static void abort_on_close(int fd) {
        const linger none{1, 0};
        detail::system().setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    }
    static int shutdown(int fd, int how) { return detail::system().shutdown(fd, how); }
    void send(int fd, const std::string& text) {
        const std::string& kept = memory_.emplace_back(text);
        for (std::size_t sent = 0; sent < kept.size();) {
            const int count = run([&](io_uring_sqe* e) {
                io_uring_prep_send(e, fd, kept.data() + sent, kept.size() - sent, MSG_NOSIGNAL);
            });
            if (count <= 0) break;
            sent += static_cast<std::size_t>(count);
        }
        settle();
    }
    void cancels(std::uint64_t tag, std::uint64_t target) {
        add(tag, [&](io_uring_sqe* e) { io_uring_prep_cancel64(e, target, 0); });
    }

protected:
    ~rig() = default;
    /// Something may have happened since.
    virtual bool go_on() = 0;
    void reap() {
        ring_.reap([this](const io_uring_cqe& each) {
            completions_[each.user_data].push_back({each.res, each.flags});
            order_.push_back(each.user_data);
        });
    }

    detail::ring ring_;

private:
    std::string folder_;
    std::vector<bool> links_; // of the entries that are not submitted
    std::map<std::uint64_t, std::vector<completion>> completions_;
    std::vector<std::uint64_t> order_;
    std::uint64_t own_tag_ = 1000;
    std::deque<std::string> memory_;
    std::deque<sockaddr_in> names_;
};

using ring_body = void (*)(rig&);

class real_rig final : public rig {
public:
    explicit real_rig(std::string folder, detail::ring_options sizes = {64, 256})
        : rig(detail::real_kernel(), std::move(folder), sizes) {}

private:
    // What happens on the loopback happens at once; the rest of the time is for a busy machine.
    bool go_on() override {
        ring_.submit_and_wait(std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
        return ring_.has_completion();
    }
};

class simulated_rig final : public rig {
public:
    simulated_rig(sim::world::state& world, sim::detail::sim_kernel& kernel,
                  detail::ring_options sizes = {64, 256})
        : rig(kernel, "/world", sizes), world_(world), kernel_(kernel) {}

private:
    bool go_on() override {
        if (!kernel_.can_progress()) {
            const auto next = world_.next_arrival();
            if (next == sim::detail::time_point::max()) return false;
            world_.set_now(next);
        }
        ring_.submit();
        return true;
    }
    sim::world::state& world_;
    sim::detail::sim_kernel& kernel_;
};

inline std::vector<std::string> seen_on_real_ring(ring_body what) {
    const temporary_folder folder;
    const std::size_t before = open_descriptors();
    std::vector<std::string> seen;
    {
        real_rig in(folder.path());
        what(in);
        seen = in.seen();
    }
    CHECK(open_descriptors() == before);
    return seen;
}

/// False if a chain was cut, and so the body has nothing to say.
inline bool run_simulated(ring_body what, unsigned seed, const std::vector<std::string>& real,
                          record::choices& chosen) {
    sim::world_options options;
    options.hostile = seed > 0;
    const auto dice =
        seed > 0 ? sim::random_choices(seed) : sim::replayed_choices(std::string_view());
    sim::world::state world(options, *dice);
    sim::detail::sim_kernel kernel(world);
    const sim::detail::use_world use(world);
    bool whole = true;
    {
        simulated_rig in(world, kernel);
        try {
            what(in);
            INFO("seed " << seed);
            REQUIRE(in.seen() == real);
            CHECK(kernel.in_flight() == 0);
            CHECK(kernel.complaint() == std::string());
            CHECK(kernel.balanced());
            CHECK(world.descriptors() == 0);
            in.add_to(chosen);
        } catch (const chain_was_cut&) {
            whole = false;
        }
        // What an unfinished body has left is taken along.
        kernel.be_prompt();
        world.reset_all();
        for (int i = 0; i < 1000 && kernel.in_flight() > 0; ++i) in.ring().submit();
    }
    return whole;
}

/// Whatever the worlds decide, the body sees the same; and they make every choice that the body
/// says the kernel has.
inline void same_on_both_rings(ring_body what) {
    constexpr unsigned real_runs = 5;
    constexpr unsigned seeds = 200;
    constexpr unsigned most_seeds = 5000; // for what is rare
    const auto real = seen_on_real_ring(what);
    for (const auto& each : real) {
        CHECK_THAT(each, !Catch::EndsWith(": NO"));
        CHECK_THAT(each, !Catch::Contains("not allowed"));
    }
    for (unsigned i = 1; i < real_runs; ++i) CHECK(seen_on_real_ring(what) == real);
    record::choices chosen;
    unsigned whole = 0;
    for (unsigned seed = 0;
         whole <= seeds || (seed <= most_seeds && !never_simulated(chosen).empty()); ++seed) {
        whole += run_simulated(what, seed, real, chosen);
    }
    CHECK(never_simulated(chosen) == std::set<std::string>());
}

} // namespace toadstone::tests

#endif
