// Reading the quotas of cgroups.
#include <toadstone/runtime/uring/quota.hpp>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

#include <sched.h>

namespace toadstone::detail {
namespace {

constexpr double no_limit = std::numeric_limits<double>::infinity();

double share(double quota, double period) noexcept {
    return quota > 0 && period > 0 ? quota / period : no_limit;
}

// "max 100000" or "150000 100000".
double limit_of_v2(const std::string& folder) {
    std::ifstream file(folder + "/cpu.max");
    double quota = 0;
    double period = 0;
    return file >> quota >> period ? share(quota, period) : no_limit;
}

double limit_of_v1(const std::string& folder) {
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us");
    std::ifstream period_file(folder + "/cpu.cfs_period_us");
    double quota = 0; // -1: none
    double period = 0;
    return quota_file >> quota && period_file >> period ? share(quota, period) : no_limit;
}

/// The least of a group and those around it, up to where the tree is mounted.
template <class Limit>
double least_limit(const std::string& mounted, std::string group, Limit limit) {
    double least = limit(mounted);
    while (!group.empty() && group != "/") {
        least = std::min(least, limit(mounted + group));
        group.resize(group.rfind('/') == std::string::npos ? 0 : group.rfind('/'));
    }
    return least;
}

bool names_cpu(const std::string& controllers) {
    std::istringstream in(controllers);
    for (std::string each; std::getline(in, each, ',');) {
        if (each == "cpu") return true;
    }
    return false;
}

} // namespace

unsigned processors_by_quota(const std::string& root) {
    const std::string mounted = root + "/sys/fs/cgroup";
    double least = no_limit;
    std::ifstream groups(root + "/proc/self/cgroup");
    for (std::string line; std::getline(groups, line);) { // 4:cpu,cpuacct:/docker/ab
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        const std::string group = line.substr(second + 1);
        if (controllers.empty()) {
            least = std::min(least, least_limit(mounted, group, limit_of_v2));
        } else if (names_cpu(controllers)) {
            least = std::min(least, least_limit(mounted + "/cpu", group, limit_of_v1));
        }
    }
    return least < 1e6 ? static_cast<unsigned>(std::max(1.0, std::ceil(least))) : 0;
}

unsigned processors() {
    cpu_set_t set;
    CPU_ZERO(&set);
    const bool known = sched_getaffinity(0, sizeof set, &set) == 0;
    const auto allowed = static_cast<unsigned>(known ? std::max(1, CPU_COUNT(&set)) : 1);
    // More threads than that would be stopped together, in the middle of what they do.
    const unsigned quota = processors_by_quota();
    return quota ? std::min(quota, allowed) : allowed;
}

} // namespace toadstone::detail
