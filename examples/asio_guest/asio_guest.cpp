// Asio in the same program: asio_guest
//
// Shows: operations of Asio, which run on a thread of their own io_context, awaited in tasks by
// the token use_toadstone. A time limit of toadstone's cancels one by its slot; the task ends
// when Asio has called the handler, and so no buffer goes before that. The other side is a
// server of toadstone's, on its worker.
//
//     $ asio_guest
//     connected and greeted: hello
//     echoed 5000 bytes, written and read at the same time
//     silence: given up
//     the same socket still echoes: more
//     nobody listens: Connection refused
//     the server has gone: End of file
#include "use_toadstone.hpp"

#include "../echo_server.hpp"

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdio>
#include <string>
#include <system_error>
#include <thread>
#include <tuple>
#include <utility>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;
using asio::ip::tcp;
using asio_guest::use_toadstone;

/// An io_context, and the thread that runs it until nothing is left to do.
class asio_thread {
public:
    asio_thread() : thread_([this] { context_.run(); }) {}
    asio_thread(const asio_thread&) = delete;
    asio_thread& operator=(const asio_thread&) = delete;
    ~asio_thread() {
        work_.reset();
        thread_.join();
    }
    [[nodiscard]] asio::io_context& context() noexcept { return context_; }

private:
    asio::io_context context_;
    asio::executor_work_guard<asio::io_context::executor_type> work_ =
        asio::make_work_guard(context_);
    std::thread thread_;
};

task<std::string> reads(tcp::socket& from, std::size_t count) {
    std::string text(count, '\0');
    co_await asio::async_read(from, asio::buffer(text), use_toadstone);
    co_return text;
}
task<> writes(tcp::socket& to, std::string text) {
    co_await asio::async_write(to, asio::buffer(text), use_toadstone);
}

task<> talks(tcp::socket& peer) {
    co_await writes(peer, "hello");
    const std::string greeting = co_await reads(peer, 5);
    std::printf("connected and greeted: %s\n", greeting.c_str());

    const auto both =
        co_await when_all(writes(peer, std::string(5000, 'x')), reads(peer, 5000));
    std::printf("echoed %zu bytes, written and read at the same time\n",
                std::get<1>(both).size());

    const auto nothing = co_await try_with_timeout(20ms, reads(peer, 1));
    std::printf("silence: %s\n", nothing.is_cancelled() ? "given up" : "broken");
    co_await writes(peer, "more");
    const std::string more = co_await reads(peer, 4);
    std::printf("the same socket still echoes: %s\n", more.c_str());
}

task<> is_refused(tcp::socket& peer) {
    const tcp::endpoint nobody(asio::ip::address_v4::loopback(), 1);
    try {
        co_await peer.async_connect(nobody, use_toadstone);
    } catch (const std::system_error& error) {
        std::printf("nobody listens: %s\n", error.code().message().c_str());
    }
}

task<> story() {
    asio_thread asio_side;
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    auto serve = [&listener]() -> task<> {
        io::tcp_stream client = co_await listener.accept();
        co_await echo_server::echo(std::move(client), cancellation_token(), 60s);
    };
    auto server = spawn(serve());

    tcp::socket peer(asio_side.context());
    const tcp::endpoint at(asio::ip::address_v4::loopback(), listener.local_endpoint().port());
    co_await peer.async_connect(at, use_toadstone);
    co_await talks(peer);

    tcp::socket other(asio_side.context());
    co_await is_refused(other);

    server.cancel();
    static_cast<void>(co_await server.outcome());
    char byte = 0;
    const auto end =
        co_await peer.async_read_some(asio::buffer(&byte, 1), use_toadstone.as_tuple());
    std::printf("the server has gone: %s\n", std::get<0>(end).message().c_str());
}

} // namespace

int main() {
    run(story(), {.workers = 1});
}
