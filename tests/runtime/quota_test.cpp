// The quota of a container: read as the kernel writes it, of every group around the process.
#include <toadstone/runtime/uring/quota.hpp>

#include <catch2/catch.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

using toadstone::detail::processors_by_quota;

namespace {

namespace fs = std::filesystem;

/// A tree in the place of / with what /proc and /sys say.
class tree {
public:
    tree() {
        std::string made = (fs::temp_directory_path() / "quota.XXXXXX").string();
        REQUIRE(::mkdtemp(made.data()));
        root_ = made;
    }
    tree(const tree&) = delete;
    tree& operator=(const tree&) = delete;
    ~tree() { fs::remove_all(root_); }

    void put(const std::string& path, const std::string& text) const {
        const fs::path file = root_.string() + path;
        fs::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }
    [[nodiscard]] unsigned processors() const { return processors_by_quota(root_.string()); }

private:
    fs::path root_;
};

} // namespace

TEST_CASE("S480: where nothing limits it, or nothing can be read, there is no quota") {
    const tree at;
    CHECK(at.processors() == 0);
    at.put("/proc/self/cgroup", "0::/\n");
    CHECK(at.processors() == 0);
    at.put("/sys/fs/cgroup/cpu.max", "max 100000\n");
    CHECK(at.processors() == 0);
    at.put("/proc/self/cgroup", "nonsense\n\n:\n");
    CHECK(at.processors() == 0);
}

TEST_CASE("S480: a quota of cgroup v2 counts in whole processors, rounded up") {
    const tree at;
    at.put("/proc/self/cgroup", "0::/\n");
    at.put("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    CHECK(at.processors() == 2);
    at.put("/sys/fs/cgroup/cpu.max", "150000 100000\n");
    CHECK(at.processors() == 2);
    at.put("/sys/fs/cgroup/cpu.max", "1000 100000\n");
    CHECK(at.processors() == 1);
}

TEST_CASE("S480: of the process's group and those around it the least counts") {
    const tree at;
    at.put("/proc/self/cgroup", "0::/system.slice/server.service\n");
    at.put("/sys/fs/cgroup/system.slice/server.service/cpu.max", "max 100000\n");
    at.put("/sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n");
    CHECK(at.processors() == 3);
    at.put("/sys/fs/cgroup/system.slice/server.service/cpu.max", "100000 100000\n");
    CHECK(at.processors() == 1);
}

TEST_CASE("S480: quotas of cgroup v1 count, too") {
    const tree at;
    at.put("/proc/self/cgroup", "5:memory:/docker/ab\n4:cpuacct,cpu:/docker/ab\n1:cpuset:/x\n");
    at.put("/sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us", "-1\n");
    at.put("/sys/fs/cgroup/cpu/docker/ab/cpu.cfs_period_us", "100000\n");
    CHECK(at.processors() == 0);
    at.put("/sys/fs/cgroup/cpu/docker/ab/cpu.cfs_quota_us", "400000\n");
    CHECK(at.processors() == 4);
    at.put("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n"); // as a container sees its own
    at.put("/sys/fs/cgroup/cpu/cpu.cfs_period_us", "50000\n");
    CHECK(at.processors() == 2);
}
