// What a request asks for: paths, queries and methods.
#ifndef TOADSTONE_EXAMPLES_HTTP_TARGET_HPP
#define TOADSTONE_EXAMPLES_HTTP_TARGET_HPP

#include "message.hpp"

#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace http {

/// The path of "/path?query" and of "http://host/path", as it is, escapes and all.
[[nodiscard]] std::string_view path_of(std::string_view target) noexcept;

/// A text without its %-escapes, and in a query with a space for each '+'.
///
/// Errors: error for an escape that is none.
[[nodiscard]] std::string unescaped(std::string_view text, bool of_query = false);

/// The other way, for a query: all but letters and digits of ASCII are escaped.
[[nodiscard]] std::string escaped(std::string_view text);

/// The last value of that name in the query of a target, unescaped; nothing if there is none.
///
/// Errors: error for an escape that is none.
[[nodiscard]] std::optional<std::string> parameter(std::string_view target,
                                                   std::string_view name);
/// Errors: error for what is no number, or too large for one.
[[nodiscard]] std::optional<std::uint64_t> number_in_query(std::string_view target,
                                                           std::string_view name);
/// Nothing for a text that is not all digits, or too large a number.
[[nodiscard]] std::optional<std::uint64_t> number_of(std::string_view text) noexcept;

/// Errors: error, which names those that are possible. HEAD comes with GET.
void expect_method(const request& from, std::initializer_list<std::string_view> possible);

/// Equal but for upper and lower case letters of ASCII.
[[nodiscard]] bool same_but_case(std::string_view one, std::string_view other) noexcept;

} // namespace http

#endif
