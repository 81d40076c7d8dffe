// Counters, and what is said of them.
#include "metrics.hpp"

#include "http/json.hpp"
#include "http/prometheus.hpp"

#include <toadstone/runtime/log.hpp>

#include <algorithm>
#include <bit>
#include <cstdio>

namespace cache {
namespace {

constexpr std::size_t most_recoveries = 50;

/// Four steps for each power of two.
std::size_t step_of(std::uint64_t nanoseconds) noexcept {
    if (nanoseconds < 4) return nanoseconds;
    const auto power = static_cast<std::size_t>(std::bit_width(nanoseconds)) - 3;
    return 4 * power + static_cast<std::size_t>(nanoseconds >> power);
}
std::uint64_t end_of(std::size_t step) noexcept {
    if (step < 8) return step;
    const std::size_t power = step / 4 - 1;
    return ((step % 4 + 5) << power) - 1;
}

std::string in_milliseconds(std::chrono::nanoseconds time) {
    char text[32];
    std::snprintf(text, sizeof text, "%.3f", static_cast<double>(time.count()) * 1e-6);
    return text;
}
void add(std::string& to, std::string_view name, const std::string& value) {
    if (to.back() != '{' && to.back() != '[') to += ',';
    to.append(http::in_quotes(name)).append(":").append(value);
}

std::string shards_to_json(const std::vector<shard_status>& shards) {
    std::string list = "[";
    for (const shard_status& each : shards) {
        std::string one = "{";
        add(one, "number", std::to_string(each.number));
        add(one, "documents", std::to_string(each.documents));
        add(one, "changes", std::to_string(each.changes));
        add(one, "poisoned", each.poisoned ? "true" : "false");
        add(one, "failure", http::in_quotes(each.failure));
        if (list.size() > 1) list += ',';
        list.append(one).append("}");
    }
    list += ']';
    return list;
}

} // namespace

void histogram::count(std::chrono::nanoseconds took) noexcept {
    const auto size = static_cast<std::uint64_t>(std::max<std::int64_t>(took.count(), 0));
    counts_[std::min(step_of(size), counts_.size() - 1)].fetch_add(1,
                                                                   std::memory_order_relaxed);
}

std::uint64_t histogram::size() const noexcept {
    std::uint64_t all = 0;
    for (const auto& each : counts_) all += each.load(std::memory_order_relaxed);
    return all;
}

std::chrono::nanoseconds histogram::quantile(double share) const noexcept {
    const std::uint64_t all = size();
    if (all == 0) return {};
    const auto wanted = static_cast<std::uint64_t>(static_cast<double>(all) * share);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < counts_.size(); ++i) {
        seen += counts_[i].load(std::memory_order_relaxed);
        if (seen > wanted || seen == all) {
            return std::chrono::nanoseconds(static_cast<std::int64_t>(end_of(i)));
        }
    }
    return {};
}

void metrics::count_recovery(const recovery& what) {
    recoveries_.count(what.took);
    const std::lock_guard hold(lock_);
    last_.push_front({what, toadstone::this_task::now()});
    if (last_.size() > most_recoveries) last_.pop_back();
}

double metrics::availability() const noexcept {
    const auto good = static_cast<double>(answers_.size());
    const auto bad = static_cast<double>(failures_.load(std::memory_order_relaxed));
    return good + bad == 0 ? 1 : good / (good + bad);
}

std::string metrics::status(const store& all, std::string_view strategy,
                            const std::vector<shard_status>& shards) const {
    const store::counts counts = all.counted();
    std::string text = "{";
    add(text, "strategy", http::in_quotes(strategy));
    add(text, "availability", std::to_string(availability()));
    add(text, "answers", std::to_string(answers_.size()));
    add(text, "p50_ms", in_milliseconds(answers_.quantile(0.5)));
    add(text, "p99_ms", in_milliseconds(answers_.quantile(0.99)));
    add(text, "recoveries", std::to_string(recoveries_.size()));
    add(text, "recovery_p99_ms", in_milliseconds(recoveries_.quantile(0.99)));
    add(text, "indexers", std::to_string(counts.indexers));
    add(text, "killed", std::to_string(counts.killed));
    add(text, "strikes", std::to_string(counts.strikes));
    add(text, "quarantined", std::to_string(all.quarantined()));
    add(text, "shards", shards_to_json(shards));
    add(text, "last_recoveries", recoveries_to_json());
    text += '}';
    return text;
}

std::string metrics::recoveries_to_json() const {
    std::string list = "[";
    const std::lock_guard hold(lock_);
    for (const past& each : last_) {
        const auto ago = std::chrono::duration_cast<std::chrono::milliseconds>(
            toadstone::this_task::now() - each.when);
        std::string one = "{";
        add(one, "shard", std::to_string(each.what.shard));
        add(one, "ago_ms", std::to_string(ago.count()));
        add(one, "took_ms", in_milliseconds(each.what.took));
        add(one, "changes", std::to_string(each.what.changes));
        add(one, "cause", http::in_quotes(each.what.why.to_string()));
        if (list.size() > 1) list += ',';
        list.append(one).append("}");
    }
    list += ']';
    return list;
}

http::response metrics::page(const http::traffic& counts, const store& all,
                             std::size_t live_tasks) const {
    const store::counts work = all.counted();
    http::page_writer page;
    counts.write(page, "cache");
    page.family("cache_unavailable_total", "counter", "Requests that could not be served.");
    page.sample("cache_unavailable_total", failures_.load(std::memory_order_relaxed));
    page.family("cache_recoveries_total", "counter", "Shards that were made again.");
    page.sample("cache_recoveries_total", recoveries_.size());
    page.family("cache_recovery_seconds", "gauge", "How long 99 % of them took at most.");
    page.sample(
        "cache_recovery_seconds",
        http::in_seconds(std::chrono::duration<double>(recoveries_.quantile(0.99)).count()));
    page.family("cache_answer_seconds", "gauge", "How long 99 % of answers took at most.");
    page.sample(
        "cache_answer_seconds",
        http::in_seconds(std::chrono::duration<double>(answers_.quantile(0.99)).count()));
    page.family("cache_indexers_total", "counter", "Tasks that have changed an index.");
    page.sample("cache_indexers_total", work.indexers);
    page.family("cache_indexers_killed_total", "counter", "Of these, stopped in the middle.");
    page.sample("cache_indexers_killed_total", work.killed);
    page.family("cache_strikes_total", "counter", "Inputs that have broken an index.");
    page.sample("cache_strikes_total", work.strikes);
    page.family("cache_quarantined", "gauge", "Inputs that are not tried any more.");
    page.sample("cache_quarantined", static_cast<std::uint64_t>(all.quarantined()));
    page.family("toadstone_live_tasks", "gauge", "Tasks that have not ended.");
    page.sample("toadstone_live_tasks", static_cast<std::uint64_t>(live_tasks));
    page.family("cache_uptime_seconds", "gauge", "Since the start.");
    const std::chrono::duration<double> up = toadstone::this_task::now() - started_;
    page.sample("cache_uptime_seconds", http::in_seconds(up.count()));
    return page.finish();
}

} // namespace cache
