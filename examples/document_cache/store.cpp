// Who works for whom, and what is tried again.
#include "store.hpp"

#include "formatter.hpp"
#include "log.hpp"

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <algorithm>
#include <exception>
#include <iterator>
#include <map>
#include <new>
#include <stdexcept>
#include <utility>

namespace cache {

using toadstone::task;
using toadstone::task_scope;
namespace io = toadstone::io;

struct store::group {
    std::size_t shard = 0;
    std::vector<wish> wishes;
    std::vector<std::size_t> places; ///< of each in what the client has sent
};

namespace {

using namespace std::chrono_literals;
constexpr auto pause_between_tries = 10ms;
constexpr unsigned most_kills = 100; // then it is no accident
constexpr std::string_view shards_kind = "shards-";

task<> make_folder_in(io::folder& where, std::string name) {
    static_cast<void>(co_await where.make_folder(std::move(name)));
}

} // namespace

store::store(const options& chosen, const listeners& around)
    : chosen_(chosen), quarantine_(chosen.max_quarantine) {
    for (std::size_t i = 0; i < chosen.shards; ++i) {
        shards_.push_back(std::make_unique<shard>(chosen, i, around));
    }
}

std::size_t store::shard_of(std::string_view id) const noexcept {
    std::uint64_t hash = 0xcbf29ce484222325; // FNV-1a: it stays what it is
    for (const char each : id) {
        hash = (hash ^ static_cast<unsigned char>(each)) * 0x100000001b3;
    }
    return (hash ^ hash >> 32) % shards_.size();
}

/// How many shards there are is the name of a folder, which is made when all others are there.
task<> store::make_folders() {
    io::folder here = co_await io::folder::open(".");
    co_await make_folder_in(here, chosen_.data);
    io::folder data = co_await io::folder::open(chosen_.data);
    const std::string mark = std::string(shards_kind) + std::to_string(shards_.size());
    for (const io::folder_entry& each : co_await data.list()) {
        if (each.name == mark) co_return;
        if (each.name.starts_with(shards_kind)) {
            throw std::runtime_error(chosen_.data +
                                     " has another number of shards: start with "
                                     "--shards " +
                                     each.name.substr(shards_kind.size()));
        }
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        const std::string name = shard::folder_of(i);
        co_await make_folder_in(data, name);
        io::folder inside = co_await data.open_folder(name);
        co_await make_folder_in(inside, "log");
        co_await make_folder_in(inside, "states");
        co_await inside.sync();
    }
    co_await data.sync();
    co_await make_folder_in(data, mark);
    co_await data.sync();
    co_await here.sync();
}

/// Whoever has the first shard has all of them: the others are not asked for before that.
task<> store::open() {
    co_await make_folders();
    co_await shards_.front()->open();
    auto body = [this](task_scope& scope) -> task<> {
        for (std::size_t i = 1; i < shards_.size(); ++i) {
            scope.spawn(shards_[i]->open(), {.where = toadstone::placement::any()});
        }
        co_return;
    };
    co_await toadstone::with_scope(body);
}

void store::start(task_scope& in) {
    for (const auto& each : shards_) {
        const auto where = toadstone::placement::any();
        in.spawn(each->run_journal(), {.name = "writer", .where = where});
        in.spawn(each->keep(), {.name = "keeper", .where = where});
    }
}

void store::close() {
    for (const auto& each : shards_) each->close();
}

std::string store::failure() const {
    for (const auto& each : shards_) {
        std::string why = each->failure();
        if (!why.empty()) return why;
    }
    return {};
}

task<document_ref> store::find(std::string id) {
    shard& where = at(shard_of(id)); // g++ 12 does it too late inside the co_await
    document_ref found = co_await where.find(std::move(id));
    co_return found;
}

task<found_page> store::search(std::string term, std::string after, std::size_t most) {
    found_page page;
    for (const auto& each : shards_) {
        std::vector<hit> some = co_await each->search(term, after, most + 1);
        std::move(some.begin(), some.end(), std::back_inserter(page.hits));
    }
    std::sort(page.hits.begin(), page.hits.end(),
              [](const hit& a, const hit& b) { return a.id < b.id; });
    page.more = page.hits.size() > most;
    if (page.more) page.hits.resize(most);
    co_return page;
}

task<std::vector<verdict>> store::change(std::vector<wish> wishes) {
    std::vector<verdict> all(wishes.size());
    std::map<std::size_t, group> groups;
    for (std::size_t i = 0; i < wishes.size(); ++i) {
        const std::size_t where = shard_of(wishes[i].id);
        group& of = groups[where];
        of.shard = where;
        of.wishes.push_back(std::move(wishes[i]));
        of.places.push_back(i);
    }
    if (groups.size() == 1) {
        co_await change_shard(groups.begin()->second, all);
        co_return all;
    }
    auto body = [this, &groups, &all](task_scope& scope) -> task<> {
        for (auto& [where, of] : groups) scope.spawn(change_shard(of, all));
        co_return;
    };
    co_await toadstone::with_scope(body);
    co_return all;
}

void store::take_out_quarantined(group& of, std::vector<verdict>& all) const {
    for (std::size_t i = 0; i < of.wishes.size();) {
        const wish& each = of.wishes[i];
        std::optional<std::string> why;
        if (!each.remove) why = quarantine_.refuses(each.how, each.body);
        if (!why) {
            ++i;
            continue;
        }
        all[of.places[i]] = {fate::quarantined, 0, std::move(*why)};
        of.wishes.erase(of.wishes.begin() + static_cast<std::ptrdiff_t>(i));
        of.places.erase(of.places.begin() + static_cast<std::ptrdiff_t>(i));
    }
}

void store::strike(const wish& what, const std::string& why) {
    strikes_.fetch_add(1, std::memory_order_relaxed);
    const unsigned strikes = quarantine_.strike(what.how, what.body, why);
    say("document " + toadstone::printable(what.id) + " has broken the index, strike " +
        std::to_string(strikes) + ": " + why);
}

task<> store::change_shard(group& of, std::vector<verdict>& all) {
    const auto until = toadstone::this_task::now() + chosen_.disk_patience;
    attempt how;
    bool unknown = false; // whether it has happened before
    for (unsigned kills = 0;;) {
        take_out_quarantined(of, all);
        if (of.wishes.empty()) co_return;
        report said;
        co_await with_fresh_indexer(of, how, said);
        if (said.how == end::done) break;
        unknown = unknown || said.unknown;
        if (said.how == end::killed && ++kills < most_kills) {
            killed_.fetch_add(1, std::memory_order_relaxed);
            continue;
        }
        if (said.how == end::malformed) {
            strike(of.wishes[how.at], said.why);
            continue;
        }
        if (said.how == end::killed) said = {end::failed, false, "all indexers were killed"};
        if (said.how == end::failed || toadstone::this_task::now() >= until) {
            for (const std::size_t place : of.places) {
                all[place] = {unknown ? fate::unknown : fate::not_stored, 0, said.why};
            }
            co_return;
        }
        co_await toadstone::sleep_for(pause_between_tries);
    }
    for (std::size_t i = 0; i < of.wishes.size(); ++i) {
        const bool absent = of.wishes[i].remove && !how.existed;
        all[of.places[i]] = {absent ? fate::absent : fate::stored, how.version, {}};
    }
}

/// Its own task: whatever becomes of it, it is not the client's connection that ends.
task<> store::with_fresh_indexer(group& of, attempt& how, report& said) {
    const std::uint64_t number = indexers_.fetch_add(1, std::memory_order_relaxed) + 1;
    auto body = [&](task_scope& scope) -> task<> {
        auto indexer = scope.spawn(index(of, how, said), {.name = "indexer"});
        if (chosen_.kill_workers == 0 || number % chosen_.kill_workers != 0) co_return;
        const std::uint64_t turns = number / chosen_.kill_workers % 8;
        for (std::uint64_t i = 0; i <= turns; ++i) co_await toadstone::yield_now();
        indexer.cancel();
    };
    co_await toadstone::with_scope(body);
}

task<> store::index(group& of, attempt& how, report& said) {
    try {
        co_await shards_[of.shard]->change(of.wishes, how);
        said.how = end::done;
    } catch (const malformed& error) {
        said = {end::malformed, false, error.what()};
    } catch (const disk_trouble& error) {
        said = {end::trouble, error.unknown(), error.what()};
    } catch (const toadstone::poison_error& error) { // a repair has failed
        said = {end::trouble, false, error.what()};
    } catch (const std::bad_alloc&) {
        said = {end::trouble, false, "no memory"};
    } catch (const std::exception& error) {
        said = {end::failed, false, error.what()};
    }
}

task<std::vector<shard_status>> store::status() {
    std::vector<shard_status> all;
    for (const auto& each : shards_) {
        shard_status one = co_await each->status();
        all.push_back(std::move(one));
    }
    co_return all;
}

store::counts store::counted() const noexcept {
    return {indexers_.load(std::memory_order_relaxed), killed_.load(std::memory_order_relaxed),
            strikes_.load(std::memory_order_relaxed)};
}

} // namespace cache
