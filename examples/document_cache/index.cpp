// Looking in both parts of an index, and making one of the two.
#include "index.hpp"

#include "formatter.hpp"

#include <algorithm>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <utility>

namespace cache {
namespace {

constexpr auto nowhere = std::numeric_limits<std::uint32_t>::max();

bool has_lower_id(const document_ref& one, std::string_view id) noexcept {
    return one->id < id;
}

} // namespace

void delta::forget_terms(state& of, const std::string& id) {
    for (const std::string& term : of.terms) {
        const auto found = postings_.find(term);
        if (found == postings_.end()) continue; // of a change that was cut in the middle
        found->second.erase(id);
        if (found->second.empty()) postings_.erase(found);
    }
    of.terms.clear();
}

void delta::begin(document_ref what) {
    state& here = documents_[what->id];
    forget_terms(here, what->id);
    here.what = std::move(what);
    here.removed = false;
    begun_ = &here;
}

void delta::add(const std::string& term) {
    if (begun_->terms.insert(term).second) postings_[term].insert(begun_->what->id);
}

entry_ref delta::finish() {
    const state& here = *begun_;
    return std::make_shared<const entry>(
        entry{here.what, false, {here.terms.begin(), here.terms.end()}});
}

void delta::remove(document_ref what) {
    state& here = documents_[what->id];
    forget_terms(here, what->id);
    here.what = std::move(what);
    here.removed = true;
}

void delta::apply(const entry& one) {
    if (one.removed) {
        remove(one.what);
        return;
    }
    begin(one.what);
    for (const std::string& term : one.terms) add(term);
}

delta replayed(std::span<const change_ref> changes) {
    delta fresh;
    for (const change_ref& change : changes) {
        for (const entry_ref& each : change->entries) fresh.apply(*each);
    }
    return fresh;
}

base_ref base::of(const kept_change& snapshot, bool whatever) {
    auto fresh = std::make_shared<base>();
    for (const kept_document& each : snapshot.documents) {
        if (each.removed) throw std::runtime_error("a removed document is in a snapshot");
        fresh->documents_.push_back(each.what);
    }
    auto& all = fresh->documents_;
    std::sort(all.begin(), all.end(),
              [](const document_ref& a, const document_ref& b) { return a->id < b->id; });
    std::vector<std::pair<std::string, std::uint32_t>> pairs;
    for (std::uint32_t place = 0; place < all.size(); ++place) {
        if (place > 0 && all[place - 1]->id == all[place]->id) {
            throw std::runtime_error("a document is twice in a snapshot");
        }
        for (std::string& term : terms_of_kept(*all[place], whatever)) {
            pairs.emplace_back(std::move(term), place);
        }
    }
    collected terms;
    for (const auto& [term, place] : pairs) terms[term].push_back(place);
    fresh->set_terms(terms);
    return fresh;
}

void base::set_terms(const collected& terms) {
    terms_.reserve(terms.size());
    begins_.reserve(terms.size() + 1);
    for (const auto& [term, places] : terms) {
        if (places.empty()) continue;
        terms_.emplace_back(term);
        begins_.push_back(places_.size());
        places_.insert(places_.end(), places.begin(), places.end());
    }
    begins_.push_back(places_.size());
}

base_ref base::merged(const base& before, const delta& changes) {
    auto fresh = std::make_shared<base>();
    auto& all = fresh->documents_;
    all.reserve(before.documents_.size() + changes.documents().size());
    // Where each of the old ones has gone to, and where the new ones are.
    std::vector<std::uint32_t> moved(before.documents_.size(), nowhere);
    std::map<std::string_view, std::uint32_t> added;
    auto change = changes.documents().begin();
    const auto last = changes.documents().end();
    const auto take_change = [&] {
        if (!change->second.removed) {
            added.emplace(change->first, static_cast<std::uint32_t>(all.size()));
            all.push_back(change->second.what);
        }
        ++change;
    };
    for (std::size_t i = 0; i < before.documents_.size(); ++i) {
        const std::string& id = before.documents_[i]->id;
        while (change != last && change->first < id) take_change();
        if (change != last && change->first == id) continue;
        moved[i] = static_cast<std::uint32_t>(all.size());
        all.push_back(before.documents_[i]);
    }
    while (change != last) take_change();

    collected terms;
    for (std::size_t i = 0; i < before.terms_.size(); ++i) {
        auto& places = terms[before.terms_[i]];
        for (std::size_t at = before.begins_[i]; at < before.begins_[i + 1]; ++at) {
            const std::uint32_t place = moved[before.places_[at]];
            if (place != nowhere) places.push_back(place);
        }
    }
    for (const auto& [term, ids] : changes.terms()) {
        std::vector<std::uint32_t> fresh_places; // in order, as the ids are
        for (const std::string& id : ids) {
            const auto found = added.find(id);
            if (found != added.end()) fresh_places.push_back(found->second);
        }
        auto& places = terms[term];
        std::vector<std::uint32_t> all_places;
        all_places.reserve(places.size() + fresh_places.size());
        std::merge(places.begin(), places.end(), fresh_places.begin(), fresh_places.end(),
                   std::back_inserter(all_places));
        places = std::move(all_places);
    }
    fresh->set_terms(terms);
    return fresh;
}

document_ref base::find(std::string_view id) const {
    const auto found = std::lower_bound(documents_.begin(), documents_.end(), id, has_lower_id);
    return found != documents_.end() && (*found)->id == id ? *found : nullptr;
}

std::span<const std::uint32_t> base::with(std::string_view term) const {
    const auto found = std::lower_bound(terms_.begin(), terms_.end(), term);
    if (found == terms_.end() || *found != term) return {};
    const auto at = static_cast<std::size_t>(found - terms_.begin());
    return std::span(places_).subspan(begins_[at], begins_[at + 1] - begins_[at]);
}

document_ref index::find(std::string_view id) const {
    const auto changed = changes.documents().find(id);
    if (changed == changes.documents().end()) return known_good->find(id);
    return changed->second.removed ? nullptr : changed->second.what;
}

std::vector<hit> index::search(std::string_view term, std::string_view after,
                               std::size_t most) const {
    const std::span<const std::uint32_t> places = known_good->with(term);
    const auto& documents = known_good->documents();
    auto place = std::upper_bound(
        places.begin(), places.end(), after,
        [&](std::string_view id, std::uint32_t at) { return id < documents[at]->id; });
    static const std::set<std::string> none;
    const auto fresh = changes.terms().find(term);
    const auto& ids = fresh == changes.terms().end() ? none : fresh->second;
    auto id = after.empty() ? ids.begin() : ids.upper_bound(std::string(after));

    std::vector<hit> found;
    while (found.size() < most) {
        // What was changed since is not found by what it was.
        while (place != places.end() && changes.documents().contains(documents[*place]->id)) {
            ++place;
        }
        if (place == places.end() && id == ids.end()) break;
        if (id == ids.end() || (place != places.end() && documents[*place]->id < *id)) {
            found.push_back({documents[*place]->id, documents[*place]->version});
            ++place;
        } else {
            const auto state = changes.documents().find(*id);
            if (state != changes.documents().end()) {
                found.push_back({*id, state->second.what->version});
            }
            ++id;
        }
    }
    return found;
}

std::size_t index::size() const {
    std::size_t count = known_good->documents().size();
    for (const auto& [id, each] : changes.documents()) {
        if (known_good->find(id)) --count;
        if (!each.removed) ++count;
    }
    return count;
}

} // namespace cache
