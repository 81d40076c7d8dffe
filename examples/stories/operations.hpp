// What the stories operations_map and operations_abort have in common: operations by their
// number, a section that takes one out of the map, asks for its next state, and puts it back,
// and how they tell who was told what.
#ifndef TOADSTONE_EXAMPLES_STORIES_OPERATIONS_HPP
#define TOADSTONE_EXAMPLES_STORIES_OPERATIONS_HPP

#include <toadstone/runtime.hpp>
#include <toadstone/sync.hpp>

#include <chrono>
#include <cstdio>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace stories {

using operations = std::map<int, std::string>;
using store = toadstone::sync::mutex<operations>;

/// Who does the work says what the operation's state is now.
using answer = std::string (*)();

inline std::string done() {
    return "done";
}
inline std::string no_printer() {
    throw std::runtime_error("no printer");
}

/// From extract() to insert() the operation is in this frame only: whatever ends the section
/// there loses it.
inline toadstone::task<> advance(store& all, int id, answer ask) {
    auto held = co_await all.lock();
    auto taken = held->extract(id);
    co_await toadstone::sleep_for(std::chrono::milliseconds(1)); // the printer is asked
    taken.mapped() = ask();
    held->insert(std::move(taken));
}

/// A line of the story: who was told what.
inline void tell(const char* who, const std::string& what) {
    std::printf("  %s: %s\n", who, what.c_str());
}
inline std::string text_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const std::exception& known) {
        return known.what();
    }
}
inline std::string told(const toadstone::outcome<>& end) {
    if (end.has_exception()) return text_of(end.exception());
    if (end.is_cancelled()) return "cancelled (" + std::string(to_string(end.reason())) + ")";
    return "nothing";
}

} // namespace stories

#endif
