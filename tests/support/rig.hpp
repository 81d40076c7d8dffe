// A ring, real or simulated, for plain functions that submit entries and reap completions: here
// an operation may complete more than once.
#ifndef TOADSTONE_TESTS_SUPPORT_RIG_HPP
#define TOADSTONE_TESTS_SUPPORT_RIG_HPP

#include <toadstone/runtime/uring/kernel.hpp>
#include <toadstone/runtime/uring/ring.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/sim/choices.hpp>
#include <toadstone/sim/kernel/sim_kernel.hpp>

#include "support/record.hpp"

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

namespace toadstone::tests {

/// The world has decided in a way that the body has nothing to say about, as that a chain fell
/// into two because a part of its batch was submitted.
struct not_this_time {};

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
        tags_.push_back(tag);
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
            if (cut && !may_be_cut) throw not_this_time();
        }
    }
    /// One call, and no time passes.
    void turn() {
        ring_.submit();
        links_.clear();
        reap();
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
        return found != completions_.end() && !found->second.empty() &&
               !(found->second.back().flags & IORING_CQE_F_MORE);
    }
    /// "5 MORE, 0 NOTIF": all completions of an operation so far, in order.
    [[nodiscard]] std::string of(std::uint64_t tag) const {
        std::string text;
        const auto found = completions_.find(tag);
        if (found == completions_.end() || found->second.empty()) return "nothing";
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

    /// Buffers for receives to choose from, the first `given` of them provided. Their memory.
    char* make_group(std::uint16_t number, unsigned count, unsigned size, unsigned given) {
        group& made = groups_[number];
        made.buffers = buffer(std::size_t{count} * size);
        made.count = count;
        made.size = size;
        made.shared.reset(static_cast<io_uring_buf_ring*>(std::aligned_alloc(4096, 4096)));
        io_uring_buf_ring_init(made.shared.get());
        holds("a group is made", change(IORING_REGISTER_PBUF_RING, number) == 0);
        for (unsigned each = 0; each < given; ++each) provide(number, each);
        return made.buffers;
    }
    void provide(std::uint16_t number, unsigned each) {
        group& to = groups_.at(number);
        io_uring_buf_ring_add(to.shared.get(), to.buffers + std::size_t{each} * to.size,
                              to.size, static_cast<unsigned short>(each),
                              io_uring_buf_ring_mask(to.count), 0);
        io_uring_buf_ring_advance(to.shared.get(), 1);
    }
    int take_group_back(std::uint16_t number) {
        return change(IORING_UNREGISTER_PBUF_RING, number);
    }
    /// What a completion has brought, from the buffer that it names.
    [[nodiscard]] std::string text_of(std::uint16_t number, const completion& which) {
        const group& from = groups_.at(number);
        const std::size_t at = which.flags >> IORING_CQE_BUFFER_SHIFT;
        return {from.buffers + at * from.size, static_cast<std::size_t>(which.res)};
    }
    /// The process may open no more; or it may again.
    virtual void exhaust_descriptors(bool on) = 0;

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
    /// As long as the rig is there: a body may end early and leave a connect behind.
    [[nodiscard]] const sockaddr* address_of(int listener) {
        socklen_t length = sizeof(sockaddr_in);
        auto* const address = reinterpret_cast<sockaddr*>(&names_.emplace_back());
        detail::system().getsockname(listener, address, &length);
        return address;
    }
    [[nodiscard]] static auto to_connect(int fd, const sockaddr* name) {
        return
            [=](io_uring_sqe* e) { io_uring_prep_connect(e, fd, name, sizeof(sockaddr_in)); };
    }
    void connect(int fd, int listener) {
        holds("a client is connected", run(to_connect(fd, address_of(listener))) == 0);
    }
    int client_of(int listener) {
        const int fd = socket();
        connect(fd, listener);
        return fd;
    }
    struct pair_of_ends {
        int client = -1;
        int server = -1;
    };
    pair_of_ends connected() {
        pair_of_ends made;
        const int from = listener();
        made.client = socket();
        // As small as a simulated connection, so that it is soon full. Inherited when accepted.
        const int size = 65536;
        for (const int fd : {from, made.client}) {
            for (const int which : {SO_RCVBUF, SO_SNDBUF}) {
                detail::system().setsockopt(fd, SOL_SOCKET, which, &size, sizeof size);
            }
        }
        connect(made.client, from);
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

    /// Ends what a body has left behind that ended early.
    void cancel_all() {
        const std::vector<std::uint64_t> tags = tags_;
        for (const std::uint64_t tag : tags) {
            if (has_ended(tag)) continue;
            cancels(++own_tag_, tag);
            submit(true);
        }
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
    struct freed {
        void operator()(io_uring_buf_ring* memory) const noexcept { std::free(memory); }
    };
    struct group {
        std::unique_ptr<io_uring_buf_ring, freed> shared;
        char* buffers = nullptr;
        unsigned count = 0;
        unsigned size = 0;
    };
    int change(unsigned opcode, std::uint16_t number) {
        io_uring_buf_reg about{};
        about.ring_addr = reinterpret_cast<std::uintptr_t>(groups_.at(number).shared.get());
        about.ring_entries = groups_.at(number).count;
        about.bgid = number;
        return ring_.enroll(opcode, &about, 1);
    }

    std::map<std::uint16_t, group> groups_;
    std::string folder_;
    std::vector<std::uint64_t> tags_;
    std::vector<bool> links_; // of the entries that are not submitted
    std::map<std::uint64_t, std::vector<completion>> completions_;
    std::vector<std::uint64_t> order_;
    std::uint64_t own_tag_ = 1000;
    std::deque<std::string> memory_;
    std::deque<sockaddr_in> names_;
};

class real_rig final : public rig {
public:
    explicit real_rig(std::string folder, detail::ring_options sizes)
        : rig(detail::real_kernel(), std::move(folder), sizes) {}

private:
    void exhaust_descriptors(bool on) override {
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        if (on) before_ = limit.rlim_cur;
        const int next = ::dup(0); // the lowest that is free
        ::close(next);
        limit.rlim_cur = on ? static_cast<rlim_t>(next) : before_;
        ::setrlimit(RLIMIT_NOFILE, &limit);
    }
    // What happens on the loopback happens at once; the rest of the time is for a busy machine.
    bool go_on() override {
        ring_.submit_and_wait(std::chrono::steady_clock::now() + std::chrono::milliseconds(10));
        return ring_.has_completion();
    }
    rlim_t before_ = 0;
};

class simulated_rig final : public rig {
public:
    simulated_rig(sim::world::state& world, sim::detail::sim_kernel& kernel,
                  detail::ring_options sizes)
        : rig(kernel, "/world", sizes), world_(world), kernel_(kernel) {
        world_.make_folder("/world");
    }

private:
    void exhaust_descriptors(bool on) override {
        world_.limit_descriptors(on ? world_.descriptors() : 0);
    }
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

/// A world with a ring and nobody else.
struct place {
    explicit place(std::unique_ptr<sim::choices> from, bool hostile = true,
                   detail::ring_options sizes = {64, 256})
        : dice(std::move(from)), world(options(hostile), *dice), kernel(world), use(world),
          in(world, kernel, sizes) {}
    ~place() {
        kernel.be_prompt();
        for (int i = 0; i < 100 && kernel.in_flight() > 0; ++i) {
            in.cancel_all();
            in.settle();
        }
    }
    place(const place&) = delete;
    place& operator=(const place&) = delete;

    static std::unique_ptr<sim::choices> tame() {
        return sim::replayed_choices(std::string_view());
    }
    static sim::world_options options(bool hostile) {
        sim::world_options made;
        made.hostile = hostile;
        return made;
    }
    std::unique_ptr<sim::choices> dice;
    sim::world::state world;
    sim::detail::sim_kernel kernel;
    sim::detail::use_world use;
    simulated_rig in;
};

} // namespace toadstone::tests

#endif
