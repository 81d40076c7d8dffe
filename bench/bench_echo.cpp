// What an echo costs the server: toadstone beside a server with nothing between it and the
// ring, and beside other libraries' servers.
//
// Servers and load share one processor, because a load on another one measures wake-ups between
// processors more than servers. What counts is the processor time of the server's process per
// request, in short rounds that alternate between the servers. The raw server runs twice: the
// interval of its two ratios is the noise.
#include "echo.hpp"
#include "echo_process.hpp"
#include "measure.hpp"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include <sched.h>
#include <sys/resource.h>

namespace {

using bench::load_process;
using bench::load_shape;
using bench::server;
using bench::server_process;

struct contestant {
    std::string name;
    server serve = nullptr; ///< null: `program` is another program
    std::string program;
};

struct series {
    std::vector<double> cpu_us;
    std::vector<double> rate; ///< requests per second by the clock on the wall, thousands
    double calls = -1;        ///< system calls per request; -1: could not be counted
    double resident = 0;      ///< bytes per connection
};

class match {
public:
    match(const std::vector<contestant>& all, load_shape shape, std::uint64_t requests)
        : all_(all), shape_(shape), requests_(requests), found_(all.size()) {
        for (const contestant& each : all_) {
            servers_.push_back(
                each.serve ? std::make_unique<server_process>(each.serve, shape.connections)
                           : std::make_unique<server_process>(each.program));
        }
        // Only now: a server that begins later would hold the connections of an earlier one
        // open.
        for (std::size_t i = 0; i < servers_.size(); ++i) {
            const double before = servers_[i]->resident_bytes();
            loads_.push_back(std::make_unique<load_process>(servers_[i]->port(), shape));
            loads_[i]->run(std::max<std::uint64_t>(requests, shape.connections));
            found_[i].resident = (servers_[i]->resident_bytes() - before) / shape.connections;
        }
    }

    void play(unsigned rounds) {
        for (unsigned round = 0; round < rounds; ++round) {
            for (std::size_t turn = 0; turn < servers_.size(); ++turn) {
                // Nobody always comes first.
                one_round((turn + round) % servers_.size());
            }
        }
        for (std::size_t i = 0; i < servers_.size(); ++i) count_calls(i);
    }

    void print() const;

    // False: a server failed, or did not end when its connections had.
    [[nodiscard]] bool end() {
        loads_.clear();
        bool well = true;
        for (std::size_t i = 0; i < servers_.size(); ++i) {
            if (servers_[i]->end()) continue;
            std::fprintf(stderr, "bench_echo: %s failed or did not end\n",
                         all_[i].name.c_str());
            well = false;
        }
        return well;
    }

private:
    void one_round(std::size_t i) {
        using namespace std::chrono_literals;
        std::this_thread::sleep_for(500us); // what the last round left to do is done
        const double before = servers_[i]->cpu_ns();
        const bench::wall_stopwatch clock;
        loads_[i]->run(requests_);
        const double wall = clock.ns();
        std::this_thread::sleep_for(500us);
        const double used = servers_[i]->cpu_ns() - before;
        const auto requests = static_cast<double>(requests_);
        found_[i].cpu_us.push_back(used / 1e3 / requests);
        found_[i].rate.push_back(requests * 1e6 / wall);
    }

    // With all connections' messages there at once, or the load would decide.
    void count_calls(std::size_t i) {
        const bench::system_calls calls(servers_[i]->pid());
        if (!calls.available()) return;
        const double before = calls.count();
        loads_[i]->run_in_step(requests_);
        found_[i].calls = (calls.count() - before) / static_cast<double>(requests_);
    }

