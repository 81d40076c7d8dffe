// Lets a test that is written for Catch2 2 compile with Catch2 3; only then is it on the path.
#ifndef TOADSTONE_TESTS_SUPPORT_CATCH2_V3_CATCH2_CATCH_HPP
#define TOADSTONE_TESTS_SUPPORT_CATCH2_V3_CATCH2_CATCH_HPP

#include <catch2/catch_all.hpp>

using Catch::Approx;
using namespace Catch::Matchers;

#endif // TOADSTONE_TESTS_SUPPORT_CATCH2_V3_CATCH2_CATCH_HPP
