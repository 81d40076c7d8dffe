// Names that are known without a server, what servers tell of others, and what is wrong.
#include <toadstone/io/resolver.hpp>

#include <toadstone/runtime.hpp>

#include <support/counted_awaits.hpp>
#include <support/dns_server.hpp>
#include <support/io.hpp>
#include <support/stepped.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;
using namespace std::chrono_literals;
using io::resolve_failure;

namespace {

using answers = std::vector<dns_answer>;
using family = io::endpoint::family;

/// Nothing of this machine.
io::resolver_options only(std::vector<io::endpoint> servers) {
    io::resolver_options options;
    options.servers = std::move(servers);
    options.search.emplace();
    options.hosts = "";
    options.services = "";
    options.resolv_conf = "/nowhere/resolv.conf";
    return options;
}

void write_file(const std::string& path, const std::string& text) {
    std::FILE* const file = std::fopen(path.c_str(), "w");
    REQUIRE(file);
    REQUIRE(std::fwrite(text.data(), 1, text.size(), file) == text.size());
    std::fclose(file);
}

std::vector<std::string> texts(const std::vector<io::endpoint>& of) {
    std::vector<std::string> all;
    for (const auto& each : of) all.push_back(each.to_string());
    return all;
}
using list = std::vector<std::string>;

/// Runs a task in the world's time, which passes whenever nothing is ready; c-ares has its own.
template <class T, class Waits>
outcome<T> run(stepped& world, task<T> body, Waits waits) {
    counted_awaits awaits(world);
    const auto passes = [&] {
        waits();
        world.kernel().time += 1ms;
        std::this_thread::yield();
    };
    return awaits.run(std::move(body), 0, passes);
}

/// A world with a server that works whenever nothing else is to be done.
struct served {
    explicit served(dns_server::script script) : server(std::move(script)) {}
    list addresses(const io::resolver& names, std::string host, family of = family::none) {
        auto end =
            run(world, names.resolve(std::move(host), 80, of), [this] { server.turn(); });
        return texts(end.value());
    }
    dns_server server;
    stepped world;
};

/// How it fails: the kind, and the sentence in `text`.
template <class Run>
resolve_failure failure_of(Run run, std::string& text) {
    try {
        run();
    } catch (const io::resolve_error& error) {
        text = error.what();
        return error.failure();
    }
    throw std::logic_error("it has not failed");
}

list resolved(stepped& world, const io::resolver& names, std::string host,
              family of = family::none) {
    return texts(run(world, names.resolve(std::move(host), 80, of), [] {}).value());
}

/// A port on which nobody listens.
io::endpoint nobody() {
    const dns_server gone([](const dns_question&) { return answers(); });
    return gone.at();
}

} // namespace

TEST_CASE("resolver: S482: an address is its own answer, and asks nobody") {
    stepped world;
    const io::resolver names(only({nobody()}));
    CHECK(resolved(world, names, "192.0.2.7") == list{"192.0.2.7:80"});
    CHECK(resolved(world, names, "::1") == list{"[::1]:80"});
    CHECK(resolved(world, names, "[2001:db8::1]") == list{"[2001:db8::1]:80"});
    CHECK(resolved(world, names, "fe80::1%lo") == list{"[fe80::1%1]:80"});
    CHECK(resolved(world, names, "127.0.0.1", family::v4) == list{"127.0.0.1:80"});
    std::string text;
    CHECK(failure_of([&] { resolved(world, names, "127.0.0.1", family::v6); }, text) ==
          resolve_failure::no_addresses);
    CHECK(text == "resolve '127.0.0.1': it has no IPv6 address: ask for one of the other "
                  "family, or of both");
}

