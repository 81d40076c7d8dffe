// The ports of services.
#ifndef TOADSTONE_IO_DNS_SERVICES_HPP
#define TOADSTONE_IO_DNS_SERVICES_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace toadstone::io::detail {

/// Of a number as text; of a service of TCP in the file at `path`, by its name or another one
/// of its names; of the few that are known without a file, since many containers have none.
[[nodiscard]] std::optional<std::uint16_t> port_of(std::string_view service,
                                                   const std::string& path);

} // namespace toadstone::io::detail

#endif
