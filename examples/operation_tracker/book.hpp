// The book: all operations, as they are certain to be on the disk.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_BOOK_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_BOOK_HPP

#include "operation.hpp"

#include "journal/format.hpp"

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace tracker {

/// Some operations in the order of their ids.
struct operation_page {
    std::vector<operation> operations;
    bool more = false; ///< there are others behind the last one
};

/// What the records of the journal up to at() amount to. Changed by commit() alone, for one
/// record after the other; whoever reads it waits for no disk.
///
/// Threads: any worker; each call locks for a moment.
class book {
    struct entry {
        operation what;
        std::uint64_t since = 0; ///< the record that made it so
    };
    using entries = std::map<operation_id, entry>;

public:
    /// What a record makes of an operation, with all the memory that it takes: it can be put
    /// into the book where nothing may fail.
    class page_to_be {
    public:
        explicit page_to_be(operation after);

    private:
        friend class book;
        entries::node_type node_;
    };

    struct totals {
        std::size_t all = 0;
        std::size_t live = 0; ///< to which something can still happen
    };
    totals commit(page_to_be&& next, const journal::position& behind) noexcept;
    /// The records up to there have been committed, in whatever form.
    void stands_at(const journal::position& at) noexcept;

    [[nodiscard]] std::optional<operation> find(operation_id id) const;
    [[nodiscard]] std::vector<operation> all() const;
    /// Those behind `after` in the order of their ids: up to `most` of them, and none any more
    /// once their texts come to `bytes`.
    [[nodiscard]] operation_page page(operation_id after, std::size_t most,
                                      std::size_t bytes) const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::size_t live() const;

    /// For a new operation; nothing when there are no more. Nobody else gets it.
    [[nodiscard]] std::optional<operation_id> take_id() noexcept;

    /// The book of one moment, written a part at a time while it is changed. One at a time.
    class cut {
    public:
        explicit cut(book& of);
        cut(const cut&) = delete;
        cut& operator=(const cut&) = delete;
        ~cut();
        /// What it stands for.
        [[nodiscard]] const journal::position& at() const noexcept { return at_; }
        /// Appends some lines, see operation_json.hpp. Returns: false if there are no more.
        [[nodiscard]] bool write_part(std::string& to);

    private:
        friend class book;
        book& of_;
        journal::position at_;
        operation_id written_ = 0; ///< up to here
        entries before_;           ///< as they were, of those that have changed since
    };

private:
    mutable std::mutex lock_;
    // Guarded by lock_, and so is an open cut.
    entries operations_;
    journal::position at_;
    operation_id next_id_ = 1;
    std::size_t live_ = 0;
    cut* cut_ = nullptr;
};

} // namespace tracker

#endif