TEST_CASE("resolver: S482: localhost is this machine, and its subdomains") {
    stepped world;
    const io::resolver names(only({nobody()}));
    const list both{"[::1]:80", "127.0.0.1:80"};
    CHECK(resolved(world, names, "localhost") == both);
    CHECK(resolved(world, names, "LocalHost.") == both);
    CHECK(resolved(world, names, "db.localhost") == both);
    CHECK(resolved(world, names, "localhost", family::v4) == list{"127.0.0.1:80"});
}

TEST_CASE("resolver: S482: the hosts file, by any of its names, and as it is now") {
    const temporary_folder folder;
    stepped world;
    auto options = only({nobody()});
    options.timeout = 20ms;
    options.hosts = folder.file("hosts");
    const io::resolver names(options);
    write_file(options.hosts, "# comment\n"
                              "192.0.2.1\tserver.test server # and more\n"
                              "2001:db8::1 SERVER.test\n"
                              "192.0.2.1 server.test\n"
                              "nonsense other.test\n"
                              "\n"
                              "192.0.2.9 localhost");
    CHECK(resolved(world, names, "server.test") == list{"192.0.2.1:80", "[2001:db8::1]:80"});
    CHECK(resolved(world, names, "Server.TEST.") == list{"192.0.2.1:80", "[2001:db8::1]:80"});
    CHECK(resolved(world, names, "server") == list{"192.0.2.1:80"});
    CHECK(resolved(world, names, "server.test", family::v6) == list{"[2001:db8::1]:80"});
    CHECK(resolved(world, names, "localhost") == list{"192.0.2.9:80"});

    write_file(options.hosts, "192.0.2.222 server.test\n");
    CHECK(resolved(world, names, "server.test") == list{"192.0.2.222:80"});
    ::unlink(options.hosts.c_str());
    std::string text;
    // c-ares 1.18 takes a part of the refusals for losses.
    CHECK(failure_of([&] { resolved(world, names, "server.test"); }, text) >
          resolve_failure::bad_name);
}

TEST_CASE("resolver: S482: a service is a port, by the file or without it") {
    const temporary_folder folder;
    stepped world;
    auto options = only({nobody()});
    options.services = folder.file("services");
    write_file(options.services, "special 4711/udp\nspecial 4712/tcp extra # 1/tcp\n");
    const io::resolver names(options);
    const auto port = [&](std::string service) {
        return world.run(names.resolve("127.0.0.1", std::move(service))).front().port();
    };
    CHECK(port("special") == 4712);
    CHECK(port("extra") == 4712);
    CHECK(port("https") == 443);
    CHECK(port("8080") == 8080);
    std::string text;
    CHECK(failure_of([&] { port("nonsense"); }, text) == resolve_failure::bad_name);
    CHECK(text == "resolve 'nonsense': there is no such service of TCP in " + options.services +
                      ": write the number of its port, or add it there");
    CHECK(failure_of([&] { port("65536"); }, text) == resolve_failure::bad_name);
}

TEST_CASE("resolver: S482: what cannot be a name is refused, and asks nobody") {
    stepped world;
    const io::resolver names(only({nobody()}));
    const std::string zero("a\0b", 3);
    for (const std::string& bad :
         {std::string(), std::string("."), std::string("a..b"), std::string("a b"), zero,
          std::string("b\xc3\xbc"
                      "cher.example"),
          std::string(64, 'x'), std::string(254, 'x'), std::string("[127.0.0.1]\n")}) {
        std::string text;
        CHECK(failure_of([&] { resolved(world, names, bad); }, text) ==
              resolve_failure::bad_name);
        CHECK(text.find("it is no name: ") != std::string::npos);
        CHECK(text.find('\0') == std::string::npos);
    }
}

TEST_CASE("resolver: S482: options that make no sense are refused") {
    const auto made = [](auto change) {
        auto options = only({});
        change(options);
        const io::resolver names(options);
    };
    CHECK_THROWS_AS(made([](auto& o) { o.tries = 0; }), std::invalid_argument);
    CHECK_THROWS_AS(made([](auto& o) { o.timeout = 0ms; }), std::invalid_argument);
    CHECK_THROWS_AS(made([](auto& o) { o.at_once = 0; }), std::invalid_argument);
    CHECK_THROWS_AS(made([](auto& o) { o.servers.emplace_back(); }), std::invalid_argument);
}

