// The text of the metrics page.
#include "metrics.hpp"

#include <toadstone/runtime/this_task.hpp>

#include <cstdio>
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

std::string seconds(double value) {
    char text[32] = {};
    std::snprintf(text, sizeof text, "%.6f", value);
    return text;
}

class page_writer {
public:
    void family(std::string_view name, std::string_view type, std::string_view help) {
        text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
        text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
    }
    void sample(std::string_view name, std::string_view value) {
        text_.append(name).append(" ").append(value).append("\n");
    }
    void sample(std::string_view name, std::uint64_t value) {
        sample(name, std::to_string(value));
    }
    void sample(std::string_view name, std::string_view label, std::string_view label_value,
                std::uint64_t value) {
        const std::string full = std::string(name)
                                     .append("{")
                                     .append(label)
                                     .append("=\"")
                                     .append(label_value)
                                     .append("\"}");
        sample(full, value);
    }
    [[nodiscard]] std::string take() { return std::move(text_); }

private:
    std::string text_;
};

} // namespace

void metrics::count_answer(unsigned status) noexcept {
    if (status < answers_.size()) add(answers_[status]);
}

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

std::string metrics::page(std::size_t live_tasks) const {
    const auto value = [](const counter& which) {
        return which.load(std::memory_order_relaxed);
    };
    page_writer page;
    page.family("tracker_requests_total", "counter", "Requests that were answered.");
    for (std::size_t status = 0; status < answers_.size(); ++status) {
        const auto count = value(answers_[status]);
        if (count == 0 && status != 200) continue;
        page.sample("tracker_requests_total", "code", std::to_string(status), count);
    }
    page.family("tracker_requests_abandoned_total", "counter",
                "Requests whose client left before the answer.");
    page.sample("tracker_requests_abandoned_total", value(unanswered_));

    // Ended before begun: read in this order, the difference is never negative.
    const auto ended = value(connections_ended_);
    const auto begun = value(connections_);
    page.family("tracker_connections_total", "counter", "Connections accepted.");
    page.sample("tracker_connections_total", begun);
    page.family("tracker_connections", "gauge", "Connections that are open.");
    page.sample("tracker_connections", begun - ended);

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
                seconds(static_cast<double>(value(recovery_nanoseconds_)) * 1e-9));

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
    page.sample("tracker_uptime_seconds", seconds(up.count()));
    return page.take();
}

} // namespace tracker
