// The handle.
#include <toadstone/io/resolver.hpp>

#include <toadstone/io/dns/resolver_core.hpp>
#include <toadstone/runtime/checkpoint.hpp>

#include <utility>

namespace toadstone::io {
namespace {

toadstone::task<std::vector<endpoint>> find_service(std::shared_ptr<detail::resolver_core> core,
                                                    std::string host, std::string service,
                                                    endpoint::family of,
                                                    std::source_location where) {
    co_await toadstone::detail::checkpoint_for(where);
    const std::uint16_t port = core->port_of_service(service);
    co_return co_await detail::resolver_core::find(core, std::move(host), port, of, where);
}

} // namespace

namespace detail {

const std::shared_ptr<resolver_core>& core_of(const resolver& names) noexcept {
    return names.core_;
}

} // namespace detail

resolver::resolver(resolver_options options)
    : core_(std::make_shared<detail::resolver_core>(std::move(options))) {}

const resolver& resolver::system() {
    static const resolver one;
    return one;
}

toadstone::task<std::vector<endpoint>> resolver::resolve(std::string host, std::uint16_t port,
                                                         endpoint::family of,
                                                         std::source_location where) const {
    return detail::resolver_core::find(core_, std::move(host), port, of, where);
}

toadstone::task<std::vector<endpoint>> resolver::resolve(std::string host, std::string service,
                                                         endpoint::family of,
                                                         std::source_location where) const {
    return find_service(core_, std::move(host), std::move(service), of, where);
}

} // namespace toadstone::io
