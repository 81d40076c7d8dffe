// Histories of calls to channels are linearisable: no message is lost, doubled, or overtaken.
#include "support/linear/broadcast_subject.hpp"
#include "support/linear/channel_subjects.hpp"
#include "support/linear/watch_subject.hpp"

#include <catch2/catch.hpp>

#include <memory>

namespace toadstone::tests::linear {

TEST_CASE("S342: histories of a bounded channel are linearisable, whoever is stopped") {
    using subject = channel_subject<sync::mpsc::halves<letter>>;
    const figures seen = check_histories(
        [](dice& chance) { return std::make_unique<subject>(1 + 2 * chance.below(2)); });
    CHECK(seen.cancelled > 0);
    CHECK(seen.timed_out > 0);
}
TEST_CASE("S342: histories of an unbounded channel are linearisable, whoever is stopped") {
    using subject = channel_subject<sync::mpsc::unbounded_halves<letter>>;
    const figures seen = check_histories([](dice&) { return std::make_unique<subject>(0u); });
    CHECK(seen.cancelled > 0);
}
TEST_CASE("S343: histories of a oneshot are linearisable: a message, a close, an end") {
    const figures seen = check_histories(
        [](dice& chance) { return std::make_unique<oneshot_subject>(chance.one_in(2)); });
    CHECK(seen.timed_out > 0);
}
TEST_CASE(
    "S352: histories of a broadcast are linearisable, each receiver at its own position") {
    const figures seen = check_histories(
        [](dice& chance) { return std::make_unique<broadcast_subject>(1 + chance.below(3)); });
    CHECK(seen.cancelled > 0);
    CHECK(seen.timed_out > 0);
}
TEST_CASE("S353: histories of a watch are linearisable: versions, and who has seen which") {
    const figures seen =
        check_histories([](dice&) { return std::make_unique<watch_subject>(); });
    CHECK(seen.cancelled > 0);
    CHECK(seen.timed_out > 0);
}

} // namespace toadstone::tests::linear
