// The journal by itself: who may open it, what is refused and what is said, and what those who
// append are told.
#include "support/failing_new.hpp"
#include "support/journal.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <string_view>

namespace toadstone::tests {
namespace {

/// A run in a tame world that has to succeed.
void in_a_world(task<> (*body)(sim::world&)) {
    const auto dice = sim::replayed_choices(std::string_view());
    const auto found = sim::simulate({.workers = 2, .hostile = false}, *dice, body);
    INFO(found.failure);
    CHECK(found);
}
void in_every_world(task<> (*body)(sim::world&), unsigned runs = 60) {
    auto options = seeds(runs, runs / 4);
    options.world.strict_folders = true;
    const auto found = sim::explore(options, body);
    INFO(found.to_string());
    CHECK(found);
}

std::string segment(std::uint64_t number) {
    return "log/" + journal::name_of(journal::segment_kind, number);
}
std::string state_file(std::uint64_t number) {
    return "states/" + journal::name_of(journal::snapshot_kind, number);
}

/// One process that appends so many records of 500 bytes, seven of which fill a segment.
task<> writes(journal_witness& all, unsigned count, unsigned snapshot_every = 0) {
    journal::journal store(small_journal(all));
    const journal::contents found = co_await store.open();
    all.check(found);
    auto running = spawn(store.run());
    for (unsigned i = 0; i < count; ++i) {
        const std::string payload =
            "1." + std::to_string(all.next_number()) + "." + std::string(500, 'x');
        all.tries(payload);
        const journal::position at = co_await store.append(1, payload);
        all.acknowledged(at, payload);
        if (snapshot_every == 0 || (i + 1) % snapshot_every != 0) continue;
        auto [end, state] = all.state();
        co_await store.save_snapshot(end, std::move(state));
    }
    store.close();
    co_await running;
    expect(store.failure().empty(), store.failure());
}

/// What open() says; empty: nothing.
task<std::string> refusal(journal_witness& all) {
    journal::journal store(small_journal(all));
    std::string said;
    try {
        const journal::contents found = co_await store.open();
        all.check(found);
    } catch (const journal::damaged_journal& error) {
        said = error.what();
    }
    co_return said;
}

task<> expect_refusal(journal_witness& all, std::string part) {
    const std::string said = co_await refusal(all);
    expect(said.find(part) != said.npos, "it says '" + said + "' and not '" + part + "'");
    expect(said.find("journal_check --salvage") != said.npos, "it does not say what to do");
}

task<> expect_note(journal_witness& all, std::string note) {
    journal::journal store(small_journal(all));
    const journal::contents found = co_await store.open();
    all.check(found);
    expect(found.notes == std::vector<std::string>{note}, "nobody is told: " + note);
}

void flip(sim::world& world, const std::string& path, std::size_t byte, unsigned bit = 0) {
    std::string content = world.file(path).value();
    content[byte] = static_cast<char>(content[byte] ^ static_cast<char>(1U << bit));
    world.put_file(path, content);
}

task<> is_told_who_has_it(sim::world& world) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 1);
    journal::journal first(small_journal(all));
    const journal::contents found = co_await first.open();
    all.check(found);
    std::string said;
    try {
        journal::journal second(small_journal(all));
        const journal::contents other = co_await second.open();
        all.check(other);
    } catch (const journal::journal_in_use& error) {
        said = error.what();
    }
    expect(said == "the journal in log is open in another process, which has not ended within "
                   "200 ms: stop that one first",
           "it says: " + said);
}

task<> owns_for_a_while(sim::world& world, journal_witness& all, unsigned& owners) {
    auto patient = small_journal(all);
    patient.lock_wait = 60s;
    journal::journal store(patient);
    const journal::contents found = co_await store.open();
    all.check(found); // all that the one before has acknowledged
    expect(++owners == 1, "two own the journal");
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(store.run());
        co_await appends(store, all, 1, 2);
        co_await sleep_for(10ms * world.choices().choose(3, sim::choice::timing));
        store.close();
    };
    co_await with_scope(body);
    --owners;
}
task<> is_handed_over(sim::world& world) {
    make_folders(world);
    journal_witness all;
    unsigned owners = 0;
    auto both = [&](task_scope& scope) -> task<> {
        scope.spawn(owns_for_a_while(world, all, owners), on(0));
        scope.spawn(owns_for_a_while(world, all, owners), on(1));
        co_return;
    };
    co_await with_scope(both);
    co_await is_whole(all);
    expect(all.certain().size() == 4, "not all records");
}