    const std::vector<contestant>& all_;
    load_shape shape_;
    std::uint64_t requests_;
    std::vector<std::unique_ptr<server_process>> servers_;
    std::vector<std::unique_ptr<load_process>> loads_;
    std::vector<series> found_;
};

double least(const std::vector<double>& values) {
    return *std::min_element(values.begin(), values.end());
}

void match::print() const {
    std::printf("\n%u connection%s x %zu bytes x %u under way, %llu requests a round\n"
                "  %-32s %8s %8s %7s %7s %7s %7s %8s %8s %8s\n",
                shape_.connections, shape_.connections == 1 ? "" : "s", shape_.size,
                shape_.depth, static_cast<unsigned long long>(requests_), "", "us", "min us",
                "ratio", "minima", "from", "to", "1000/s", "calls", "bytes");
    const series& peer = found_[0];
    for (std::size_t i = 0; i < all_.size(); ++i) {
        const series& each = found_[i];
        const bench::spread ratios = bench::ratios(each.cpu_us, peer.cpu_us);
        std::printf("  %-32s %8.3f %8.3f %7.3f %7.3f %7.3f %7.3f %8.1f ", all_[i].name.c_str(),
                    bench::median(each.cpu_us), least(each.cpu_us), ratios.median,
                    least(each.cpu_us) / least(peer.cpu_us), ratios.lower, ratios.upper,
                    bench::median(each.rate));
        each.calls < 0 ? std::printf("%8s", "-") : std::printf("%8.3f", each.calls);
        std::printf(" %8.0f\n", each.resident);
    }
    std::fflush(stdout);
}

[[nodiscard]] bool compare(const bench::options& chosen, const std::vector<contestant>& all,
                           load_shape shape) {
    // Not so many that a round of the largest takes longer than the machine stays the same.
    const std::uint64_t bytes = std::uint64_t{shape.size} * shape.depth;
    std::uint64_t requests = std::uint64_t{chosen.brief ? 200U : 4000U} * shape.depth;
    if (bytes > 16384) requests /= 8;
    requests = std::max<std::uint64_t>(requests, shape.connections);
    requests -= requests % shape.connections;
    match one(all, shape, requests);
    one.play(chosen.rounds);
    one.print();
    return one.end();
}

// The last processor that this process may use: others tend to be busier.
int pin() {
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (::sched_getaffinity(0, sizeof allowed, &allowed) != 0) return -1;
    int last = -1;
    for (int i = 0; i < CPU_SETSIZE; ++i) {
        if (CPU_ISSET(i, &allowed)) last = i;
    }
    if (last < 0) return -1;
    CPU_ZERO(&allowed);
    CPU_SET(last, &allowed);
    return ::sched_setaffinity(0, sizeof allowed, &allowed) == 0 ? last : -1;
}

// As many descriptors as the system lets it have; the children inherit that.
void allow_descriptors() {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
}

// The bench's own arguments: those of the two halves that can be run by themselves, under
// callgrind for example, and who takes part in what.
struct arguments {
    std::string_view serve;
    std::uint16_t port = 0;
    std::uint16_t stop = 0;
    bool in_step = false;
    load_shape shape;
    std::vector<load_shape> shapes;
    std::vector<contestant> peers;
};

[[nodiscard]] load_shape shape_of(const char* text) {
    load_shape shape;
    if (std::sscanf(text, "%ux%zux%u", &shape.connections, &shape.size, &shape.depth) == 3) {
        return shape;
    }
    std::fprintf(stderr, "bench_echo: '%s' is no CONNECTIONSxSIZExDEPTH\n", text);
    std::exit(2);
}

[[nodiscard]] arguments parse(const std::vector<char*>& others) {
    arguments chosen;
    for (std::size_t i = 0; i < others.size(); i += 2) {
        const std::string_view name = others[i];
        const char* const value = i + 1 < others.size() ? others[i + 1] : "";
        const auto number = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
        if (name == "--serve") {
            chosen.serve = value;
        } else if (name == "--load") {
            chosen.port = static_cast<std::uint16_t>(number);
        } else if (name == "--connections") {
            chosen.shape.connections = std::max(1U, number);
        } else if (name == "--size") {
            chosen.shape.size = std::max(1U, number);
        } else if (name == "--depth") {
            chosen.shape.depth = std::max(1U, number);
        } else if (name == "--stop") {
            chosen.stop = static_cast<std::uint16_t>(number);
        } else if (name == "--in-step") {
            chosen.in_step = number != 0;
        } else if (name == "--shape") {
            chosen.shapes.push_back(shape_of(value));
        } else if (name == "--peer") {
            const std::string_view both = value;
            const auto equals = both.find('=');
            chosen.peers.push_back(
                {std::string(both.substr(0, equals)), nullptr,
                 std::string(both.substr(std::min(equals, both.size() - 1) + 1))});
        } else {
            std::fprintf(stderr, "bench_echo: '%s' is not understood; try --help\n", others[i]);
            std::exit(2);
        }
    }
    return chosen;
}

const std::vector<std::pair<std::string_view, server>>& servers() {
    static const std::vector<std::pair<std::string_view, server>> all{
        {"raw", bench::serve_raw},
        {"bare", bench::serve_bare},
        {"recv", bench::serve_received},
        {"shipped", bench::serve_shipped},
        {"no-deadlines", bench::serve_without_deadlines},
    };
    return all;
}

int serve_alone(const arguments& chosen) {
    const auto tell = [](bench::server_ports ports) {
        std::printf("%u %u\n", ports.echo, ports.stop);
        std::fflush(stdout);
    };
    const unsigned connections = chosen.shape.connections;
    bench::leave_from_inside();
    for (const auto& [name, serve] : servers()) {
        if (chosen.serve == name) return serve(connections, tell);
    }
    std::fprintf(stderr, "bench_echo: there is no server '%s'\n", chosen.serve.data());
    return 2;
}

int load_alone(const arguments& chosen, std::uint64_t requests) {
    {
        bench::load_generator load(chosen.port, chosen.shape);
        if (chosen.in_step) {
            load.run_in_step(requests);
        } else {
            load.run(requests);
        }
    }
    if (chosen.stop != 0) bench::stop_server(chosen.stop);
    return 0;
}

constexpr const char* extra =
    "  --shape NxSIZExDEPTH   measure this instead: connections, bytes, messages under way;\n"
    "                         may be repeated\n"
    "  --peer NAME=PROGRAM    beside another server, which prints its port; may be repeated\n"
    "  --serve raw|bare|shipped|no-deadlines  be this server: print the ports for echoes and\n"
    "                         for stopping (0: stops when --connections have come and closed)\n"
    "  --load PORT            be the load: --connections N, --size BYTES, --depth N, --count\n"
    "                         requests, --in-step 1: in lock-step, --stop PORT: stop it then\n";

} // namespace

