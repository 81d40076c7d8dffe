// Lets a test that is written for Catch2 2 compile with Catch2 3; only then is it on the path.
#ifndef TOADSTONE_TESTS_SUPPORT_CATCH2_V3_CATCH2_CATCH_HPP
#define TOADSTONE_TESTS_SUPPORT_CATCH2_V3_CATCH2_CATCH_HPP

#include <catch2/catch_all.hpp>

#include <string>

namespace Catch {

/// Catch2 2 says it of strings alone; Matchers::Contains is about ranges.
inline auto Contains(const std::string& text, CaseSensitive how = CaseSensitive::Yes) {
    return Matchers::ContainsSubstring(text, how);
}
using Matchers::EndsWith;
using Matchers::Equals;
using Matchers::Matches;
using Matchers::Message;
using Matchers::StartsWith;

} // namespace Catch

#endif // TOADSTONE_TESTS_SUPPORT_CATCH2_V3_CATCH2_CATCH_HPP
