// How a name is found: what is known, and otherwise a channel that a task waits for.
#include <toadstone/io/dns/resolver_core.hpp>

#include <toadstone/io/dns/services.hpp>
#include <toadstone/io/readiness.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/detail/sigpipe.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/when_any.hpp>
#include <toadstone/runtime/with_timeout.hpp>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace toadstone::io::detail {
namespace {

constexpr std::size_t most_idle = 8;
constexpr std::size_t longest_name = 253;
constexpr std::size_t longest_label = 63;

using family = endpoint::family;
using wait_op = toadstone::detail::called_from<readiness_leaf, int, events>;
using place_op = toadstone::detail::called_from<place_awaiter, places&>;

struct ready {
    int fd = -1;
    events came = events::none;
};

toadstone::task<ready> becomes_ready(channel::socket one, std::source_location where) {
    const events came = co_await wait_op(where, one.fd, one.wanted);
    co_return ready{one.fd, came};
}

/// Until one of a channel's sockets is ready, or its time is up. Nothing is armed when this has
/// ended, so that c-ares may close whatever it likes.
toadstone::task<ready> one_of(const channel& of, std::source_location where) {
    const auto sockets = of.sockets();
    const auto limit = of.time_left();
    if (sockets.size() == 1) {
        const channel::socket only = sockets.front();
        const auto in_time =
            co_await try_with_timeout(limit, wait_op(where, only.fd, only.wanted));
        if (in_time.is_cancelled()) co_return ready();
        co_return ready{only.fd, in_time.value()};
    }
    if (sockets.empty()) {
        co_await sleep_for(limit);
        co_return ready();
    }
    std::vector<toadstone::task<ready>> all;
    for (const channel::socket& each : sockets) all.push_back(becomes_ready(each, where));
    auto race = when_any(std::move(all));
    const auto in_time = co_await try_with_timeout(limit, std::move(race));
    if (in_time.is_cancelled()) co_return ready();
    co_return in_time.value().value;
}

/// Why it is no name; null if it may be one.
const char* complaint_about(std::string_view name) noexcept {
    if (name.empty()) return "it is empty";
    if (name.ends_with('.')) name.remove_suffix(1);
    if (name.size() > longest_name) return "it has more than 253 characters";
    std::size_t label = 0;
    for (const char each : name) {
        const auto byte = static_cast<unsigned char>(each);
        if (byte <= ' ' || byte == 0x7f) return "it has a space or a control character";
        if (byte > 0x7f) {
            return "it has letters beyond ASCII: write it as DNS does, as in "
                   "xn--bcher-kva.example";
        }
        label = each == '.' ? 0 : label + 1;
        if (label > longest_label) return "a part of it has more than 63 characters";
    }
    if (name.empty() || name.starts_with('.') || name.find("..") != std::string_view::npos) {
        return "a part of it is empty";
    }
    return nullptr;
}

bool is_localhost(const std::string& compared) noexcept {
    return compared == "localhost" || compared.ends_with(".localhost");
}

std::string_view name_of(family of) noexcept {
    return of == family::v4 ? "IPv4 " : of == family::v6 ? "IPv6 " : "";
}

std::vector<endpoint> of_family(std::vector<endpoint> all, family of, std::uint16_t port) {
    std::vector<endpoint> some;
    for (const endpoint& each : all) {
        if (of == family::none || each.kind() == of) some.push_back(each.with_port(port));
    }
    return some;
}

void check(const resolver_options& options) {
    const auto refuse = [](const char* why) {
        throw std::invalid_argument(std::string("resolver_options: ") + why);
    };
    if (options.timeout < std::chrono::milliseconds(1)) refuse("the timeout is no time");
    if (options.timeout > std::chrono::hours(1)) refuse("the timeout is more than an hour");
    if (options.tries == 0) refuse("no tries are none");
    if (options.tries > 100) refuse("more than 100 tries");
    if (options.at_once == 0) refuse("at_once is 0: no name could be asked for");
    for (const endpoint& each : options.servers) {
        if (each.kind() == family::none) refuse("a server is an empty endpoint");
    }
}

} // namespace

resolver_core::resolver_core(resolver_options&& options)
    : options_((check(options), std::move(options))), hosts_(options_.hosts),
      at_once_(options_.at_once) {
    idle_.reserve(most_idle);
}

resolver_core::kept resolver_core::take() {
    // Before the file is read: what is written meanwhile is found the next time.
    const file_stamp now = file_stamp::of(options_.resolv_conf);
    std::vector<kept> outdated; // destroyed without the lock
    {
        const std::lock_guard hold(lock_);
        if (!idle_.empty() && idle_.back().resolv_conf == now) {
            kept it = std::move(idle_.back());
            idle_.pop_back();
            return it;
        }
        outdated.assign(std::move_iterator(idle_.begin()), std::move_iterator(idle_.end()));
        idle_.clear();
    }
    return {std::make_unique<channel>(options_), now};
}

