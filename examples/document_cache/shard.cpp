// The critical sections of the cache.
#include "shard.hpp"

#include "formatter.hpp"
#include "log.hpp"

#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/scope_guard.hpp>
#include <toadstone/runtime/spawn_blocking.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace cache {

using toadstone::task;

namespace {

using namespace std::chrono_literals;
constexpr auto pause_between_tries = 10ms;
constexpr std::size_t most_found = 1024;

journal::options journal_of(const options& chosen, std::size_t number) {
    journal::options how;
    how.folder = chosen.data + "/" + shard::folder_of(number) + "/log";
    how.snapshots = chosen.data + "/" + shard::folder_of(number) + "/states";
    how.segment_bytes = chosen.segment_bytes;
    how.batch_bytes = std::min(how.batch_bytes, chosen.segment_bytes);
    how.lock_wait = chosen.journal_wait;
    how.random = chosen.random;
    return how;
}

/// What a restoration has to put into the index again.
std::size_t documents_in(const std::vector<change_ref>& tail) {
    std::size_t count = 0;
    for (const change_ref& each : tail) count += each->entries.size();
    return count;
}

/// A record of the journal, with the terms found again.
change_ref change_in(const journal::record& record) {
    const kept_change change = change_of(record.payload);
    auto fresh = std::make_shared<change_entry>();
    fresh->sequence = record.sequence;
    fresh->version = change.version;
    for (const kept_document& each : change.documents) {
        entry one{each.what, each.removed, {}};
        if (!each.removed) one.terms = terms_of_kept(*each.what);
        fresh->entries.push_back(std::make_shared<const entry>(std::move(one)));
    }
    return fresh;
}

std::string record_of(const change_entry& change) {
    kept_change kept{change.version, {}};
    for (const entry_ref& each : change.entries) {
        kept.documents.push_back({each->what, each->removed});
    }
    return to_bytes(kept);
}

// What follows is done on threads for that, of what nobody changes.

base_ref merged(const base_ref& before, const std::vector<change_ref>& tail) {
    return base::merged(*before, replayed(tail));
}
std::string state_of(const base_ref& all, std::uint64_t version) {
    kept_change kept{version, {}};
    kept.documents.reserve(all->documents().size());
    for (const document_ref& each : all->documents()) kept.documents.push_back({each, false});
    return to_bytes(kept);
}
std::pair<base_ref, std::uint64_t> base_in(const std::string& state, bool whatever) {
    if (state.empty()) return {std::make_shared<const base>(), 0};
    const kept_change kept = change_of(state);
    return {base::of(kept, whatever), kept.version};
}

} // namespace

std::string shard::folder_of(std::size_t number) {
    return std::string(number < 10 ? "shard-0" : "shard-") + std::to_string(number);
}

shard::shard(const options& chosen, std::size_t number, const listeners& around)
    : chosen_(chosen), number_(number), around_(around), name_(folder_of(number)),
      ledger_(journal_of(chosen, number)), data_(data(), name_) {}

task<> shard::open() {
    ledger::opened fresh = co_await ledger_.open();
    auto [base, version] = co_await toadstone::spawn_blocking(
        base_in, fresh.found.state, chosen_.strategy == on_poison::ignore);
    fresh.found.state.clear();
    guard held = co_await data_.write();
    held->documents.known_good = std::move(base);
    held->version = version;
    held->sequence = fresh.found.state_at.sequence;
    take_over(*held, fresh);
    for (const std::string& line : fresh.found.notes) say(line);
}

void shard::close() {
    closing_ = true;
    ledger_.close();
    to_do_.set();
}

void shard::end_if_poisoned() const {
    if (chosen_.strategy != on_poison::terminate) return;
    const toadstone::poison_cause why = data_.cause();
    if (why && around_.on_fatal) around_.on_fatal(why);
}

task<shard::guard> shard::enter_to_write() {
    if (chosen_.strategy == on_poison::ignore) {
        auto whatever = co_await data_.write_or_poison();
        co_return std::move(whatever).into_guard();
    }
    if (chosen_.strategy == on_poison::terminate) {
        end_if_poisoned();
        guard held = co_await data_.write();
        co_return held;
    }
    const auto mends = [this](data& held, const toadstone::poison_cause& why) {
        repair(held, why);
    };
    guard held = co_await data_.write_or_recover(mends);
    co_return held;
}

