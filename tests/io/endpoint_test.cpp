// Addresses as text and as values.
#include <toadstone/io/endpoint.hpp>

#include <catch2/catch.hpp>

#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

using toadstone::io::endpoint;

namespace {

std::string complaint(std::string_view text) {
    try {
        static_cast<void>(endpoint::parse(text));
    } catch (const std::invalid_argument& error) {
        return error.what();
    }
    return "none";
}

} // namespace

TEST_CASE("endpoint: what it reads it writes again") {
    for (const char* text : {"127.0.0.1:8080", "0.0.0.0:0", "255.255.255.255:65535", "[::1]:80",
                             "[::]:0", "[2001:db8::7]:443", "[fe80::1%2]:1"}) {
        CHECK(endpoint::parse(text).to_string() == text);
    }
}

TEST_CASE("endpoint: host, port and kind are what was written") {
    const auto four = endpoint::parse("10.1.2.3:4");
    CHECK(four.host() == "10.1.2.3");
    CHECK(four.port() == 4);
    CHECK(four.kind() == endpoint::family::v4);
    const auto six = endpoint::parse("[::ffff]:9");
    CHECK(six.host() == "::ffff");
    CHECK(six.kind() == endpoint::family::v6);
    CHECK(six.with_port(10).to_string() == "[::ffff]:10");
}

TEST_CASE("endpoint: localhost is 127.0.0.1, and no other name is resolved") {
    CHECK(endpoint::parse("localhost:80") == endpoint::loopback(80));
    CHECK(endpoint::of("localhost", 80) == endpoint::loopback(80));
    CHECK(complaint("example.org:80").find("not resolved") != std::string::npos);
}

TEST_CASE("endpoint: a host and a port apart, with or without brackets") {
    CHECK(endpoint::of("0.0.0.0", 7) == endpoint::any(7));
    CHECK(endpoint::of("::1", 7) == endpoint::parse("[::1]:7"));
    CHECK(endpoint::of("[::1]", 7) == endpoint::parse("[::1]:7"));
    CHECK_THROWS_AS(endpoint::of("", 7), std::invalid_argument);
}

TEST_CASE("endpoint: a refusal quotes the text and says what to write") {
    CHECK(complaint("127.0.0.1") ==
          "endpoint '127.0.0.1': there is no port; append one, :8080");
    CHECK(complaint("").find("127.0.0.1:8080") != std::string::npos);
    CHECK(complaint("::1").find("needs brackets") != std::string::npos);
    CHECK(complaint("[::1:80").find("not closed") != std::string::npos);
    CHECK(complaint("[1.2.3.4]:80").find("brackets are for IPv6") != std::string::npos);
    CHECK(complaint("[::1]80").find("no port") != std::string::npos);
    CHECK(complaint(":80").find("0.0.0.0:PORT") != std::string::npos);
    CHECK(complaint("1.2.3:80").find("no IPv4 or IPv6 address") != std::string::npos);
}

TEST_CASE("endpoint: a port is a plain number up to 65535") {
    for (const char* port : {"", "65536", "-1", "+1", " 1", "1 ", "0x10", "99999999999999"}) {
        INFO(port);
        CHECK(complaint("127.0.0.1:" + std::string(port)).find("from 0 to 65535") !=
              std::string::npos);
    }
}

TEST_CASE("endpoint: a zero byte in the text hides nothing") {
    CHECK(complaint(std::string_view("127.0.0.1\0x:80", 14)).find("zero byte") !=
          std::string::npos);
}

TEST_CASE("endpoint: equal and ordered by address and port") {
    const std::set<endpoint> all = {endpoint::loopback(2), endpoint::loopback(1),
                                    endpoint::any(1), endpoint::loopback(2)};
    CHECK(all.size() == 3);
    CHECK(endpoint::any(9) < endpoint::loopback(1));
    CHECK(endpoint::loopback(1) < endpoint::loopback(2));
    CHECK(endpoint() != endpoint::any(0));
    CHECK(endpoint().to_string() == "unspecified");
}

TEST_CASE("endpoint: text is one, wherever one is expected") {
    const auto same = [](const endpoint& at) { return at; };
    const std::string text = "[::1]:80";
    CHECK(same("127.0.0.1:80") == endpoint::loopback(80));
    CHECK(same(text).to_string() == text);
    CHECK(same(std::string_view(text)).port() == 80);
    CHECK_THROWS_AS(same("nonsense"), std::invalid_argument);
}
