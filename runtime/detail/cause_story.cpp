// Following causes to the first one, keeping what they lead to few, and telling it.
#include <toadstone/runtime/detail/cause_story.hpp>

#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/poison_cause.hpp>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

namespace toadstone::detail {
namespace {

// A cause refers to two others, `previous` and the link, and each of them leads to no more
// records than this, itself included.
constexpr std::size_t most_records = 8;
// Beyond this many bytes, a text goes on to no further record but the first.
constexpr std::size_t enough_text = 1500;
// What a text has at most, whatever its records say: as much as a line of the log.
constexpr std::size_t most_text = 4000;
// Of exceptions that are nested in each other, so many are looked at.
constexpr unsigned most_nested = 64;

std::array<cause_ref, 2> next_after(const cause_state& cause) noexcept {
    return {cause.previous, cause.explained().link};
}

/// What `from` leads to, itself first; a few more than `most` at the most. The addresses are
/// good as long as `from` is: no reference is ever taken back.
std::vector<const cause_state*> records_of(const cause_state& from, std::size_t most) {
    std::vector<const cause_state*> all{&from};
    for (std::size_t i = 0; i < all.size() && all.size() <= most; ++i) {
        for (const cause_ref& next : next_after(*all[i])) {
            if (next && std::find(all.begin(), all.end(), next.get()) == all.end()) {
                all.push_back(next.get());
            }
        }
    }
    return all;
}

/// How many causes there are on the longest way to a first one, both ends and those that were
/// left out included.
class depths {
public:
    [[nodiscard]] std::uint64_t of(const cause_state& cause) {
        for (const auto& each : known_) {
            if (each.first == &cause) return each.second;
        }
        const std::size_t own = known_.size();
        known_.emplace_back(&cause, 1);
        std::uint64_t deepest = 0;
        for (const cause_ref& next : next_after(cause)) {
            if (next) deepest = std::max(deepest, of(*next));
        }
        return known_[own].second = 1 + cause.left_out + deepest;
    }

private:
    std::vector<std::pair<const cause_state*, std::uint64_t>> known_;
};

/// The cause inside a poison_error, and whether that is nested in another exception.
explanation found_in(const std::exception_ptr& error, unsigned depth = 0) {
    try {
        std::rethrow_exception(error);
    } catch (const poison_error& inner) {
        return {error, inner.cause().state(), depth > 0};
    } catch (const std::nested_exception& outer) {
        if (outer.nested_ptr() && depth < most_nested) {
            explanation inner = found_in(outer.nested_ptr(), depth + 1);
            return {error, std::move(inner.link), inner.nested};
        }
    } catch (...) {
        // It knows of no cause.
    }
    return {error, nullptr, false};
}

std::exception_ptr error_about(const cause_ref& cause) {
    const poison_error error{poison_cause(cause)};
    return std::make_exception_ptr(error); // copies it, which needs no memory of operator new
}

std::exception_ptr error_with_nested(const std::string& text, const std::exception_ptr& inner) {
    try {
        std::rethrow_exception(inner);
    } catch (...) {
        try {
            std::throw_with_nested(std::runtime_error(text));
        } catch (...) {
            return std::current_exception();
        }
    }
}

/// `whole` with `link` in the place of its own.
explanation relinked(const explanation& whole, cause_ref link) {
    if (link == whole.link) return whole;
    std::exception_ptr error = error_about(link);
    if (whole.nested) error = error_with_nested(describe_for_log(whole.error), error);
    return {std::move(error), std::move(link), whole.nested};
}

cause_ref shortened(const cause_state& whole) {
    const explanation end = whole.explained();
    cause_facts facts = whole;
    facts.previous = first_of(facts.previous);
    const cause_ref link = first_of(end.link);
    depths known;
    std::uint64_t kept = 1;
    for (const cause_ref& each : {facts.previous, link}) {
        if (each) kept = std::max(kept, 1 + known.of(*each));
    }
    facts.left_out = std::max(known.of(whole), kept) - kept;
    auto copy = std::make_shared<cause_state>(std::move(facts));
    if (end.error) copy->explain(relinked(end, link));
    return copy;
}

std::string kind_and_reason(const cause_state& cause) {
    const bool abandoned = cause.kind == poison_kind::abandoned;
    return std::string(abandoned ? "was abandoned" : "was cancelled") + " (" +
           std::string(to_string(cause.reason)) + ")";
}

std::string without_details(const cause_state& cause) {
    std::string text = "poisoned: somebody ";
    switch (cause.kind) {
    case poison_kind::exception:
        text += "failed with an exception";
        break;
    case poison_kind::cancelled:
    case poison_kind::abandoned:
        text += kind_and_reason(cause);
        break;
    case poison_kind::declared:
        text += "declared the data broken";
        break;
    }
    return text + "; there was no memory to record more";
}

class story {
public:
    void tell(const cause_state& cause) {
        told_.push_back(cause.serial);
        if (cause.incomplete) {
            text_ += without_details(cause);
            return;
        }
        if (cause.left_out > 0) cut_ = true;
        text_ += cause.object +
                 " poisoned: " + describe_task(cause.task_id, printable(cause.task_name)) + " ";
        tell_end(cause);
        if (!cause.during.empty()) {
            text_.append(" ").append(cause.during).append(" ");
            text_ += printable(describe_place(cause.locked_at));
        }
        if (cause.attempts)
            text_ += "; " + std::to_string(cause.attempts) + " failed repair(s)";
        if (cause.previous) {
            go_on(cause.left_out > 0 ? "; at first: " : "; before that: ", *cause.previous);
        }
    }

