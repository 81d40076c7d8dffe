// The book: all operations, as they are now, in memory.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_BOOK_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_BOOK_HPP

#include "operation.hpp"

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace tracker {

/// Some operations in the order of their ids.
struct operation_page {
    std::vector<operation> operations;
    bool more = false; ///< there are others behind the last one
};

/// What must hold whenever nobody is at it: every operation of the journal is in here, in the
/// state in which the journal leaves it.
class book {
public:
    /// Null if there is none.
    [[nodiscard]] const operation* find(operation_id id) const noexcept {
        const auto found = operations_.find(id);
        return found == operations_.end() ? nullptr : &found->second;
    }
    [[nodiscard]] std::vector<operation> all() const {
        std::vector<operation> copies;
        copies.reserve(operations_.size());
        for (const auto& [id, each] : operations_) copies.push_back(each);
        return copies;
    }
    /// Those behind `after` in the order of their ids: up to `most` of them, and none any more
    /// once their texts come to `bytes`.
    [[nodiscard]] operation_page page(operation_id after, std::size_t most,
                                      std::size_t bytes) const {
        operation_page found;
        std::size_t have = 0;
        auto each = operations_.upper_bound(after);
        for (; each != operations_.end() && found.operations.size() < most && have < bytes;
             ++each) {
            have += each->second.name.size() + each->second.note.size();
            found.operations.push_back(each->second);
        }
        found.more = each != operations_.end();
        return found;
    }
    [[nodiscard]] std::size_t size() const noexcept { return operations_.size(); }
    /// Operations to which something can still happen.
    [[nodiscard]] std::size_t live() const noexcept { return live_; }

    /// For the next new operation; beyond largest_id when there are no more.
    [[nodiscard]] operation_id next_id() const noexcept { return next_id_; }

    void put(operation which) {
        if (which.id >= next_id_) next_id_ = which.id + 1;
        if (!which.ended()) ++live_;
        const operation_id id = which.id;
        operations_.insert_or_assign(id, std::move(which));
    }
    void remove(operation_id id) {
        const auto found = operations_.find(id);
        if (found == operations_.end()) return;
        if (!found->second.ended()) --live_;
        operations_.erase(found);
    }

private:
    std::map<operation_id, operation> operations_;
    operation_id next_id_ = 1;
    std::size_t live_ = 0;
};

} // namespace tracker

#endif
