// const_buffer and mutable_buffer: whatever holds bytes can be written and read into.
#include <toadstone/io/buffer.hpp>

#include <toadstone/runtime.hpp>

#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

TEST_CASE("buffers: whatever holds bytes can be written, and read into") {
    stepped world;
    auto pair = world.run(connect_pair());
    auto all = [](io::tcp_stream& to) -> task<> {
        const std::string text = "string ";
        const std::vector<char> chars{'v', 'e', 'c', ' '};
        const std::array<std::byte, 2> bytes{std::byte{'b'}, std::byte{' '}};
        const unsigned char plain[] = {'u', ' '};
        co_await to.write_all(text);
        co_await to.write_all(chars);
        co_await to.write_all(std::span<const char>(chars));
        co_await to.write_all(bytes);
        co_await to.write_all(std::as_bytes(std::span(chars)));
        co_await to.write_all(plain);
        co_await to.write_all(std::string_view("view "));
        co_await to.write_all("literal");
        to.shutdown_write();
    };
    world.run(all(pair.stream));
    CHECK(pair.peer.receive_all() == "string vec vec b vec u view literal");

    pair.peer.send("aabbccdd");
    auto each = [](io::tcp_stream& from) -> task<std::string> {
        std::string text(2, '.');
        std::vector<char> chars(2);
        char plain[2];
        std::array<std::byte, 2> bytes{};
        co_await from.read_exactly(text);
        co_await from.read_exactly(chars);
        co_await from.read_exactly(plain);
        co_await from.read_exactly(std::span(bytes));
        text.append(chars.data(), 2).append(plain, 2);
        for (const std::byte each_byte : bytes) text += static_cast<char>(each_byte);
        co_return text;
    };
    CHECK(world.run(each(pair.stream)) == "aabbccdd");
    static_assert(!std::is_convertible_v<std::vector<char>, io::mutable_buffer>);
    static_assert(!std::is_convertible_v<const std::string&, io::mutable_buffer>);
    static_assert(std::is_convertible_v<std::span<char>, io::mutable_buffer>);
    static_assert(!std::is_convertible_v<const std::vector<int>&, io::const_buffer>);
}
