// A failed journal ends by itself; the next one is another object.
#include "ledger.hpp"

#include <toadstone/runtime/shield.hpp>

#include <exception>
#include <new>

namespace cache {

using toadstone::task;

namespace {
constexpr std::uint32_t change_type = 1;
} // namespace

std::shared_ptr<journal::journal> ledger::current() const {
    const std::lock_guard hold(lock_);
    return current_;
}
std::string ledger::not_open() const {
    return "the journal in " + chosen_.folder + " is not open";
}

/// The old one keeps the lock of the files until nobody has it any more: who writes, and who
/// saves a snapshot. For the latter, the journal's open() waits.
task<ledger::opened> ledger::open() {
    co_await idle_.wait();
    {
        const std::lock_guard hold(lock_);
        if (closed_ || ended_) throw disk_trouble(not_open() + ": the server stops");
        current_.reset();
    }
    opened fresh;
    fresh.store = std::make_shared<journal::journal>(chosen_);
    fresh.found = co_await fresh.store->open();
    co_return fresh;
}

void ledger::adopt(opened& fresh) noexcept {
    const std::lock_guard hold(lock_);
    current_ = std::move(fresh.store);
    if (ended_) return;
    idle_.reset();
    settled_.reset();
    adopted_.set();
}

/// False: there is nothing to run any more.
bool ledger::begin_to_run(std::shared_ptr<journal::journal>& store) {
    const std::lock_guard hold(lock_);
    if (!current_ || idle_.is_set()) return false; // closed
    store = current_;
    running_ = true;
    if (closed_) store->close();
    return true;
}

task<> ledger::run([[maybe_unused]] end_mark mark) {
    for (;;) {
        co_await adopted_.wait();
        std::shared_ptr<journal::journal> store;
        if (!begin_to_run(store)) co_return;
        settled_.set();
        try {
            co_await store->run();
        } catch (const std::bad_alloc&) { // its failure() says that it was stopped
        }
        store.reset();
        bool closed = false;
        {
            const std::lock_guard hold(lock_);
            running_ = false;
            closed = closed_;
        }
        idle_.set();
        if (closed) co_return;
    }
}

void ledger::ended() noexcept {
    {
        const std::lock_guard hold(lock_);
        running_ = false;
        ended_ = true;
    }
    settled_.set();
    idle_.set();
}

void ledger::close() {
    const std::lock_guard hold(lock_);
    closed_ = true;
    if (running_) {
        current_->close();
    } else {
        adopted_.set();
    }
}

task<std::uint64_t> ledger::append(std::string record) {
    const std::uint64_t number = co_await toadstone::shield(append_here(std::move(record)));
    co_return number;
}

task<std::uint64_t> ledger::append_here(std::string record) {
    co_await settled_.wait();
    std::shared_ptr<journal::journal> store;
    {
        const std::lock_guard hold(lock_);
        if (running_) store = current_;
    }
    std::string why;
    bool unknown = false;
    try {
        if (store) {
            const journal::position at = co_await store->append(change_type, std::move(record));
            co_return at.sequence;
        }
        why = failure();
        if (why.empty()) why = not_open();
    } catch (const journal::not_appended& error) {
        why = error.what();
    } catch (const journal::append_unknown& error) {
        why = error.what();
        unknown = true;
    }
    throw disk_trouble(why, unknown);
}

task<> ledger::save(journal::position at, std::string state) {
    const std::shared_ptr<journal::journal> store = current();
    if (!store) throw disk_trouble(not_open());
    std::string why;
    try {
        co_await store->save_snapshot(at, std::move(state));
    } catch (const std::bad_alloc&) {
        throw;
    } catch (const std::exception& error) {
        why = error.what();
    }
    if (!why.empty()) throw disk_trouble(why);
}

journal::position ledger::durable() const {
    const std::shared_ptr<journal::journal> store = current();
    return store ? store->durable() : journal::position();
}

std::string ledger::failure() const {
    const std::shared_ptr<journal::journal> store = current();
    if (!store) return not_open();
    const std::string why = store->failure();
    if (!why.empty()) return why;
    const std::lock_guard hold(lock_);
    return ended_ ? not_open() + ": the server stops" : why;
}

} // namespace cache
