// The critical sections of the server.
#include "store.hpp"

#include "log.hpp"
#include "operation_json.hpp"
#include "replay.hpp"

#include <toadstone/runtime/shield.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/this_task.hpp>

namespace tracker {

using toadstone::task;

store::store(toadstone::io::file journal, std::chrono::milliseconds slow_sync, metrics& counts)
    : data_({book(), std::move(journal)}, "operations"), slow_sync_(slow_sync),
      counts_(counts) {}

task<operation> store::advance(operation_id id, message what) {
    guard held = co_await enter();
    held.mark_consistent(); // so far we only look: leaving here, by an error too, does no harm
    const operation* before = held->operations.find(id);
    if (!before) throw no_such_operation(id);
    operation after = before->after(what);

    held.mark_inconsistent(); // from here on the book lacks an operation
    held->operations.remove(id);
    co_await write_down(*held, line_for_message(id, what));
    held->operations.put(after);
    counts_.show_operations(held->operations.size(), held->operations.live());
    co_return after;
}

task<operation> store::create(std::string name) {
    guard held = co_await enter();
    operation fresh;
    fresh.id = held->operations.new_id();
    fresh.name = std::move(name);
    co_await write_down(*held, line_for_new(fresh.id, fresh.name));
    held->operations.put(fresh);
    counts_.show_operations(held->operations.size(), held->operations.live());
    co_return fresh;
}

task<operation> store::find(operation_id id) {
    guard held = co_await enter();
    held.mark_consistent();
    const operation* found = held->operations.find(id);
    if (!found) throw no_such_operation(id);
    co_return *found;
}

task<std::vector<operation>> store::list() {
    guard held = co_await enter();
    held.mark_consistent();
    std::vector<operation> all = held->operations.all();
    co_return all;
}

/// The way into every section: what somebody left broken is repaired first, by whoever is first
/// to notice. The others wait for him in restore().
task<store::guard> store::enter(std::source_location where) {
    for (;;) {
        try {
            guard held = co_await data_.lock(where);
            co_return held;
        } catch (const toadstone::poison_error&) {
            // The cause is logged by restore(), once.
        }
        co_await toadstone::shield(restore());
    }
}

task<> store::write_down(data& held, std::string line) const {
    if (slow_sync_.count() > 0) co_await toadstone::sleep_for(slow_sync_);
    co_await held.journal.append(line);
    co_await held.journal.sync_data();
}

task<> store::restore() {
    auto repair = co_await data_.recover();
    if (!repair.needed()) co_return;
    const auto begun = toadstone::this_task::now();
    log(repair.cause().to_string());
    counts_.count_poisoning(repair.cause());
    co_await read_back(*repair);
    const auto took = toadstone::this_task::now() - begun;
    const auto microseconds = std::chrono::duration_cast<std::chrono::microseconds>(took);
    counts_.count_recovery(took);
    log("restored from the journal in " + std::to_string(microseconds.count()) +
        " us, operations: " + std::to_string(repair->operations.size()));
    guard healthy = repair.complete();
}

task<> store::load() {
    guard held = co_await data_.lock();
    co_await write_last_again(held->journal);
    co_await read_back(*held);
    log("read " + held->journal.path() +
        ", operations: " + std::to_string(held->operations.size()));
}

/// What the memory says is not trusted: the journal is the truth. But a record whose sync was
/// cut is in the file and may not be on the disk yet; shown now, it could be undone by a
/// failure of power. If it cannot be brought there, the store stays poisoned, and nobody is
/// told anything.
task<> store::read_back(data& held) const {
    co_await held.journal.sync_data();
    replayed result = co_await replay(held.journal);
    if (result.torn_bytes > 0 || held.journal.poisoned()) {
        held.journal.truncate(result.whole_bytes);
        co_await held.journal.sync_data();
        log(held.journal.path() + ": cut off " + std::to_string(result.torn_bytes) +
            " bytes of a record that was not written to its end");
    }
    held.operations = std::move(result.operations);
    counts_.show_operations(held.operations.size(), held.operations.live());
}

} // namespace tracker
