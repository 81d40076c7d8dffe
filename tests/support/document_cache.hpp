// The document cache inside a scenario: the store as a task, clients, and a witness who knows
// which answers are right.
#ifndef TOADSTONE_TESTS_SUPPORT_DOCUMENT_CACHE_HPP
#define TOADSTONE_TESTS_SUPPORT_DOCUMENT_CACHE_HPP

#include "document_cache/log.hpp"
#include "document_cache/store.hpp"

#include "support/explored.hpp"
#include "support/simulated.hpp"

#include <toadstone/sync/manual_reset_event.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <set>
#include <string>
#include <utility>
#include <vector>

// Silent but in a run that is looked at. The library with the cache calls it, and nothing here
// may.
[[gnu::used]] inline void cache::say(std::string_view event) noexcept {
    if (!std::getenv("TOADSTONE_SIM_REPLAY")) return;
    std::fprintf(stderr, "%s: %.*s\n", std::string(toadstone::this_task::name()).c_str(),
                 static_cast<int>(event.size()), event.data());
}

namespace toadstone::tests {

using namespace std::chrono_literals;

/// Small enough that everything happens: bases, snapshots, further segments.
inline cache::options small_cache() {
    cache::options chosen;
    chosen.shards = 2;
    chosen.segment_bytes = journal::smallest_segment;
    chosen.compact_after = 3;
    chosen.snapshot_after = 300;
    chosen.lines_per_turn = 1;
    chosen.journal_wait = 300ms;
    chosen.disk_patience = 2s;
    chosen.max_quarantine = 1000;
    return chosen;
}

/// The store, with a task for its own, which has a share in what it needs: a scenario that
/// fails does not wait for it.
class running_cache {
public:
    explicit running_cache(cache::options chosen = small_cache())
        : inside_(std::make_shared<inside>()) {
        inside& all = *inside_;
        all.chosen = std::move(chosen);
        all.chosen.random = [&all] { return ++all.epoch; };
        all.around.on_recovery = [&all](const cache::recovery& what) {
            all.heals.push_back(what);
        };
        all.around.on_fatal = [&all](const poison_cause&) { ++all.deaths; };
    }
    /// Errors: as of store::open().
    [[nodiscard]] task<> start() {
        inside_->store = std::make_shared<cache::store>(inside_->chosen, inside_->around);
        inside_->stop = std::make_shared<sync::manual_reset_event>();
        co_await inside_->store->open();
        serving_.emplace(
            spawn(serves(inside_, inside_->store, inside_->stop), {.name = "server"}));
    }
    [[nodiscard]] task<> stop() {
        inside_->stop->set();
        co_await end();
    }
    /// As by the OOM killer.
    [[nodiscard]] task<> kill() {
        if (serving_) serving_->cancel();
        co_await end();
    }
    [[nodiscard]] cache::store& store() { return *inside_->store; }
    [[nodiscard]] const std::vector<cache::recovery>& heals() const { return inside_->heals; }
    [[nodiscard]] unsigned deaths() const { return inside_->deaths; }

private:
    struct inside {
        cache::options chosen;
        cache::listeners around;
        std::uint64_t epoch = 0;
        std::vector<cache::recovery> heals;
        unsigned deaths = 0;
        std::shared_ptr<sync::manual_reset_event> stop;
        std::shared_ptr<cache::store> store;
    };
    static task<> serves(std::shared_ptr<inside>, std::shared_ptr<cache::store> store,
                         std::shared_ptr<sync::manual_reset_event> stop) {
        auto body = [&](task_scope& scope) -> task<> {
            store->start(scope);
            co_await stop->wait();
            store->close();
        };
        co_await with_scope(body);
    }
    task<> end() {
        if (serving_) static_cast<void>(co_await serving_->outcome());
        serving_.reset();
        inside_->store.reset();
    }

