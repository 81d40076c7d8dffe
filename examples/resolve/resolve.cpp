// Prints the addresses of the names that it is given: resolve NAME...
//
// Shows: io::resolver, its errors, a time limit around it, many names at a time; and, without a
// name, a connection by name to a server of its own.
//
//     $ resolve
//     192.0.2.7 has 192.0.2.7
//     resolve 'two words': it is no name: it has a space or a control character
//     the server on 127.0.0.1 says: hello
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <string>
#include <utility>
#include <vector>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

task<std::string> line_about(std::string name) {
    try {
        auto query = io::resolver::system().resolve(name, 0);
        const auto found = co_await with_timeout(10s, std::move(query));
        std::string line = name + " has";
        for (const io::endpoint& each : found) line += " " + each.host();
        co_return line;
    } catch (const io::resolve_error& error) {
        co_return error.what(); // which name, what happened, what to do
    } catch (const timeout_error&) {
        co_return name + ": no answer within 10 s";
    }
}

task<> print(std::vector<std::string> names) {
    std::vector<task<std::string>> lines;
    for (std::string& each : names) lines.push_back(line_about(std::move(each)));
    const std::vector<std::string> all = co_await when_all(std::move(lines));
    for (const std::string& each : all) std::puts(each.c_str());
}

task<> say_hello(io::tcp_listener& at) {
    io::tcp_stream client = co_await at.accept();
    co_await client.write_all("hello");
}

task<> listen_to(std::uint16_t port) {
    io::connect_options options;
    options.of = io::endpoint::family::v4; // the server below has no other address
    auto attempt = io::tcp_stream::connect("localhost", port, options);
    io::tcp_stream server = co_await with_timeout(10s, std::move(attempt));
    std::string text(5, ' ');
    co_await server.read_exactly(text);
    std::printf("the server on %s says: %s\n", server.peer().host().c_str(), text.c_str());
}

task<> without_names() {
    std::vector<std::string> names(1, "192.0.2.7");
    names.push_back("two words");
    co_await print(std::move(names));
    auto listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    co_await when_all(say_hello(listener), listen_to(listener.local_endpoint().port()));
}

} // namespace

int main(int argc, char** argv) {
    try {
        std::vector<std::string> names(argv + 1, argv + argc);
        run(names.empty() ? without_names() : print(std::move(names)));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "resolve: %s\n", error.what());
        return 1;
    }
}