/// How many writes a segment was filled by.
std::size_t writes_in(const std::string& file) {
    std::set<std::string> synced;
    const auto found = journal::read_segment(file, "segment");
    std::size_t at = journal::segment_header_size;
    for (const auto& each : found.records) {
        synced.insert(file.substr(at + 24, 8));
        at += journal::framed_size(each.payload.size());
    }
    return synced.size();
}

task<> appends_and_looks(sim::world& world, journal::journal& store, journal_witness& all,
                         int who) {
    const std::string payload = std::to_string(who) + "." + std::to_string(all.next_number());
    all.tries(payload);
    const journal::position at = co_await store.append(1, payload);
    expect(store.durable().sequence >= at.sequence, "told before it was on the disk");
    all.acknowledged(at, payload);
    const auto seen = journal::read_segment(world.file(segment(1)).value(), "s");
    expect(seen.ends.sequence >= at.sequence, "told before it was written");
}
task<> shares_writes(sim::world& world) {
    make_folders(world);
    journal_witness all;
    {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        auto appenders = [&](task_scope& scope) -> task<> {
            for (int who = 0; who < 20; ++who) {
                scope.spawn(appends_and_looks(world, store, all, who), on(who % 2));
            }
            co_return;
        };
        auto body = [&](task_scope& scope) -> task<> {
            scope.spawn(store.run());
            co_await with_scope(appenders);
            store.close();
        };
        co_await with_scope(body);
    }
    expect(all.acknowledgements() == 20, "not all were acknowledged");
    expect(writes_in(world.file(segment(1)).value()) < 20, "each has its own write");
    co_await is_whole(all);
}

task<> appends_one(journal::journal& store, journal_witness& all, int who) {
    const std::string payload = std::to_string(who) + "." + std::to_string(all.next_number()) +
                                "." + std::string(900, 'x');
    all.tries(payload);
    const journal::position at = co_await store.append(1, payload);
    all.acknowledged(at, payload);
}
/// Three records have room in the queue; the others wait, and have not happened when they are
/// cut.
task<> holds_back(sim::world& world) {
    make_folders(world);
    journal_witness all;
    {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        std::vector<join_handle<>> waiting;
        for (int who = 0; who < 8; ++who)
            waiting.push_back(spawn(appends_one(store, all, who)));
        co_await sleep_for(1ms);
        for (auto& each : waiting) each.cancel();
        for (auto& each : waiting) {
            const outcome<> ended = co_await each.outcome();
            expect(ended.is_cancelled(), "one did not wait");
        }
        auto running = spawn(store.run());
        co_await appends_one(store, all, 9); // there is room again
        store.close();
        co_await running;
    }
    co_await is_whole(all);
    expect(all.certain().size() == 4, "not those three that were queued, and the last one");
    expect(all.certain().back().front() == '9', "out of order");
}

task<> fails_for_good(sim::world& world) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 2);
    {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        auto running = spawn(store.run());
        co_await appends(store, all, 1, 1);
        world.fail_next_sync();
        std::string unknown;
        std::string refused;
        try {
            co_await appends_one(store, all, 1);
        } catch (const journal::append_unknown& error) {
            unknown = error.what();
        }
        co_await running; // it has come to its end
        try {
            co_await appends_one(store, all, 2);
        } catch (const journal::not_appended& error) {
            refused = error.what();
        }
        const std::string why = "the journal has failed: sync log/segment-";
        expect(store.failure().find(why) == 0, "its failure is " + store.failure());
        expect(unknown.find("unknown") != unknown.npos && unknown.find(why) != unknown.npos,
               "it says: " + unknown);
        expect(refused.find("not appended") == 0 && refused.find(why) != refused.npos,
               "it says: " + refused);
    }
    // What is in the page cache is not on the disk. Another process takes it for good, and
    // then the power fails.
    co_await writes(all, 3);
    world.crash_disks();
    co_await is_whole(all);
}

