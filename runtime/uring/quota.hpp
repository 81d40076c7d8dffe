// How many processors the process may use.
#ifndef TOADSTONE_RUNTIME_URING_QUOTA_HPP
#define TOADSTONE_RUNTIME_URING_QUOTA_HPP

#include <string>

namespace toadstone::detail {

/// The processor time that the cgroups of this process allow, in whole processors, rounded up;
/// 0: as much as there is, or it cannot be read.
/// Source: cpu.max of cgroup v2 and cpu.cfs_quota_us of v1, of the process's own group and all
///     around it (kernel: admin-guide/cgroup-v2.rst, scheduler/sched-bwc.rst).
/// `root`: before the paths of /proc and /sys, for tests.
[[nodiscard]] unsigned processors_by_quota(const std::string& root = {});

/// By the affinity of this thread, and by the quota. At least 1.
[[nodiscard]] unsigned processors();

} // namespace toadstone::detail

#endif
