// Scenarios about operations in flight: a hostile kernel, and a cancellation at each await.
#include "support/hostile.hpp"

#include "support/failing_new.hpp"

#include <toadstone/sync.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cerrno>
#include <map>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;

namespace {

task<> says(sim::world& world, io::tcp_stream& to, std::string_view text) {
    co_await a_while(world);
    co_await to.write_all(text);
}

// S184, S185: two accept, one connects, and one of the two is not there any more when it could
// be accepted, or has to wait because descriptors or memory are short.

task<> leaves_about_now(sim::world& world, join_handle<void>& who) {
    for (unsigned turns = pick_timing(world, 16); turns > 0; --turns) co_await yield_now();
    who.cancel();
}
task<> one_of_two_accepts(sim::world& world) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    std::optional<io::tcp_stream> to_one;
    std::optional<io::tcp_stream> to_other;
    auto one = spawn(connection_pair::accept(listener, to_one), {.name = "victim"});
    auto other = spawn(connection_pair::accept(listener, to_other), {.name = "other"});
    co_await a_while(world); // both are under way
    auto leaving = spawn(leaves_about_now(world, pick_timing(world, 2) == 0 ? one : other));
    auto client = co_await connect_in_time(listener.local_endpoint());
    co_await leaving;
    const auto& stats = listener.accept_stats();
    for (int i = 0; client && stats.accepted == 0 && i < 60; ++i) co_await sleep_for(50ms);
    const bool both_left = one.done() && other.done();
    one.cancel();
    other.cancel();
    static_cast<void>(co_await one.outcome());
    static_cast<void>(co_await other.outcome());
    expect(!client || stats.accepted > 0 || both_left, "nobody accepts who has come");
}

// S14, S21, S82: a section that spans a read.

struct halves {
    int first = 0;
    int second = 0;
};
using shared = sync::mutex<halves>;

