// For programs of several test files whose operators new fail.
#include <toadstone/sim/failing_new.hpp>
