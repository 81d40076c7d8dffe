// The document cache on a simulated kernel: indexers that fail in the middle of an update,
// clients that leave, and what everybody else sees of it.
#include "support/failing_new.hpp"

#include "support/document_cache.hpp"

#include <catch2/catch.hpp>

namespace toadstone::tests {
namespace {

using cache::fate;
using cache::format;

/// An id of that shard.
std::string id_in(const cache::store& all, std::size_t shard, std::string name = "x") {
    while (all.shard_of(name) != shard) name += "x";
    return name;
}

task<cache::verdict> put(cache::store& all, std::string id, std::string body,
                         format how = format::text) {
    std::vector<cache::wish> one;
    one.push_back({std::move(id), false, how, std::move(body)});
    const auto said = co_await all.change(std::move(one));
    co_return said.front();
}
task<bool> finds(cache::store& all, std::string word, std::string id) {
    const cache::found_page page = co_await all.search(word, "", 100);
    co_return std::any_of(page.hits.begin(), page.hits.end(),
                          [&](const cache::hit& each) { return each.id == id; });
}

/// Reads one document again and again until `done`, which never takes long.
task<> reads(sim::world& world, cache::store& all, std::string id, const bool& done,
             std::chrono::nanoseconds& longest) {
    while (!done) {
        const auto begun = world.now();
        const cache::document_ref found = co_await all.find(id);
        longest = std::max<std::chrono::nanoseconds>(longest, world.now() - begun);
        expect(found && found->body.starts_with("good"), "a reader saw something else");
        co_await sleep_for(50us);
    }
}

task<> fails_in_an_update(sim::world& world) {
    running_cache server;
    co_await server.start();
    cache::store& all = server.store();
    const std::string hurt = id_in(all, 0);
    const std::string other = id_in(all, 1);
    for (const std::string& id : {hurt, other}) {
        const auto said = co_await put(all, id, "good one");
        expect(said.how == fate::stored, "not stored");
    }
    bool done = false;
    std::chrono::nanoseconds here{};
    std::chrono::nanoseconds elsewhere{};
    auto one = spawn(reads(world, all, hurt, done, here), on(1, "reader"));
    auto two = spawn(reads(world, all, other, done, elsewhere), on(1, "reader"));
    const auto before = all.counted().indexers;
    const auto said = co_await put(all, hurt, "good [two](\nbad [three](", format::markdown);
    expect(said.how == fate::quarantined, "it was not quarantined");
    const bool by_two = co_await finds(all, "two", hurt);
    const bool by_one = co_await finds(all, "one", hurt);
    expect(!by_two && by_one, "it is not what it was");
    expect(all.counted().indexers == before + 2, "there was no fresh indexer for each try");
    expect(server.heals().size() == 2, "it was not made again after each");
    for (const cache::recovery& each : server.heals()) {
        expect(each.shard == 0, "another shard was made again");
        expect(each.why.to_string().find("a link has no end") != std::string::npos,
               "the cause is not told: " + each.why.to_string());
    }
    const auto after = co_await put(all, hurt, "good again");
    expect(after.how == fate::stored, "the next one is not stored");
    done = true;
    co_await one;
    co_await two;
    expect(here < 1s && elsewhere < 1s, "somebody waited for long");
    co_await server.stop();
}

task<> quarantines(sim::world&) {
    running_cache server;
    co_await server.start();
    cache::store& all = server.store();
    const std::string bad = "ant,bee\ncow\n";
    const auto first = co_await put(all, id_in(all, 0), bad, format::csv);
    expect(first.how == fate::quarantined, "taken");
    expect(first.why == "csv, line 2: 1 fields, the first line has 2", "why: " + first.why);
    const auto before = all.counted();
    // As another document, of another shard, it does not get in either.
    const auto second = co_await put(all, id_in(all, 1), bad, format::csv);
    expect(second.how == fate::quarantined, "taken the second time");
    expect(all.counted().indexers == before.indexers, "an indexer was given it");
    co_await all.at(0).restore();
    expect(server.heals().size() == 2, "a shard was broken again");
    const auto as_text = co_await put(all, id_in(all, 0), bad);
    expect(as_text.how == fate::stored, "it is no malformed text");
    co_await server.stop();
}

/// What is well-formed in a batch is stored, whatever is beside it.
task<> sorts_a_batch(sim::world&) {
    running_cache server;
    co_await server.start();
    cache::store& all = server.store();
    std::vector<cache::wish> batch;
    for (unsigned i = 0; i < 6; ++i) {
        const bool bad = i % 3 == 1;
        const std::string number = std::to_string(i);
        batch.push_back(
            {"d" + number, false, bad ? format::json : format::text, "ant " + number + "\n"});
    }
    const auto said = co_await all.change(batch);
    for (unsigned i = 0; i < 6; ++i) {
        const bool bad = i % 3 == 1;
        const std::string id = "d" + std::to_string(i);
        expect(said[i].how == (bad ? fate::quarantined : fate::stored), "another fate: " + id);
        const bool found = co_await finds(all, "ant", id);
        expect(found != bad, "the index says something else of " + id);
    }
    co_await server.stop();
}

/// What a restoration has to do again is bounded, however many documents come at once.
task<> makes_a_base_of_batches(sim::world&) {
    cache::options chosen = small_cache();
    chosen.compact_after = 8;
    running_cache server(chosen);
    co_await server.start();
    cache::store& all = server.store();
    std::vector<cache::wish> batch;
    std::string id = id_in(all, 0);
    for (unsigned i = 0; i < 20; ++i) {
        batch.push_back({id, false, format::text, "ant\n"});
        id = id_in(all, 0, id + "y");
    }
    const auto said = co_await all.change(batch);
    expect(said.back().how == fate::stored, "not stored");
    co_await sleep_for(1min);
    const cache::shard_status now = co_await all.at(0).status();
    expect(now.documents == 20, "not all are there");
    expect(now.changes == 0, "they are not part of the base");
    co_await server.stop();
}

/// Clients at work, some of whom leave, and whose documents are malformed at times. In the end
/// another process finds all of it.
task<> serves_a_crowd(sim::world& world, cache::options chosen, habits how) {
    running_cache server(chosen);
    co_await server.start();
    cache_witness all;
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(visits(world, server.store(), all, "a", how), on(0));
        scope.spawn(visits(world, server.store(), all, "b", how), on(1));
        co_await visits(world, server.store(), all, "c", how);
    };
    co_await with_scope(body);
    co_await looks(server.store(), all, "");
    co_await server.stop();
    co_await server.start();
    co_await looks(server.store(), all, "");
    co_await server.stop();
}
task<> outlives_leavers(sim::world& world) {
    co_await serves_a_crowd(world, small_cache(), {.requests = 5, .leaves = true});
}
task<> outlives_kills(sim::world& world) {
    auto chosen = small_cache();
    chosen.kill_workers = 2;
    co_await serves_a_crowd(world, chosen, {.requests = 5});
}

/// Each indexer is killed, after a number of turns that grows from one to the next.
task<> replaces_the_killed(sim::world&) {
    auto chosen = small_cache();
    chosen.kill_workers = 1;
    chosen.lines_per_turn = 1;
    running_cache server(chosen);
    co_await server.start();
    cache::store& all = server.store();
    for (const char* id : {"a", "b", "c"}) {
        const auto said = co_await put(all, id, "ant\nbee\ncow\ndog\nelk\n");
        expect(said.how == fate::stored, "not stored: " + said.why);
    }
    expect(all.counted().killed > 0, "no indexer was killed");
    co_await server.stop();
}

/// Something happens once, to one task or another.
task<> goes_wrong_once(sim::world& world) {
    running_cache server;
    cache_witness all;
    habits how{.requests = 2, .errors = true};
    co_await server.start();
    auto body = [&](task_scope& scope) -> task<> {
        scope.spawn(visits(world, server.store(), all, "a", how), on(1));
        co_await visits(world, server.store(), all, "b", how);
    };
    all.disks_fail = true; // the writer may be stopped
    co_await with_scope(body);
    co_await looks(server.store(), all, "");
    co_await server.kill();
    world.crash_disks();
    co_await server.start();
    co_await looks(server.store(), all, "");
    auto said = co_await put(server.store(), "last", "ant");
    if (said.how != fate::stored) { // its writer was stopped, this time
        co_await server.kill();
        co_await server.start();
        said = co_await put(server.store(), "last", "ant");
    }
    expect(said.how == fate::stored, "it does not go on");
    co_await server.stop();
}

/// Nobody comes by: who watches over the shard restores it.
task<> is_restored_by_itself(sim::world& world, bool& seen) {
    running_cache server;
    co_await server.start();
    cache::store& all = server.store();
    std::string lines;
    for (int i = 0; i < 50; ++i) lines += "ant\n";
    auto client = spawn(put(all, "x", lines), {.name = "client"});
    for (unsigned turns = 1 + pick(world, 20); turns > 0; --turns) co_await yield_now();
    client.cancel();
    static_cast<void>(co_await client.outcome());
    co_await sleep_for(1s);
    expect(!all.at(all.shard_of("x")).poisoned(), "it is still poisoned");
    if (!server.heals().empty()) seen = true;
    co_await server.stop();
}

/// With `ignore`, what is left of a cut update is answered with, and the witness notices.
task<> ignores(sim::world&) {
    auto chosen = small_cache();
    chosen.strategy = cache::on_poison::ignore;
    running_cache server(chosen);
    co_await server.start();
    cache::store& all = server.store();
    const auto good = co_await put(all, "x", "ant bee");
    expect(good.how == fate::stored, "not stored");
    const auto bad = co_await put(all, "x", "cow\n`dog", format::markdown);
    expect(bad.how == fate::quarantined, "taken");
    const cache::document_ref found = co_await all.find("x");
    expect(found && found->body == "cow\n`dog", "it was restored");
    const bool by_ant = co_await finds(all, "ant", "x");
    const bool by_cow = co_await finds(all, "cow", "x");
    expect(!by_ant && by_cow, "the index was restored");
    expect(server.heals().empty(), "it says that it was restored");
    const auto next = co_await put(all, "y", "elk");
    expect(next.how == fate::stored, "it does not go on");
    co_await server.stop();
}

task<> terminates(sim::world&) {
    auto chosen = small_cache();
    chosen.strategy = cache::on_poison::terminate;
    chosen.disk_patience = 20ms;
    running_cache server(chosen);
    co_await server.start();
    cache::store& all = server.store();
    const auto bad = co_await put(all, "x", "cow\n`dog", format::markdown);
    expect(bad.how == fate::not_stored, "it went on");
    expect(server.deaths() > 0, "nobody was told");
    expect(server.heals().empty(), "it says that it was restored");
    co_await server.kill();
}

void always(task<> (*body)(sim::world&), unsigned runs) {
    const auto found = sim::explore(seeds(runs, runs / 5), body);
    INFO(found.to_string());
    CHECK(found);
}

} // namespace