    [[nodiscard]] std::string whole(const cause_state& cause) {
        tell(cause);
        const cause_ref first = first_of(next_of(cause));
        const bool ends_with_first = first && !has(told_, first->serial);
        if (cut_ || !skipped_.empty()) {
            std::erase_if(skipped_, [&](std::uint64_t each) {
                return has(told_, each) || (ends_with_first && each == first->serial);
            });
            const std::uint64_t there = depths().of(cause);
            const std::uint64_t here = told_.size() + (ends_with_first ? 1 : 0);
            const std::uint64_t left =
                std::max<std::uint64_t>(there > here ? there - here : 0, skipped_.size());
            if (left > 0) {
                text_ +=
                    "; ... at least " + std::to_string(left) + " earlier causes are left out";
            }
        }
        if (ends_with_first) {
            text_ += "; the first: ";
            tell(*first);
        }
        return text_.size() > most_text ? printable(text_, most_text) : std::move(text_);
    }

private:
    static bool has(const std::vector<std::uint64_t>& list, std::uint64_t serial) {
        return std::find(list.begin(), list.end(), serial) != list.end();
    }
    static cause_ref next_of(const cause_state& cause) noexcept {
        return cause.previous ? cause.previous : cause.explained().link;
    }

    void tell_end(const cause_state& cause) {
        switch (cause.kind) {
        case poison_kind::exception:
            tell_exception(cause.explained());
            if (cause.cancel_pending) text_ += " (a cancellation was pending too)";
            break;
        case poison_kind::cancelled:
        case poison_kind::abandoned:
            text_ += kind_and_reason(cause) + " at " +
                     printable(describe_place(cause.interrupted_at));
            break;
        case poison_kind::declared:
            text_ += "declared the data broken (" + printable(cause.why) + ")";
            break;
        }
    }

    void tell_exception(const explanation& end) {
        text_ += "failed with ";
        if (!end.link) {
            text_ += describe_for_log(end.error);
        } else if (end.nested) {
            text_ += describe_for_log(end.error);
            go_on("; nested in it: ", *end.link);
        } else {
            text_ += printable(describe_type(end.error));
            go_on(": ", *end.link);
        }
    }

    void go_on(std::string_view words, const cause_state& next) {
        if (has(told_, next.serial)) {
            text_.append(words).append(next.object).append(" poisoned, see above");
        } else if (text_.size() < enough_text) {
            text_.append(words);
            tell(next);
        } else if (!has(skipped_, next.serial)) {
            skipped_.push_back(next.serial);
        }
    }

    std::string text_;
    std::vector<std::uint64_t> told_;    // serial numbers
    std::vector<std::uint64_t> skipped_; // serial numbers; the text was long enough
    bool cut_ = false;                   // one that is told stands for some that are not
};

} // namespace

cause_ref first_of(cause_ref cause) noexcept {
    while (cause) {
        cause_ref next = cause->previous;
        if (!next) next = cause->explained().link;
        if (!next) break;
        cause = std::move(next);
    }
    return cause;
}

bool leads_to(const cause_ref& from, const cause_state& cause) {
    if (!from) return false;
    const auto all = records_of(*from, 100 * most_records);
    return std::any_of(all.begin(), all.end(),
                       [&](const cause_state* each) { return each->serial == cause.serial; });
}

cause_ref kept_short(const cause_ref& cause) {
    const bool few = !cause || records_of(*cause, most_records).size() <= most_records;
    return few ? cause : shortened(*cause);
}

explanation explained_by(const std::exception_ptr& error) {
    if (!error) return {};
    const explanation whole = found_in(error);
    return relinked(whole, kept_short(whole.link));
}

std::string tell_story(const cause_state& cause) {
    return story().whole(cause);
}

} // namespace toadstone::detail
