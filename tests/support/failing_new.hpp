// The operators new that fail when a simulation says so, for a test file of a program that has
// them in one place (failing_new.cpp), or of its own.
#ifndef TOADSTONE_TESTS_SUPPORT_FAILING_NEW_HPP
#define TOADSTONE_TESTS_SUPPORT_FAILING_NEW_HPP

#ifndef TOADSTONE_TESTS_SHARE_NEW
#include <toadstone/sim/failing_new.hpp>
#endif

#endif
