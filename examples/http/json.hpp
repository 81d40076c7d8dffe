// JSON as requests and answers have it: texts in quotes, and the members of one object.
#ifndef TOADSTONE_EXAMPLES_HTTP_JSON_HPP
#define TOADSTONE_EXAMPLES_HTTP_JSON_HPP

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace http {

/// Not JSON, or not the JSON that is expected; what() is a sentence for whoever wrote it.
class bad_json : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// The members of one JSON object. What is nested in them is checked and dropped. No tree is
/// made: the library's trees need memory to be destroyed, and a server has to survive without.
class json_object {
public:
    /// Errors: bad_json.
    explicit json_object(std::string_view text);

    /// Empty if there is none. Errors: bad_json, also for more than `longest` bytes.
    [[nodiscard]] std::string text(const char* name, std::size_t longest) const;
    /// Errors: bad_json, also if there is none.
    [[nodiscard]] std::uint64_t number(const char* name) const;
    [[nodiscard]] bool has(const char* name) const noexcept { return find(name) != nullptr; }

private:
    struct reader;
    enum class kind : unsigned char { text, number, other };
    struct member {
        std::string name;
        kind is = kind::other;
        std::string text{};
        std::uint64_t number = 0;
    };

    [[nodiscard]] const member* find(std::string_view name) const noexcept;

    std::vector<member> all_;
};

/// Appends a text in quotes. Bytes that are not UTF-8, quoted in an error, become U+FFFD
/// instead of an exception.
void append_quoted(std::string& to, std::string_view text);
[[nodiscard]] std::string in_quotes(std::string_view text);
/// {"error": "..."}, whatever bytes the sentence quotes.
[[nodiscard]] std::string error_to_json(std::string_view sentence);

} // namespace http

#endif
