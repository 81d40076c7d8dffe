// What nearly every test includes, compiled once for each joint program (tests/meson.build).
#ifndef TOADSTONE_TESTS_SUPPORT_PCH_TESTS_HPP
#define TOADSTONE_TESTS_SUPPORT_PCH_TESTS_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>
#include <toadstone/sim.hpp>
#include <toadstone/sync.hpp>

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#endif // TOADSTONE_TESTS_SUPPORT_PCH_TESTS_HPP