task<shard::read_guard> shard::enter_to_read() {
    end_if_poisoned();
    for (;;) {
        {
            auto got = co_await data_.read_or_poison();
            if (got || chosen_.strategy == on_poison::ignore) co_return got.into_guard();
            if (chosen_.strategy == on_poison::terminate) {
                throw toadstone::poison_error(got.cause());
            }
        }
        co_await restore();
    }
}

task<> shard::restore() {
    guard healthy = co_await enter_to_write();
    healthy.mark_consistent();
}

/// The index that somebody has left in the middle of a change is dropped, whatever is in it.
void shard::repair(data& held, const toadstone::poison_cause& why) {
    const auto begun = toadstone::this_task::now();
    held.documents.changes = replayed(held.tail);
    if (!around_.on_recovery) return;
    recovery done{number_, why, toadstone::this_task::now() - begun, held.tail.size()};
    around_.on_recovery(done);
}

task<document_ref> shard::find(std::string id) {
    const read_guard held = co_await enter_to_read();
    co_return held->documents.find(id);
}

task<std::vector<hit>> shard::search(std::string term, std::string after, std::size_t most) {
    const read_guard held = co_await enter_to_read();
    co_return held->documents.search(term, after, most);
}

task<shard_status> shard::status() {
    const read_guard held = co_await enter_to_read();
    shard_status now;
    now.number = number_;
    now.documents = held->documents.size();
    now.changes = held->tail.size();
    now.version = held->version;
    now.poisoned = data_.is_poisoned();
    now.failure = failure();
    co_return now;
}

task<> shard::change(const std::vector<wish>& wishes, attempt& how) {
    // Behind the guard: nobody has to come by before it is restored.
    const toadstone::scope_exit calls_keeper([this]() noexcept {
        if (data_.is_poisoned()) to_do_.set();
    });
    guard held = co_await enter_to_write();
    held.mark_consistent(); // so far nothing is broken by leaving
    co_await make_writable(*held);
    if (how.version != 0 && std::count(held->found.begin(), held->found.end(), how.version)) {
        co_return;
    }
    auto done = std::make_shared<change_entry>();
    done->version = how.version = ++held->version;

    held.mark_inconsistent(); // a document may lack terms
    for (how.at = 0; how.at < wishes.size(); ++how.at) {
        const wish& each = wishes[how.at];
        if (each.remove) {
            how.existed = held->documents.find(each.id) != nullptr;
            if (!how.existed) continue;
        }
        entry_ref one = co_await take_in(*held, each, done->version);
        done->entries.push_back(std::move(one));
    }
    if (done->entries.empty()) co_return;
    auto& tail = held->tail;
    if (tail.size() == tail.capacity()) tail.reserve(2 * tail.size() + 8);
    std::string record = record_of(*done);
    const std::size_t bytes = record.size();
    done->sequence = co_await ledger_.append(std::move(record));
    // It has happened: nothing below fails, or is cut.
    held->sequence = done->sequence;
    tail.push_back(std::move(done));
    unsaved_bytes_ += bytes;
    if (documents_in(tail) >= chosen_.compact_after) to_do_.set();
}

/// A document is put into the index term by term, as they are found.
task<entry_ref> shard::take_in(data& held, const wish& what, std::uint64_t version) {
    delta& changes = held.documents.changes;
    if (what.remove) {
        auto gone = std::make_shared<const document>(
            document{what.id, format::text, std::string(), version});
        changes.remove(gone);
        co_return std::make_shared<const entry>(entry{std::move(gone), true, {}});
    }
    const auto fresh =
        std::make_shared<const document>(document{what.id, what.how, what.body, version});
    changes.begin(fresh);
    formatter lines(fresh->how, fresh->body);
    std::vector<std::string> terms;
    for (std::size_t line = 1; lines.next(terms); ++line) {
        for (const std::string& each : terms) changes.add(each);
        terms.clear();
        if (line % chosen_.lines_per_turn == 0) co_await toadstone::yield_now();
    }
    co_return changes.finish();
}

