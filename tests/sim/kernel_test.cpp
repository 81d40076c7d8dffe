// The simulated kernel by itself: what it does to memory in flight, what it counts, and when
// its calls fail.
#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/uring/ring.hpp>
#include <toadstone/runtime/uring/system_calls.hpp>
#include <toadstone/sim/kernel/sim_kernel.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace toadstone;

namespace {

/// A kernel with a ring, without a runtime: what is submitted and when is the test's own.
class bench {
public:
    explicit bench(std::unique_ptr<sim::choices> dice, bool hostile,
                   detail::ring_options sizes = {64, 256})
        : dice_(std::move(dice)), state_(options(hostile), *dice_), kernel_(state_),
          ring_(kernel_, sizes) {
        ring_.enable();
    }
    ~bench() {
        kernel_.be_prompt();
        for (int i = 0; i < 1000 && kernel_.in_flight() > 0; ++i) turn();
    }
    bench(const bench&) = delete;
    bench& operator=(const bench&) = delete;

    template <class Prepare>
    void submit(std::uint64_t tag, Prepare prepare) {
        io_uring_sqe* const entry = ring_.next_entry();
        prepare(entry);
        entry->user_data = tag;
    }
    /// Enters once and takes the completions that are there.
    void turn() {
        ring_.submit();
        reap();
    }
    void reap() {
        ring_.reap([this](const io_uring_cqe& each) {
            ended[each.user_data] = each.res;
            order.push_back(each.user_data);
        });
    }
    void finish() {
        for (int i = 0; i < 100; ++i) turn();
    }
    /// A file with this in it, open for everything.
    int file(std::string_view text) {
        auto& node = state_.make_file("file");
        const auto* const from = reinterpret_cast<const std::byte*>(text.data());
        node.cached.assign(from, from + text.size());
        return state_.open_at(AT_FDCWD, "file", O_RDWR);
    }
    [[nodiscard]] sim::detail::sim_kernel& kernel() noexcept { return kernel_; }
    [[nodiscard]] detail::ring& ring() noexcept { return ring_; }
    [[nodiscard]] sim::world::state& world() noexcept { return state_; }

