// What an echo costs the server: toadstone beside a server with nothing between it and the
// ring.
//
// Servers and load share one processor, because a load on another one measures wake-ups between
// processors more than servers. What counts is the processor time of the server's process per
// request, in short rounds that alternate between the servers. The raw server runs twice: how
// far its two ratios are from 1.00 is the noise.
#include "echo.hpp"
#include "measure.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

using bench::load_shape;
using bench::server;

// A server in a process of its own, made before this one has any thread.
class server_process {
public:
    server_process(server serve, unsigned connections) {
        int ends[2];
        if (::pipe(ends) != 0 || (pid_ = ::fork()) < 0) {
            std::perror("bench_echo: pipe or fork");
            std::exit(1);
        }
        if (pid_ == 0) {
            ::prctl(PR_SET_PDEATHSIG, SIGKILL);
            const auto tell = [&](bench::server_ports ports) {
                if (::write(ends[1], &ports, sizeof ports) < 0) ::_exit(1);
            };
            ::_exit(serve(connections, tell));
        }
        ::close(ends[1]);
        if (::read(ends[0], &ports_, sizeof ports_) != sizeof ports_) {
            std::fprintf(stderr, "bench_echo: a server did not start\n");
            std::exit(1);
        }
        ::close(ends[0]);
        ::clock_getcpuclockid(pid_, &clock_);
    }
    server_process(const server_process&) = delete;
    server_process& operator=(const server_process&) = delete;
    ~server_process() {
        if (!ended_) static_cast<void>(end());
    }

