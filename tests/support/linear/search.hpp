// Whether a history is linearisable: whether its calls can be put in an order that a sequential
// model allows, no call before one that had ended before it began.
#ifndef TOADSTONE_TESTS_SUPPORT_LINEAR_SEARCH_HPP
#define TOADSTONE_TESTS_SUPPORT_LINEAR_SEARCH_HPP

#include "support/linear/history.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>
#include <type_traits>
#include <unordered_set>
#include <vector>

namespace toadstone::tests::linear {

/// Where a call is. A call that waits has two points in the order or more: where it is queued,
/// and where it has what it waited for, or leaves. So the model is the one of a queue, and what
/// is promised about fairness and about try_ calls is decided exactly.
enum stage : signed char {
    outside, ///< not begun, or ended
    fresh,   ///< begun
    queued,
    given, ///< has what it waited for, and has a step of its own to make
    done,  ///< `end` is how it ends
};

/// What every model has. Bytes only: a state is looked up by its representation.
struct calls_state {
    std::array<signed char, most_calls> at{};
    std::array<signed char, most_calls> end{};

    void finish(unsigned which, int how) noexcept {
        at[which] = done;
        end[which] = static_cast<signed char>(how);
    }
};

/// Calls that wait, in order.
struct waiting_calls {
    static constexpr unsigned most = 16;
    std::array<unsigned char, most> who{};
    unsigned char size = 0;

    [[nodiscard]] bool empty() const noexcept { return size == 0; }
    [[nodiscard]] unsigned first() const noexcept { return who[0]; }
    [[nodiscard]] bool has(unsigned one) const noexcept {
        return std::find(who.begin(), who.begin() + size, one) != who.begin() + size;
    }
    void add(unsigned one) noexcept { who[size++] = static_cast<unsigned char>(one); }
    void add_front(unsigned one) noexcept {
        std::copy_backward(who.begin(), who.begin() + size, who.begin() + size + 1);
        who[0] = static_cast<unsigned char>(one);
        ++size;
    }
    void remove(unsigned one) noexcept {
        auto* const end = std::remove(who.begin(), who.begin() + size, one);
        size = static_cast<unsigned char>(end - who.begin());
        std::fill(end, who.end(), static_cast<unsigned char>(0)); // equal lines are equal bytes
    }
    unsigned pop() noexcept {
        const unsigned one = first();
        std::copy(who.begin() + 1, who.begin() + size, who.begin());
        who[--size] = 0;
        return one;
    }
};

/// A model has `struct state : calls_state` of bytes, and `bool step(state&, const history&,
/// unsigned)`, which makes the next step of a call that is `fresh`, `queued` or `given`, or
/// that is `done` and was cancelled: it hands back what it had. False: that call, which ends as
/// the history says, has no such step now.
///
/// Source: Wing and Gong's search, with Lowe's memory of the configurations that led nowhere.
template <class Model>
class search {
    using state = typename Model::state;
    static_assert(std::is_trivially_copyable_v<state> &&
                  std::has_unique_object_representations_v<state>);
    struct event {
        unsigned time;
        unsigned which;
        bool is_end;
    };

public:
    search(const Model& model, const history& calls) : model_(model), calls_(calls) {
        for (unsigned i = 0; i < calls.size(); ++i) {
            events_.push_back({calls[i].begun, i, false});
            events_.push_back({calls[i].ended, i, true});
        }
        std::sort(events_.begin(), events_.end(),
                  [](const event& a, const event& b) { return a.time < b.time; });
    }
    [[nodiscard]] bool finds_an_order() { return goes_on(model_.initial(), 0); }

private:
    [[nodiscard]] bool goes_on(state now, std::size_t passed) {
        passed = pass_events(now, passed);
        if (passed == events_.size()) return true;
        std::string key(sizeof(state) + sizeof passed, '\0');
        std::memcpy(key.data(), &now, sizeof(state));
        std::memcpy(key.data() + sizeof(state), &passed, sizeof passed);
        if (!tried_.insert(std::move(key)).second) return false;
        // It was cancelled before it had any effect, or it had one.
        const unsigned in_the_way = events_[passed].which;
        if (now.at[in_the_way] == fresh && calls_[in_the_way].end == cancelled) {
            state next = now;
            next.finish(in_the_way, cancelled);
            if (goes_on(next, passed)) return true;
        }
        for (unsigned i = 0; i < calls_.size(); ++i) {
            if (now.at[i] == outside || (now.at[i] == done && now.end[i] == calls_[i].end))
                continue;
            state next = now;
            if (model_.step(next, calls_, i) && agrees(next) && goes_on(next, passed))
                return true;
        }
        return false;
    }
    /// Beginnings at once: they only add choices. Ends as far as the model is there, too.
    [[nodiscard]] std::size_t pass_events(state& now, std::size_t passed) const {
        for (; passed < events_.size(); ++passed) {
            const event& next = events_[passed];
            if (!next.is_end) {
                now.at[next.which] = fresh;
                continue;
            }
            const bool as_seen =
                now.at[next.which] == done && now.end[next.which] == calls_[next.which].end;
            if (!as_seen) break;
            now.at[next.which] = outside;
            now.end[next.which] = open;
        }
        return passed;
    }
    /// Nobody has got anything else than was seen; of a call that was cancelled nothing was.
    [[nodiscard]] bool agrees(const state& now) const {
        for (unsigned i = 0; i < calls_.size(); ++i) {
            if (now.at[i] == done && now.end[i] != calls_[i].end &&
                calls_[i].end != cancelled) {
                return false;
            }
        }
        return true;
    }

    const Model& model_;
    const history& calls_;
    std::vector<event> events_;
    std::unordered_set<std::string> tried_;
};

template <class Model>
[[nodiscard]] bool is_linearisable(const Model& model, const history& calls) {
    return search<Model>(model, calls).finds_an_order();
}

} // namespace toadstone::tests::linear

#endif
