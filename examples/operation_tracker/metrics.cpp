// The text of the metrics page.
#include "metrics.hpp"

#include "http/prometheus.hpp"

#include <toadstone/runtime/this_task.hpp>

#include <string_view>

namespace tracker {
namespace {

constexpr std::size_t by_exception = 6;
constexpr std::size_t by_declaration = 7;

std::size_t index_of(const toadstone::poison_cause& cause) noexcept {
    switch (cause.kind()) {
    case toadstone::poison_kind::exception:
        return by_exception;
    case toadstone::poison_kind::declared:
        return by_declaration;
    default:
        return static_cast<std::size_t>(cause.reason());
    }
}

std::string_view reason_name(std::size_t index) noexcept {
    if (index == by_exception) return "exception";
    if (index == by_declaration) return "declared";
    return to_string(static_cast<toadstone::cancel_reason>(index));
}

} // namespace

void metrics::count_poisoning(const toadstone::poison_cause& cause) noexcept {
    add(poisonings_[index_of(cause)]);
}

void metrics::count_recovery(std::chrono::steady_clock::duration took) noexcept {
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(took);
    add(recoveries_);
    add(recovery_nanoseconds_, static_cast<std::uint64_t>(nanoseconds.count()));
}

void metrics::show_operations(std::size_t all, std::size_t live) noexcept {
    operations_.store(all, std::memory_order_relaxed);
    live_operations_.store(live, std::memory_order_relaxed);
}

http::response metrics::page(const http::traffic& counts, std::size_t live_tasks) const {
    const auto value = [](const counter& which) {
        return which.load(std::memory_order_relaxed);
    };
    http::page_writer page;
    counts.write(page, "tracker");
    page.family("tracker_poisonings_total", "counter",
                "Critical sections that were left in the middle.");
    for (std::size_t i = 0; i < poisonings_.size(); ++i) {
        page.sample("tracker_poisonings_total", "reason", reason_name(i),
                    value(poisonings_[i]));
    }
    page.family("tracker_recoveries_total", "counter", "Repairs from the journal.");
    page.sample("tracker_recoveries_total", value(recoveries_));
    page.family("tracker_recovery_seconds_total", "counter", "Time that repairs took.");
    page.sample("tracker_recovery_seconds_total",
                http::in_seconds(static_cast<double>(value(recovery_nanoseconds_)) * 1e-9));

    page.family("tracker_operations", "gauge", "Operations known.");
    page.sample("tracker_operations", value(operations_));
    page.family("tracker_live_operations", "gauge", "Of these, neither completed nor failed.");
    page.sample("tracker_live_operations", value(live_operations_));
    page.family("tracker_journal_failed", "gauge", "1: nothing can be changed any more.");
    page.sample("tracker_journal_failed", value(journal_failed_));
    page.family("toadstone_live_tasks", "gauge", "Tasks that have not ended.");
    page.sample("toadstone_live_tasks", live_tasks);
    page.family("tracker_uptime_seconds", "gauge", "Since the start.");
    const std::chrono::duration<double> up = toadstone::this_task::now() - started_;
    page.sample("tracker_uptime_seconds", http::in_seconds(up.count()));
    return page.finish();
}

} // namespace tracker
