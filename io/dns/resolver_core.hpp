// What the copies of a resolver, and the queries that are under way, share.
#ifndef TOADSTONE_IO_DNS_RESOLVER_CORE_HPP
#define TOADSTONE_IO_DNS_RESOLVER_CORE_HPP

#include <toadstone/io/detail/places.hpp>
#include <toadstone/io/dns/channel.hpp>
#include <toadstone/io/dns/hosts_file.hpp>
#include <toadstone/io/dns/text_file.hpp>
#include <toadstone/io/resolver.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

namespace toadstone::io::detail {

/// Threads: any. Of a query's own channel, the task that has it.
class resolver_core {
public:
    explicit resolver_core(resolver_options&& options);

    /// What is known without a server: addresses, the hosts file, localhost.
    ///
    /// Errors: resolve_error for what is no name, and for an address of the wrong family.
    [[nodiscard]] std::optional<std::vector<endpoint>>
    known(const std::string& host, std::uint16_t port, endpoint::family of);
    [[nodiscard]] std::uint16_t port_of_service(const std::string& service) const;

    /// Asks the servers for a name that is not known.
    ///
    /// Cancellation: as resolver::resolve().
    [[nodiscard]] static toadstone::task<std::vector<endpoint>>
    ask(std::shared_ptr<resolver_core> core, std::string host, std::uint16_t port,
        endpoint::family of, std::source_location where);
    /// known(), and where it is not, ask().
    [[nodiscard]] static toadstone::task<std::vector<endpoint>>
    find(std::shared_ptr<resolver_core> core, std::string host, std::uint16_t port,
         endpoint::family of, std::source_location where);

private:
    struct kept {
        std::unique_ptr<channel> what;
        file_stamp resolv_conf;
    };
    /// A channel, and the way back.
    class borrowed {
    public:
        explicit borrowed(resolver_core& from) : from_(from), it_(from.take()) {}
        borrowed(const borrowed&) = delete;
        borrowed& operator=(const borrowed&) = delete;
        ~borrowed() { from_.give_back(std::move(it_)); }
        [[nodiscard]] channel& get() const noexcept { return *it_.what; }

    private:
        resolver_core& from_;
        kept it_;
    };

    [[nodiscard]] kept take();
    void give_back(kept&& it) noexcept;
    [[noreturn]] void fail(resolve_failure failure, const std::string& host,
                           endpoint::family of) const;

    const resolver_options options_;
    hosts_file hosts_;
    places at_once_;
    std::mutex lock_;
    std::vector<kept> idle_; ///< guarded by lock_
};

} // namespace toadstone::io::detail

#endif
