// The checker as the models use it: exploring a scenario, and faults in the orderings.
#ifndef TOADSTONE_TESTS_MODEL_ENGINE_HPP
#define TOADSTONE_TESTS_MODEL_ENGINE_HPP

#include "atomic.hpp"

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace toadstone::model {

/// A sleep that the system ends, as an eventfd or a futex does. Orders nothing: what a waker
/// publishes has to be published by the protocol.
class sleeping_place {
public:
    /// Until notify(); at once if that has come already.
    void sleep() noexcept;
    void notify() noexcept;

private:
    bool notified_ = false;
    int sleeper_ = -1;
};

/// Ends the execution as a failed one, unless `holds`.
void check(bool holds, const char* sentence, place where = place::current()) noexcept;

/// First base of every scenario: forgets what the last execution left.
class execution {
public:
    execution() noexcept;
    ~execution();
    execution(const execution&) = delete;
    execution& operator=(const execution&) = delete;
};

/// An operation of the library with an ordering that is not relaxed.
struct site {
    std::string file; ///< from the folder of the floor on
    unsigned line = 0;
    unsigned column = 0;
    std::string function;
    std::string operation; ///< load, store, modify, compare_exchange
    std::memory_order order{};
};

/// The sites that the executions so far have passed.
[[nodiscard]] const std::deque<site>& sites() noexcept;
/// From now on the site has this ordering. Null: all are as they are written.
void weaken(const site* at, std::memory_order to) noexcept;
/// The orderings that are one step weaker.
[[nodiscard]] std::vector<std::memory_order> weaker(const site& than);
[[nodiscard]] const char* name_of(std::memory_order order) noexcept;

/// Whether a weak compare_exchange may fail for no reason, once for each atomic. The loop
/// around it then yields, which is one more switch that the bound does not count.
void fail_spuriously(bool may) noexcept;

/// The seeded fault that is in force; null: none.
void seed(const char* name) noexcept;

} // namespace toadstone::model

#endif
