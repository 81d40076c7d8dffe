// The text format of Prometheus, version 0.0.4.
#ifndef TOADSTONE_EXAMPLES_HTTP_PROMETHEUS_HPP
#define TOADSTONE_EXAMPLES_HTTP_PROMETHEUS_HPP

#include "message.hpp"

#include <cstdint>
#include <string>
#include <string_view>

namespace http {

class page_writer {
public:
    void family(std::string_view name, std::string_view type, std::string_view help);
    void sample(std::string_view name, std::string_view value);
    void sample(std::string_view name, std::uint64_t value);
    void sample(std::string_view name, std::string_view label, std::string_view label_value,
                std::uint64_t value);
    [[nodiscard]] response finish();

private:
    std::string text_;
};

/// "1.250000"
[[nodiscard]] std::string in_seconds(double value);

} // namespace http

#endif
