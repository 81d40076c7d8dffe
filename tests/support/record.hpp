// What was seen of a kernel, written down so that it can be compared with what was seen of
// another.
#ifndef TOADSTONE_TESTS_SUPPORT_RECORD_HPP
#define TOADSTONE_TESTS_SUPPORT_RECORD_HPP

#include <cstring>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <catch2/catch.hpp>

#include <poll.h>

namespace toadstone::tests {

/// "ECONNRESET" for -ECONNRESET, "17" for 17.
inline std::string name_of(int result) {
    if (result >= 0) return std::to_string(result);
    const char* const name = ::strerrorname_np(-result);
    return name ? name : std::to_string(result);
}

/// "POLLIN|POLLHUP".
inline std::string name_of_events(int events) {
    if (events < 0) return name_of(events);
    static constexpr std::pair<int, const char*> names[] = {
        {POLLIN, "IN"},   {POLLOUT, "OUT"},     {POLLERR, "ERR"},
        {POLLHUP, "HUP"}, {POLLRDHUP, "RDHUP"},
    };
    std::string text;
    for (const auto& [bit, name] : names) {
        if (events & bit) text += (text.empty() ? "" : "|") + std::string(name);
    }
    return text.empty() ? "0" : text;
}

/// In order, and with what the kernel may choose.
class record {
public:
    void same(const std::string& what, const std::string& value) {
        seen_.push_back(what + ": " + value);
    }
    void same(const std::string& what, int result) { same(what, name_of(result)); }
    /// The kernel has a choice here. `why` is for the reader of the test.
    void one_of(const std::string& what, const std::string& value,
                const std::set<std::string>& allowed, [[maybe_unused]] const char* why) {
        const bool fine = allowed.count(value) > 0;
        seen_.push_back(what + ": " + (fine ? "as allowed" : value + ", which is not allowed"));
        choices_[what].emplace(allowed, std::set<std::string>()).first->second.insert(value);
    }
    /// Claims that hold in every world.
    void holds(const std::string& claim, bool is_so) {
        seen_.push_back(claim + (is_so ? ": yes" : ": NO"));
    }

    /// `what` -> allowed -> seen
    using choices =
        std::map<std::string, std::map<std::set<std::string>, std::set<std::string>>>;
    [[nodiscard]] const std::vector<std::string>& seen() const noexcept { return seen_; }
    void add_to(choices& all) const {
        for (const auto& [name, sets] : choices_) {
            for (const auto& [allowed, seen] : sets) {
                all[name][allowed].insert(seen.begin(), seen.end());
            }
        }
    }

private:
    std::vector<std::string> seen_;
    choices choices_;
};

/// What `see()` sees of the real kernel, several times the same.
template <class See>
std::vector<std::string> seen_for_real(See see) {
    constexpr unsigned runs = 5;
    const std::vector<std::string> first = see();
    for (const auto& each : first) {
        CHECK_THAT(each, !Catch::EndsWith(": NO"));
        CHECK_THAT(each, !Catch::Contains("not allowed"));
    }
    for (unsigned i = 1; i < runs; ++i) CHECK(see() == first);
    return first;
}

/// Alternatives that a body allows and that no simulation has shown.
inline std::set<std::string> never_simulated(const record::choices& chosen) {
    std::set<std::string> never;
    for (const auto& [name, sets] : chosen) {
        for (const auto& [allowed, seen] : sets) {
            for (const auto& each : allowed) {
                if (seen.count(each) == 0) never.insert(name + ": " + each);
            }
        }
    }
    return never;
}

} // namespace toadstone::tests

#endif
