// The parts of the document cache that know nothing of tasks: formatters, indexes, the bytes of
// records, the quarantine. Each beside something simpler.
#include "support/failing_new.hpp"

#include "document_cache/formatter.hpp"
#include "document_cache/index.hpp"
#include "document_cache/quarantine.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

namespace toadstone::tests {
namespace {

using cache::format;

std::vector<std::string> terms(format how, std::string body) {
    return cache::terms_of({"id", how, std::move(body), 1});
}
std::string refusal(format how, std::string body) {
    try {
        static_cast<void>(terms(how, std::move(body)));
    } catch (const cache::malformed& error) {
        return error.what();
    }
    return "taken";
}
using strings = std::vector<std::string>;

/// Documents and their words, by id: what an index is to agree with.
using model = std::map<std::string, std::pair<std::string, std::set<std::string>>>;

cache::document_ref document_of(const std::string& id, const std::string& body,
                                std::uint64_t version) {
    return std::make_shared<const cache::document>(
        cache::document{id, format::text, body, version});
}

/// One change, made to both; sometimes it is cut in the middle, and taken back by the replay.
void change_some(std::mt19937& dice, cache::index& all, std::vector<cache::change_ref>& tail,
                 model& known, std::uint64_t version) {
    const std::string id = "d" + std::to_string(dice() % 12);
    auto change = std::make_shared<cache::change_entry>();
    if (dice() % 4 == 0) {
        const auto gone = document_of(id, "", version);
        all.changes.remove(gone);
        change->entries.push_back(
            std::make_shared<const cache::entry>(cache::entry{gone, true, {}}));
        known.erase(id);
    } else {
        std::set<std::string> words;
        std::string body;
        for (unsigned i = dice() % 5; i > 0; --i) {
            const std::string word = "w" + std::to_string(dice() % 8);
            words.insert(word);
            body += word + " ";
        }
        const bool cut = dice() % 5 == 0;
        all.changes.begin(document_of(id, body, version));
        for (const auto& word : words) {
            all.changes.add(word);
            if (cut) break;
        }
        if (cut) {
            all.changes = cache::replayed(tail);
            return;
        }
        change->entries.push_back(all.changes.finish());
        known[id] = {body, words};
    }
    tail.push_back(std::move(change));
}

void agree(const cache::index& all, const model& known) {
    REQUIRE(all.size() == known.size());
    for (int i = 0; i < 12; ++i) {
        const std::string id = "d" + std::to_string(i);
        const auto found = all.find(id);
        const auto should = known.find(id);
        REQUIRE((found != nullptr) == (should != known.end()));
        if (found) REQUIRE(found->body == should->second.first);
    }
    for (int i = 0; i < 8; ++i) {
        const std::string word = "w" + std::to_string(i);
        std::vector<std::string> should;
        for (const auto& [id, each] : known) {
            if (each.second.contains(word)) should.push_back(id);
        }
        std::vector<std::string> found;
        for (;;) { // by pages of two
            const std::string after = found.empty() ? "" : found.back();
            const auto page = all.search(word, after, 2);
            for (const auto& each : page) {
                REQUIRE(all.find(each.id)->version == each.version);
                found.push_back(each.id);
            }
            if (page.size() < 2) break;
        }
        REQUIRE(found == should);
    }
}

} // namespace

TEST_CASE("document cache: S550: an index agrees with a model after every change, cut or not") {
    for (unsigned seed = 1; seed <= 30; ++seed) {
        std::mt19937 dice(seed);
        cache::index all;
        std::vector<cache::change_ref> tail;
        model known;
        for (std::uint64_t version = 1; version <= 80; ++version) {
            change_some(dice, all, tail, known, version);
            if (dice() % 10 == 0) {
                all.known_good = cache::base::merged(*all.known_good, all.changes);
                all.changes = {};
                tail.clear();
            }
            if (dice() % 20 == 0) { // a snapshot, and a start from it
                cache::kept_change state{version, {}};
                all.known_good = cache::base::merged(*all.known_good, all.changes);
                for (const auto& each : all.known_good->documents()) {
                    state.documents.push_back({each, false});
                }
                all.changes = {};
                tail.clear();
                const auto read = cache::change_of(cache::to_bytes(state));
                all.known_good = cache::base::of(read);
            }
            INFO("seed " << seed << ", change " << version);
            agree(all, known);
        }
    }
}

TEST_CASE("document cache: S551: terms are what is between, in lower case") {
    CHECK(terms(format::text, "Ant, bee-cow\r\n\nANT 2x") ==
          strings{"2x", "ant", "bee", "cow"});
    CHECK(terms(format::text, "Gr\xc3\xbc\xc3\x9f"
                              "e") == strings{"gr\xc3\xbc\xc3\x9f"
                                              "e"});
    CHECK(terms(format::text, std::string(100, 'a')) == strings{std::string(64, 'a')});
    CHECK(terms(format::text, "").empty());
    CHECK(terms(format::csv, "a,\"b,\"\"c\"\nd,e\n") == strings{"a", "b", "c", "d", "e"});
    CHECK(terms(format::markdown, "# A\n[b](c) `d`\n```\n`e\n```") ==
          strings{"a", "b", "c", "d", "e"});
    CHECK(terms(format::json, "{\"name\": [\"a b\", {\"x\": \"c\"}, 7]}\n\n\"d\"") ==
          strings{"a", "b", "c", "d"});
    CHECK(cache::only_term(" Ant ") == "ant");
    CHECK(cache::only_term("ant bee").empty());
    CHECK(cache::only_term("-").empty());
}

TEST_CASE("document cache: S551: what is malformed is refused, with its line") {
    CHECK(refusal(format::text, "a\n\x01") == "text, line 2: a control character, 1");
    CHECK(refusal(format::csv, "a,b\nc") == "csv, line 2: 1 fields, the first line has 2");
    CHECK(refusal(format::csv, "\"a") == "csv, line 1: a quoted field has no end");
    CHECK(refusal(format::csv, "a\"b\"") == "csv, line 1: a quote inside a field");
    CHECK(refusal(format::csv, "\"a\"b") ==
          "csv, line 1: something behind the end of a quoted field");
    CHECK(refusal(format::markdown, "a\n```\nb\n") ==
          "markdown, line 2: this fence is not closed");
    CHECK(refusal(format::markdown, "`a") == "markdown, line 1: a code span has no end");
    CHECK(refusal(format::markdown, "[a](b") == "markdown, line 1: a link has no end");
    CHECK(refusal(format::json, "{}\n{\"a\":") == "json, line 2: this is no JSON");
    CHECK(refusal(format::json, std::string(100'000, '[')) == "json, line 1: this is no JSON");
}

TEST_CASE(
    "document cache: S552: a record of each other length is refused, or has another end") {
    cache::kept_change change{7, {}};
    change.documents.push_back({document_of("one", "ant", 7), false});
    change.documents.push_back({document_of("two", "", 7), true});
    const std::string bytes = cache::to_bytes(change);
    const auto read = cache::change_of(bytes);
    CHECK(read.version == 7);
    REQUIRE(read.documents.size() == 2);
    CHECK(*read.documents[0].what == *change.documents[0].what);
    CHECK(!read.documents[0].removed);
    CHECK(read.documents[1].what->id == "two");
    CHECK(read.documents[1].removed);
    unsigned whole = 0;
    for (std::size_t size = 0; size < bytes.size(); ++size) {
        try {
            const auto part = cache::change_of(std::string_view(bytes).substr(0, size));
            CHECK(part.documents.size() < 2);
            ++whole;
        } catch (const std::runtime_error&) {
        }
    }
    CHECK(whole == 2); // between the documents
    std::string other = bytes;
    other[8] = 4; // a format that there is not
    CHECK_THROWS_AS(cache::change_of(other), std::runtime_error);
}

TEST_CASE(
    "document cache: S553: an input is refused after two strikes, and by all of its bytes") {
    cache::quarantine some(100);
    CHECK(some.strike(format::csv, "x", "bad") == 1);
    CHECK(!some.refuses(format::csv, "x"));
    CHECK(some.size() == 0);
    CHECK(some.strike(format::csv, "x", "bad") == 2);
    CHECK(some.refuses(format::csv, "x") == "bad");
    CHECK(!some.refuses(format::text, "x"));
    CHECK(!some.refuses(format::csv, "x "));
    CHECK(some.size() == 1);
    // The oldest are forgotten when there are too many bytes.
    static_cast<void>(some.strike(format::csv, std::string(60, 'y'), "long"));
    CHECK(some.refuses(format::csv, "x"));
    static_cast<void>(some.strike(format::csv, std::string(60, 'z'), "long"));
    CHECK(!some.refuses(format::csv, "x"));
    CHECK(some.size() == 0);
    CHECK(some.strike(format::csv, std::string(60, 'z'), "long") == 2);
    // One that is too long by itself is refused all the same.
    const std::string longest(1000, 'l');
    static_cast<void>(some.strike(format::csv, longest, "long"));
    CHECK(some.strike(format::csv, longest, "long") == 2);
    CHECK(some.refuses(format::csv, longest) == "long");
}

} // namespace toadstone::tests
