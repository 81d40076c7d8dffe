// Host, Origin and Content-Type.
#include "browser.hpp"

#include "target.hpp"

#include <toadstone/io/endpoint.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>

namespace http {
namespace {

bool is_allowed(const limits& chosen, std::string_view host) {
    const auto& names = chosen.allowed_hosts;
    if (std::find(names.begin(), names.end(), "*") != names.end()) return true;
    const std::size_t colon = host.rfind(':');
    const bool port = colon != std::string_view::npos && host.find(']', colon) == host.npos;
    const std::string_view name = port ? host.substr(0, colon) : host;
    if (same_but_case(name, chosen.host) || same_but_case(name, "localhost")) return true;
    for (const std::string& each : names) {
        if (same_but_case(name, each)) return true;
    }
    try {
        static_cast<void>(toadstone::io::endpoint::of(name, 0)); // an address
        return true;
    } catch (const std::invalid_argument&) {
        return false;
    }
}

} // namespace

void check_host(const limits& chosen, const request& from) {
    if (from.host.empty() && from.http_1_0) return; // no browser
    if (is_allowed(chosen, from.host)) return;
    throw error(421,
                "this server does not go by the name '" + from.host + "', see --allow-host");
}

void check_origin(const request& from) {
    std::string_view origin = from.origin;
    for (const std::string_view scheme : {"http://", "https://"}) {
        if (origin.starts_with(scheme)) origin.remove_prefix(scheme.size());
    }
    if (!origin.empty() && !same_but_case(origin, from.host)) {
        throw error(403, "web pages of '" + from.origin + "' may not change anything here");
    }
}

void check_change(const request& from) {
    check_origin(from);
    std::string_view type = std::string_view(from.type).substr(0, from.type.find(';'));
    while (type.ends_with(' ') || type.ends_with('\t')) type.remove_suffix(1);
    if (!same_but_case(type, "application/json")) {
        throw error(415, "the body has to be JSON, with Content-Type: application/json");
    }
}

} // namespace http
