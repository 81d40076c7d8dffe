// Reading snapshots and records.
#include "history.hpp"

#include <toadstone/runtime/checkpoint.hpp>

#include <stdexcept>
#include <string_view>
#include <utility>

namespace tracker {
namespace {

// So much is read without letting others run: about a millisecond.
constexpr std::size_t part = 500;

void check_id(operation_id id) {
    if (id != 0 && id <= largest_id) return;
    throw std::runtime_error("the id is not between 1 and " + std::to_string(largest_id));
}

toadstone::task<> read_state(book& into, const journal::contents& found, std::string where) {
    std::string_view rest = found.state;
    for (std::size_t line = 1; !rest.empty(); ++line) {
        if (line % part == 0) co_await toadstone::yield_now();
        const std::size_t end = rest.find('\n');
        try {
            if (end == std::string_view::npos) throw std::runtime_error("it has no end");
            operation one = read_operation(rest.substr(0, end));
            check_id(one.id);
            static_cast<void>(into.commit(book::page_to_be(std::move(one)), found.state_at));
        } catch (const std::runtime_error& why) {
            throw std::runtime_error(where + ", line " + std::to_string(line) +
                                     " of the snapshot: " + why.what());
        }
        rest.remove_prefix(end + 1);
    }
}

void take_record(book& into, const journal::record& one) {
    if (one.type == static_cast<std::uint32_t>(record_type::import)) {
        throw std::runtime_error("the snapshot with what was imported is missing: if the "
                                 "import did not come to its end, repeat it with --import");
    }
    if (one.type != static_cast<std::uint32_t>(record_type::change)) {
        throw std::runtime_error("it is of no tracker, or of a later one");
    }
    const journal_record what = read_record(one.payload);
    check_id(what.id);
    static_cast<void>(
        into.commit(book::page_to_be(after(into.find(what.id), what)), {one.sequence, 0}));
}

} // namespace

operation after(const std::optional<operation>& before, const journal_record& what) {
    if (what.what) {
        if (!before) throw std::runtime_error("there is no such operation");
        return before->after(*what.what);
    }
    if (before) throw std::runtime_error("the operation exists already");
    operation fresh;
    fresh.id = what.id;
    fresh.name = what.name;
    return fresh;
}

toadstone::task<> read_history(book& into, const journal::contents& found, std::string folder) {
    co_await read_state(into, found, folder);
    std::size_t taken = 0;
    for (const journal::record& one : found.records) {
        if (++taken % part == 0) co_await toadstone::yield_now();
        try {
            take_record(into, one);
        } catch (const std::runtime_error& why) {
            throw std::runtime_error(folder + ", record " + std::to_string(one.sequence) +
                                     ": " + why.what());
        }
    }
    into.stands_at(found.end);
}

} // namespace tracker
