// An echo server on Boost.Asio's coroutines: prints its port and serves until it is killed.
#include <array>
#include <cstdio>
#include <utility>

#include <boost/asio.hpp>

namespace {

namespace asio = boost::asio;
using asio::ip::tcp;

asio::awaitable<void> echo(tcp::socket client) {
    std::array<char, 16384> buffer;
    for (;;) {
        boost::system::error_code error;
        const std::size_t got = co_await client.async_read_some(
            asio::buffer(buffer), asio::redirect_error(asio::use_awaitable, error));
        if (error) co_return;
        co_await asio::async_write(client, asio::buffer(buffer, got),
                                   asio::redirect_error(asio::use_awaitable, error));
        if (error) co_return;
    }
}

asio::awaitable<void> accept(tcp::acceptor& listener) {
    for (;;) {
        tcp::socket client = co_await listener.async_accept(asio::use_awaitable);
        client.set_option(tcp::no_delay(true));
        asio::co_spawn(listener.get_executor(), echo(std::move(client)), asio::detached);
    }
}

} // namespace

int main() {
    asio::io_context loop(1);
    tcp::acceptor listener(loop, tcp::endpoint(asio::ip::address_v4::loopback(), 0));
    listener.listen(4096);
    std::printf("%u\n", listener.local_endpoint().port());
    std::fflush(stdout);
    asio::co_spawn(loop, accept(listener), asio::detached);
    loop.run();
}