    std::shared_ptr<inside> inside_;
    std::optional<join_handle<void>> serving_;
};

inline constexpr std::array<const char*, 5> words = {"ant", "bee", "cow", "dog", "elk"};

/// What a document is to be, with its words by who has made it up.
struct made_up {
    bool there = false;
    cache::format how = cache::format::text;
    std::string body{};
    std::set<std::string> words{};
};

inline made_up some_document(sim::world& world) {
    made_up one{.there = true};
    const unsigned lines = 1 + pick(world, 3);
    for (unsigned i = 0; i < lines; ++i) {
        const std::string word = words[pick(world, 5)];
        one.words.insert(word);
        one.body += word + " " + word + "\n";
    }
    return one;
}
/// Some of its words come before what is wrong.
inline made_up some_nonsense(sim::world& world) {
    made_up one = some_document(world);
    one.how = cache::format::markdown;
    one.body += pick(world, 2) == 0 ? "ant `bee" : "```\ncow";
    return one;
}

/// Knows what was asked for and confirmed. Each document has one client.
class cache_witness {
public:
    void tries(const std::string& id, const made_up& what) {
        known_[id].possible.push_back(what);
    }
    /// What the last tries() has come to.
    void hears(const std::string& id, const cache::verdict& said) {
        facts& all = known_[id];
        switch (said.how) {
        case cache::fate::stored:
        case cache::fate::absent:
            all.certain = std::move(all.possible.back()); // no memory may be left for a copy
            all.possible.clear();
            ++stored_;
            break;
        case cache::fate::quarantined:
        case cache::fate::not_stored:
            all.possible.pop_back();
            break;
        case cache::fate::unknown:
            break;
        }
    }
    /// What is read is what is there, and nobody changes it meanwhile. From here on it is
    /// certain.
    void check(const std::string& id, const cache::document_ref& found) {
        facts& all = known_[id];
        const auto is_it = [&](const made_up& one) {
            return one.there == (found != nullptr) &&
                   (!found || (found->body == one.body && found->how == one.how));
        };
        if (is_it(all.certain)) {
            if (!disks_fail) all.possible.clear();
            return;
        }
        const auto was = std::find_if(all.possible.begin(), all.possible.end(), is_it);
        expect(was != all.possible.end(),
               "document " + id + " is " + (found ? "'" + found->body + "'" : "not there") +
                   ", and should be " +
                   (all.certain.there ? "'" + all.certain.body + "'" : "not there"));
        all.certain = *was;
        if (!disks_fail) all.possible.clear();
    }
    /// Of those of one client, whose documents begin with `mine`; all of them were checked.
    void check(const std::string& mine, const std::string& word,
               const std::vector<cache::hit>& hits) const {
        std::set<std::string> found;
        for (const cache::hit& each : hits) {
            expect(found.insert(each.id).second, "a document is found twice");
        }
        for (const auto& [id, all] : known_) {
            if (!id.starts_with(mine)) continue;
            const bool should = all.certain.there && all.certain.words.contains(word);
            expect(found.contains(id) == should,
                   "document " + id + (should ? " is not found by " : " is found by ") + word);
        }
    }
    [[nodiscard]] std::vector<std::string> ids(const std::string& mine) const {
        std::vector<std::string> all;
        for (const auto& [id, each] : known_) {
            if (id.starts_with(mine)) all.push_back(id);
        }
        return all;
    }
    [[nodiscard]] std::size_t stored() const { return stored_; }

    /// What is not there may still come, when a journal is opened again.
    bool disks_fail = false;

private:
    struct facts {
        made_up certain;
        std::vector<made_up> possible;
    };
    std::map<std::string, facts> known_;
    std::size_t stored_ = 0;
};

/// Everything of one client, or of all, while that one does nothing else.
inline task<> looks(cache::store& store, cache_witness& all, std::string mine) {
    for (const std::string& id : all.ids(mine)) {
        const cache::document_ref found = co_await store.find(id);
        all.check(id, found);
    }
    for (const std::string word : words) {
        const cache::found_page page = co_await store.search(word, "", 1000);
        all.check(mine, word, page.hits);
    }
}

/// One request, alone or a batch.
inline task<> asks(cache::store& store, cache_witness& all,
                   std::vector<std::pair<std::string, made_up>> what) {
    std::vector<cache::wish> wishes;
    for (const auto& [id, each] : what) {
        all.tries(id, each);
        wishes.push_back({id, !each.there, each.how, each.body});
    }
    const std::vector<cache::verdict> said = co_await store.change(std::move(wishes));
    expect(said.size() == what.size(), "not an answer for each");
    for (std::size_t i = 0; i < what.size(); ++i) all.hears(what[i].first, said[i]);
}

struct habits {
    unsigned requests = 3;
    bool nonsense = true; ///< sometimes
    bool leaves = false;  ///< sometimes, in the middle
    bool errors = false;  ///< may happen: of the memory, as an exception
};

/// A request of a task that may leave before it is answered.
inline task<> comes_and_goes(sim::world& world, cache::store& store, cache_witness& all,
                             std::vector<std::pair<std::string, made_up>> what, bool stays,
                             bool errors) {
    auto body = [&](task_scope& scope) -> task<> {
        auto request = scope.spawn(asks(store, all, std::move(what)), {.name = "client"});
        if (stays) co_return;
        co_await some_turns(world, 20);
        request.cancel();
    };
    try {
        co_await with_scope(body);
    } catch (const std::bad_alloc&) {
        if (!errors) throw;
    }
}

/// A client with its own documents, "a0", "a1", ...: changes them, and looks.
inline task<> visits(sim::world& world, cache::store& store, cache_witness& all,
                     std::string mine, habits how) {
    for (unsigned i = 0; i < how.requests; ++i) {
        std::vector<std::pair<std::string, made_up>> what;
        const unsigned kind = pick(world, 6);
        const unsigned many = kind == 0 ? 3 : 1;
        for (unsigned j = 0; j < many; ++j) {
            made_up one = some_document(world);
            if (kind == 1) one = {};
            if (kind == 2 && how.nonsense) one = some_nonsense(world);
            what.emplace_back(mine + std::to_string(many == 1 ? pick(world, 3) : j), one);
        }
        const bool stays = !how.leaves || pick(world, 2) == 0;
        co_await comes_and_goes(world, store, all, std::move(what), stays, how.errors);
        co_await looks(store, all, mine);
    }
}

} // namespace toadstone::tests

#endif