TEST_CASE("resolver: S483: a server tells addresses of both families, or of one") {
    served by([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers{dns_answer().address("2001:db8::7")};
        return answers{dns_answer().address("192.0.2.7").address("192.0.2.8")};
    });
    const io::resolver names(only({by.server.at()}));
    list all = by.addresses(names, "example.org");
    CHECK(all.size() == 3);
    std::sort(all.begin(), all.end());
    CHECK(all == list{"192.0.2.7:80", "192.0.2.8:80", "[2001:db8::7]:80"});
    CHECK(by.addresses(names, "example.org", family::v6) == list{"[2001:db8::7]:80"});
    CHECK(by.addresses(names, "example.org", family::v4).size() == 2);
    CHECK(by.world.worker().in_flight() == 0);
}

TEST_CASE("resolver: S483: one family is enough, and an alias leads to its addresses") {
    served by([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers{dns_answer()};
        return answers{dns_answer()
                           .alias("www.example.org", "a.example.net")
                           .alias("a.example.net", "b.example.net")
                           .address("192.0.2.3")};
    });
    const io::resolver names(only({by.server.at()}));
    CHECK(by.addresses(names, "www.example.org") == list{"192.0.2.3:80"});
}

TEST_CASE("resolver: S483: search domains, of the options and of resolv.conf as it is now") {
    const temporary_folder folder;
    served by([](const dns_question& asked) {
        if (asked.name == "db.two.test") return answers{dns_answer().address("192.0.2.2")};
        if (asked.name == "db.six.test") return answers{dns_answer().address("192.0.2.6")};
        if (asked.name == "db") return answers{dns_answer().address("192.0.2.9")};
        return answers{dns_answer().code(3)};
    });
    auto options = only({by.server.at()});
    options.search = {"one.test", "two.test"};
    CHECK(by.addresses(io::resolver(options), "db", family::v4) == list{"192.0.2.2:80"});
    CHECK(by.addresses(io::resolver(options), "db.", family::v4) == list{"192.0.2.9:80"});
    options.dots = 0; // as it is, first
    CHECK(by.addresses(io::resolver(options), "db", family::v4) == list{"192.0.2.9:80"});

    options.dots.reset();
    options.search.reset();
    options.resolv_conf = folder.file("resolv.conf");
    write_file(options.resolv_conf, "search two.test\n");
    const io::resolver names(options);
    CHECK(by.addresses(names, "db", family::v4) == list{"192.0.2.2:80"});
    write_file(options.resolv_conf, "search five.test six.test\n");
    CHECK(by.addresses(names, "db", family::v4) == list{"192.0.2.6:80"});
}

