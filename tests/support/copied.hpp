// What the tests of channels whose messages are copied send: counted, and with copies that
// fail.
#ifndef TOADSTONE_TESTS_SUPPORT_COPIED_HPP
#define TOADSTONE_TESTS_SUPPORT_COPIED_HPP

#include <atomic>
#include <stdexcept>

namespace toadstone::tests {

/// Knows how many are alive and whether it was moved from; its copy throws when it is told to.
class leaflet {
public:
    leaflet(int what) noexcept : what_(what) { ++alive; }
    leaflet(const leaflet& other) : what_(other.what_) {
        if (copies_that_throw > 0) {
            --copies_that_throw;
            throw std::runtime_error("it cannot be copied");
        }
        ++alive;
    }
    leaflet(leaflet&& other) : what_(other.what_) {
        if (moves_that_throw > 0) {
            --moves_that_throw;
            throw std::runtime_error("it cannot be moved");
        }
        other.what_ = taken;
        ++alive;
    }
    leaflet& operator=(const leaflet&) = delete;
    ~leaflet() { --alive; }

    [[nodiscard]] int what() const noexcept { return what_; }
    void become(int what) noexcept { what_ = what; }

    static constexpr int taken = -1;
    static inline std::atomic<int> alive = 0; // plain threads have some, too
    static inline std::atomic<int> copies_that_throw = 0;
    static inline std::atomic<int> moves_that_throw = 0;

private:
    int what_;
};

} // namespace toadstone::tests

#endif
