// Code that ends the process, run in a child.
#ifndef TOADSTONE_TESTS_SUPPORT_DIES_HPP
#define TOADSTONE_TESTS_SUPPORT_DIES_HPP

#include "capture.hpp"

#include <catch2/catch.hpp>

#include <csignal>
#include <string>

namespace toadstone::tests {

/// Runs it in a child process, and requires that it dies by SIGABRT with the sentence.
template <class Fn>
void dies_saying(const std::string& sentence, Fn fn) {
    const child_end end = in_child([&fn]() -> int {
        std::signal(SIGABRT, SIG_DFL); // Catch2 would report the child as the test
        fn();
        return 0;
    });
    CHECK_FALSE(end.exited);
    CHECK(end.signal == SIGABRT);
    CHECK(end.err.find("toadstone: " + sentence) != std::string::npos);
}

} // namespace toadstone::tests

#endif
