// Histories of calls to the semaphore, the events, the latch and the barrier are linearisable.
#include "support/linear/signal_subjects.hpp"

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

TEST_CASE("S336: histories of a semaphore are linearisable: permits, waits in order, a close") {
    const figures seen = check_histories(
        [](dice& chance) { return std::make_unique<semaphore_subject>(chance.below(4)); });
    CHECK(seen.cancelled > 0);
    CHECK(seen.timed_out > 0);
}

TEST_CASE("S337: histories of an event for everybody are linearisable") {
    check_all_histories<event_subject<sync::manual_reset_event>>();
}
TEST_CASE("S337: histories of an event for one are linearisable: no signal is lost or made") {
    check_all_histories<event_subject<sync::auto_reset_event>>();
}
TEST_CASE("S337: histories of a latch are linearisable") {
    check_all_histories<event_subject<sync::latch>>();
}
TEST_CASE("S338: histories of a barrier are linearisable: complete rounds, broken ones") {
    check_all_histories<barrier_subject>();
}

} // namespace toadstone::tests::linear
