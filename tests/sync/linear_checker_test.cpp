// The search that decides whether histories are linearisable: of each model, some that have an
// order and some that have none.
#include "support/linear/channel_models.hpp"
#include "support/linear/condition_model.hpp"
#include "support/linear/lock_models.hpp"
#include "support/linear/signal_models.hpp"

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

} // namespace toadstone::tests::linear
