// The rules of RFC 8305, and what a host without a working address comes to.
#include <toadstone/io/dns/happy_eyeballs.hpp>

#include <toadstone/io/resolve_error.hpp>
#include <toadstone/runtime/as_outcome.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/sleep.hpp>

#include <chrono>
#include <system_error>
#include <utility>

namespace toadstone::io::detail {
namespace {

using family = endpoint::family;
using event = happy_eyeballs::event;

/// Null if there is a value.
template <class T>
std::exception_ptr why_not(const toadstone::outcome<T>& end) {
    if (!end.is_cancelled()) return end.exception();
    return std::make_exception_ptr(toadstone::task_cancelled(end.reason()));
}

toadstone::task<event> asks(std::shared_ptr<resolver_core> core, std::string host,
                            std::uint16_t port, family of, std::source_location where) {
    auto query = resolver_core::ask(core, host, port, of, where);
    auto end = co_await as_outcome(std::move(query));
    event came{event::kind::answer, of};
    came.why = why_not(end);
    if (end.has_value()) came.found = std::move(end).value();
    co_return came;
}

toadstone::task<event> tries(endpoint to, std::size_t index, std::source_location where) {
    auto attempt = tcp_stream::connect(to, where);
    auto end = co_await as_outcome(std::move(attempt));
    event came{event::kind::attempt, family::none, index};
    came.why = why_not(end);
    if (end.has_value()) came.made.emplace(std::move(end).value());
    co_return came;
}

toadstone::task<event> waits(std::chrono::milliseconds delay, std::size_t index) {
    co_await sleep_for(delay);
    event came{event::kind::time_up, family::none, index};
    co_return came;
}

std::string_view name_of(family of) noexcept {
    return of == family::v4 ? "IPv4" : "IPv6";
}

} // namespace

void address_turns::add(const std::vector<endpoint>& some) {
    for (const endpoint& each : some) {
        (each.kind() == family::v4 ? v4_ : v6_).push_back(each);
    }
}

endpoint address_turns::take() {
    const bool first = next_ == family::v4 ? !v4_.empty() : v6_.empty();
    auto& from = first ? v4_ : v6_;
    const endpoint one = from.front();
    from.pop_front();
    next_ = first ? family::v6 : family::v4;
    return one;
}

toadstone::task<tcp_stream> happy_eyeballs::run(events_to_come& set) {
    begin(set);
    for (;;) {
        go_on(set);
        if (nothing_left()) fail();
        auto next = co_await set.join_next();
        TOADSTONE_ASSERT(next, "a connect that has not failed has something to wait for");
        if (next->is_cancelled()) {
            // The runtime ends, and so does this task, here, unless it is shielded.
            co_await toadstone::detail::checkpoint_for(where_);
        }
        event how = std::move(*next).value();
        switch (how.what) {
        case event::kind::answer:
            answered(set, how);
            break;
        case event::kind::attempt:
            if (how.made) co_return std::move(*how.made);
            failed(how);
            break;
        case event::kind::time_up:
            if (how.index == tried_.size()) may_begin_ = true;
            break;
        }
    }
}

void happy_eyeballs::begin(events_to_come& set) {
    if (const auto all = core_->known(host_, port_, options_.of)) {
        turns_.add(*all);
        turns_.begin_with(all->front().kind());
        may_begin_ = true;
        return;
    }
    for (const family of : {family::v6, family::v4}) {
        if (options_.of != family::none && options_.of != of) continue;
        set.spawn(asks(core_, host_, port_, of, where_));
        ++asked_;
    }
}

void happy_eyeballs::answered(events_to_come& set, const event& how) {
    --asked_;
    turns_.add(how.found);
    if (how.why) unknown_.push_back({how.of, how.why});
    if (!tried_.empty() || turns_.empty()) return;
    if (asked_ > 0 && how.of == family::v4) {
        set.spawn(waits(options_.resolution_delay, 0));
    } else {
        may_begin_ = true;
    }
}

void happy_eyeballs::failed(const event& how) {
    --running_;
    may_begin_ = true;
    try {
        std::rethrow_exception(how.why);
    } catch (const std::system_error& error) {
        tried_[how.index].error = error.code().value();
    }
}

void happy_eyeballs::go_on(events_to_come& set) {
    if (!may_begin_ || turns_.empty()) return;
    may_begin_ = false;
    const std::size_t index = tried_.size();
    tried_.push_back({turns_.take(), 0});
    set.spawn(tries(tried_.back().to, index, where_));
    ++running_;
    if (!turns_.empty() || asked_ > 0) {
        set.spawn(waits(options_.attempt_delay, tried_.size()));
    }
}

// What may be otherwise later says more than that there is nothing now.
void happy_eyeballs::fail_without_address() const {
    const unknown* worst = nullptr;
    for (const unknown& each : unknown_) {
        try {
            std::rethrow_exception(each.why);
        } catch (const resolve_error& error) {
            if (error.failure() == resolve_failure::no_addresses) continue;
            if (!worst || error.is_temporary()) worst = &each;
        } catch (...) {
            worst = &each;
        }
    }
    if (worst) std::rethrow_exception(worst->why);
    if (unknown_.size() == 1) std::rethrow_exception(unknown_.front().why);
    throw resolve_error(resolve_failure::no_addresses, host_, "it has no address");
}

void happy_eyeballs::fail() const {
    if (tried_.empty()) fail_without_address();
    std::string text = "connect to '" + host_ + "' port " + std::to_string(port_);
    for (const unknown& each : unknown_) {
        try {
            std::rethrow_exception(each.why);
        } catch (const resolve_error& error) {
            if (!error.is_temporary()) continue;
            text += ", addresses of " + std::string(name_of(each.of)) + ": " +
                    std::string(to_string(error.failure())) + ',';
        } catch (const std::exception& error) {
            text += ", " + std::string(error.what()) + ',';
        }
    }
    text += tried_.size() == 1
                ? " by its only address, "
                : " by any of its " + std::to_string(tried_.size()) + " addresses, ";
    for (std::size_t i = 0; i + 1 < tried_.size(); ++i) {
        text += tried_[i].to.to_string() + ": " +
                std::generic_category().message(tried_[i].error) + "; ";
    }
    text += tried_.back().to.to_string();
    throw std::system_error(tried_.back().error, std::generic_category(), text);
}

namespace {

toadstone::task<tcp_stream> connect_by_name(std::shared_ptr<resolver_core> core,
                                            std::string host, std::uint16_t port,
                                            connect_options options,
                                            std::source_location where) {
    co_await toadstone::detail::checkpoint_for(where);
    happy_eyeballs all(std::move(core), std::move(host), port, options, where);
    const auto body = [&all](happy_eyeballs::events_to_come& set) { return all.run(set); };
    co_return co_await with_join_set<event>(body);
}

} // namespace
} // namespace toadstone::io::detail

namespace toadstone::io {

toadstone::task<tcp_stream> tcp_stream::connect(std::string host, std::uint16_t port,
                                                connect_options options,
                                                std::source_location where) {
    const resolver& names = options.names ? *options.names : resolver::system();
    return detail::connect_by_name(detail::core_of(names), std::move(host), port, options,
                                   where);
}

} // namespace toadstone::io
