// Quarantine: inputs that have broken a shard twice do not get near one again.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_QUARANTINE_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_QUARANTINE_HPP

#include "document.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace cache {

/// Knows inputs by all of their bytes: by a hash, somebody could have others' refused. It
/// forgets the oldest when there are too many, which then have two strikes again.
///
/// Threads: any.
class quarantine {
public:
    static constexpr unsigned most_strikes = 2;

    explicit quarantine(std::size_t most_bytes) noexcept : most_bytes_(most_bytes) {}

    /// Why it is refused; nothing: it may be tried.
    [[nodiscard]] std::optional<std::string> refuses(format how, std::string_view body) const;
    /// It has broken a shard. Returns: its strikes.
    unsigned strike(format how, std::string_view body, std::string_view why);
    /// Inputs with as many strikes as it takes.
    [[nodiscard]] std::size_t size() const;

private:
    using input = std::pair<format, std::string>;
    struct less {
        using is_transparent = void;
        using seen = std::pair<format, std::string_view>;
        bool operator()(const seen& a, const seen& b) const noexcept { return a < b; }
    };
    struct record {
        unsigned strikes = 0;
        std::uint64_t when = 0; ///< the key in order_
        std::string why;
    };

    const std::size_t most_bytes_;
    mutable std::mutex lock_;
    // Guarded by lock_.
    std::map<input, record, less> known_;
    std::map<std::uint64_t, std::map<input, record, less>::iterator> order_;
    std::uint64_t next_ = 0;
    std::size_t bytes_ = 0;
    std::size_t refused_ = 0;
};

} // namespace cache

#endif
