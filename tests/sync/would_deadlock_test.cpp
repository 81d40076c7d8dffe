// would_deadlock as users catch it: a public type that says which mutex it was.
#include <toadstone/runtime.hpp>
#include <toadstone/sync/mutex.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#include "support/stepped.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <system_error>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

task<std::string> asks_twice(sync::mutex<int>& m) {
    auto held = co_await m.lock();
    try {
        auto again = co_await m.lock();
        *again = 1;
    } catch (const sync::would_deadlock& error) {
        if (error.code() != std::errc::resource_deadlock_would_occur) co_return "another code";
        co_return error.what();
    }
    co_return "locked twice";
}

} // namespace

TEST_CASE(
    "would_deadlock: a system_error that names the mutex; caught inside, it is harmless") {
    sync::mutex<int> accounts(0, "accounts");
    stepped w;
    const std::string told = w.run(asks_twice(accounts));
    CHECK(told.find("mutex 'accounts' is held by the task that asks for it") == 0);
    CHECK(!accounts.is_poisoned());
}
