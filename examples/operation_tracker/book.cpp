// Commits, pages, and cuts through a book that goes on changing.
#include "book.hpp"

#include "operation_json.hpp"

#include <algorithm>
#include <utility>

namespace tracker {

book::page_to_be::page_to_be(operation after) {
    const operation_id id = after.id;
    entries one;
    one.emplace(id, entry{std::move(after)});
    node_ = one.extract(id);
}

book::totals book::commit(page_to_be&& next, const journal::position& behind) noexcept {
    entries::node_type node = std::move(next.node_); // what it has at the end goes unlocked
    node.mapped().since = behind.sequence;
    const std::lock_guard hold(lock_);
    at_ = behind;
    if (!node.mapped().what.ended()) ++live_;
    const auto found = operations_.find(node.key());
    if (found == operations_.end()) {
        next_id_ = std::max(next_id_, node.key() + 1);
        operations_.insert(std::move(node));
        return {operations_.size(), live_};
    }
    if (!found->second.what.ended()) --live_;
    std::swap(found->second, node.mapped());
    const bool needed =
        cut_ && node.key() > cut_->written_ && node.mapped().since <= cut_->at_.sequence;
    if (needed) cut_->before_.insert(std::move(node));
    return {operations_.size(), live_};
}

void book::stands_at(const journal::position& at) noexcept {
    const std::lock_guard hold(lock_);
    at_ = at;
}

std::optional<operation> book::find(operation_id id) const {
    const std::lock_guard hold(lock_);
    const auto found = operations_.find(id);
    if (found == operations_.end()) return std::nullopt;
    return found->second.what;
}

std::vector<operation> book::all() const {
    const std::lock_guard hold(lock_);
    std::vector<operation> copies;
    copies.reserve(operations_.size());
    for (const auto& [id, each] : operations_) copies.push_back(each.what);
    return copies;
}

operation_page book::page(operation_id after, std::size_t most, std::size_t bytes) const {
    operation_page found;
    const std::lock_guard hold(lock_);
    std::size_t have = 0;
    auto each = operations_.upper_bound(after);
    for (; each != operations_.end() && found.operations.size() < most && have < bytes;
         ++each) {
        const operation& one = each->second.what;
        have += one.name.size() + one.note.size();
        found.operations.push_back(one);
    }
    found.more = each != operations_.end();
    return found;
}

std::size_t book::size() const {
    const std::lock_guard hold(lock_);
    return operations_.size();
}

std::size_t book::live() const {
    const std::lock_guard hold(lock_);
    return live_;
}

std::optional<operation_id> book::take_id() noexcept {
    const std::lock_guard hold(lock_);
    if (next_id_ > largest_id) return std::nullopt;
    return next_id_++;
}

book::cut::cut(book& of) : of_(of) {
    const std::lock_guard hold(of_.lock_);
    at_ = of_.at_;
    of_.cut_ = this;
}

book::cut::~cut() {
    const std::lock_guard hold(of_.lock_);
    of_.cut_ = nullptr;
}

bool book::cut::write_part(std::string& to) {
    // Some ten microseconds, for which others may have to wait.
    constexpr std::size_t most = 64;
    const std::lock_guard hold(of_.lock_);
    auto each = of_.operations_.upper_bound(written_);
    for (std::size_t seen = 0; each != of_.operations_.end() && seen < most; ++each, ++seen) {
        const entry* one = &each->second;
        if (one->since > at_.sequence) { // later than the cut
            const auto before = before_.find(each->first);
            one = before == before_.end() ? nullptr : &before->second;
        }
        if (one) to.append(to_json(one->what)).append("\n");
        written_ = each->first;
    }
    before_.erase(before_.begin(), before_.upper_bound(written_));
    return each != of_.operations_.end();
}

} // namespace tracker
