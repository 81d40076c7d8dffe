// Histories of calls to the mutexes, the condition variable and the once_cell are
// linearisable.
#include "support/linear/condition_subjects.hpp"
#include "support/linear/lock_subjects.hpp"

#include <catch2/catch.hpp>

#include <memory>

namespace toadstone::tests::linear {
namespace {

template <class Subject>
void check_all_histories() {
    const figures seen = check_histories([](dice&) { return std::make_unique<Subject>(); });
    CHECK(seen.cancelled > 0);
}

} // namespace

TEST_CASE(
    "S339: histories of a mutex are linearisable: sections, waits in order, poison, repair") {
    check_all_histories<mutex_subject>();
}
TEST_CASE("S339: histories of a batched mutex are linearisable") {
    check_all_histories<batched_subject>();
}
TEST_CASE(
    "S340: histories of a shared mutex are linearisable: readers together, writers alone") {
    check_all_histories<shared_subject>();
}
TEST_CASE("S350: histories of a condition variable and its mutex are linearisable: each who is "
          "told has the mutex, and no notification is lost with the stopped") {
    check_all_histories<condition_subject>();
}
TEST_CASE("S341: histories of a once_cell are linearisable: one value, made by one") {
    check_all_histories<cell_subject>();
}

} // namespace toadstone::tests::linear