    std::map<std::uint64_t, int> ended;
    std::vector<std::uint64_t> order;

private:
    static sim::world_options options(bool hostile) {
        sim::world_options made;
        made.hostile = hostile;
        return made;
    }
    std::unique_ptr<sim::choices> dice_;
    sim::world::state state_;
    sim::detail::sim_kernel kernel_;
    detail::ring ring_;
};

/// Nothing happens in the turn in which it was submitted: every completion is late.
class late final : public sim::choices {
public:
    std::string name() const override { return "late"; }

private:
    unsigned decide(unsigned n, sim::choice about) override {
        return about == sim::choice::timing && n == 3 ? 2 : 0;
    }
};

void reads(bench& on, int fd, char* to, unsigned size) {
    on.submit(1, [&](io_uring_sqe* e) { io_uring_prep_read(e, fd, to, size, 0); });
    on.turn();
}
void writes(bench& on, int fd, const char* from, unsigned size) {
    on.submit(1, [&](io_uring_sqe* e) { io_uring_prep_write(e, fd, from, size, 0); });
    on.turn();
}
void cancels(bench& on) {
    on.submit(2, [](io_uring_sqe* e) { io_uring_prep_cancel64(e, 1, 0); });
    on.turn();
}

// What a program that is wrong on purpose does to itself, without taking the tests with it.
bool dies(void (*wrong)()) {
    const pid_t child = ::fork();
    if (child == 0) {
        const int nowhere = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
        ::dup2(nowhere, 1);
        ::dup2(nowhere, 2);
        wrong();
        ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

// A runtime that takes the cancellation for the end of the operation, and frees its memory.
void frees_read_buffer_early() {
    bench on(std::make_unique<late>(), true);
    auto* const buffer = new char[100];
    reads(on, on.file("hello"), buffer, 100);
    delete[] buffer;
    on.finish();
}
void frees_write_buffer_early() {
    bench on(std::make_unique<late>(), true);
    auto* const buffer = new char[100]();
    const int fd = on.file("");
    writes(on, fd, buffer, 100);
    delete[] buffer;
    on.finish();
}
void frees_path_early() {
    bench on(std::make_unique<late>(), true);
    auto path = std::make_unique<std::string>(100, 'p');
    on.submit(1, [&](io_uring_sqe* e) {
        io_uring_prep_openat(e, AT_FDCWD, path->c_str(), O_RDONLY, 0);
    });
    on.turn();
    path.reset();
    on.finish();
}
void waits() {
    bench on(std::make_unique<late>(), true);
    const auto buffer = std::make_unique<char[]>(100);
    reads(on, on.file("hello"), buffer.get(), 100);
    on.finish();
}

} // namespace

TEST_CASE("simulated kernel: a read buffer in flight holds nothing that anybody could use, and "
          "is left as it was beyond what was read") {
    bench on(std::make_unique<late>(), true);
    char buffer[] = "before....";
    reads(on, on.file("hello"), buffer, 10);
    REQUIRE(on.ended.empty());
    CHECK(std::string(buffer) == std::string(10, static_cast<char>(0xa5)));
    on.finish();
    CHECK(on.ended.at(1) == 5);
    CHECK(std::string(buffer) == "helloe....");
}

TEST_CASE("simulated kernel: a read that was cancelled leaves the buffer as it was") {
    bench on(std::make_unique<late>(), true);
    char buffer[] = "before....";
    reads(on, on.file("hello"), buffer, 10);
    cancels(on);
    on.finish();
    CHECK(on.ended.at(1) == -ECANCELED);
    CHECK(on.ended.at(2) == 0);
    CHECK(std::string(buffer) == "before....");
}

TEST_CASE("simulated kernel: memory that is written to or changed in flight is complained of") {
    const bool reading = GENERATE(true, false);
    bench on(std::make_unique<late>(), true);
    char buffer[] = "before....";
    const int fd = on.file("hello");
    if (reading) {
        reads(on, fd, buffer, 10);
    } else {
        writes(on, fd, buffer, 10);
    }
    CHECK(on.kernel().complaint().empty());
    buffer[9] = '!';
    on.finish();
    CHECK(on.ended.size() == 1);
    CHECK_THAT(on.kernel().complaint(), Catch::Contains(reading ? "READ" : "WRITE"));
    CHECK_FALSE(on.kernel().balanced());
}

TEST_CASE("simulated kernel: the memory of one that waits in a chain is the kernel's, too") {
    const bool changed = GENERATE(false, true);
    bench on(std::make_unique<late>(), true);
    const int fd = on.file("hello");
    char first[] = "first";
    char second[] = "second";
    on.submit(1, [&](io_uring_sqe* e) {
        io_uring_prep_write(e, fd, first, 5, 0);
        e->flags = IOSQE_IO_LINK;
    });
    on.submit(2, [&](io_uring_sqe* e) { io_uring_prep_write(e, fd, second, 6, 5); });
    on.turn();
    REQUIRE(on.ended.empty());
    CHECK(on.kernel().in_flight() == 2);
    CHECK_FALSE(on.kernel().balanced());
    if (changed) second[0] = 'S';
    on.finish();
    CHECK(on.ended.at(2) == 6);
    CHECK(on.kernel().balanced() == !changed);
    CHECK_THAT(on.kernel().complaint(), Catch::Contains(changed ? "WRITE" : ""));
}

TEST_CASE("simulated kernel: between two of a chain there is time for others") {
    unsigned between = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        bench on(sim::random_choices(seed), true);
        on.submit(1, [](io_uring_sqe* e) {
            io_uring_prep_nop(e);
            e->flags = IOSQE_IO_LINK;
        });
        on.submit(2, [](io_uring_sqe* e) { io_uring_prep_nop(e); });
        on.submit(3, [](io_uring_sqe* e) { io_uring_prep_nop(e); });
        on.finish();
        REQUIRE(on.order.size() == 3);
        between += on.order == std::vector<std::uint64_t>{1, 3, 2} ? 1 : 0;
    }
    CHECK(between > 0);
}

TEST_CASE("simulated kernel: memory that is freed in flight is found by AddressSanitizer") {
    CHECK_FALSE(dies(waits));
    if (!TOADSTONE_ASAN) return; // nobody looks
    CHECK(dies(frees_read_buffer_early));
    CHECK(dies(frees_write_buffer_early));
    CHECK(dies(frees_path_early));
}

TEST_CASE("simulated kernel: balanced means that every submission has had its completion") {
    for (std::uint64_t seed = 1; seed <= 50; ++seed) {
        bench on(sim::random_choices(seed), true);
        CHECK(on.kernel().balanced());
        std::vector<std::string> buffers(20, std::string(10, '.'));
        const int fd = on.file("hello");
        for (std::uint64_t tag = 0; tag < buffers.size(); ++tag) {
            on.submit(tag, [&](io_uring_sqe* e) {
                io_uring_prep_read(e, fd, buffers[tag].data(), 10, 0);
            });
            on.submit(tag + 100, [&](io_uring_sqe* e) { io_uring_prep_cancel64(e, tag, 0); });
            on.turn();
            CHECK(on.kernel().balanced() == (on.kernel().in_flight() == 0));
        }
        on.finish();
        CHECK(on.kernel().balanced());
        CHECK(on.ended.size() == 2 * buffers.size());
    }
}

TEST_CASE("simulated kernel: a completion queue that is full loses nothing and says EBUSY") {
    bench on(sim::replayed_choices(""), false, {8, 8});
    const unsigned room = on.ring().completion_capacity();
    std::uint64_t tag = 0;
    for (unsigned batch = 0; batch < 5; ++batch) {
        for (unsigned i = 0; i < 8; ++i) {
            on.submit(tag++, [](io_uring_sqe* e) { io_uring_prep_nop(e); });
        }
        on.ring().submit(); // nobody reaps
    }
    REQUIRE(tag > room);
    CHECK(on.ring().kernel_has_work());
    io_uring unused{};
    CHECK(on.kernel().enter(unused, 0, 0, 0, nullptr) == -EBUSY);
    for (int i = 0; i < 10; ++i) {
        on.reap();
        on.ring().submit();
    }
    REQUIRE(on.order.size() == tag);
    CHECK(std::is_sorted(on.order.begin(), on.order.end()));
    CHECK_FALSE(on.ring().kernel_has_work());
    CHECK(on.kernel().balanced());
}

TEST_CASE("simulated kernel: a call fails only where it has not submitted anything") {
    std::map<int, unsigned> alone;
    std::map<int, unsigned> with_three;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        bench on(sim::random_choices(seed), true);
        io_uring unused{};
        ++alone[on.kernel().enter(unused, 0, 0, 0, nullptr)];
        for (std::uint64_t tag = 1; tag <= 3; ++tag) {
            on.submit(tag, [](io_uring_sqe* e) { io_uring_prep_nop(e); });
        }
        const unsigned before = on.ring().unsubmitted();
        on.ring().submit();
        const unsigned after = on.ring().unsubmitted();
        ++with_three[static_cast<int>(before - after)];
        on.finish();
        CHECK(on.ended.size() == 3); // nothing is lost, nothing comes twice
    }
    CHECK(alone.size() == 2);
    CHECK(alone.count(-EINTR) == 1);
    CHECK(with_three.size() == 3);
    CHECK(with_three.count(0) == 1); // EAGAIN
    CHECK(with_three.count(2) == 1); // a part
}

