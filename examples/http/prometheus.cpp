// Families and samples.
#include "prometheus.hpp"

#include <cstdio>
#include <utility>

namespace http {

void page_writer::family(std::string_view name, std::string_view type, std::string_view help) {
    text_.append("# HELP ").append(name).append(" ").append(help).append("\n");
    text_.append("# TYPE ").append(name).append(" ").append(type).append("\n");
}

void page_writer::sample(std::string_view name, std::string_view value) {
    text_.append(name).append(" ").append(value).append("\n");
}

void page_writer::sample(std::string_view name, std::uint64_t value) {
    sample(name, std::to_string(value));
}

void page_writer::sample(std::string_view name, std::string_view label,
                         std::string_view label_value, std::uint64_t value) {
    text_.append(name).append("{").append(label).append("=\"").append(label_value);
    text_.append("\"} ").append(std::to_string(value)).append("\n");
}

response page_writer::finish() {
    response page;
    page.type = "text/plain; version=0.0.4";
    page.body = std::move(text_);
    return page;
}

std::string in_seconds(double value) {
    char text[32] = {};
    std::snprintf(text, sizeof text, "%.6f", value);
    return text;
}

} // namespace http
