// transaction: a section on a copy, which happens when it is committed, or not at all.
#ifndef TOADSTONE_SYNC_TRANSACTION_HPP
#define TOADSTONE_SYNC_TRANSACTION_HPP

#include <toadstone/sync/detail/private_copy.hpp>

#include <string_view>
#include <utility>

namespace toadstone::sync {

/// What mutex::transaction() gives: the lock, and a copy of the data. commit() puts the copy in
/// the place of the data. Left in any other way, by return, exception or cancellation, the data
/// is as it was and the lock stays healthy. Move-only.
///
/// Errors: what copying T throws, from the co_await that would have given it; the lock goes on.
/// Shape: T is copyable, and moves and swaps without exceptions.
/// Threads and lifetime: as guard<T>.
template <class T, class Core = detail::guard_core>
class [[nodiscard("a transaction that is not committed has not happened")]] transaction {
public:
    transaction(transaction&&) noexcept = default;
    transaction& operator=(transaction&& other) noexcept {
        if (this != &other) {
            rollback();
            section_ = std::move(other.section_);
        }
        return *this;
    }
    ~transaction() = default;

    /// The copy. Errors: std::logic_error after the end of the transaction, as of every member
    /// that needs the lock.
    [[nodiscard]] T& operator*() const { return section_.copy(); }
    /// The copy.
    [[nodiscard]] T* operator->() const { return &section_.copy(); }
    /// False after commit(), rollback() and poison(), and after a move.
    [[nodiscard]] bool held() const noexcept { return section_.held(); }
    /// held().
    explicit operator bool() const noexcept { return held(); }

    /// The copy takes the place of the data, and the lock goes on. Errors: std::logic_error if
    /// the transaction has ended, by poison() too.
    void commit() {
        if (!held()) {
            toadstone::detail::throw_misuse("a transaction is committed once, before its end");
        }
        section_.commit();
    }
    /// Ends it before its scope does; nothing has happened.
    void rollback() noexcept {
        if (held()) section_.discard();
    }
    /// Drops the copy and says that the data is broken; the lock goes on.
    void poison(std::string_view why) { section_.poison(why); }

    /// For the library.
    transaction(typename Core::seed&& seed, T& value) : section_(std::move(seed), value) {}
    /// For the library.
    void hand_back() noexcept { rollback(); }

private:
    detail::private_copy<T, Core> section_;
};

} // namespace toadstone::sync

#endif
