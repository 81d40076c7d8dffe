// Connections of a listener, each served by serve_client().
#include "server.hpp"

#include "connection.hpp"
#include "json.hpp"

#include <toadstone/io/serve.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/with_timeout.hpp>

#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace http {
namespace {

namespace io = toadstone::io;

class log_failure {
public:
    explicit log_failure(site& all) noexcept : all_(all) {}
    /// Connections break all the time, and clients do not read what they asked for: no news.
    void operator()(const io::endpoint& peer, const std::exception_ptr& failure) const {
        try {
            std::rethrow_exception(failure);
        } catch (const std::system_error&) {
        } catch (const toadstone::timeout_error&) {
        } catch (const std::exception& why) {
            all_.log("the connection from " + peer.to_string() +
                     " failed: " + std::string(toadstone::what_of(why)));
        }
    }
    void operator()(const io::accept_trouble& why) const {
        all_.log("nobody can be accepted on " + why.at.to_string() +
                 " for now: " + why.error.message());
    }

private:
    site& all_;
};

} // namespace

toadstone::task<> serve(site& all,
                        std::function<toadstone::task<>(const io::endpoint&)> prepare,
                        toadstone::cancellation_token stop) {
    const limits& chosen = all.bounds();
    io::listener_options listener;
    listener.at = io::endpoint::of(chosen.host, chosen.port);
    io::serve_limits most;
    most.max_connections = chosen.max_connections;
    most.max_per_address = chosen.max_per_address;
    most.drain = chosen.drain_timeout;
    const auto serve_one = [&all](io::tcp_stream stream, toadstone::cancellation_token draining,
                                  io::connection_place& place) {
        return serve_client(all, std::move(stream), std::move(draining), place);
    };
    const log_failure trouble(all);
    const io::serve_report report =
        co_await io::serve(listener, serve_one, most, std::move(stop), prepare, trouble);
    all.log("stopped after " + std::to_string(report.accepted) + " connections, " +
            std::to_string(report.cut) + " of them cut");
}

response answer_to_any(site& all, const std::exception_ptr& failure) {
    try {
        std::rethrow_exception(failure);
    } catch (const error& why) {
        response answer = json_response(why.status(), error_to_json(why.what()));
        answer.allow = why.allow();
        answer.retry_after = why.retry_after();
        return answer;
    } catch (const bad_json& why) {
        return json_response(400, error_to_json(why.what()));
    } catch (const std::exception& why) {
        all.log("a request failed: " + std::string(toadstone::what_of(why)));
    } catch (...) {
        all.log("a request failed with an exception of unknown type");
    }
    return json_response(500, error_to_json("the server failed; it has written down why"));
}

} // namespace http