/// A journal that has failed is opened again, and says what has become of the records in its
/// hands then. Nothing is changed before all of it is known.
task<> shard::make_writable(data& held) {
    const std::string failure = this->failure();
    if (failure.empty()) co_return;
    if (toadstone::this_task::now() < held.next_try) throw disk_trouble(failure);
    std::string why;
    try {
        ledger::opened fresh = co_await ledger_.open();
        take_over(held, fresh);
        say(name_ + ": the journal is open again, after " + failure);
    } catch (const std::system_error& error) {
        why = error.what();
    }
    if (why.empty()) co_return;
    held.next_try = toadstone::this_task::now() + pause_between_tries;
    throw disk_trouble(why);
}

/// All or nothing, and without a suspension: the records that are not in the tail become part
/// of it, and the journal is in use.
void shard::take_over(data& held, ledger::opened& fresh) {
    if (fresh.found.end.sequence < held.sequence) {
        throw std::runtime_error(name_ + ": the journal ends with record " +
                                 std::to_string(fresh.found.end.sequence) +
                                 ", and there was a record " + std::to_string(held.sequence));
    }
    std::vector<change_ref> tail = held.tail;
    std::vector<std::uint64_t> found = held.found;
    std::size_t bytes = 0;
    for (const journal::record& each : fresh.found.records) {
        bytes += each.payload.size();
        if (each.sequence <= held.sequence) continue;
        tail.push_back(change_in(each));
        found.push_back(tail.back()->version);
    }
    if (found.size() > most_found) found.erase(found.begin(), found.end() - most_found);
    delta changes = replayed(tail);
    if (!tail.empty()) held.version = std::max(held.version, tail.back()->version);
    held.documents.changes = std::move(changes);
    held.tail.swap(tail);
    held.found.swap(found);
    held.sequence = fresh.found.end.sequence;
    unsaved_bytes_ = bytes;
    if (documents_in(held.tail) >= chosen_.compact_after) to_do_.set();
    ledger_.adopt(fresh);
}

task<> shard::keep() {
    for (;;) {
        co_await to_do_.wait();
        if (closing_) co_return;
        std::string why;
        try {
            const std::size_t documents = co_await length_of_tail();
            if (documents >= chosen_.compact_after) co_await make_base();
        } catch (const std::exception& error) { // what is there is as good, and longer
            why = error.what();
        }
        if (!why.empty()) say(name_ + ": no new base or snapshot: " + why);
    }
}

/// Which restores it on the way, if that is to be done.
task<std::size_t> shard::length_of_tail() {
    const read_guard held = co_await enter_to_read();
    co_return documents_in(held->tail);
}

/// The work is done outside of the section.
task<> shard::make_base() {
    const whole all = co_await all_of_it();
    base_ref fresh;
    if (chosen_.strategy == on_poison::ignore) {
        fresh = co_await merge_as_it_is();
    } else {
        fresh = co_await toadstone::spawn_blocking(merged, all.before, all.tail);
        co_await use_base(fresh, all);
    }
    const std::size_t bytes = unsaved_bytes_;
    if (!all.certain || all.tail.empty() || bytes < chosen_.snapshot_after) co_return;
    std::string state =
        co_await toadstone::spawn_blocking(state_of, fresh, all.tail.back()->version);
    co_await ledger_.save(all.at, std::move(state));
    unsaved_bytes_ -= std::min<std::size_t>(bytes, unsaved_bytes_);
}

/// While nobody writes, what the journal has on the disk is what the tail ends with, unless it
/// has failed.
task<shard::whole> shard::all_of_it() {
    const read_guard held = co_await enter_to_read();
    whole all{held->documents.known_good, held->tail, ledger_.durable(), false};
    all.certain = all.at.sequence == held->sequence;
    co_return all;
}

task<> shard::use_base(base_ref fresh, const whole& of) {
    guard held = co_await enter_to_write();
    held.mark_consistent();
    // Only this task makes tails shorter.
    const auto behind = held->tail.begin() + static_cast<std::ptrdiff_t>(of.tail.size());
    std::vector<change_ref> rest(behind, held->tail.end());
    delta changes = replayed(rest);
    held->documents.known_good = std::move(fresh);
    held->documents.changes = std::move(changes);
    held->tail.swap(rest);
}

/// What a server does that does not know of poison: what is wrong comes into the base, too.
task<base_ref> shard::merge_as_it_is() {
    guard held = co_await enter_to_write();
    index& all = held->documents;
    base_ref fresh = base::merged(*all.known_good, all.changes);
    all.known_good = fresh;
    all.changes = delta();
    held->tail.clear();
    co_return fresh;
}

} // namespace cache
