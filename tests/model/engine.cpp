// The model's atomics, fields and mutexes on Relacy, and the orderings that a run weakens.
#include "engine.hpp"
#include "relacy.hpp"

#include <toadstone/runtime/detail/config.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/log.hpp>

#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <string_view>

namespace toadstone::model {
namespace {

rl::debug_info info(const place& where) noexcept {
    return {where.function_name(), where.file_name(), where.line()};
}

rl::memory_order of(std::memory_order order) noexcept {
    switch (order) {
    case std::memory_order_relaxed:
        return rl::mo_relaxed;
    case std::memory_order_consume:
        return rl::mo_consume;
    case std::memory_order_acquire:
        return rl::mo_acquire;
    case std::memory_order_release:
        return rl::mo_release;
    case std::memory_order_acq_rel:
        return rl::mo_acq_rel;
    case std::memory_order_seq_cst:
        break;
    }
    return rl::mo_seq_cst;
}

bool acquires(std::memory_order order) noexcept {
    return order != std::memory_order_relaxed && order != std::memory_order_release;
}

bool running() noexcept {
    return rl::is_ctx() && rl::ctx().threadx_;
}

using checked_atomic = rl::generic_atomic<std::uint64_t, false>;
using checked_field = rl::var<int>;

struct open_context : rl::context {
    static constexpr auto own_allocator = &open_context::disable_alloc_;
};

/// What a run makes of one kind, kept until the next execution, so that whoever uses it after
/// its end is found. A failed execution leaves live ones behind, which nobody may touch.
template <class T>
class stock {
public:
    template <class... Args>
    T* make(Args&&... args) {
        if (used_ == all_.size()) all_.push_back(std::make_unique<raw>());
        return new (all_[used_++]->bytes) T(std::forward<Args>(args)...);
    }
    void forget() noexcept { used_ = 0; }

private:
    struct raw {
        alignas(T) std::byte bytes[sizeof(T)];
    };
    std::vector<std::unique_ptr<raw>> all_;
    std::size_t used_ = 0;
};

} // namespace

class field {
public:
    field() { new (bytes_) checked_field(0); }
    void end() noexcept {
        const place where = place::current();
        alive(where)(info(where)).store(0); // after every use, and known to be
        alive(where).~checked_field();
        alive_ = false;
    }
    checked_field& alive(const place& where) noexcept {
        if (!alive_) {
            rl::ctx().fail_test("something is used after its end",
                                rl::test_result_access_to_freed_memory, info(where));
        }
        return *std::launder(reinterpret_cast<checked_field*>(bytes_));
    }

private:
    alignas(checked_field) std::byte bytes_[sizeof(checked_field)];
    bool alive_ = true;
};

class cell {
public:
    explicit cell(std::uint64_t initial) {
        new (bytes_) checked_atomic;
        const rl::preemption_disabler alone(rl::ctx()); // nobody knows it yet
        checked().store(initial, rl::mo_relaxed, info(place::current()));
    }
    void end() noexcept {
        life_.end();
        checked().~checked_atomic();
    }
    /// A use is between the beginning and the end, and ordered with both.
    checked_atomic& alive(const place& where) noexcept {
        static_cast<void>(life_.alive(where)(info(where)).load());
        return checked();
    }
    std::vector<int> waiting; // threads

private:
    checked_atomic& checked() noexcept {
        return *std::launder(reinterpret_cast<checked_atomic*>(bytes_));
    }
    alignas(checked_atomic) std::byte bytes_[sizeof(checked_atomic)];
    field life_;
};

class gate {
public:
    rl::mutex checked;
};

namespace {

stock<cell> cells;
stock<field> fields;
std::vector<void*> freed_frames; // kept until the next execution, as cells are

std::deque<site> all_sites; // weakened points into it
const site* weakened = nullptr;
std::memory_order weakened_to{};
const char* seeded = nullptr;
bool spurious = false;

// "sync/detail/mutex_core.cpp"; empty for what is not the library's.
std::string_view from_floor_on(std::string_view file) noexcept {
    if (file.find("tests/") != file.npos) return {};
    for (const std::string_view floor : {"runtime/", "sync/", "io/"}) {
        const auto at = file.rfind(floor);
        if (at != file.npos && (at == 0 || file[at - 1] == '/')) return file.substr(at);
    }
    return {};
}

// Where an operation is, as the compiler gave it: a header has another name in each source.
struct known_place {
    const char* file;
    unsigned line;
    unsigned column;
    std::size_t site; // or none
};
constexpr std::size_t none = ~std::size_t{0};
std::vector<known_place> known;

std::size_t site_at(const place& where, const char* operation, std::memory_order order) {
    for (const known_place& each : known) {
        if (each.line == where.line() && each.column == where.column() &&
            each.file == where.file_name()) {
            return each.site;
        }
    }
    const std::string_view file = from_floor_on(where.file_name());
    std::size_t index = none;
    for (std::size_t i = 0; i < all_sites.size(); ++i) {
        const site& each = all_sites[i];
        if (each.line == where.line() && each.column == where.column() && each.file == file) {
            index = i;
        }
    }
    if (index == none && !file.empty()) {
        index = all_sites.size();
        all_sites.push_back({std::string(file), where.line(), where.column(),
                             where.function_name(), operation, order});
    }
    known.push_back({where.file_name(), where.line(), where.column(), index});
    return index;
}

// What the operation's ordering is in this run.
std::memory_order settle(std::memory_order order, const char* operation,
                         const place& where) noexcept {
    if (order == std::memory_order_relaxed) return order;
    const std::size_t index = site_at(where, operation, order);
    return weakened && index != none && &all_sites[index] == weakened ? weakened_to : order;
}

} // namespace

cell* new_cell(std::uint64_t value) noexcept {
    return running() ? cells.make(value) : nullptr;
}

void end_cell(cell* of) noexcept {
    if (running()) of->end();
}

std::uint64_t load(cell* from, std::memory_order order, place where) noexcept {
    return from->alive(where).load(of(settle(order, "load", where)), info(where));
}

void store(cell* to, std::uint64_t value, std::memory_order order, place where) noexcept {
    to->alive(where).store(value, of(settle(order, "store", where)), info(where));
}

std::uint64_t modify(cell* what, change how, std::uint64_t by, std::memory_order order,
                     place where) noexcept {
    checked_atomic& checked = what->alive(where);
    const rl::memory_order mo = of(settle(order, "modify", where));
    switch (how) {
    case change::exchange:
        return checked.exchange(by, mo, info(where));
    case change::add:
        return checked.fetch_add(by, mo, info(where));
    case change::subtract:
        return checked.fetch_sub(by, mo, info(where));
    case change::set_bits:
        return checked.fetch_or(by, mo, info(where));
    case change::and_bits:
        break;
    }
    return checked.fetch_and(by, mo, info(where));
}

bool compare_exchange(cell* what, std::uint64_t& expected, std::uint64_t desired, bool weak,
                      std::memory_order success, std::memory_order failure,
                      place where) noexcept {
    checked_atomic& checked = what->alive(where);
    const std::memory_order settled = settle(success, "compare_exchange", where);
    if (settled != success) {
        failure = acquires(settled) && acquires(failure) ? std::memory_order_acquire
                                                         : std::memory_order_relaxed;
    }
    if (weak && spurious) {
        return checked.compare_exchange(rl::bool_t<true>(), expected, desired, of(settled),
                                        of(failure), info(where));
    }
    return checked.compare_exchange(rl::bool_t<false>(), expected, desired, of(settled),
                                    of(failure), info(where));
}

// As a futex: the comparison with the newest value and the sleep are one step.
void wait(cell* on, std::uint64_t old, std::memory_order order, place where) noexcept {
    rl::context& run = rl::ctx();
    while (load(on, order, where) == old) {
        if (on->alive(where).debug_value() != old) {
            run.yield(1, info(where)); // it saw an old value, and will see a newer one
            continue;
        }
        on->waiting.push_back(run.threadx_->index_);
        run.park_current_thread(false, false, false, info(where));
    }
}

void notify_all(cell* on, place where) noexcept {
    rl::context& run = rl::ctx();
    run.sched();
    static_cast<void>(on->alive(where));
    for (const int each : on->waiting) run.unpark_thread(each, false, info(where));
    on->waiting.clear();
}

field* new_field() noexcept {
    return running() ? fields.make() : nullptr;
}

void end_field(field* of) noexcept {
    if (running()) of->end();
}

void reading(field* of, place where) noexcept {
    static_cast<void>(of->alive(where)(info(where)).load());
}

void writing(field* of, place where) noexcept {
    of->alive(where)(info(where)).store(0);
}

gate* new_gate() noexcept {
    return running() ? new gate : nullptr;
}

void end_gate(gate* of) noexcept {
    if (running()) delete of;
}

void lock(gate* of, place where) noexcept {
    of->checked.lock(info(where));
}

void unlock(gate* of, place where) noexcept {
    of->checked.unlock(info(where));
}

void yield(place where) noexcept {
    if (running()) rl::ctx().yield(1, info(where));
}

unsigned thread_index() noexcept {
    return running() ? static_cast<unsigned>(rl::ctx().threadx_->index_) : 0;
}

bool mutant(const char* name) noexcept {
    return seeded && std::strcmp(seeded, name) == 0;
}

void seed(const char* name) noexcept {
    seeded = name;
}

void fail_spuriously(bool may) noexcept {
    spurious = may;
}

void sleeping_place::sleep() noexcept {
    rl::context& run = rl::ctx();
    run.sched();
    if (!notified_) {
        sleeper_ = run.threadx_->index_;
        run.park_current_thread(false, false, false, info(place::current()));
        sleeper_ = -1;
    }
    notified_ = false;
}

// No step of its own: it belongs to the step before it.
void sleeping_place::notify() noexcept {
    if (notified_) return;
    notified_ = true;
    if (sleeper_ >= 0) rl::ctx().unpark_thread(sleeper_, false, info(place::current()));
}

void check(bool holds, const char* sentence, place where) noexcept {
    if (!holds) {
        rl::ctx().fail_test(sentence, rl::test_result_user_assert_failed, info(where));
    }
}

// Relacy's allocator tries each free() in two ways, which doubles the work at each.
execution::execution() noexcept {
    rl::ctx().*open_context::own_allocator += 1;
    cells.forget();
    fields.forget();
    for (void* each : freed_frames) std::free(each);
    freed_frames.clear();
}

execution::~execution() {
    rl::ctx().*open_context::own_allocator -= 1;
}

const std::deque<site>& sites() noexcept {
    return all_sites;
}

void weaken(const site* at, std::memory_order to) noexcept {
    weakened = at;
    weakened_to = to;
}

std::vector<std::memory_order> weaker(const site& than) {
    switch (than.order) {
    case std::memory_order_seq_cst:
        if (than.operation == "load") return {std::memory_order_acquire};
        if (than.operation == "store") return {std::memory_order_release};
        return {std::memory_order_acq_rel};
    case std::memory_order_acq_rel:
        return {std::memory_order_acquire, std::memory_order_release};
    default:
        return {std::memory_order_relaxed};
    }
}

const char* name_of(std::memory_order order) noexcept {
    return rl::format(of(order));
}

} // namespace toadstone::model

