// A shard's documents and the terms that they are found by: a base that never changes, and what
// has changed since.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_INDEX_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_INDEX_HPP

#include "document.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace cache {

/// A document with its terms, sorted; or one that was removed, without any.
struct entry {
    document_ref what;
    bool removed = false;
    std::vector<std::string> terms;
};
using entry_ref = std::shared_ptr<const entry>;

/// What a change of a shard has left, in the order of the journal.
struct change_entry {
    std::uint64_t sequence = 0; ///< of its record
    std::uint64_t version = 0;
    std::vector<entry_ref> entries;
};
using change_ref = std::shared_ptr<const change_entry>;

/// Some changes, in an index of ordered maps.
///
/// What must hold whenever nobody is at it: a document is found by each of its terms, and by no
/// other. Between begin() and finish() that is not so.
class delta {
public:
    /// From now on the document is there, and found by none of its terms.
    void begin(document_ref what);
    /// The document that was begun is found by this one, too.
    void add(const std::string& term);
    /// All terms were added. Returns: what apply() would bring about the same by.
    [[nodiscard]] entry_ref finish();
    void remove(document_ref what);
    void apply(const entry& one);

    struct state {
        document_ref what;
        bool removed = false;
        std::set<std::string> terms;
    };
    using states = std::map<std::string, state, std::less<>>;
    using postings = std::map<std::string, std::set<std::string>, std::less<>>;
    [[nodiscard]] const states& documents() const noexcept { return documents_; }
    [[nodiscard]] const postings& terms() const noexcept { return postings_; }

private:
    void forget_terms(state& of, const std::string& id);
    states documents_;
    postings postings_;
    state* begun_ = nullptr; ///< in documents_
};

/// The changes, one after the other.
[[nodiscard]] delta replayed(std::span<const change_ref> changes);

class base;
using base_ref = std::shared_ptr<const base>;

/// Documents by their ids, and the places of those that have a term, in sorted arrays.
class base {
public:
    base() = default;
    /// `whatever`: see terms_of_kept(). Errors: std::runtime_error for a document that is there
    /// twice, removed, or refused by its formatter.
    [[nodiscard]] static base_ref of(const kept_change& snapshot, bool whatever = false);
    /// `before` with the changes in it.
    [[nodiscard]] static base_ref merged(const base& before, const delta& changes);

    /// Null if there is none.
    [[nodiscard]] document_ref find(std::string_view id) const;
    /// The places of those that have it, in order.
    [[nodiscard]] std::span<const std::uint32_t> with(std::string_view term) const;
    [[nodiscard]] const std::vector<document_ref>& documents() const noexcept {
        return documents_;
    }

private:
    using collected = std::map<std::string_view, std::vector<std::uint32_t>>;
    void set_terms(const collected& terms);

    std::vector<document_ref> documents_; // by their ids
    std::vector<std::string> terms_;      // sorted
    std::vector<std::size_t> begins_;     // of each term's places; and the end of the last ones
    std::vector<std::uint32_t> places_;
};

/// A document that has a term.
struct hit {
    std::string id;
    std::uint64_t version = 0;
    friend bool operator==(const hit&, const hit&) = default;
};

struct index {
    base_ref known_good = std::make_shared<const base>();
    delta changes;

    /// Null if there is none.
    [[nodiscard]] document_ref find(std::string_view id) const;
    /// Documents with that term, behind `after` in the order of their ids, up to `most`.
    [[nodiscard]] std::vector<hit> search(std::string_view term, std::string_view after,
                                          std::size_t most) const;
    [[nodiscard]] std::size_t size() const;
};

} // namespace cache

#endif