task<> closes(sim::world& world) {
    make_folders(world);
    journal_witness all;
    journal::journal store(small_journal(all));
    const journal::contents found = co_await store.open();
    all.check(found);
    auto running = spawn(store.run());
    auto one = spawn(appends_one(store, all, 1));
    co_await yield_now();
    store.close();
    co_await running;
    const outcome<> ended = co_await one.outcome();
    bool refused = false;
    try {
        co_await store.append(1, "late");
    } catch (const journal::not_appended&) {
        refused = true;
    }
    expect(refused && store.failure().empty(), "appended behind the end");
    bool too_long = false;
    try {
        co_await store.append(1, std::string(journal::smallest_segment, 'x'));
    } catch (const std::length_error&) {
        too_long = true;
    }
    expect(too_long, "a record longer than a segment");
}

task<> misses_segments(sim::world& world) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 20);
    const std::string second = world.file(segment(8)).value();
    const std::string last = world.file(segment(15)).value();
    world.remove_file(segment(8));
    co_await expect_refusal(all, "log/segment-00000000000000000015 at byte 0: it does not "
                                 "begin where the segment before it ends, behind record 7");
    world.remove_file(segment(15));
    co_await expect_refusal(all, "the segment that follows it is missing");
    world.put_file(segment(8), second);
    co_await expect_refusal(all, "the segment that follows it is missing");
    world.put_file(segment(15), last);
    const std::string first = world.file(segment(1)).value();
    world.remove_file(segment(1));
    co_await expect_refusal(all, "the segment with record 1 is missing, the first one begins "
                                 "with record 8");
    world.put_file(segment(1), second);
    co_await expect_refusal(all, "it has the name of another one");
    world.put_file(segment(1), first.substr(0, first.size() - 1));
    co_await expect_refusal(all, "the file has another size than it was made with");
    world.put_file(segment(1), first);
    co_await is_whole(all);
    flip(world, segment(8), 5000);
    co_await expect_refusal(all, "is damaged: what is at byte");
}

task<> falls_back(sim::world& world) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 30, 10);
    expect(!world.file(state_file(10)) && world.file(state_file(20)), "not two snapshots");
    expect(!world.file(segment(8)) && world.file(segment(15)), "not the segments from there");
    flip(world, state_file(30), 100);
    {
        journal::journal store(small_journal(all));
        const journal::contents found = co_await store.open();
        all.check(found);
        expect(found.state_at.sequence == 20 && found.records.size() == 10, "another state");
    }
    co_await expect_note(all, state_file(30) + ": the snapshot is damaged");
    flip(world, state_file(20), 100);
    co_await expect_refusal(all, "the snapshot is damaged, and the segment with record 1 is "
                                 "missing, the first one begins with record 15");
    flip(world, state_file(30), 100);
    co_await is_whole(all);
    // Of another journal, which has as many records.
    std::optional<journal::damage> broken;
    auto other = journal::read_snapshot(world.file(state_file(30)).value(), "s", broken);
    other->at.chain ^= 1;
    world.put_file(state_file(30), to_bytes(*other));
    co_await expect_refusal(all, "the snapshot of record 30 is of another journal");
}

/// The newest snapshot is damaged. It is not counted when another one is saved.
task<> replaces_damaged(sim::world& world) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 30, 10);
    flip(world, state_file(30), 100);
    co_await writes(all, 10, 10);
    expect(!world.file(state_file(30)) && world.file(state_file(20)), "not the two good ones");
    flip(world, state_file(40), 100);
    co_await expect_note(all, state_file(40) + ": the snapshot is damaged");
    co_await writes(all, 0);
    flip(world, state_file(40), 100);
    co_await is_whole(all);
}

constexpr std::size_t stride = TOADSTONE_ASAN ? 97 : 13;

