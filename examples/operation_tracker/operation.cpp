// The table of legal moves.
#include "operation.hpp"

#include <array>

namespace tracker {
namespace {

constexpr std::array<std::string_view, 5> state_names = {"pending", "running", "paused",
                                                         "completed", "failed"};
constexpr std::array<std::string_view, 6> event_names = {"start",  "progress", "pause",
                                                         "resume", "complete", "fail"};

struct move {
    state from;
    event what;
    state to;
};

constexpr std::array moves = {
    move{state::pending, event::start, state::running},
    move{state::pending, event::fail, state::failed},
    move{state::running, event::progress, state::running},
    move{state::running, event::pause, state::paused},
    move{state::running, event::complete, state::completed},
    move{state::running, event::fail, state::failed},
    move{state::paused, event::resume, state::running},
    move{state::paused, event::fail, state::failed},
};

} // namespace

std::string_view to_string(state which) noexcept {
    return state_names[static_cast<unsigned>(which)];
}

std::string_view to_string(event which) noexcept {
    return event_names[static_cast<unsigned>(which)];
}

std::optional<state> state_of(std::string_view name) noexcept {
    for (unsigned i = 0; i < state_names.size(); ++i) {
        if (state_names[i] == name) return static_cast<state>(i);
    }
    return std::nullopt;
}

std::optional<event> event_of(std::string_view name) noexcept {
    for (unsigned i = 0; i < event_names.size(); ++i) {
        if (event_names[i] == name) return static_cast<event>(i);
    }
    return std::nullopt;
}

std::string all_events() {
    std::string list;
    for (const std::string_view each : event_names) {
        if (!list.empty()) list += ", ";
        list += each;
    }
    return list;
}

operation operation::after(const message& what) const {
    for (const move& each : moves) {
        if (each.from != now || each.what != what.what) continue;
        operation next = *this;
        next.now = each.to;
        ++next.messages;
        if (!what.note.empty()) next.note = what.note;
        return next;
    }
    throw illegal_move("operation " + std::to_string(id) + " is " +
                       std::string(to_string(now)) + ", so '" +
                       std::string(to_string(what.what)) + "' is not possible");
}

} // namespace tracker