TEST_CASE(
    "document cache: S80: an indexer fails in an update: the shard is made again, a fresh "
    "indexer tries, nobody stops being served") {
    always(fails_in_an_update, 60);
}

TEST_CASE(
    "document cache: S554: an input that has broken an index twice gets near none again") {
    always(quarantines, 30);
}

TEST_CASE("document cache: S555: what is well-formed in a batch is stored") {
    always(sorts_a_batch, 30);
}

TEST_CASE("document cache: S567: a batch counts as the documents that are in it") {
    always(makes_a_base_of_batches, 20);
}

TEST_CASE("document cache: S556: clients that leave in a section cost the others nothing") {
    always(outlives_leavers, 100);
}

TEST_CASE("document cache: S557: indexers that are killed are replaced, and nothing is lost") {
    always(outlives_kills, 60);
    always(replaces_the_killed, 20);
}

TEST_CASE(
    "document cache: S558: stopped at any await, and out of memory, nothing is wrong, then "
    "the power fails") {
    for (const char* victim : {"indexer", "client", "keeper", "writer"}) {
        const auto found =
            sim::cancel_at_every_await(everything_goes_wrong(victim, 1), goes_wrong_once);
        INFO(victim << ": " << found.to_string());
        CHECK(found);
        CHECK(found.points.size() > 2);
    }
}

TEST_CASE("document cache: S568: a shard is restored although nobody comes by") {
    bool seen = false;
    const auto found = sim::explore(
        seeds(50), [&](sim::world& world) { return is_restored_by_itself(world, seen); });
    INFO(found.to_string());
    CHECK(found);
    CHECK(seen);
}

TEST_CASE("document cache: S559: who ignores poison answers with what was cut in the middle") {
    always(ignores, 10);
}

TEST_CASE("document cache: S559: who terminates is told the cause") {
    always(terminates, 10);
}

} // namespace toadstone::tests
