// The counters on the page of metrics.
#include "traffic.hpp"

namespace http {

void traffic::write(page_writer& page, const std::string& prefix) const {
    const auto value = [](const counter& which) {
        return which.load(std::memory_order_relaxed);
    };
    const std::string requests = prefix + "_requests_total";
    page.family(requests, "counter", "Requests that were answered.");
    for (std::size_t status = 0; status < answers_.size(); ++status) {
        const auto count = value(answers_[status]);
        if (count == 0 && status != 200) continue;
        page.sample(requests, "code", std::to_string(status), count);
    }
    const std::string abandoned = prefix + "_requests_abandoned_total";
    page.family(abandoned, "counter", "Requests whose client left before the answer.");
    page.sample(abandoned, value(unanswered_));

    // Ended before begun: read in this order, the difference is never negative.
    const auto ended = value(connections_ended_);
    const auto begun = value(connections_);
    page.family(prefix + "_connections_total", "counter", "Connections accepted.");
    page.sample(prefix + "_connections_total", begun);
    page.family(prefix + "_connections", "gauge", "Connections that are open.");
    page.sample(prefix + "_connections", begun - ended);
}

} // namespace http
