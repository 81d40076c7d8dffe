// The critical sections of the server.
#include "store.hpp"

#include "log.hpp"
#include "operation_json.hpp"
#include "replay.hpp"

#include <toadstone/runtime/shield.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/this_task.hpp>

#include <chrono>
#include <system_error>

namespace tracker {

using toadstone::task;

namespace {

/// A new journal may be synced as often as one likes: it can be lost with the power until its
/// folder is synced as well.
task<> sync_folder_of(std::string path) {
    const std::size_t slash = path.rfind('/');
    path = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    toadstone::io::file folder = co_await toadstone::io::file::open(path);
    co_await folder.sync_all();
    co_await folder.close();
}

} // namespace

store::store(const options& chosen, metrics& counts, std::function<void()> on_failure)
    : chosen_(chosen), counts_(counts), on_failure_(std::move(on_failure)),
      data_(data(), "operations") {}

task<operation> store::advance(operation_id id, message what) {
    guard held = co_await enter();
    held.mark_consistent(); // so far we only look: leaving here, by an error too, does no harm
    check_writable();
    const operation* before = held->operations.find(id);
    if (!before) throw no_such_operation(id);
    operation after = before->after(what);
    const std::string line = line_for_message(id, what);
    held->under_way = change{id, *before};

    held.mark_inconsistent(); // from here on the book lacks an operation
    held->operations.remove(id);
    co_await write_down(line);
    done(*held, after, line.size());
    co_return after;
}

task<operation> store::create(std::string name) {
    guard held = co_await enter();
    held.mark_consistent();
    check_writable();
    operation fresh;
    fresh.id = held->operations.next_id();
    if (fresh.id > largest_id) throw no_more_changes("there are no more ids for operations");
    fresh.name = std::move(name);
    const std::string line = line_for_new(fresh.id, fresh.name);
    held->under_way = change{fresh.id, std::nullopt};

    held.mark_inconsistent();
    co_await write_down(line);
    done(*held, fresh, line.size());
    co_return fresh;
}

task<operation> store::find(operation_id id) {
    guard held = co_await enter();
    held.mark_consistent();
    const operation* found = held->operations.find(id);
    if (!found) throw no_such_operation(id);
    co_return *found;
}

task<operation_page> store::list(operation_id after, std::size_t most, std::size_t bytes) {
    guard held = co_await enter();
    held.mark_consistent();
    operation_page found = held->operations.page(after, most, bytes);
    co_return found;
}

/// The way into every section: what somebody left broken is repaired first, by whoever is first
/// to notice. The others wait for him.
task<store::guard> store::enter(std::source_location where) {
    const auto repair = [this](data& held, const toadstone::poison_cause& why) {
        return restore(held, why);
    };
    guard held = co_await data_.lock_or_recover(repair, where);
    co_return held;
}

/// Returns when the record is on the disk, in the file that a new server would read.
task<> store::write_down(std::string line) {
    if (chosen_.slow_sync.count() > 0) co_await toadstone::sleep_for(chosen_.slow_sync);
    std::string lost;
    try {
        co_await journal_->append(line);
        co_await journal_->sync_data();
    } catch (const std::system_error& why) {
        if (!journal_->sync_failed()) throw; // a full disk, for example, that may be emptied
        lost = why.what();
    }
    if (!lost.empty()) fail(lost);
    const std::string why = failure();
    if (!why.empty()) throw no_more_changes(why + "; it is unknown whether this has happened");
}

void store::done(data& held, operation after, std::size_t bytes) {
    held.operations.put(std::move(after));
    held.durable_bytes += bytes;
    held.under_way.reset();
    counts_.show_operations(held.operations.size(), held.operations.live());
}

void store::take_back(data& held) {
    if (!held.under_way) return;
    held.operations.remove(held.under_way->id);
    if (held.under_way->before) held.operations.put(*held.under_way->before);
}

void store::check_writable() {
    const std::string why = failure();
    if (!why.empty()) throw no_more_changes(why);
}

std::string store::failure() {
    {
        const std::lock_guard hold(failure_lock_);
        if (!failure_.empty()) return failure_;
    }
    try {
        if (journal_->is_at_path()) return {};
        fail(journal_->path() + " was renamed, removed or replaced");
    } catch (const std::system_error& why) {
        fail(why.what());
    }
    const std::lock_guard hold(failure_lock_);
    return failure_;
}

bool store::failed() {
    const std::lock_guard hold(failure_lock_);
    return !failure_.empty();
}

void store::fail(const std::string& why) {
    {
        const std::lock_guard hold(failure_lock_);
        if (!failure_.empty()) return;
        failure_ = "the journal has failed: " + why;
    }
    counts_.journal_fails();
    log("the journal has failed, and nothing is changed until a restart: " + why);
    if (on_failure_) on_failure_();
}

task<> store::restore() {
    guard healthy = co_await enter();
    healthy.mark_consistent();
}

task<> store::restore(data& held, const toadstone::poison_cause& why) {
    const auto begun = toadstone::this_task::now();
    counts_.count_poisoning(why);
    if (!failed()) log(why.to_string()); // else its one line is there
    co_await read_back(held);
    const auto took = toadstone::this_task::now() - begun;
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(took);
    counts_.count_recovery(took);
    counts_.show_operations(held.operations.size(), held.operations.live());
    if (!failed()) {
        log("restored from the journal in " + std::to_string(microseconds.count()) +
            " us, operations: " + std::to_string(held.operations.size()));
    }
}

/// The change that was cut is taken back, and happens again if the journal says so. But a
/// record whose sync was cut is in the file and may not be on the disk yet; shown now, it could
/// be undone by a failure of power. If it cannot be brought there, it is not shown.
task<> store::read_back(data& held) {
    take_back(held);
    std::string lost;
    try {
        if (!failed()) {
            co_await journal_->sync_data();
            const replayed there =
                co_await replay(*journal_, held.operations, held.durable_bytes);
            if (there.torn_bytes > 0 || journal_->poisoned()) {
                journal_->truncate(there.whole_bytes);
                co_await journal_->sync_data();
                log(journal_->path() + ": cut off " + std::to_string(there.torn_bytes) +
                    " bytes of a record that was not written to its end");
            }
            held.durable_bytes = there.whole_bytes;
        }
    } catch (const std::runtime_error& why) {
        lost = why.what();
    }
    if (!lost.empty()) {
        fail(lost);
        take_back(held);
    }
    held.under_way.reset();
}

task<> store::open() {
    toadstone::io::open_options how;
    how.append = true;
    how.create = true;
    toadstone::io::file opened = co_await toadstone::io::file::open(chosen_.journal, how);
    journal_.emplace(std::move(opened));
    if (!journal_->is_regular()) {
        throw std::runtime_error(chosen_.journal + " is not an ordinary file");
    }
    co_await wait_for_lock();
    co_await sync_folder_of(chosen_.journal);
    co_await load();
}

/// Another server that drains still has requests to finish, and their records to write. What is
/// read before it has ended would be out of date.
task<> store::wait_for_lock() {
    using namespace std::chrono_literals;
    const auto until = toadstone::this_task::now() + chosen_.journal_wait;
    bool waited = false;
    while (!journal_->try_lock()) {
        if (toadstone::this_task::now() >= until) {
            throw std::runtime_error(chosen_.journal +
                                     " belongs to another server, which has not ended within " +
                                     std::to_string(chosen_.journal_wait.count()) + " ms");
        }
        if (!waited) log(chosen_.journal + " belongs to another server, waiting for its end");
        waited = true;
        co_await toadstone::sleep_for(20ms);
    }
    // It may have been replaced before it was locked.
    if (!journal_->is_at_path()) {
        throw std::runtime_error(chosen_.journal + " was renamed, removed or replaced");
    }
}

task<> store::load() {
    guard held = co_await data_.lock();
    const replayed there = co_await replay(*journal_, held->operations);
    co_await write_last_again(*journal_, there);
    if (there.torn_bytes > 0) {
        journal_->truncate(there.whole_bytes);
        log(journal_->path() + ": cut off " + std::to_string(there.torn_bytes) +
            " bytes of a record that was not written to its end");
    }
    co_await journal_->sync_data();
    held->durable_bytes = there.whole_bytes;
    counts_.show_operations(held->operations.size(), held->operations.live());
    log("read " + journal_->path() +
        ", operations: " + std::to_string(held->operations.size()));
}

} // namespace tracker