    /// Waits for its end, which the end of its last connection brings. False: it failed, or had
    /// to be killed.
    [[nodiscard]] bool end() {
        ended_ = true;
        if (ports_.stop != 0) bench::stop_server(ports_.stop);
        int status = 0;
        for (int tries = 0; tries < 500; ++tries) {
            if (::waitpid(pid_, &status, WNOHANG) == pid_) {
                return WIFEXITED(status) && WEXITSTATUS(status) == 0;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, &status, 0);
        return false;
    }

    [[nodiscard]] std::uint16_t port() const noexcept { return ports_.echo; }
    [[nodiscard]] double cpu_ns() const noexcept {
        timespec used{};
        ::clock_gettime(clock_, &used);
        return static_cast<double>(used.tv_sec) * 1e9 + static_cast<double>(used.tv_nsec);
    }

private:
    pid_t pid_ = -1;
    bool ended_ = false;
    bench::server_ports ports_;
    clockid_t clock_{};
};

struct contestant {
    const char* name;
    server serve;
};
constexpr std::array<contestant, 4> contestants{{
    {"raw io_uring, recv and send", bench::serve_raw},
    {"raw io_uring again: the noise", bench::serve_raw},
    {"toadstone, bare loop", bench::serve_bare},
    {"toadstone, as shipped", bench::serve_shipped},
}};

struct series {
    std::vector<double> cpu_us;
    std::vector<double> rate; ///< requests per second by the clock on the wall, thousands
};

void one_round(const server_process& server, bench::load_generator& load,
               std::uint64_t requests, series& into) {
    using namespace std::chrono_literals;
    std::this_thread::sleep_for(500us); // what the last round left to do is done
    const double before = server.cpu_ns();
    const bench::wall_stopwatch clock;
    load.run(requests);
    const double wall = clock.ns();
    std::this_thread::sleep_for(500us);
    const double used = server.cpu_ns() - before;
    into.cpu_us.push_back(used / 1e3 / static_cast<double>(requests));
    into.rate.push_back(static_cast<double>(requests) * 1e6 / wall);
}

void print(const std::array<series, contestants.size()>& found) {
    const series& peer = found[0];
    for (std::size_t i = 0; i < contestants.size(); ++i) {
        const series& each = found[i];
        std::vector<double> ratios;
        for (std::size_t round = 0; round < each.cpu_us.size(); ++round) {
            ratios.push_back(each.cpu_us[round] / peer.cpu_us[round]);
        }
        const double least = *std::min_element(each.cpu_us.begin(), each.cpu_us.end());
        const double least_of_peer = *std::min_element(peer.cpu_us.begin(), peer.cpu_us.end());
        std::printf("  %-32s %10.3f %10.3f %10.3f %10.3f %10.1f\n", contestants[i].name,
                    bench::median(each.cpu_us), least, bench::median(ratios),
                    least / least_of_peer, bench::median(each.rate));
    }
    std::fflush(stdout);
}

// False: a server failed, or did not end when its connections had.
[[nodiscard]] bool compare(const bench::options& chosen, load_shape shape) {
    std::vector<std::unique_ptr<server_process>> servers;
    std::vector<std::unique_ptr<bench::load_generator>> loads;
    for (const contestant& each : contestants) {
        servers.push_back(std::make_unique<server_process>(each.serve, shape.connections));
        loads.push_back(std::make_unique<bench::load_generator>(servers.back()->port(), shape));
    }
    const std::uint64_t requests = std::uint64_t{chosen.brief ? 200U : 4000U} * shape.depth;
    std::array<series, contestants.size()> found;
    series warming;
    for (std::size_t i = 0; i < servers.size(); ++i) {
        one_round(*servers[i], *loads[i], requests, warming);
    }
    for (unsigned round = 0; round < chosen.rounds; ++round) {
        for (std::size_t turn = 0; turn < servers.size(); ++turn) {
            // Nobody always comes first.
            const std::size_t i = (turn + round) % servers.size();
            one_round(*servers[i], *loads[i], requests, found[i]);
        }
    }
    std::printf("\n%u connection%s x %zu bytes x %u under way, %llu requests a round\n"
                "  %-32s %10s %10s %10s %10s %10s\n",
                shape.connections, shape.connections == 1 ? "" : "s", shape.size, shape.depth,
                static_cast<unsigned long long>(requests), "", "median us", "min us", "ratio",
                "of minima", "1000/s");
    print(found);
    loads.clear();
    bool well = true;
    for (std::size_t i = 0; i < servers.size(); ++i) {
        if (servers[i]->end()) continue;
        std::fprintf(stderr, "bench_echo: %s failed or did not end\n", contestants[i].name);
        well = false;
    }
    return well;
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

// The arguments of the two halves that can be run by themselves, under callgrind for example.
struct half {
    std::string_view serve;
    std::uint16_t port = 0;
    std::uint16_t stop = 0;
    bool in_step = false;
    load_shape shape;
};

[[nodiscard]] half parse(const std::vector<char*>& others) {
    half chosen;
    for (std::size_t i = 0; i + 1 < others.size(); i += 2) {
        const std::string_view name = others[i];
        const char* const value = others[i + 1];
        const auto number = static_cast<unsigned>(std::strtoul(value, nullptr, 10));
        if (name == "--serve") {
            chosen.serve = value;
        } else if (name == "--load") {
            chosen.port = static_cast<std::uint16_t>(number);
        } else if (name == "--stop") {
            chosen.stop = static_cast<std::uint16_t>(number);
        } else if (name == "--in-step") {
            chosen.in_step = number != 0;
        } else if (name == "--connections") {
            chosen.shape.connections = std::max(1U, number);
        } else if (name == "--size") {
            chosen.shape.size = std::max(1U, number);
        } else if (name == "--depth") {
            chosen.shape.depth = std::max(1U, number);
        } else {
            std::fprintf(stderr, "bench_echo: '%s' is not understood; try --help\n", others[i]);
            std::exit(2);
        }
    }
    return chosen;
}

int serve_alone(const half& chosen) {
    const auto tell = [](bench::server_ports ports) {
        std::printf("%u %u\n", ports.echo, ports.stop);
        std::fflush(stdout);
    };
    const unsigned connections = chosen.shape.connections;
    bench::leave_from_inside();
    for (const auto& [name, serve] : {
             std::pair<std::string_view, server>{"raw", bench::serve_raw},
             {"bare", bench::serve_bare},
             {"shipped", bench::serve_shipped},
         }) {
        if (chosen.serve == name) return serve(connections, tell);
    }
    std::fprintf(stderr, "bench_echo: there is no server '%s'\n", chosen.serve.data());
    return 2;
}

int load_alone(const half& chosen, std::uint64_t requests) {
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
    "  --serve raw|bare|shipped  be this server: print the ports for echoes and for stopping\n"
    "                         (0: stops when --connections have come and closed)\n"
    "  --load PORT            be the load: --connections N, --size BYTES, --depth N, --count\n"
    "                         requests, --in-step 1: in lock-step, --stop PORT: stop it then\n";

} // namespace

int main(int argc, char** argv) {
    const bench::options chosen =
        bench::parse(argc, argv, "Measures an echo server beside one on the bare ring.", extra);
    const half part = parse(chosen.others);
    if (!part.serve.empty()) return serve_alone(part);
    if (part.port != 0) return load_alone(part, chosen.count);
    const int cpu = pin();
    std::printf("bench_echo: processor time of the server per request; servers and load on "
                "processor %d;\n%u interleaved rounds; all servers: one ring, DEFER_TASKRUN, "
                "plain recv and send, %zu bytes of buffer\n",
                cpu, chosen.rounds, bench::echo_buffer);
    bool well = true;
    for (const load_shape& shape :
         {load_shape{1, 64, 1}, load_shape{1, 1024, 1}, load_shape{50, 64, 1},
          load_shape{50, 1024, 1}, load_shape{50, 1024, 16}}) {
        well = compare(chosen, shape) && well;
    }
    return well ? 0 : 1;
}
