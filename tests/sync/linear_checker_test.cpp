// The search that decides whether histories are linearisable: of each model, some that have an
// order and some that have none.
#include "support/linear/broadcast_model.hpp"
#include "support/linear/channel_models.hpp"
#include "support/linear/condition_model.hpp"
#include "support/linear/lock_models.hpp"
#include "support/linear/signal_models.hpp"
#include "support/linear/watch_model.hpp"

#include <catch2/catch.hpp>

#include <initializer_list>
#include <string>

namespace toadstone::tests::linear {
namespace {

/// A call, written as { actor, call, argument, end, from, to }.
using calls = history;

template <class Model>
void check_legal(const Model& model, const std::initializer_list<calls>& all) {
    for (const calls& each : all) {
        INFO(to_text<Model>(each));
        CHECK(is_linearisable(model, each));
    }
}
template <class Model>
void check_illegal(const Model& model, const std::initializer_list<calls>& all) {
    for (const calls& each : all) {
        INFO(to_text<Model>(each));
        CHECK_FALSE(is_linearisable(model, each));
    }
}

constexpr int a = first_value;
constexpr int b = first_value + 1;

} // namespace

TEST_CASE("S344: the checker knows a mutex: one inside, in order, and what poison does") {
    using m = lock_model;
    check_legal(m(),
                {
                    {},
                    {{0, m::lock, 0, ok, 0, 1}, {0, m::unlock, 0, ok, 2, 3}},
                    // handed over: a try_lock finds it held although nobody has seen that yet
                    {{0, m::lock, 0, ok, 0, 1},
                     {1, m::lock, 0, ok, 2, 9},
                     {0, m::unlock, 0, ok, 3, 4},
                     {2, m::try_lock, 0, no, 5, 6}},
                    // handed over to one that is cancelled, and on from there
                    {{0, m::lock, 0, ok, 0, 1},
                     {1, m::lock, 0, cancelled, 2, 9},
                     {0, m::unlock, 0, ok, 3, 4},
                     {2, m::try_lock, 0, no, 5, 6},
                     {2, m::try_lock, 0, ok, 10, 11}},
                    // all who wait fail at once
                    {{0, m::lock, 0, ok, 0, 1},
                     {1, m::lock, 0, poisoned, 2, 9},
                     {2, m::lock, 0, poisoned, 3, 8},
                     {0, m::unlock_poisoned, 0, ok, 4, 5},
                     {3, m::recover, 0, poisoned, 10, 11},
                     {3, m::clear_poison, 0, ok, 12, 13},
                     {3, m::unlock, 0, ok, 14, 15},
                     {2, m::lock, 0, ok, 16, 17}},
                });
    check_illegal(m(),
                  {
                      {{0, m::lock, 0, ok, 0, 1}, {1, m::lock, 0, ok, 2, 3}},     // two inside
                      {{0, m::lock, 0, ok, 0, 1}, {1, m::try_lock, 0, ok, 2, 3}}, // two inside
                      {{0, m::try_lock, 0, no, 0, 1}},                            // it was free
                      {{0, m::lock, 0, timed_out, 0, 1}},                         // it was free
                      {{0, m::lock, 0, poisoned, 0, 1}}, // it was healthy
                      {{0, m::lock, 0, ok, 0, 1},
                       {1, m::lock, 0, cancelled, 2, 3}, // lost with
                       {0, m::unlock, 0, ok, 4, 5},
                       {2, m::try_lock, 0, no, 6, 7}}, // the stopped
                      {{0, m::lock, 0, ok, 0, 1},
                       {0, m::unlock_poisoned, 0, ok, 2, 3},
                       {1, m::lock, 0, ok, 4, 5}}, // the poison is not seen
                      // Who waited before is overtaken: that he waits is known by the no.
                      {{0, m::lock, 0, ok, 0, 1},
                       {1, m::lock, 0, ok, 2, 19},
                       {0, m::unlock, 0, ok, 3, 4},
                       {2, m::try_lock, 0, no, 5, 6},
                       {2, m::try_lock, 0, ok, 7, 8},
                       {2, m::unlock, 0, ok, 9, 10}},
                  });
}

TEST_CASE("S344: the checker knows a shared mutex") {
    using m = lock_model;
    check_legal(m(), {
                         {{0, m::read, 0, ok, 0, 1}, {1, m::read, 0, ok, 2, 3}},
                         // a writer who waits stops readers, and lets them in when he gives up
                         {{0, m::read, 0, ok, 0, 1},
                          {1, m::lock, 0, cancelled, 2, 7},
                          {2, m::try_read, 0, no, 3, 4},
                          {3, m::read, 0, ok, 5, 8}},
                         {{0, m::lock, 0, ok, 0, 1},
                          {1, m::read, 0, ok, 2, 5},
                          {0, m::downgrade, 0, ok, 3, 4},
                          {2, m::try_lock, 0, no, 6, 7}},
                     });
    check_illegal(m(), {
                           {{0, m::read, 0, ok, 0, 1}, {1, m::lock, 0, ok, 2, 3}},
                           {{0, m::lock, 0, ok, 0, 1}, {1, m::read, 0, ok, 2, 3}},
                           {{0, m::read, 0, ok, 0, 1}, {1, m::try_read, 0, no, 2, 3}},
                           // a reader passes a writer who is known to wait
                           {{0, m::read, 0, ok, 0, 1},
                            {1, m::lock, 0, ok, 2, 11},
                            {2, m::try_read, 0, no, 3, 4},
                            {2, m::try_read, 0, ok, 5, 6},
                            {2, m::end_reading, 0, ok, 7, 8},
                            {0, m::end_reading, 0, ok, 9, 10}},
                       });
}

TEST_CASE("S344: the checker knows a once_cell") {
    using m = cell_model;
    check_legal(
        m(),
        {
            {{0, m::get_or_init, a, failed, 0, 3}, {1, m::get_or_init, b, b, 1, 4}},
            {{0, m::get_or_init, a, a, 0, 3}, {1, m::try_set, b, no, 1, 2}},
            {{0, m::get, 0, no, 0, 1}, {0, m::try_set, a, ok, 2, 3}, {0, m::get, 0, a, 4, 5}},
        });
    check_illegal(m(), {
                           {{0, m::get_or_init, a, a, 0, 3}, {1, m::get_or_init, b, b, 1, 4}},
                           {{0, m::try_set, a, ok, 0, 1}, {1, m::get, 0, no, 2, 3}},
                           {{0, m::get_or_init, a, cancelled, 0, 1}, {1, m::get, 0, a, 2, 3}},
                           {{0, m::try_set, a, no, 0, 1}},
                       });
}

TEST_CASE("S344: the checker knows a semaphore") {
    using m = semaphore_model;
    check_legal(m(1), {
                          // two are wanted first, one later: in order, unless he leaves
                          {{0, m::acquire, 2, cancelled, 0, 5},
                           {1, m::try_acquire, 1, no, 1, 2},
                           {2, m::acquire, 1, ok, 3, 6}},
                          {{0, m::acquire, 2, refused, 0, 5}, {1, m::close, 0, ok, 1, 2}},
                          {{0, m::acquire, 1, ok, 0, 1},
                           {1, m::acquire, 1, cancelled, 2, 9},
                           {0, m::add, 1, ok, 3, 4},
                           {2, m::ask_free, 0, first_value, 5, 6},
                           {2, m::ask_free, 0, first_value + 1, 10, 11}},
                      });
    check_illegal(m(1),
                  {
                      {{0, m::acquire, 1, ok, 0, 1}, {1, m::acquire, 1, ok, 2, 3}},
                      {{0, m::acquire, 1, cancelled, 0, 1}, {1, m::try_acquire, 1, no, 2, 3}},
                      {{0, m::acquire, 2, ok, 0, 9},
                       {1, m::try_acquire, 1, no, 1, 2},
                       {1, m::try_acquire, 1, ok, 3, 4},
                       {1, m::add, 1, ok, 5, 6}},
                      {{0, m::close, 0, ok, 0, 1}, {1, m::acquire, 1, ok, 2, 3}},
                  });
}

TEST_CASE("S344: the checker knows events and latches") {
    using m = event_model;
    const m for_all(false);
    const m for_one(true);
    check_legal(
        for_all,
        {{{0, m::wait, 0, ok, 0, 5}, {1, m::set, 0, ok, 1, 2}, {1, m::reset, 0, ok, 3, 4}}});
    check_illegal(for_all, {{{0, m::set, 0, ok, 0, 1}, {1, m::wait, 0, timed_out, 2, 3}},
                            {{0, m::wait, 0, ok, 0, 1}, {1, m::set, 0, ok, 2, 3}}});
    check_legal(for_one, {{{0, m::wait, 0, cancelled, 0, 5},
                           {2, m::set, 0, ok, 1, 2},
                           {1, m::try_wait, 0, no, 3, 4},
                           {1, m::try_wait, 0, ok, 6, 7}}});
    check_illegal(
        for_one,
        {
            {{0, m::set, 0, ok, 0, 1}, {1, m::wait, 0, ok, 2, 3}, {2, m::wait, 0, ok, 4, 5}},
            {{0, m::set, 0, ok, 0, 1}, {1, m::set, 0, ok, 2, 5}, {2, m::try_wait, 0, no, 3, 4}},
            {{0, m::wait, 0, cancelled, 0, 1},
             {2, m::set, 0, ok, 2, 3},
             {1, m::try_wait, 0, no, 4, 5}},
        });
    const m latch(false, 2);
    check_legal(latch, {{{0, m::wait, 0, ok, 0, 5},
                         {1, m::count_down, 1, ok, 1, 2},
                         {1, m::count_down, 1, ok, 3, 4}}});
    check_illegal(latch, {{{1, m::count_down, 1, ok, 1, 2}, {0, m::wait, 0, ok, 3, 4}}});
}

TEST_CASE("S344: the checker knows a barrier") {
    using m = barrier_model;
    check_legal(m(2),
                {
                    {{0, m::arrive, 0, ok, 0, 3}, {1, m::arrive, 0, last, 1, 2}},
                    {{0, m::arrive, 0, cancelled, 0, 1}, {1, m::arrive, 0, refused, 2, 3}},
                    {{0, m::arrive, 0, cancelled, 0, 1},
                     {1, m::arrive, 0, last, 2, 5},
                     {2, m::arrive, 0, ok, 3, 4}}, // it had not arrived
                });
    check_illegal(m(2), {
                            {{0, m::arrive, 0, ok, 0, 1}},
                            {{0, m::arrive, 0, ok, 0, 3}, {1, m::arrive, 0, ok, 1, 2}},
                            {{0, m::arrive, 0, cancelled, 0, 5}, {1, m::arrive, 0, last, 1, 2}},
                            {{0, m::break_now, 0, ok, 0, 1},
                             {1, m::arrive, 0, ok, 2, 5},
                             {2, m::arrive, 0, last, 3, 4}},
                        });
}

TEST_CASE("S344: the checker knows a condition variable") {
    using m = condition_model;
    check_legal(m(), {
                         {{0, m::lock, 0, ok, 0, 1},
                          {0, m::wait, 0, ok, 2, 9},
                          {1, m::lock, 0, ok, 3, 4},
                          {1, m::notify_one, 0, ok, 5, 6},
                          {1, m::unlock, 0, ok, 7, 8}},
                         // the notification of one that is cancelled goes to the next
                         {{0, m::lock, 0, ok, 0, 1},
                          {0, m::wait, 0, cancelled, 2, 13},
                          {1, m::lock, 0, ok, 3, 4},
                          {1, m::wait, 0, ok, 5, 16},
                          {2, m::notify_one, 0, ok, 6, 7},
                          {0, m::unlock, 0, ok, 14, 15}},
                         {{0, m::lock, 0, ok, 0, 1}, {0, m::wait, 0, timed_out, 2, 3}},
                     });
    check_illegal(m(), {
                           // told by nobody
                           {{0, m::lock, 0, ok, 0, 1}, {0, m::wait, 0, ok, 2, 3}},
                           // two are told by one
                           {{0, m::lock, 0, ok, 0, 1},
                            {0, m::wait, 0, ok, 2, 9},
                            {1, m::lock, 0, ok, 3, 4},
                            {1, m::wait, 0, ok, 5, 12},
                            {2, m::notify_one, 0, ok, 6, 7},
                            {0, m::unlock, 0, ok, 10, 11}},
                           // a notification is not kept
                           {{1, m::notify_one, 0, ok, 0, 1},
                            {0, m::lock, 0, ok, 2, 3},
                            {0, m::wait, 0, ok, 4, 5}},
                           // without the mutex
                           {{0, m::lock, 0, ok, 0, 1},
                            {0, m::wait, 0, timed_out, 2, 5},
                            {1, m::try_lock, 0, ok, 3, 4}},
                       });
}

TEST_CASE("S344: the checker knows channels") {
    using m = channel_model;
    check_legal(m(1), {
                          {{0, m::send, a, ok, 0, 1},
                           {1, m::send, b, ok, 2, 5},
                           {2, m::recv, 0, a, 3, 4},
                           {2, m::recv, 0, b, 6, 7}},
                          // what a cancelled receiver had been given is the first again
                          {{2, m::recv, 0, cancelled, 0, 5},
                           {0, m::send, a, ok, 1, 2},
                           {1, m::try_recv, 0, no, 3, 4},
                           {1, m::try_recv, 0, a, 6, 7}},
                          {{0, m::send, a, ok, 0, 1},
                           {1, m::send, b, cancelled, 2, 5},
                           {2, m::recv, 0, a, 3, 4},
                           {2, m::close, 0, ok, 6, 7},
                           {2, m::recv, 0, refused, 8, 9}},
                      });
    check_illegal(m(1),
                  {
                      {{0, m::send, a, ok, 0, 1}, {1, m::try_send, b, ok, 2, 3}}, // no room
                      {{0, m::send, a, ok, 0, 1}, {2, m::try_recv, 0, no, 2, 3}}, // lost
                      {{0, m::send, a, cancelled, 0, 1}, {2, m::recv, 0, a, 2, 3}},
                      {{0, m::send, a, ok, 0, 1},
                       {2, m::recv, 0, a, 2, 3},
                       {2, m::recv, 0, a, 4, 5}}, // twice
                      {{0, m::close, 0, ok, 0, 1}, {0, m::send, a, ok, 2, 3}},
                  });
    // What was sent later comes first.
    check_illegal(m(0), {{{0, m::send, a, ok, 0, 1},
                          {1, m::send, b, ok, 2, 3},
                          {2, m::recv, 0, b, 4, 5},
                          {2, m::recv, 0, a, 6, 7}}});
}

TEST_CASE("S344: the checker knows a oneshot") {
    using m = oneshot_model;
    check_legal(m(), {
                         {{0, m::recv, 0, cancelled, 0, 3},
                          {1, m::send, a, ok, 1, 2},
                          {0, m::recv, 0, a, 4, 5}},
                         {{0, m::close, 0, ok, 0, 1}, {1, m::send, a, no, 2, 3}},
                         {{0, m::recv, 0, refused, 0, 3}, {1, m::drop, 0, ok, 1, 2}},
                     });
    check_illegal(
        m(),
        {
            {{0, m::close, 0, ok, 0, 1}, {1, m::send, a, ok, 2, 3}},
            {{1, m::send, a, ok, 0, 1}, {0, m::try_recv, 0, no, 2, 3}},
            {{1, m::send, a, ok, 0, 1}, {0, m::recv, 0, timed_out, 2, 3}},
            {{1, m::send, a, ok, 0, 1}, {0, m::recv, 0, a, 2, 3}, {0, m::recv, 0, a, 4, 5}},
        });
}

TEST_CASE("S344: the checker knows a broadcast: each receiver's position, and its lag") {
    using m = broadcast_model;
    constexpr int for_none = first_value;
    constexpr int for_two = first_value + 2;
    const m two(1, 2);
    check_legal(two,
                {
                    {{0, m::send, a, for_two, 0, 1},
                     {0, m::recv, 0, a, 2, 3},
                     {0, m::send, b, for_two, 4, 5},
                     {1, m::recv, 1, m::missed(1), 6, 7},
                     {1, m::recv, 1, b, 8, 9},
                     {0, m::ask_size, 0, first_value + 1, 10, 11}},
                    // what a waiter had been given is its own, however many were sent since
                    {{1, m::recv, 1, cancelled, 0, 5},
                     {0, m::send, a, for_two, 1, 2},
                     {0, m::send, b, for_two, 3, 4},
                     {1, m::ask_size, 1, first_value + 2, 6, 7},
                     {1, m::recv, 1, a, 8, 9},
                     {1, m::recv, 1, b, 10, 11}},
                    // or it was cancelled before
                    {{1, m::recv, 1, cancelled, 0, 5},
                     {0, m::send, a, for_two, 1, 2},
                     {0, m::send, b, for_two, 3, 4},
                     {1, m::recv, 1, m::missed(1), 6, 7}},
                    // a close in the middle of a send is late for it
                    {{0, m::send, a, for_two, 0, 5},
                     {1, m::close, 0, ok, 1, 2},
                     {1, m::ask_end, 1, no, 3, 4},
                     {1, m::recv, 1, a, 6, 7},
                     {1, m::recv, 1, refused, 8, 9}},
                    {{0, m::send, a, linear::failed, 0, 3},
                     {1, m::fail, 0, ok, 1, 2},
                     {1, m::recv, 1, poisoned, 4, 5}},
                    {{0, m::leave, 0, ok, 0, 1},
                     {1, m::leave, 1, ok, 2, 3},
                     {0, m::send, a, for_none, 4, 5},
                     {1, m::enter, 1, ok, 6, 7},
                     {1, m::try_recv, 1, no, 8, 9}},
                    // the copy throws: the message is the next one
                    {{0, m::send, a, for_two, 0, 1},
                     {1, m::recv, 1, linear::failed, 2, 3},
                     {0, m::send, b, for_two, 4, 5},
                     {1, m::recv, 1, a, 6, 7}},
                    // for as many as there were in the middle of it
                    {{0, m::send, a, first_value + 3, 0, 3}, {1, m::renew, 1, ok, 1, 2}},
                });
    check_illegal(two,
                  {
                      {{0, m::send, a, for_two, 0, 1}, {1, m::try_recv, 1, no, 2, 3}}, // lost
                      {{0, m::send, a, first_value + 1, 0, 1}}, // there are two
                      {{0, m::send, a, for_none, 0, 1}},
                      {{0, m::send, a, for_two, 0, 1},
                       {1, m::recv, 1, a, 2, 3},
                       {1, m::recv, 1, a, 4, 5}}, // twice
                      {{0, m::send, a, for_two, 0, 1},
                       {0, m::send, b, for_two, 2, 3},
                       {1, m::recv, 1, b, 4, 5}}, // the lag is not told
                      {{0, m::send, a, for_two, 0, 1},
                       {0, m::send, b, for_two, 2, 3},
                       {1, m::recv, 1, m::missed(2), 4, 5}}, // it is less
                      {{0, m::send, a, for_two, 0, 1},
                       {0, m::send, b, for_two, 2, 3},
                       {1, m::recv, 1, cancelled, 4, 5}, // told to the stopped
                       {1, m::recv, 1, b, 6, 7}},
                      {{0, m::send, a, for_two, 0, 1},
                       {1, m::recv, 1, cancelled, 2, 3}, // lost with the stopped
                       {1, m::try_recv, 1, no, 4, 5}},
                      {{1, m::fail, 0, ok, 0, 1}, {1, m::recv, 1, refused, 2, 3}},
                      {{1, m::close, 0, ok, 0, 1}, {1, m::fail, 0, ok, 2, 3}},
                      {{1, m::close, 0, ok, 0, 1}, {0, m::send, a, for_two, 2, 3}},
                      {{0, m::send, a, for_two, 0, 1},
                       {1, m::renew, 1, ok, 2, 3},
                       {1, m::recv, 1, a, 4, 5}}, // of before its time
                  });
    // Two receivers see another order, of what is sent together.
    check_illegal(m(2, 2), {{{0, m::send, a, for_two, 0, 3},
                             {1, m::send, b, for_two, 1, 2},
                             {0, m::recv, 0, a, 4, 5},
                             {0, m::recv, 0, b, 6, 7},
                             {1, m::recv, 1, b, 8, 9}}});
}

TEST_CASE("S344: the checker knows a watch: versions, and who has seen which") {
    using m = watch_model;
    constexpr int first = m::initial_value;
    constexpr int for_odd = static_cast<int>(m::most_receivers); // receiver 0 waits for it
    constexpr int c = first_value + 2;
    check_legal(m(), {
                         // one change is told, however many there were
                         {{0, m::send, b, ok, 0, 1},
                          {0, m::modify, c, b, 2, 3},
                          {1, m::changed, 1, ok, 4, 5},
                          {1, m::get, 1, c, 6, 7},
                          {1, m::changed, 1, timed_out, 8, 9}},
                         // told, and cancelled: it has seen nothing
                         {{1, m::changed, 1, cancelled, 0, 3},
                          {0, m::send, b, ok, 1, 2},
                          {1, m::changed, 1, ok, 4, 5}},
                         // a close in the middle of a change is late for it
                         {{0, m::send, b, ok, 0, 5},
                          {1, m::close, 0, ok, 1, 2},
                          {1, m::ask_end, 1, no, 3, 4},
                          {1, m::changed, 1, ok, 6, 7},
                          {1, m::changed, 1, refused, 8, 9}},
                         {{1, m::changed, 1, poisoned, 0, 5},
                          {0, m::modify, b, no, 1, 4},
                          {2, m::fail, 0, ok, 2, 3}},
                         {{0, m::wait_for, for_odd, b, 0, 5},
                          {1, m::send, c, ok, 1, 2},
                          {1, m::send, b, ok, 3, 4},
                          {0, m::has_changed, 0, no, 6, 7},
                          {0, m::mark_unseen, 0, ok, 8, 9},
                          {0, m::changed, 0, ok, 10, 11}},
                         // the copy throws: unseen
                         {{1, m::send, b, ok, 0, 1},
                          {0, m::wait_for, for_odd, linear::failed, 2, 3},
                          {0, m::has_changed, 0, ok, 4, 5}},
                     });
    check_illegal(
        m(),
        {
            {{0, m::send, b, ok, 0, 1}, {1, m::get, 1, first, 2, 3}},
            {{0, m::send, b, ok, 0, 1}, {1, m::changed, 1, timed_out, 2, 3}},
            {{0, m::changed, 0, ok, 0, 1}}, // nothing was sent
            {{0, m::send, b, ok, 0, 1},
             {1, m::changed, 1, ok, 2, 3},
             {1, m::changed, 1, ok, 4, 5}}, // told twice
            {{0, m::send, b, ok, 0, 1},
             {1, m::changed, 1, cancelled, 2, 3}, // seen by the stopped
             {1, m::has_changed, 1, no, 4, 5}},
            // one change is lost in the other
            {{0, m::modify, b, first, 0, 3}, {1, m::modify, c, first, 1, 2}},
            // what was not wanted, and what threw, is there
            {{0, m::modify, b, no, 0, 1}, {1, m::get, 1, b, 2, 3}},
            {{0, m::modify, b, linear::failed, 0, 1}, {1, m::has_changed, 1, ok, 2, 3}},
            {{0, m::close, 0, ok, 0, 1}, {1, m::send, b, ok, 2, 3}},
            {{0, m::close, 0, ok, 0, 1}, {1, m::changed, 1, poisoned, 2, 3}},
            {{0, m::send, b, ok, 0, 1},
             {0, m::close, 0, ok, 2, 3},
             {1, m::changed, 1, refused, 4, 5}}, // the last value is lost
            {{1, m::send, b, ok, 0, 1}, {0, m::wait_for, for_odd, timed_out, 2, 3}}, // it holds
        });
}

} // namespace toadstone::tests::linear
