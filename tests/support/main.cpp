// The main() of every test program, where Catch2 2 leaves it to its user.
#define CATCH_CONFIG_MAIN
#include <catch2/catch.hpp>
