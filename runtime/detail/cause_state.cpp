// Building and describing the causes of poison.
#include <toadstone/runtime/detail/cause_state.hpp>

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/cause_story.hpp>
#include <toadstone/runtime/detail/context.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/detail/thread_slice.hpp>
#include <toadstone/runtime/detail/unexplained_causes.hpp>
#include <toadstone/runtime/log.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <cxxabi.h>
#include <new>
#include <typeinfo>
#include <utility>

namespace toadstone::detail {
namespace {

thread_local constinit unexplained_causes* list_of_tasks = nullptr; // while it is lent
thread_local constinit bool own_list_gone = false;

struct own_list : unexplained_causes {
    ~own_list() {
        clear();
        own_list_gone = true;
        if (!list_of_tasks) this_slice.unexplained = false;
    }
};

/// Null when the thread, or the program, ends: then they stay unexplained.
unexplained_causes* unexplained() noexcept {
    if (list_of_tasks) return list_of_tasks;
    if (own_list_gone) return nullptr;
    thread_local own_list list;
    return &list;
}

/// What kind of end it was, as far as the state of this thread tells.
struct kind_of_end {
    poison_kind kind;
    cancel_reason reason = cancel_reason::requested; // for cancelled and abandoned
};

kind_of_end kind_of(const poisoning& what, const slice_state& slice) noexcept {
    if (!what.why.empty()) return {poison_kind::declared};
    if (what.in_handler || exceptions_in_slice() > 0) return {poison_kind::exception};
    // A strict section that ended without returning, and without an exception that C++ could
    // see, was abandoned: pthread_exit, a forced unwind.
    if (!slice.record) return {poison_kind::abandoned, cancel_reason::abandoned};
    switch (slice.record->what) {
    case teardown_record::kind::cancelled:
        return {poison_kind::cancelled, slice.record->reason};
    case teardown_record::kind::abandoned:
        return {poison_kind::abandoned, slice.record->reason};
    case teardown_record::kind::exception:
        break;
    }
    return {poison_kind::exception};
}

cause_ref cause_without_memory(kind_of_end end) noexcept {
    constexpr std::size_t reasons = static_cast<std::size_t>(cancel_reason::abandoned) + 1;
    constexpr std::size_t kinds = static_cast<std::size_t>(poison_kind::declared) + 1;
    // Made before they are needed; their control blocks are never freed.
    static const auto& all = []() -> auto& {
        auto& made = *new std::array<cause_ref, kinds * reasons>;
        for (std::size_t i = 0; i < made.size(); ++i) {
            auto state = std::make_shared<cause_state>();
            state->kind = static_cast<poison_kind>(i / reasons);
            state->reason = static_cast<cancel_reason>(i % reasons);
            state->incomplete = true;
            made[i] = std::move(state);
        }
        return made;
    }();
    return all[static_cast<std::size_t>(end.kind) * reasons +
               static_cast<std::size_t>(end.reason)];
}

[[maybe_unused]] const cause_ref made_early = cause_without_memory({poison_kind::exception});

} // namespace

std::string describe_task(std::uint64_t id, std::string_view name) {
    if (id == 0) return "a plain thread";
    std::string text = "task " + std::to_string(id);
    if (!name.empty()) text += " '" + std::string(name) + "'";
    return text;
}

std::string describe_place(std::source_location where) {
    if (where.line() == 0) return "?";
    const char* file = where.file_name();
    if (const char* slash = std::strrchr(file, '/')) file = slash + 1;
    return std::string(file) + ":" + std::to_string(where.line());
}

std::string describe_type(const std::exception_ptr& error) {
    if (!error) return "an exception";
    const std::type_info* type = nullptr;
    try {
        std::rethrow_exception(error);
    } catch (...) {
        type = abi::__cxa_current_exception_type();
    }
    if (!type) return "an exception of unknown type";
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> plain(
        abi::__cxa_demangle(type->name(), nullptr, nullptr, &status), std::free);
    return status == 0 && plain ? plain.get() : type->name();
}

std::string describe_exception(const std::exception_ptr& error) {
    std::string text = describe_type(error);
    try {
        if (error) std::rethrow_exception(error);
    } catch (const std::exception& caught) {
        text.append(": ").append(what_of(caught));
    } catch (...) {
        // The type is all there is.
    }
    return text;
}

std::uint64_t cause_facts::next_serial() noexcept {
    static constinit unmodelled_atomic<std::uint64_t> last{0};
    return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

explanation cause_state::explained() const noexcept {
    const std::lock_guard hold(lock_);
    return end_;
}

void cause_state::explain(explanation end) noexcept {
    const std::lock_guard hold(lock_);
    if (!end_.error) end_ = std::move(end);
}

const cause_state* cause_state::keep(const cause_ref& cause) noexcept {
    if (!cause) return nullptr;
    const std::lock_guard hold(cause->lock_);
    if (cause->keepers_++ == 0) cause->self_ = cause;
    return cause.get();
}

void cause_state::drop() const noexcept {
    cause_ref last; // destroyed behind the lock
    const std::lock_guard hold(lock_);
    if (--keepers_ == 0) last = std::move(self_);
}

std::string cause_state::to_string() const {
    return tell_story(*this);
}

const char* cause_state::text() const noexcept {
    try {
        std::unique_lock hold(lock_);
        const bool explained = end_.error != nullptr;
        if (!text_.empty() && text_explained_ == explained) return text_.c_str();
        hold.unlock();
        std::string fresh = to_string();
        hold.lock();
        if (text_.empty()) {
            text_ = std::move(fresh);
        } else if (explained && !text_explained_) {
            text_before_ = std::move(text_); // somebody may still hold its address
            text_ = std::move(fresh);
        }
        text_explained_ = text_explained_ || explained;
        return text_.c_str();
    } catch (...) {
        return "poisoned (out of memory while describing the cause)";
    }
}

namespace {

cause_ref new_cause(const poisoning& what) noexcept {
    const slice_state slice = current_slice();
    const kind_of_end end = kind_of(what, slice);
    try {
        auto cause = std::make_shared<cause_state>();
        const context* task = slice.task;
        if (slice.record && slice.record->task) task = slice.record->task;
        cause->object = printable(what.type);
        if (!what.name.empty()) cause->object += " '" + printable(what.name) + "'";
        cause->during = what.during;
        cause->locked_at = what.locked_at;
        cause->when = std::chrono::system_clock::now();
        if (task) {
            cause->task_id = task->id();
            cause->task_name = task->name();
        }
        cause->kind = end.kind;
        cause->reason = end.reason;
        cause->why = what.why;
        const bool in_flight =
            !what.in_handler && end.kind == poison_kind::exception && exceptions_in_slice() > 0;
        if (what.in_handler) {
            cause->explain(explained_by(std::current_exception()));
        } else if (end.kind != poison_kind::declared && !in_flight && slice.record) {
            cause->interrupted_at = slice.record->where;
            cause->explain(explained_by(slice.record->error));
        }
        if (cause->kind == poison_kind::exception && task) {
            cause->cancel_pending = task->requested();
        }
        if (what.previous) {
            cause->attempts = what.previous->attempts + 1;
            cause->previous = kept_short(what.previous);
        }
        if (auto* const waiting = in_flight ? unexplained() : nullptr) {
            waiting->push({cause, slice.serial, std::current_exception()});
            this_slice.unexplained = true;
            this_slice.unsettled = true;
        }
        return cause;
    } catch (...) {
        return cause_without_memory(end);
    }
}

} // namespace

cause_ref make_cause(const poisoning& what) noexcept {
    cause_ref cause = new_cause(what);
    tell_of_poison(cause);
    return cause;
}

void explain_causes(const std::exception_ptr& error) noexcept {
    const auto* const waiting = this_slice.unexplained ? unexplained() : nullptr;
    if (!waiting) return;
    const unsigned here = current_slice().serial;
    try {
        const explanation end = explained_by(error);
        for (const auto& each : *waiting) {
            const auto cause = each.cause.lock();
            if (!cause || each.slice != here || each.handled == error) continue;
            // An error that has the cause in its own story cannot be what explains it.
            if (!leads_to(end.link, *cause)) cause->explain(end);
        }
    } catch (...) {
        // No memory to keep its story short: they stay causes by an unknown exception.
    }
    forget_unexplained_causes();
}

void settle_unexplained_causes() noexcept {
    if (!this_slice.unexplained) return;
    if (const std::exception_ptr handled = std::current_exception()) {
        explain_causes(handled);
    } else {
        forget_unexplained_causes();
    }
}

void forget_unexplained_causes() noexcept {
    if (!this_slice.unexplained) return;
    if (auto* const waiting = unexplained()) waiting->clear();
    this_slice.unexplained = false;
    this_slice.unsettled = this_slice.globals == nullptr;
}

own_exceptions_aside::own_exceptions_aside() noexcept
    : globals_(std::exchange(globals_here(), {nullptr, 0})),
      unexplained_(std::exchange(this_slice.unexplained, false)),
      outer_(std::exchange(list_of_tasks, &list_)) {
    this_slice.unsettled = false;
}

own_exceptions_aside::~own_exceptions_aside() {
    list_of_tasks = outer_;
    globals_here() = globals_;
    this_slice.unexplained = unexplained_;
    this_slice.unsettled = unexplained_;
}

} // namespace toadstone::detail
