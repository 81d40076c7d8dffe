// Connecting to a host whose addresses do not all work: RFC 8305.
#ifndef TOADSTONE_IO_DNS_HAPPY_EYEBALLS_HPP
#define TOADSTONE_IO_DNS_HAPPY_EYEBALLS_HPP

#include <toadstone/io/connect_options.hpp>
#include <toadstone/io/dns/resolver_core.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/runtime/join_set.hpp>
#include <toadstone/runtime/task.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

namespace toadstone::io::detail {

/// The addresses that have not been tried, each family in its order, and the families in turn.
class address_turns {
public:
    /// Behind those of their families.
    void add(const std::vector<endpoint>& some);
    /// Without this it is v6.
    void begin_with(endpoint::family of) noexcept { next_ = of; }
    [[nodiscard]] bool empty() const noexcept { return v4_.empty() && v6_.empty(); }
    [[nodiscard]] endpoint take();

private:
    std::deque<endpoint> v4_;
    std::deque<endpoint> v6_;
    endpoint::family next_ = endpoint::family::v6;
};

/// One connect(): queries, attempts and the times between them are tasks of a set, and what
/// each of them comes to is an event.
///
/// Threads: one task's, with tasks of the set on its worker.
class happy_eyeballs {
public:
    happy_eyeballs(std::shared_ptr<resolver_core> core, std::string host, std::uint16_t port,
                   const connect_options& options, std::source_location where)
        : core_(std::move(core)), host_(std::move(host)), port_(port), options_(options),
          where_(where) {}

    struct event {
        enum class kind : unsigned char { answer, attempt, time_up };
        kind what;
        /// Of an answer.
        endpoint::family of = endpoint::family::none;
        /// Of an attempt; of a time that is up, before how many attempts that was.
        std::size_t index = 0;
        std::vector<endpoint> found = {};
        std::optional<tcp_stream> made = std::nullopt;
        /// Nothing was found, or made.
        std::exception_ptr why = nullptr;
    };
    using events_to_come = toadstone::join_set<event>;

    /// Errors, cancellation: as tcp_stream::connect(); what is left in the set is for its owner
    ///     to end.
    [[nodiscard]] toadstone::task<tcp_stream> run(events_to_come& set);

private:
    struct failure {
        endpoint to;
        int error = 0;
    };
    struct unknown {
        endpoint::family of;
        std::exception_ptr why;
    };

    void begin(events_to_come& set);
    void answered(events_to_come& set, const event& how);
    void failed(const event& how);
    /// Tries the next address, if there is one and it is its turn.
    void go_on(events_to_come& set);
    [[nodiscard]] bool nothing_left() const noexcept {
        return running_ == 0 && asked_ == 0 && turns_.empty();
    }
    [[noreturn]] void fail() const;
    [[noreturn]] void fail_without_address() const;

    const std::shared_ptr<resolver_core> core_;
    const std::string host_;
    const std::uint16_t port_;
    const connect_options options_;
    const std::source_location where_;

    address_turns turns_;
    std::vector<failure> tried_;
    std::vector<unknown> unknown_;
    std::size_t asked_ = 0;   ///< families that have not been answered for
    std::size_t running_ = 0; ///< attempts
    bool may_begin_ = false;  ///< the next attempt, as soon as there is an address
};

} // namespace toadstone::io::detail

#endif