void resolver_core::give_back(kept&& it) noexcept {
    if (!it.what->reset()) return;
    const std::lock_guard hold(lock_);
    if (idle_.size() < most_idle) idle_.push_back(std::move(it));
}

std::optional<std::vector<endpoint>> resolver_core::known(const std::string& host,
                                                          std::uint16_t port, family of) {
    if (const auto address = read_address(host)) {
        if (of != family::none && address->kind() != of) {
            fail(resolve_failure::no_addresses, host, of);
        }
        return std::vector<endpoint>{address->with_port(port)};
    }
    if (const char* const why = complaint_about(host)) {
        throw resolve_error(resolve_failure::bad_name, host,
                            std::string("it is no name: ") + why);
    }
    const std::string compared = compared_name(host);
    auto all = of_family(hosts_.find(compared), of, port);
    if (all.empty() && is_localhost(compared)) {
        all = of_family({endpoint::of("::1", 0), endpoint::loopback(0)}, of, port);
    }
    if (all.empty()) return std::nullopt;
    return all;
}

std::uint16_t resolver_core::port_of_service(const std::string& service) const {
    if (const auto port = port_of(service, options_.services)) return *port;
    throw resolve_error(resolve_failure::bad_name, service,
                        "there is no such service of TCP in " + options_.services +
                            ": write the number of its port, or add it there");
}

toadstone::task<std::vector<endpoint>> resolver_core::ask(std::shared_ptr<resolver_core> core,
                                                          std::string host, std::uint16_t port,
                                                          family of,
                                                          std::source_location where) {
    const place here = co_await place_op(where, core->at_once_);
    // c-ares writes to its servers of TCP without asking for no signal.
    toadstone::detail::block_sigpipe();
    const borrowed held(*core);
    channel& asked = held.get();
    asked.ask(host, of);
    while (!asked.answered()) {
        const ready one = co_await one_of(asked, where);
        asked.go_on(one.fd, one.came);
    }
    if (const auto failure = asked.failure()) core->fail(*failure, host, of);
    std::vector<endpoint> all = asked.addresses(port);
    if (all.empty()) core->fail(resolve_failure::no_addresses, host, of);
    co_return all;
}

toadstone::task<std::vector<endpoint>> resolver_core::find(std::shared_ptr<resolver_core> core,
                                                           std::string host, std::uint16_t port,
                                                           family of,
                                                           std::source_location where) {
    co_await toadstone::detail::checkpoint_for(where);
    if (auto all = core->known(host, port, of)) co_return std::move(*all);
    co_return co_await ask(core, host, port, of, where);
}

void resolver_core::fail(resolve_failure failure, const std::string& host, family of) const {
    std::string asked = "the servers of " + options_.resolv_conf;
    if (!options_.servers.empty()) {
        asked = options_.servers.size() == 1 ? "the server " : "the servers ";
        for (const endpoint& each : options_.servers) {
            if (&each != &options_.servers.front()) asked += ", ";
            asked += each.to_string();
        }
    }
    std::string story;
    switch (failure) {
    case resolve_failure::not_found:
        story = "there is no such name: check how it is written, or add it to " +
                (options_.hosts.empty() ? "a hosts file" : options_.hosts);
        break;
    case resolve_failure::no_addresses:
        story = "it has no " + std::string(name_of(of)) + "address";
        if (of != family::none) story += ": ask for one of the other family, or of both";
        break;
    case resolve_failure::bad_name:
        story = "it is no name that can be asked for";
        break;
    case resolve_failure::timed_out:
        story = "no answer from " + asked + " in " + std::to_string(options_.tries) +
                (options_.tries == 1 ? " try" : " tries") + ", the first of " +
                std::to_string(options_.timeout.count()) +
                " ms: check that it runs and that UDP reaches it";
        break;
    case resolve_failure::unreachable:
        story = asked +
                " cannot be reached, or answers with a failure: check its address, that it "
                "runs, and whom it serves";
        break;
    case resolve_failure::refused:
        story = asked + " refuses to answer: ask one that serves this machine";
        break;
    case resolve_failure::server_failed:
        story = asked + " could not find out (SERVFAIL): try again later, or ask another one";
        break;
    case resolve_failure::malformed:
        story = asked + " gave an answer that cannot be understood: ask another one";
        break;
    }
    throw resolve_error(failure, host, story);
}

} // namespace toadstone::io::detail