TEST_CASE("resolver: S484: each failure has its kind, its name and its advice") {
    served by([](const dns_question& asked) {
        if (asked.name == "none.test") return answers{dns_answer().code(3)};
        if (asked.name == "empty.test") return answers{dns_answer()};
        if (asked.name == "ill.test") return answers{dns_answer().code(2)};
        if (asked.name == "loop.test") {
            return answers{
                dns_answer().alias("loop.test", "a.test").alias("a.test", "loop.test")};
        }
        return answers{dns_answer().code(5)};
    });
    auto options = only({by.server.at()});
    options.hosts = "/etc/hosts";
    const io::resolver names(options);
    const std::string server = "the server " + by.server.at().to_string();
    const auto check = [&](const std::string& name, std::vector<resolve_failure> how,
                           const std::vector<std::string>& stories) {
        try {
            static_cast<void>(by.addresses(names, name, family::v4));
            FAIL("it has addresses");
        } catch (const io::resolve_error& error) {
            const auto at = std::find(how.begin(), how.end(), error.failure());
            REQUIRE(at != how.end());
            const std::string& story = stories[static_cast<std::size_t>(at - how.begin())];
            CHECK(error.name() == name);
            CHECK(std::string(error.what()) == "resolve '" + name + "': " + story);
            CHECK(error.is_temporary() == (name == "ill.test" || name == "else.test"));
        }
    };
    const std::string nothing =
        "it has no IPv4 address: ask for one of the other family, or of both";
    // What 1.18 says of both.
    const std::string gone = server + " cannot be reached, or answers with a failure: check "
                                      "its address, that it runs, and whom it serves";
    check("none.test", {resolve_failure::not_found},
          {"there is no such name: check how it is written, or add it to /etc/hosts"});
    check("empty.test", {resolve_failure::no_addresses}, {nothing});
    check("loop.test", {resolve_failure::no_addresses}, {nothing});
    check(
        "ill.test", {resolve_failure::server_failed, resolve_failure::unreachable},
        {server + " could not find out (SERVFAIL): try again later, or ask another one", gone});
    check("else.test", {resolve_failure::refused, resolve_failure::unreachable},
          {server + " refuses to answer: ask one that serves this machine", gone});
    std::string text;
    options = only({nobody()});
    options.timeout = 20ms;
    const io::resolver other(options);
    CHECK(failure_of([&] { by.addresses(other, "some.test", family::v4); }, text) ==
          resolve_failure::unreachable);
    CHECK(text.find("cannot be reached, or answers with a failure: check") !=
          std::string::npos);
    CHECK(by.world.worker().in_flight() == 0);
}

TEST_CASE("resolver: S485: what is lost is asked again, and a late answer is as good") {
    const running_dns_server server([](const dns_question& asked) {
        const auto truth = dns_answer().address("192.0.2.5");
        if (asked.name == "lost.test" && asked.times <= 2) return answers();
        if (asked.name == "late.test" && asked.times == 1) return answers();
        if (asked.name == "late.test") return answers{truth, truth};
        return answers{truth};
    });
    auto options = only({server->at()});
    options.timeout = 30ms;
    options.tries = 8;
    const io::resolver names(options);
    runtime rt({.workers = 1});
    for (const char* const name : {"lost.test", "late.test"}) {
        CHECK(texts(rt.block_on(names.resolve(name, 80, family::v4))) == list{"192.0.2.5:80"});
    }
    CHECK(server->asked() >= 5);
}

TEST_CASE("resolver: S485: where one server keeps quiet the next is asked") {
    const running_dns_server quiet([](const dns_question&) { return answers(); });
    const running_dns_server talks([](const dns_question& asked) {
        if (asked.type == dns_type::aaaa) return answers{dns_answer()};
        return answers{dns_answer().address("192.0.2.5")};
    });
    auto options = only({quiet->at(), talks->at()});
    options.timeout = 30ms;
    options.tries = 6;
    const io::resolver names(options);
    const std::size_t before = open_descriptors();
    {
        runtime rt({.workers = 1});
        CHECK(texts(rt.block_on(names.resolve("a.test", 80))) == list{"192.0.2.5:80"});
    }
    CHECK(quiet->asked() >= 2);
    CHECK(open_descriptors() == before);
}

TEST_CASE("resolver: S485: where none answers, the error says whom it has asked, how often") {
    const running_dns_server quiet([](const dns_question&) { return answers(); });
    auto options = only({quiet->at()});
    options.timeout = 20ms;
    options.tries = 2;
    const io::resolver names(options);
    runtime rt({.workers = 1});
    std::string text;
    CHECK(failure_of([&] { rt.block_on(names.resolve("a.test", 80, family::v4)); }, text) ==
          resolve_failure::timed_out);
    CHECK(text == "resolve 'a.test': no answer from the server " + quiet->at().to_string() +
                      " in 2 tries, the first of 20 ms: check that it runs and that UDP "
                      "reaches it");
    CHECK(quiet->asked() == 2);
}

