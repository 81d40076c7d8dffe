// The critical sections of the server.
#include "store.hpp"

#include "history.hpp"
#include "log.hpp"

#include <toadstone/io/folder.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/scope_guard.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/task_scope.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <system_error>
#include <utility>

namespace tracker {

using toadstone::task;
namespace io = toadstone::io;

namespace {

journal::options journal_of(const options& chosen) {
    journal::options how;
    how.folder = chosen.journal;
    how.snapshots = chosen.snapshots.empty() ? chosen.journal : chosen.snapshots;
    how.segment_bytes = chosen.segment_bytes;
    if (chosen.how == commit::each) how.batch_bytes = 1;
    how.lock_wait = chosen.journal_wait;
    how.on_waiting = [path = chosen.journal] {
        log(path + " belongs to another server, waiting for its end");
    };
    return how;
}

/// Nothing else is taken for a journal, and written into.
task<> check_content(io::folder& opened) {
    const auto there = co_await opened.list();
    for (const io::folder_entry& each : there) {
        if (each.name == "lock" || each.name.starts_with(journal::segment_kind)) co_return;
    }
    if (there.empty()) co_return;
    throw std::runtime_error(opened.path() + " is not empty, and no journal");
}

} // namespace

/// Has from the beginning what it needs to happen.
class store::change final : public journal::follower {
public:
    change(store& of, operation after, std::size_t bytes)
        : of_(of), next_(std::move(after)), bytes_(bytes) {}
    void on_disk(const journal::position& behind) noexcept override {
        of_.happens(std::move(next_), behind, bytes_);
    }

private:
    store& of_;
    book::page_to_be next_;
    std::size_t bytes_;
};

store::store(const options& chosen, metrics& counts, std::function<void()> on_failure)
    : chosen_(chosen), counts_(counts), on_failure_(std::move(on_failure)),
      journal_(journal_of(chosen)), snapshot_at_(chosen.snapshot_bytes) {}

task<operation> store::advance(operation_id id, message what) {
    const sections::user here = sections_.enter(id);
    guard held = co_await enter(here);
    held.mark_consistent(); // so far we only look: leaving here, by an error too, does no harm
    check_writable();
    const std::optional<operation> before = book_.find(id);
    if (!before) throw no_such_operation(id);
    journal_record record{id, {}, std::move(what)};
    operation next = after(before, record);
    operation done = co_await write_down(held, std::move(next), std::move(record));
    co_return done;
}

task<operation> store::create(std::string name) {
    check_writable();
    const std::optional<operation_id> id = book_.take_id();
    if (!id) throw no_more_changes("there are no more ids for operations");
    const sections::user here = sections_.enter(*id);
    guard held = co_await enter(here);
    held.mark_consistent();
    journal_record record{*id, std::move(name), {}};
    operation next = after(std::nullopt, record);
    operation done = co_await write_down(held, std::move(next), std::move(record));
    co_return done;
}

task<operation> store::find(operation_id id) {
    if (const auto here = sections_.enter_if_poisoned(id)) {
        guard repaired = co_await enter(*here);
        repaired.mark_consistent();
    }
    std::optional<operation> found = book_.find(id);
    if (!found) throw no_such_operation(id);
    co_return std::move(*found);
}

/// The way into every section: what somebody left broken is repaired first, by whoever is first
/// to notice. The others wait for him.
task<store::guard> store::enter(const sections::user& at, std::source_location where) {
    const auto mend = [this, id = at.id()](section& held, const toadstone::poison_cause& why) {
        return repair(id, held, why);
    };
    guard held = co_await at.lock().lock_or_recover(mend, where);
    co_return held;
}

/// Returns when the record is on the disk, and the book has the change.
task<operation> store::write_down(guard& held, operation after, journal_record what) {
    std::string text = to_json(what);
    auto then = std::make_unique<change>(*this, after, journal::framed_size(text.size()));
    held.mark_inconsistent(); // from here on nobody knows whether it happens
    if (chosen_.slow_sync.count() > 0) co_await toadstone::sleep_for(chosen_.slow_sync);
    journal::ticket sent = co_await journal_.submit(
        static_cast<std::uint32_t>(record_type::change), std::move(text), std::move(then));
    held->sent.emplace(std::move(sent));
    const journal::fate of = co_await held->sent->outcome();
    held->sent.reset();
    if (of.how != journal::fate::end::unknown) held.mark_consistent();
    check_fate(of);
    co_return after;
}

/// By run(), when the record is on the disk.
void store::happens(book::page_to_be&& next, const journal::position& behind,
                    std::size_t bytes) noexcept {
    const book::totals now = book_.commit(std::move(next), behind);
    counts_.show_operations(now.all, now.live);
    const std::size_t unsaved = unsaved_.fetch_add(bytes, std::memory_order_relaxed) + bytes;
    if (unsaved >= snapshot_at_.load(std::memory_order_relaxed)) snapshot_due_.set();
}

void store::check_fate(const journal::fate& of) {
    try {
        static_cast<void>(journal_.place_of(of));
        return;
    } catch (const journal::append_unknown&) {
    } catch (const journal::not_appended& why) {
        check_writable();
        throw no_room(why.what());
    }
    throw no_more_changes(told_failure() + "; it is unknown whether this has happened");
}

void store::check_writable() {
    const std::string why = told_failure();
    if (!why.empty()) throw no_more_changes(why);
}

std::string store::failure() {
    journal_.check_place();
    return told_failure();
}

std::string store::told_failure() {
    std::string why = journal_.failure();
    if (why.empty()) return why;
    if (!why.starts_with("the journal has failed")) why = "the journal has failed: " + why;
    if (!failure_told_.exchange(true, std::memory_order_relaxed)) {
        counts_.journal_fails();
        log(why + "; nothing is changed until a restart");
        if (on_failure_) on_failure_();
    }
    return why;
}

/// The record that was on its way, if any, will be on the disk or not; then the book has it or
/// not. Nothing else has to be looked at, of however many records the operation is made.
task<> store::repair(operation_id id, section& held, const toadstone::poison_cause& why) {
    const auto begun = toadstone::this_task::now();
    const std::string which = "operation " + std::to_string(id);
    const bool failed = failure_told_.load(std::memory_order_relaxed); // its one line is there
    counts_.count_poisoning(why);
    if (!failed) log(which + ": " + why.to_string());
    if (held.sent) static_cast<void>(co_await held.sent->outcome());
    held.sent.reset();
    const auto took = toadstone::this_task::now() - begun;
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(took);
    counts_.count_recovery(took);
    if (failed) co_return;
    log(which + " restored, as it is in the journal, in " +
        std::to_string(microseconds.count()) + " us");
}

task<> store::run() {
    const auto body = [this](toadstone::task_scope& scope) -> task<> {
        const toadstone::scope_exit ends([this]() noexcept { journal_.give_up(); });
        auto saving = scope.spawn(save_snapshots(), {.name = "snapshots"});
        auto repairing = scope.spawn(repair_all(), {.name = "repairs"});
        co_await write_all();
        co_await closed_.wait();
        saving.cancel();
        repairing.cancel();
    };
    co_await toadstone::with_scope(body);
}

void store::close() noexcept {
    journal_.close();
    closed_.set();
}

/// When the journal fails, reading goes on.
task<> store::write_all() {
    try {
        co_await journal_.run();
    } catch (const std::exception& why) {
        log("the journal's writer failed: " + std::string(toadstone::what_of(why)));
    }
    journal_.give_up(); // if it has not even begun
    static_cast<void>(told_failure());
}

/// Those that nobody comes to.
task<> store::repair_all() {
    using namespace std::chrono_literals;
    for (;;) {
        co_await sections_.broken().wait();
        bool failed = false;
        while (const auto here = sections_.take_broken()) {
            try {
                guard repaired = co_await enter(*here);
                repaired.mark_consistent();
            } catch (const std::exception&) { // no memory: it stays broken
                failed = true;
            }
            if (failed) break;
        }
        if (failed) co_await toadstone::sleep_for(10ms);
    }
}

task<> store::save_snapshots() {
    for (;;) {
        co_await snapshot_due_.wait();
        try {
            co_await save_snapshot();
        } catch (const std::exception& why) { // once more after as many records
            log("a snapshot was not saved, and the journal grows: " +
                std::string(toadstone::what_of(why)));
        }
    }
}

/// All that has happened up to one moment, written a part at a time, while more happens.
task<> store::save_snapshot() {
    std::string state;
    unsaved_.store(0, std::memory_order_relaxed);
    journal::position at;
    {
        book::cut through(book_);
        at = through.at();
        while (through.write_part(state)) co_await toadstone::yield_now();
    }
    const std::size_t bytes = std::max(chosen_.snapshot_bytes, state.size());
    co_await journal_.save_snapshot(at, std::move(state));
    snapshot_at_.store(bytes, std::memory_order_relaxed);
}

/// The names on its way are brought to the disk, whoever has made it: a server that was stopped
/// before it did so, perhaps.
task<> store::make_folder() {
    std::string path = chosen_.journal;
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    const std::size_t slash = path.rfind('/') + 1; // npos + 1 is 0
    std::string before = slash == 0 ? "." : path.substr(0, std::max<std::size_t>(slash - 1, 1));
    io::folder above = co_await io::folder::open(std::move(before));
    const std::string name = path.substr(slash);
    if (!name.empty()) static_cast<void>(co_await above.make_folder(name));
    co_await above.sync();
    std::string no_folder;
    try {
        io::folder opened = co_await io::folder::open(path);
        co_await check_content(opened);
    } catch (const std::system_error& why) {
        if (why.code() != std::errc::not_a_directory) throw;
        no_folder = path;
    }
    if (no_folder.empty()) co_return;
    throw std::runtime_error(path + " is not a folder, which a journal is. One of the former "
                                    "format, a file, is taken over into a new one by --import");
}

task<> store::open() {
    if (!chosen_.former.empty()) former_ = co_await read_former(chosen_.former);
    co_await make_folder();
    const journal::contents found = co_await journal_.open();
    for (const std::string& each : found.notes) log(each);
    import_begun_ = former_ && found.state.empty() && found.records.size() == 1 &&
                    found.records[0].type == static_cast<std::uint32_t>(record_type::import);
    if (import_begun_) {
        book_.stands_at(found.end);
    } else {
        co_await read_history(book_, found, chosen_.journal);
    }
    std::size_t bytes = 0;
    for (const journal::record& each : found.records) {
        bytes += journal::framed_size(each.payload.size());
    }
    unsaved_ = bytes;
    snapshot_at_ = std::max(chosen_.snapshot_bytes, found.state.size());
    if (bytes >= snapshot_at_) snapshot_due_.set();
    counts_.show_operations(book_.size(), book_.live());
    log("read " + chosen_.journal + ", operations: " + std::to_string(book_.size()));
    if (former_ && !import_begun_ && found.end.sequence > 0) {
        throw std::runtime_error(chosen_.journal + " is no new journal, into which " +
                                 chosen_.former +
                                 " could be taken over: start without --import");
    }
}

/// A record says that there has to be a snapshot. Without it the import did not come to its
/// end, or the snapshot is lost.
task<> store::import() {
    if (!former_) co_return;
    journal::position at = journal_.durable();
    if (!import_begun_) {
        at = co_await journal_.append(static_cast<std::uint32_t>(record_type::import),
                                      chosen_.former);
    }
    std::size_t taken = 0;
    for (auto& [id, each] : former_->operations) {
        if (++taken % 500 == 0) co_await toadstone::yield_now();
        static_cast<void>(book_.commit(book::page_to_be(std::move(each)), at));
    }
    book_.stands_at(at);
    co_await save_snapshot();
    if (former_->torn_bytes > 0) {
        log(chosen_.former + ": left out " + std::to_string(former_->torn_bytes) +
            " bytes of a record that was not written to its end");
    }
    former_.reset();
    counts_.show_operations(book_.size(), book_.live());
    log("took over " + chosen_.former + ", operations: " + std::to_string(book_.size()));
}

} // namespace tracker