/// A flipped bit anywhere in the records, marks, headers and snapshots.
task<> notices_flips(sim::world& world, unsigned& refused) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 17, 6);
    co_await is_whole(all);
    const std::vector<std::string> files = {segment(8), segment(15), state_file(6),
                                            state_file(12)};
    for (const auto& each : files) {
        const auto content = world.file(each);
        if (!content) continue;
        for (std::size_t byte = 0; byte < content->size(); byte += stride) {
            // Behind the fields of a segment's header there are zeros.
            if (byte >= 52 && byte < 4095 && each.rfind("log", 0) == 0) byte = 4095;
            flip(world, each, byte, byte % 8);
            const std::string said = co_await refusal(all); // or all is there
            if (!said.empty()) ++refused;
            world.put_file(each, *content);
        }
    }
}

/// Damage anywhere; what was saved is a journal that opens, and the beginning of the old one.
task<> saves_what_is_good(sim::world& world) {
    make_folders(world);
    journal_witness all;
    co_await writes(all, 24, world.choices().choose(3, sim::choice::amount) * 5);
    co_await is_whole(all);
    io::folder log = co_await io::folder::open("log");
    io::folder states = co_await io::folder::open("states");
    const auto segments = co_await journal::numbers_in(log, journal::segment_kind);
    const auto which = segments[world.choices().choose(
        static_cast<std::uint32_t>(segments.size()), sim::choice::fault)];
    const std::size_t at = 64 * world.choices().choose(128, sim::choice::fault) + 9;
    if (world.choices().choose(4, sim::choice::fault) == 1) {
        world.remove_file(segment(which));
    } else {
        flip(world, segment(which), at);
    }
    world.make_folder("saved/log");
    world.make_folder("saved/states");
    io::folder into = co_await io::folder::open("saved/log");
    io::folder states_into = co_await io::folder::open("saved/states");
    bool lost = false;
    try {
        const journal::survey found = co_await journal::salvage(log, states, into, states_into);
        expect(found.good.end.sequence <= 24, "it has invented something");
    } catch (const journal::damaged_journal&) {
        lost = true;
    }
    if (lost) {
        expect(which == 1, "there was something to be saved");
        co_return;
    }
    const journal::survey saved =
        co_await journal::look_through(into, states_into, journal::how_much::everything);
    if (saved.broken) throw journal::damaged_journal(*saved.broken);
    auto history = journal_witness::lines(saved.good.state);
    for (const auto& each : saved.good.records) history.push_back(each.payload);
    expect(std::equal(history.begin(), history.end(), all.certain().begin()),
           "not the beginning of the old one");
    expect(history.size() + 1 >= which, "records before the damage are lost");
}

} // namespace

TEST_CASE("journal: S535: tasks of two workers share writes, and are told after the sync") {
    in_every_world(shares_writes);
}

TEST_CASE("journal: S536: appends wait for room, and those that were cut there have not "
          "happened") {
    in_every_world(holds_back);
}

TEST_CASE("journal: S537: a sync that fails is final, and what it left is not trusted") {
    in_every_world(fails_for_good);
}

TEST_CASE("journal: S538: what is queued is written before it closes, and nothing after that") {
    in_every_world(closes);
}

TEST_CASE("journal: S539: one of two processes has it, the other one waits and is told") {
    in_every_world(is_handed_over);
    in_a_world(is_told_who_has_it);
}

TEST_CASE("journal: S540: a missing, exchanged or damaged segment is refused, with the place") {
    in_a_world(misses_segments);
}

TEST_CASE("journal: S541: flipped bits in any file are refused or do no harm") {
    unsigned refused = 0;
    const auto dice = sim::replayed_choices(std::string_view());
    const auto body = [&refused](sim::world& world) { return notices_flips(world, refused); };
    const auto found = sim::simulate({.workers = 2, .hostile = false}, *dice, body);
    INFO(found.failure);
    CHECK(found);
    CHECK(refused > (TOADSTONE_ASAN ? 20 : 300));
}

TEST_CASE("journal: S542: a damaged snapshot is no harm while the one before it is good") {
    in_a_world(falls_back);
    in_a_world(replaces_damaged);
}

TEST_CASE("journal: S543: what is good before a damage can be saved") {
    in_every_world(saves_what_is_good, 300);
}

} // namespace toadstone::tests
