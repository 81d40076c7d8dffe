// The names of runtime/detail/atomic.hpp as a model checker defines them: every operation is a
// step of the model. Outside of a run, and in statics, they are plain values.
#ifndef TOADSTONE_TESTS_MODEL_ATOMIC_HPP
#define TOADSTONE_TESTS_MODEL_ATOMIC_HPP

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <source_location>
#include <type_traits>
#include <utility>

/// What knows the checker; engine.cpp. The library's sources, which include this header, do
/// not.
namespace toadstone::model {

using place = std::source_location;

enum class change { exchange, add, subtract, set_bits, and_bits };

class cell;  ///< an atomic of the model
class field; ///< a plain field of the model, or its absence of races
class gate;  ///< a mutex of the model

/// Null outside of a run.
[[nodiscard]] cell* new_cell(std::uint64_t value) noexcept;
void end_cell(cell* of) noexcept;
[[nodiscard]] std::uint64_t load(cell* of, std::memory_order order, place where) noexcept;
void store(cell* of, std::uint64_t value, std::memory_order order, place where) noexcept;
std::uint64_t modify(cell* of, change how, std::uint64_t by, std::memory_order order,
                     place where) noexcept;
[[nodiscard]] bool compare_exchange(cell* of, std::uint64_t& expected, std::uint64_t desired,
                                    bool weak, std::memory_order success,
                                    std::memory_order failure, place where) noexcept;
void wait(cell* of, std::uint64_t old, std::memory_order order, place where) noexcept;
void notify_all(cell* of, place where) noexcept;

[[nodiscard]] field* new_field() noexcept;
void end_field(field* of) noexcept;
void reading(field* of, place where) noexcept;
void writing(field* of, place where) noexcept;

[[nodiscard]] gate* new_gate() noexcept;
void end_gate(gate* of) noexcept;
void lock(gate* of, place where) noexcept;
void unlock(gate* of, place where) noexcept;

void yield(place where) noexcept;
[[nodiscard]] unsigned thread_index() noexcept; ///< 0 outside of a run
constexpr unsigned most_threads = 4;

/// A seeded fault of this name is the one to be found; see mutants.py.
[[nodiscard]] bool mutant(const char* name) noexcept;

template <class T>
constexpr std::uint64_t to_bits(T value) noexcept {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<std::uint64_t>(value);
    } else {
        return static_cast<std::uint64_t>(value);
    }
}
template <class T>
constexpr T from_bits(std::uint64_t bits) noexcept {
    if constexpr (std::is_pointer_v<T>) {
        return reinterpret_cast<T>(bits);
    } else {
        return static_cast<T>(bits);
    }
}

} // namespace toadstone::model

namespace toadstone::detail {

template <class T>
class atomic {
    using order = std::memory_order;
    using place = model::place;

public:
    static constexpr bool is_always_lock_free = true;

    constexpr atomic() noexcept : atomic(T()) {}
    constexpr atomic(T value) noexcept : outside_(value) {
        if (!std::is_constant_evaluated()) cell_ = model::new_cell(model::to_bits(value));
    }
    atomic(const atomic&) = delete;
    atomic& operator=(const atomic&) = delete;
    ~atomic() {
        if (cell_) model::end_cell(cell_);
    }

