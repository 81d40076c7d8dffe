// A document, what a journal keeps of a change of some, and the bytes of both.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_DOCUMENT_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_DOCUMENT_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace cache {

/// How the terms of a document are found.
enum class format : unsigned char { text, csv, markdown, json };

[[nodiscard]] std::string_view to_string(format which) noexcept;
[[nodiscard]] std::optional<format> format_of(std::string_view name) noexcept;

inline constexpr std::size_t longest_id = 256; ///< bytes

struct document {
    std::string id;
    format how = format::text;
    std::string body;
    std::uint64_t version = 0; ///< of its shard's changes, the one that has made it
    friend bool operator==(const document&, const document&) = default;
};
using document_ref = std::shared_ptr<const document>;

/// A document as it is from now on, or not any more.
struct kept_document {
    document_ref what;
    bool removed = false;
};

/// What one critical section has changed; or everything, in a snapshot.
struct kept_change {
    std::uint64_t version = 0; ///< of a snapshot: of the last change in it
    std::vector<kept_document> documents;
};
[[nodiscard]] std::string to_bytes(const kept_change& change);
/// Errors: std::runtime_error for what to_bytes() has not made.
[[nodiscard]] kept_change change_of(std::string_view bytes);

} // namespace cache

#endif