TEST_CASE("resolver: S486: lies are not believed, and the truth behind them is") {
    const auto lie = [] { return dns_answer().address("192.0.2.66"); };
    served by([&](const dns_question&) {
        return answers{lie().wrong_id(), lie().other_question(), lie().from_another_port(),
                       dns_answer().address("192.0.2.1")};
    });
    const io::resolver names(only({by.server.at()}));
    CHECK(by.addresses(names, "a.test", family::v4) == list{"192.0.2.1:80"});
}

TEST_CASE("resolver: S486: nothing but lies is no answer; garbage and half a record neither") {
    const running_dns_server server([](const dns_question& asked) {
        const auto lie = dns_answer().address("192.0.2.66");
        if (asked.name == "half.test")
            return answers{dns_answer().address("192.0.2.1").cut_record()};
        if (asked.name == "id.test") return answers{dns_answer(lie).wrong_id()};
        if (asked.name == "port.test") return answers{dns_answer(lie).from_another_port()};
        if (asked.name == "garbage.test" && asked.times > 1) {
            return answers{dns_answer().address("192.0.2.1")};
        }
        if (asked.name == "garbage.test") {
            return answers{dns_answer().garbage("x"),
                           dns_answer().garbage(std::string(600, '\xff'))};
        }
        return answers{dns_answer(lie).other_question()};
    });
    auto options = only({server->at()});
    options.timeout = 20ms;
    options.tries = 8;
    const io::resolver patient(options);
    options.tries = 2;
    const io::resolver names(options);
    runtime rt({.workers = 1});
    CHECK(texts(rt.block_on(patient.resolve("garbage.test", 80, family::v4))) ==
          list{"192.0.2.1:80"});
    for (const char* const name : {"id.test", "port.test", "question.test"}) {
        std::string text;
        CHECK(failure_of([&] { rt.block_on(names.resolve(name, 80, family::v4)); }, text) ==
              resolve_failure::timed_out);
    }
    std::string text;
    const auto how =
        failure_of([&] { rt.block_on(names.resolve("half.test", 80, family::v4)); }, text);
    // Newer versions of c-ares take it for another lie.
    CHECK((how == resolve_failure::malformed || how == resolve_failure::timed_out));
}

TEST_CASE("resolver: S487: an answer that is too long for UDP comes by TCP") {
    served by([](const dns_question& asked) {
        if (!asked.by_tcp) return answers{dns_answer().truncated()};
        dns_answer much;
        for (int i = 1; i <= 200; ++i) much.address(("192.0.2." + std::to_string(i)).c_str());
        return answers{much};
    });
    const io::resolver names(only({by.server.at()}));
    const std::size_t before = open_descriptors();
    CHECK(by.addresses(names, "a.test", family::v4).size() == 200);
    CHECK(by.server.asked_by_tcp() == 1);
    by.server.turn(); // the end of that connection
    CHECK(open_descriptors() == before);
}

TEST_CASE("resolver: S487: a server whose TCP breaks is an error, not a signal") {
    // One question has gone out by TCP; the other is to follow there, when that is gone.
    served by([](const dns_question& asked) {
        if (asked.by_tcp) return answers{dns_answer().hangs_up()};
        if (asked.type == dns_type::aaaa) return answers{dns_answer().truncated().held()};
        return answers{dns_answer().truncated()};
    });
    auto options = only({by.server.at()});
    options.tries = 2;
    options.timeout = 50ms;
    std::string text;
    const io::resolver names(options);
    const std::size_t before = open_descriptors();
    const auto how = failure_of([&] { by.addresses(names, "a.test"); }, text);
    CHECK(how > resolve_failure::bad_name);
    CHECK(by.server.asked_by_tcp() >= 1);
    CHECK(open_descriptors() == before);
}
