// std::format() of mutexes, where the standard library has it: "mutex 'accounts', free".
#ifndef TOADSTONE_SYNC_FORMAT_HPP
#define TOADSTONE_SYNC_FORMAT_HPP

#include <toadstone/sync/mutex.hpp>
#include <toadstone/sync/shared_mutex.hpp>

#include <string>
#include <version>

// Not in <toadstone/sync.hpp>: <format> is much to read.
#ifdef __cpp_lib_format
#include <format>

/// As to_string() of it, with what std::format() can say of a string.
template <class T, toadstone::sync::on_cancel C, toadstone::sync::on_exception E>
struct std::formatter<toadstone::sync::mutex<T, C, E>> : std::formatter<std::string> {
    template <class Context>
    auto format(const toadstone::sync::mutex<T, C, E>& of, Context& to) const {
        return std::formatter<std::string>::format(to_string(of), to);
    }
};
template <class T, toadstone::sync::on_cancel C, toadstone::sync::on_exception E>
struct std::formatter<toadstone::sync::shared_mutex<T, C, E>> : std::formatter<std::string> {
    template <class Context>
    auto format(const toadstone::sync::shared_mutex<T, C, E>& of, Context& to) const {
        return std::formatter<std::string>::format(to_string(of), to);
    }
};

#endif

#endif
