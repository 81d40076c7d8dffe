// What becomes of a contract that was broken.
#include <toadstone/runtime/detail/config.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/level.hpp>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>

namespace toadstone::detail {
namespace {

// "; task 17 'conn', last seen at tracker.cpp:88", or nothing on a plain thread.
std::string who_runs_here() {
    const context* const task = current_context();
    if (!task) return {};
    std::string text = "; " + describe_task(task->id(), task->name());
    if (task->where().line() != 0) text += ", last seen at " + describe_place(task->where());
    return text;
}

} // namespace

void contract_violated(const char* sentence, const char* file, int line) noexcept {
    contract_violated(sentence, std::string_view(), file, line);
}

void contract_violated(const char* sentence, std::string_view object, const char* file,
                       int line) noexcept {
    std::string who;
    try {
        who = who_runs_here();
    } catch (...) {
        who.clear(); // out of memory: the sentence goes without it
    }
    std::fprintf(stderr, "toadstone: %s%s%.*s%s (%s:%d)\n", sentence,
                 object.empty() ? "" : ": ", static_cast<int>(object.size()), object.data(),
                 who.c_str(), file, line);
    std::fflush(stderr);
    std::abort();
}

void throw_misuse(const char* sentence, std::string_view object) {
    std::string text(sentence);
    if (!object.empty()) {
        text += ": ";
        text += object;
    }
    throw std::logic_error(text);
}

} // namespace toadstone::detail