task<> reads_inside(io::tcp_stream& from, shared& data) {
    auto held = co_await data.lock();
    held->first = 1;
    char byte = 0;
    static_cast<void>(co_await from.read_some(std::span(&byte, 1)));
    held->second = 1;
}
task<> is_cut_inside(sim::world& world) {
    connection_pair between;
    co_await between.open();
    shared data;
    auto holder = spawn(reads_inside(*between.there, data),
                        {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
    co_await when_all(says(world, *between.here, "x"), may_cancel(world, holder));
    const auto end = co_await holder.outcome();
    auto found = co_await data.lock_or_poison();
    const halves& seen = *found.guard();
    expect(found.cause() ? seen.first == 1 && seen.second == 0 : seen.first == seen.second,
           "half of a change, and the lock says nothing, or the other way round");
    if (!found.cause()) co_return;
    if (end.has_exception()) {
        expect(found.cause().kind() == poison_kind::exception, "the failure is not the cause");
        co_return;
    }
    expect(end.is_cancelled() && found.cause().kind() == poison_kind::cancelled &&
               found.cause().reason() == cancel_reason::requested,
           "the cause is another one: " + found.cause().to_string());
    const std::string story = found.cause().to_string();
    expect(story.find("scenarios_io_test.cpp:") != std::string::npos ||
               story.find("no memory") != std::string::npos,
           "the cause does not name the line: " + story);
}

task<> fails_inside(sim::world& world) {
    connection_pair between;
    co_await between.open();
    shared data;
    auto holder = spawn(reads_inside(*between.there, data), {.name = "victim"});
    auto cancelling = spawn(may_cancel(world, holder));
    co_await a_while(world);
    world.reset_connections();
    co_await cancelling;
    const auto end = co_await holder.outcome();
    auto found = co_await data.lock_or_poison();
    if (end.has_exception() && found.guard()->first == 0) {
        // It had no memory to begin with.
        expect(!found.cause(), "poisoned by a task that was never inside");
    } else if (end.has_exception()) {
        expect(found.cause() && found.cause().kind() == poison_kind::exception,
               "the failure of the operation is not the cause");
    } else {
        expect(end.is_cancelled(), "a read of a connection that was reset succeeded");
        expect(!found.cause() || found.cause().kind() == poison_kind::cancelled,
               "the cause is a failure that nobody saw");
    }
}

task<> spans_a_read(io::tcp_stream& from, shared& data, bool changed) {
    auto held = co_await data.lock();
    held.mark_consistent();
    if (changed) {
        held.mark_inconsistent();
        held->first = 1;
    }
    char byte = 0;
    const std::size_t count = co_await from.read_some(std::span(&byte, 1));
    if (count == 0) throw std::runtime_error("the client has left");
    held.mark_inconsistent();
    held->first = held->second = 1;
}
task<> client_leaves(sim::world& world) {
    connection_pair between;
    co_await between.open();
    for (const bool changed : {false, true}) {
        shared data;
        auto holder = spawn(spans_a_read(*between.there, data, changed), {.name = "victim"});
        auto cancelling = spawn(may_cancel(world, holder));
        co_await a_while(world);
        between.here.reset();
        co_await cancelling;
        const auto end = co_await holder.outcome();
        expect(!end.has_value(), "read from a client that had left");
        auto found = co_await data.lock_or_poison();
        const halves& seen = *found.guard();
        expect(changed || !found.cause(), "poisoned although it was marked consistent");
        expect((seen.first == 1) == static_cast<bool>(found.cause()),
               "left changed and clean, or poisoned and unchanged");
    }
}

// S20, S59: what was read is delivered.

task<> reads_on(sim::world& world, io::tcp_stream& from, std::string& got) {
    for (;;) {
        std::array<char, 7> buffer{};
        const std::size_t count = co_await from.read_some(std::span(buffer));
        if (count == 0) co_return;
        got.append(buffer.data(), count);
        if (pick_timing(world, 4) == 3) co_await yield_now();
    }
}
/// Readers come and are cancelled; the bytes stay in order and are all there.
task<> loses_no_byte(sim::world& world) {
    connection_pair between;
    co_await between.open();
    std::string sent;
    for (int i = 0; i < 300; ++i) sent += static_cast<char>('a' + i % 23);
    auto writing = spawn(says(world, *between.here, sent));
    std::string got;
    got.reserve(sent.size()); // what the readers have got must not be lost for want of memory
    for (int i = 0; i < 8; ++i) {
        auto reader = spawn(reads_on(world, *between.there, got), {.name = "victim"});
        co_await a_while(world);
        reader.cancel();
        static_cast<void>(co_await reader.outcome());
    }
    co_await writing;
    between.here->shutdown_write();
    co_await reads_on(world, *between.there, got);
    expect(got == sent, "bytes were lost or came twice between a read and its cancellation");
}

/// A write that is cut poisons; one that is not has written nothing, or everything.
task<> cuts_a_write(sim::world& world) {
    connection_pair between;
    co_await between.open();
    const std::string sent(90'000, 'w'); // more than the connection holds
    auto writer = spawn(between.here->write_all(sent), {.name = "victim"});
    auto cancelling = spawn(may_cancel(world, writer));
    std::string got;
    auto reader = spawn(read_to_end(*between.there, got));
    co_await cancelling;
    const auto end = co_await writer.outcome();
    const bool poisoned = between.here->poisoned();
    between.here.reset();
    const auto read = co_await reader.outcome();
    expect(read.has_exception() == poisoned, "the end is orderly, or a reset for no reason");
    expect(end.has_value() == (got.size() == sent.size()),
           "what the writer was told is not what the reader got");
    // A reset may overtake what was sent.
    expect(poisoned || got.empty() || got.size() == sent.size(),
           "half a message and a stream that is not poisoned");
}

// S39, S68: whoever is left at the end.

struct counts {
    int begun = 0;
    int gone = 0;
};
class counted {
public:
    explicit counted(counts& in) noexcept : in_(in) { ++in_.begun; }
    counted(const counted&) = delete;
    counted& operator=(const counted&) = delete;
    ~counted() { ++in_.gone; }

private:
    counts& in_;
};
task<> stays_in_a_read(counts& in, std::shared_ptr<shared> data, io::tcp_stream from) {
    auto held = co_await data->lock();
    const counted here(in);
    std::array<char, 100> buffer{};
    static_cast<void>(co_await from.read_some(std::span(buffer)));
}
task<> stays_in_a_wait(counts& in, std::shared_ptr<shared> data) {
    const counted here(in);
    const auto held = co_await data->lock();
}
task<> stays_in_an_accept(counts& in) {
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    const counted here(in);
    static_cast<void>(co_await listener.accept());
}
task<> leaves_tasks_behind(sim::world& world, counts& in) {
    connection_pair between;
    co_await between.open();
    const auto data = std::make_shared<shared>();
    // As outcomes: a failure that nobody joins is told on stderr, and this is about the rest.
    spawn(as_outcome(stays_in_a_read(in, data, std::move(*between.there))),
          {.name = "victim", .where = placement::worker(pick_timing(world, 2))})
        .detach();
    spawn(as_outcome(stays_in_a_wait(in, data)), {.name = "victim", .where = placement::any()})
        .detach();
    spawn(as_outcome(stays_in_an_accept(in)), {.name = "victim", .where = placement::any()})
        .detach();
    co_await sleep_for(10us * (39 - pick_timing(world, 40))); // the tame run gives them time
}

// S57: the kernel's buffer.

task<std::size_t> reads_into_its_frame(io::tcp_stream& from) {
    std::array<char, 512> buffer{};
    const std::size_t count = co_await from.read_some(std::span(buffer));
    co_return count;
}
/// Takes the memory that a freed frame had, and looks whether somebody writes there.
task<> occupies(sim::world& world) {
    std::array<char, 512> mine{};
    mine.fill('m');
    co_await a_while(world);
    for (const char each : mine) expect(each == 'm', "the kernel wrote into a freed frame");
}
task<> reuses_frames(sim::world& world) {
    connection_pair between;
    co_await between.open();
    const std::string text(200, 'k');
    auto writing = spawn(says(world, *between.here, text));
    for (int i = 0; i < 6; ++i) {
        auto reader = spawn(reads_into_its_frame(*between.there), {.name = "victim"});
        co_await a_while(world);
        reader.cancel();
        static_cast<void>(co_await reader.outcome());
        co_await occupies(world);
    }
    co_await writing;
}

// S58, S61, S70: descriptors of operations that succeeded although they were cancelled.

task<> accepts_and_closes(io::tcp_listener& listener, unsigned& accepted) {
    for (;;) {
        io::tcp_stream stream = co_await listener.accept();
        ++accepted;
    }
}
task<> leaves_no_socket(sim::world& world) {
    const std::size_t before = world.descriptors();
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    unsigned accepted = 0;
    for (int i = 0; i < 5; ++i) {
        auto accepting = spawn(accepts_and_closes(listener, accepted), {.name = "victim"});
        auto stream = co_await io::tcp_stream::connect(listener.local_endpoint());
        co_await a_while(world);
        accepting.cancel();
        const auto end = co_await accepting.outcome();
        expect(!end.has_value(), "accepting came to an end by itself");
    }
    expect(accepted == listener.accept_stats().accepted,
           "an accepted connection was not delivered");
    co_await listener.close();
    expect(world.descriptors() == before, "a descriptor is left");
}

task<> opens(sim::world& world, std::string path) {
    io::open_options how;
    how.write = how.create = true;
    io::file opened = co_await io::file::open(path, how);
    if (pick_timing(world, 2) == 1) co_await checkpoint();
}
task<> leaves_no_file(sim::world& world) {
    const std::size_t before = world.descriptors();
    for (int i = 0; i < 8; ++i) {
        auto opening = spawn(opens(world, "f" + std::to_string(i)), {.name = "victim"});
        co_await may_cancel(world, opening);
        static_cast<void>(co_await opening.outcome());
        expect(world.descriptors() == before, "a descriptor is left of a cancelled open");
    }
}

// S64, S66: what is closed, and what is written after that.

task<> writes_and_closes(std::string path) {
    io::open_options how;
    how.write = how.create = true;
    io::file opened = co_await io::file::open(path, how);
    co_await opened.write_all_at(std::string_view("BAD"), 0);
    co_await opened.close();
}
/// Gets the descriptor that the other has just closed, and is the only one to write there.
task<> keeps_to_itself(sim::world& world, int i) {
    io::open_options how;
    how.write = how.create = true;
    io::file opened = co_await io::file::open("mine" + std::to_string(i), how);
    co_await a_while(world);
    co_await opened.write_all_at(std::string_view("good"), 0);
    std::array<char, 10> buffer{};
    std::size_t have = 0;
    for (;;) {
        const std::size_t count =
            co_await opened.read_at(std::span(buffer).subspan(have), have);
        if (count == 0) break;
        have += count;
    }
    expect(std::string_view(buffer.data(), have) == "good", "somebody else wrote here");
    co_await opened.close();
}
task<> closes_once(sim::world& world) {
    const std::size_t before = world.descriptors();
    for (int i = 0; i < 4; ++i) {
        auto other =
            spawn(writes_and_closes("theirs"),
                  {.name = "victim", .where = placement::worker(pick_timing(world, 2))});
        auto cancelling = spawn(may_cancel(world, other));
        co_await keeps_to_itself(world, i);
        co_await cancelling;
        static_cast<void>(co_await other.outcome());
        expect(world.descriptors() == before, "a cancelled close left the descriptor open");
    }
}

// S65: a cancellation that comes too late hits nobody.

task<> gives_up_often(io::tcp_stream& from, sim::world& world) {
    char byte = 0;
    for (int i = 0; i < 20; ++i) {
        const auto limit = 10us * pick_timing(world, 12);
        static_cast<void>(
            co_await try_with_timeout(limit, from.read_some(std::span(&byte, 1))));
    }
}
task<> waits_patiently(io::tcp_stream& from, std::size_t expected) {
    char byte = 0;
    for (std::size_t i = 0; i < expected; ++i) {
        const std::size_t count = co_await from.read_some(std::span(&byte, 1));
        expect(count == 1, "the stream ended early");
    }
}
task<> writes_slowly(sim::world& world, io::tcp_stream& to, int bytes) {
    for (int i = 0; i < bytes; ++i) co_await says(world, to, "p");
}
task<> cancels_nobody_else(sim::world& world) {
    connection_pair noisy;
    connection_pair quiet;
    co_await when_all(noisy.open(), quiet.open());
    auto noise = spawn(gives_up_often(*noisy.there, world), {.name = "victim"});
    co_await when_all(waits_patiently(*quiet.there, 12), writes_slowly(world, *quiet.here, 12),
                      writes_slowly(world, *noisy.here, 5));
    static_cast<void>(co_await noise.outcome());
}

// S78: an operations map.

using operations = std::map<int, std::string>;
task<> changes(sync::mutex<operations>& all, io::file& log) {
    auto held = co_await all.lock();
    auto taken = held->extract(1);
    expect(!taken.empty(), "the entry is missing and the lock is clean");
    co_await log.append(std::string_view("changed\n"));
    taken.mapped() += "!";
    held->insert(std::move(taken));
}
task<> recovers_the_map(sim::world& world) {
    io::open_options how;
    how.append = how.create = true;
    io::file log = co_await io::file::open("log", how);
    sync::mutex<operations> all(operations{{1, "one"}});
    auto changing = spawn(changes(all, log), {.name = "victim"});
    co_await may_cancel(world, changing);
    static_cast<void>(co_await changing.outcome());
    {
        auto repair = co_await all.recover();
        expect(repair->count(1) == (repair.needed() ? 0U : 1U),
               "the entry is missing and the lock is clean, or the other way round");
        if (repair.needed()) {
            expect(repair.cause().to_string().find("scenarios_io_test.cpp:") !=
                       std::string::npos,
                   "the cause does not name the line: " + repair.cause().to_string());
            repair->emplace(1, "one");
        }
        const auto healthy = repair.complete();
    }
    const auto held = co_await all.lock();
    expect(held->count(1) == 1, "not restored");
    co_await log.close();
}

} // namespace

TEST_CASE(
    "S14: cancelled in a read inside a section, the lock is poisoned and says so (explored)") {
    check_all(is_cut_inside);
}

TEST_CASE("S20: what was read although it was cancelled is delivered (explored)") {
    check_all(loses_no_byte);
}

TEST_CASE("S21: a read that fails while a cancellation is pending fails (explored)") {
    check_all(fails_inside);
}

TEST_CASE("S39: detached tasks are unwound at the end, with what they hold (explored)") {
    counts in;
    const auto body = [&in](sim::world& world) { return leaves_tasks_behind(world, in); };
    check_all(body);
    CHECK(in.begun > 0);
    CHECK(in.begun == in.gone);
}

TEST_CASE("S57: a buffer in a frame is the kernel's until the read has ended (explored)") {
    check_all(reuses_frames);
}

TEST_CASE("S58: a connection accepted although nobody wants it is closed (explored)") {
    check_all(leaves_no_socket);
}

TEST_CASE("S59: a write that is cut poisons the stream, another one does not (explored)") {
    check_all(cuts_a_write);
}

TEST_CASE("S61, S70: an open that cannot be stopped any more leaves no descriptor (explored)") {
    check_all(leaves_no_file);
}

TEST_CASE("S64, S66: nothing is closed twice, or written after its end (explored)") {
    check_all(closes_once);
}

TEST_CASE("S65: a cancellation that comes too late hits nobody else (explored)") {
    check_all(cancels_nobody_else);
}

TEST_CASE("S68: a ring goes only after all that was in flight has come back (explored)") {
    counts in;
    const auto body = [&in](sim::world& world) -> task<> {
        co_await leaves_tasks_behind(world, in);
        world.partition(); // nothing ends by itself any more
    };
    check_all(body);
    CHECK(in.begun == in.gone);
}

TEST_CASE(
    "S78: an entry lost in the middle of a change is missed, told and restored (explored)") {
    check_all(recovers_the_map);
}

TEST_CASE("S184, S185: who leaves while a connection comes leaves it to the other (explored)") {
    check_all(one_of_two_accepts);
    check_all(one_of_two_accepts, {.faults = true});
}

TEST_CASE("S82: what a section read before it changed anything poisons nothing (explored)") {
    check_all(client_leaves);
}
