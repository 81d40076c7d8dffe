// tear_watch: notices that a transfer was cut in the middle, and poisons what it was made on.
#ifndef TOADSTONE_IO_DETAIL_TEAR_WATCH_HPP
#define TOADSTONE_IO_DETAIL_TEAR_WATCH_HPP

#include <toadstone/runtime/poison_cause.hpp>

#include <cstddef>
#include <source_location>
#include <string>
#include <string_view>

namespace toadstone::io::detail {

/// Whether something is poisoned, and why.
class poison_mark {
public:
    [[nodiscard]] bool set() const noexcept { return cause_ != nullptr; }
    [[nodiscard]] toadstone::poison_cause cause() const noexcept {
        return toadstone::poison_cause(cause_);
    }
    void check() const {
        if (set()) throw toadstone::poison_error(cause());
    }
    void clear() noexcept { cause_.reset(); }

    /// A transfer on `object` that was begun at `where` is being left in the middle. The cause
    /// is how: an exception in flight, or the teardown of the slice.
    template <class Object>
    void tear(Object& object, std::source_location where) noexcept {
        std::string name;
        try {
            name = object.name();
        } catch (...) {
            name.clear(); // out of memory: the cause goes without a name
        }
        toadstone::detail::poisoning what;
        what.type = Object::type;
        what.during = Object::during;
        what.name = name;
        what.locked_at = where;
        cause_ = toadstone::detail::make_cause(what);
        object.poisoned();
    }

private:
    toadstone::detail::cause_ref cause_;
};

/// Lives in the frame of the loop that writes or reads. Destroyed with some, but not all, of
/// its bytes moved, whether by an exception, a teardown or an abandonment, it poisons.
///
/// `Object` is what the transfer is made on:
///
///     std::string_view type      for the cause: "tcp stream"
///     std::string_view during    a literal, before the place: "in the write begun at"
///     std::string name()         asked for only when it poisons
///     void poisoned() noexcept   called after it
template <class Object>
class tear_watch {
public:
    tear_watch(poison_mark& mark, Object object, std::size_t bytes,
               std::source_location where) noexcept
        : mark_(mark), object_(object), left_(bytes), where_(where) {}
    tear_watch(const tear_watch&) = delete;
    tear_watch& operator=(const tear_watch&) = delete;
    ~tear_watch() {
        if (begun_ && left_ > 0) mark_.tear(object_, where_);
    }

    void moved(std::size_t bytes) noexcept {
        begun_ = true;
        left_ -= bytes;
    }
    [[nodiscard]] std::size_t left() const noexcept { return left_; }

private:
    poison_mark& mark_;
    Object object_;
    std::size_t left_;
    std::source_location where_;
    bool begun_ = false;
};

} // namespace toadstone::io::detail

#endif