TEST_CASE("simulated kernel: what the library does not ask for is refused") {
    bench on(sim::replayed_choices(""), false);
    on.submit(1, [](io_uring_sqe* e) { io_uring_prep_fallocate(e, 3, 0, 0, 1); });
    on.submit(2, [](io_uring_sqe* e) {
        io_uring_prep_nop(e);
        e->flags = IOSQE_IO_DRAIN;
    });
    on.submit(3, [](io_uring_sqe* e) { io_uring_prep_poll_remove(e, 1); });
    on.submit(4, [](io_uring_sqe* e) { io_uring_prep_cancel_fd(e, 3, 0); });
    on.finish();
    for (std::uint64_t tag = 1; tag <= 4; ++tag) CHECK(on.ended.at(tag) == -EINVAL);
    CHECK(on.kernel().enroll(*std::make_unique<io_uring>(), IORING_REGISTER_BUFFERS, nullptr,
                             0) == -EINVAL);
}

TEST_CASE("simulated kernel: a cancellation that finds nothing has a target that has ended") {
    std::map<int, std::map<int, unsigned>> seen; // answer -> result -> times
    unsigned target_first = 0;
    unsigned answer_first = 0;
    for (std::uint64_t seed = 1; seed <= 2000; ++seed) {
        bench on(sim::random_choices(seed), true);
        char buffer[6] = {};
        reads(on, on.file("hello"), buffer, 5);
        const bool over = on.ended.count(1) > 0;
        cancels(on);
        on.finish();
        if (!over) ++(on.order.front() == 1 ? target_first : answer_first);
        REQUIRE(on.ended.size() == 2);
        ++seen[on.ended[2]][std::min(on.ended[1], 1)];
    }
    CHECK(seen[-ENOENT].size() == 1);
    CHECK(seen[-ENOENT].count(1) == 1);
    CHECK(seen[0].size() == 3); // -ECANCELED, -EINTR, or by itself
    CHECK(seen[-EALREADY].size() == 3);
    CHECK(seen.size() == 3);
    CHECK(target_first > 0);
    CHECK(answer_first > 0);
}

TEST_CASE("simulated kernel: a connection that nobody answers is not something to go on with") {
    bench on(sim::replayed_choices(""), false);
    const sim::detail::use_world use(on.world());
    const auto socket = [] { return detail::system().socket(AF_INET, SOCK_STREAM, 0); };
    const int listener = socket();
    REQUIRE(detail::system().listen(listener, 1) == 0);
    sockaddr_in name{};
    socklen_t length = sizeof name;
    auto* const address = reinterpret_cast<sockaddr*>(&name);
    detail::system().getsockname(listener, address, &length);
    const auto connects = [&](std::uint64_t tag) {
        on.submit(tag, [&](io_uring_sqe* e) {
            io_uring_prep_connect(e, socket(), address, sizeof name);
        });
        on.turn();
    };
    on.world().set_partitioned(true);
    connects(1);
    CHECK(on.kernel().in_flight() == 1);
    CHECK_FALSE(on.kernel().can_progress());
    on.world().set_partitioned(false);
    CHECK(on.kernel().can_progress());
    on.turn();
    CHECK(on.ended.at(1) == 0);
    connects(2); // the queue of the listener has room for one
    CHECK(on.kernel().in_flight() == 1);
    CHECK_FALSE(on.kernel().can_progress());
    on.submit(3,
              [&](io_uring_sqe* e) { io_uring_prep_accept(e, listener, nullptr, nullptr, 0); });
    on.turn();
    on.turn();
    CHECK(on.ended.at(3) >= 0);
    CHECK(on.ended.at(2) == 0);
}
