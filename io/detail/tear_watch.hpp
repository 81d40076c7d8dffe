// tear_watch: notices that a write was cut in the middle, and poisons what it was written to.
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

private:
    template <class Name>
    friend class tear_watch;
    toadstone::detail::cause_ref cause_;
};

/// Lives in the frame of the loop that writes. Destroyed with some, but not all, of its bytes
/// written, whether by an exception, a teardown or an abandonment, it poisons.
template <class Name>
class tear_watch {
public:
    /// `name()` gives a string, asked for only when it poisons.
    tear_watch(poison_mark& mark, std::string_view type, Name name, std::size_t bytes,
               std::source_location where) noexcept
        : mark_(mark), type_(type), name_(name), left_(bytes), where_(where) {}
    tear_watch(const tear_watch&) = delete;
    tear_watch& operator=(const tear_watch&) = delete;
    ~tear_watch() {
        if (begun_ && left_ > 0) tear();
    }

    void wrote(std::size_t bytes) noexcept {
        begun_ = true;
        left_ -= bytes;
    }
    [[nodiscard]] std::size_t left() const noexcept { return left_; }

private:
    void tear() noexcept {
        std::string name;
        try {
            name = name_();
        } catch (...) {
            name.clear(); // out of memory: the cause goes without a name
        }
        toadstone::detail::poisoning what;
        what.type = type_;
        what.during = "in the write begun at";
        what.name = name;
        what.locked_at = where_;
        mark_.cause_ = toadstone::detail::make_cause(what);
    }

    poison_mark& mark_;
    std::string_view type_;
    Name name_;
    std::size_t left_;
    std::source_location where_;
    bool begun_ = false;
};

} // namespace toadstone::io::detail

#endif