namespace toadstone::detail {

const void* this_thread() noexcept {
    static const std::array<char, model::most_threads> marks{};
    return &marks[model::thread_index()];
}

// No model asks for a lock in a task.
bool frame_holds(const void*, const void*) noexcept {
    return false;
}

void* allocate_new_frame(std::size_t size) {
    return std::malloc(size);
}

void free_frame_slowly(void* frame, std::size_t) noexcept {
    model::freed_frames.push_back(frame);
}

void contract_violated(const char* sentence, const char* file, int line) noexcept {
    if (model::running()) {
        rl::ctx().fail_test(
            sentence, rl::test_result_user_assert_failed,
            rl::debug_info("TOADSTONE_ASSERT", file, static_cast<unsigned>(line)));
    }
    std::fprintf(stderr, "toadstone: %s (%s:%d)\n", sentence, file, line);
    std::abort();
}

// Nothing in a model fails unobserved or listens to poison.
void report_unobserved(std::uint64_t, std::string_view, std::string_view,
                       const std::exception_ptr&) noexcept {}
void tell_of_poison(const cause_ref&) noexcept {}
// Nor does one tell a story to anybody.
std::string describe_for_log(const std::exception_ptr&) {
    return {};
}
void contract_violated(const char* sentence, std::string_view, const char* file,
                       int line) noexcept {
    contract_violated(sentence, file, line);
}

void throw_misuse(const char* sentence, std::string_view) {
    contract_violated(sentence, __FILE__, __LINE__);
}

} // namespace toadstone::detail

namespace toadstone {

std::string printable(std::string_view foreign, std::size_t) {
    return std::string(foreign);
}
std::string_view what_of(const std::exception&) noexcept {
    return {};
}

} // namespace toadstone