int main(int argc, char** argv) {
    const bench::options chosen =
        bench::parse(argc, argv, "Measures an echo server beside one on the bare ring.", extra);
    arguments part = parse(chosen.others);
    if (!part.serve.empty()) return serve_alone(part);
    if (part.port != 0) return load_alone(part, chosen.count);
    std::vector<contestant> all{
        {"raw io_uring, recv and send", bench::serve_raw, ""},
        {"raw io_uring again: the noise", bench::serve_raw, ""},
        {"toadstone, bare loop", bench::serve_bare, ""},
        {"toadstone, bare loop, recv()", bench::serve_received, ""},
        {"toadstone, as shipped", bench::serve_shipped, ""},
        {"toadstone, shipped, no deadlines", bench::serve_without_deadlines, ""},
    };
    all.insert(all.end(), part.peers.begin(), part.peers.end());
    if (part.shapes.empty()) {
        part.shapes = {{1, 64, 1}, {50, 1024, 16}};
        if (!chosen.brief)
            part.shapes.insert(part.shapes.end(), {{1, 1024, 1}, {50, 64, 1}, {50, 1024, 1}});
    }
    allow_descriptors();
    const int cpu = pin();
    std::printf(
        "bench_echo: processor time of the server per request; servers and load on "
        "processor %d;\n%u interleaved rounds; %zu bytes of buffer; ratios to the first "
        "in the same round;\ncalls: system calls per request; bytes: resident per "
        "connection after the first round\n",
        cpu, chosen.rounds, bench::echo_buffer);
    bool well = true;
    for (const load_shape& shape : part.shapes) well = compare(chosen, all, shape) && well;
    return well ? 0 : 1;
}