    T load(order o, place where = place::current()) const noexcept {
        return cell_ ? model::from_bits<T>(model::load(cell_, o, where)) : outside_;
    }
    void store(T value, order o, place where = place::current()) noexcept {
        if (cell_) {
            model::store(cell_, model::to_bits(value), o, where);
        } else {
            outside_ = value;
        }
    }
    T exchange(T value, order o, place where = place::current()) noexcept {
        if (!cell_) return std::exchange(outside_, value);
        return modify(model::change::exchange, value, o, where);
    }
    T fetch_add(T by, order o, place where = place::current()) noexcept {
        if (!cell_) return std::exchange(outside_, static_cast<T>(outside_ + by));
        return modify(model::change::add, by, o, where);
    }
    T fetch_sub(T by, order o, place where = place::current()) noexcept {
        if (!cell_) return std::exchange(outside_, static_cast<T>(outside_ - by));
        return modify(model::change::subtract, by, o, where);
    }
    T fetch_or(T bits, order o, place where = place::current()) noexcept {
        if (!cell_) return std::exchange(outside_, static_cast<T>(outside_ | bits));
        return modify(model::change::set_bits, bits, o, where);
    }
    T fetch_and(T bits, order o, place where = place::current()) noexcept {
        if (!cell_) return std::exchange(outside_, static_cast<T>(outside_ & bits));
        return modify(model::change::and_bits, bits, o, where);
    }
    bool compare_exchange_strong(T& expected, T desired, order success, order failure,
                                 place where = place::current()) noexcept {
        return compare(expected, desired, false, success, failure, where);
    }
    bool compare_exchange_weak(T& expected, T desired, order success, order failure,
                               place where = place::current()) noexcept {
        return compare(expected, desired, true, success, failure, where);
    }
    bool compare_exchange_strong(T& expected, T desired, order o,
                                 place where = place::current()) noexcept {
        return compare(expected, desired, false, o, on_failure(o), where);
    }
    bool compare_exchange_weak(T& expected, T desired, order o,
                               place where = place::current()) noexcept {
        return compare(expected, desired, true, o, on_failure(o), where);
    }
    void wait(T old, order o, place where = place::current()) const noexcept {
        if (cell_) model::wait(cell_, model::to_bits(old), o, where);
    }
    void notify_all(place where = place::current()) noexcept {
        if (cell_) model::notify_all(cell_, where);
    }

private:
    static constexpr order on_failure(order o) noexcept {
        if (o == std::memory_order_acq_rel) return std::memory_order_acquire;
        return o == std::memory_order_release ? std::memory_order_relaxed : o;
    }
    T modify(model::change how, T by, order o, place where) noexcept {
        return model::from_bits<T>(model::modify(cell_, how, model::to_bits(by), o, where));
    }
    bool compare(T& expected, T desired, bool weak, order success, order failure,
                 place where) noexcept {
        if (!cell_) {
            if (outside_ == expected) {
                outside_ = desired;
                return true;
            }
            expected = outside_;
            return false;
        }
        std::uint64_t bits = model::to_bits(expected);
        const bool done = model::compare_exchange(cell_, bits, model::to_bits(desired), weak,
                                                  success, failure, where);
        expected = model::from_bits<T>(bits);
        return done;
    }

    model::cell* cell_ = nullptr;
    T outside_;
};

/// A field whose every use is checked for an order with the others' uses. One use at a time is
/// seen, not the place in the source: an operator has no room for it.
template <class T>
class plain {
public:
    constexpr plain() noexcept : plain(T()) {}
    template <class U>
        requires std::is_convertible_v<U&&, T>
    constexpr plain(U&& value) noexcept : value_(std::forward<U>(value)) {
        if (!std::is_constant_evaluated()) field_ = model::new_field();
    }
    plain(const plain& other) noexcept : plain(other.read()) {}
    plain& operator=(const plain& other) noexcept { return write(other.read()); }
    template <class U>
        requires std::is_convertible_v<U&&, T>
    plain& operator=(U&& value) noexcept {
        return write(std::forward<U>(value));
    }
    ~plain() {
        if (field_) model::end_field(field_);
    }

    operator T() const noexcept { return read(); }
    T operator->() const noexcept
        requires std::is_pointer_v<T>
    {
        return read();
    }

private:
    plain& write(T value) noexcept {
        if (field_) model::writing(field_, model::place::current());
        value_ = std::move(value);
        return *this;
    }
    T read() const noexcept {
        if (field_) model::reading(field_, model::place::current());
        return value_;
    }

    model::field* field_ = nullptr;
    T value_;
};

template <class T>
using unmodelled_atomic = std::atomic<T>;
inline void compiler_barrier() noexcept {
    std::atomic_signal_fence(std::memory_order_seq_cst);
}

class mutex {
public:
    constexpr mutex() noexcept {
        if (!std::is_constant_evaluated()) gate_ = model::new_gate();
    }
    mutex(const mutex&) = delete;
    mutex& operator=(const mutex&) = delete;
    ~mutex() {
        if (gate_) model::end_gate(gate_);
    }
    void lock() noexcept {
        if (gate_) model::lock(gate_, model::place::current());
    }
    void unlock() noexcept {
        if (gate_) model::unlock(gate_, model::place::current());
    }

private:
    model::gate* gate_ = nullptr;
};

template <class T>
class per_thread {
public:
    constexpr per_thread(T value) noexcept { values_.fill(value); }
    per_thread& operator=(T value) noexcept {
        values_[model::thread_index()] = value;
        return *this;
    }
    operator T() const noexcept { return values_[model::thread_index()]; }

private:
    std::array<T, model::most_threads> values_{};
};

inline void yield_thread(model::place where = model::place::current()) noexcept {
    model::yield(where);
}
inline void spin(unsigned, model::place where = model::place::current()) noexcept {
    model::yield(where);
}
[[nodiscard]] const void* this_thread() noexcept;

} // namespace toadstone::detail

#endif
