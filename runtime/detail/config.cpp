// What becomes of a contract that was broken.
#include <toadstone/runtime/detail/config.hpp>

#include <toadstone/runtime/detail/cause_state.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/level.hpp>
#include <toadstone/runtime/detail/log_writer.hpp>
#include <toadstone/runtime/log.hpp>

#include <algorithm>
#include <chrono>
#include <cstddef>
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
    using namespace std::chrono_literals;
    std::string who;
    try {
        who = who_runs_here();
    } catch (...) {
        who.clear(); // out of memory: the sentence goes without it
    }
    char text[1024];
    const int length =
        std::snprintf(text, sizeof text, "toadstone: %s%s%.*s%s (%s:%d)\n", sentence,
                      object.empty() ? "" : ": ", static_cast<int>(object.size()),
                      object.data(), who.c_str(), file, line);
    // What was said before comes first, if its reader is there; the sentence itself goes past
    // the log, whose thread may be the one that broke the contract.
    flush_log(100ms);
    write_to_stderr({text, std::min(static_cast<std::size_t>(length), sizeof text - 1)}, 1s);
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
