// Formatters: the terms by which a document is found, one piece of it after the other.
#ifndef TOADSTONE_EXAMPLES_DOCUMENT_CACHE_FORMATTER_HPP
#define TOADSTONE_EXAMPLES_DOCUMENT_CACHE_FORMATTER_HPP

#include "document.hpp"

#include <cstddef>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace cache {

/// A document is not what its format says. what() names the line.
class malformed : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// Terms: runs of letters and digits, ASCII in lower case, other UTF-8 as it is, cut at
/// longest_term bytes.
inline constexpr std::size_t longest_term = 64;
/// The first term in a text, as add_terms() would find it; empty: none, or there are more.
[[nodiscard]] std::string only_term(std::string_view text);

/// Takes a document apart line by line. What is wrong in a line is noticed when its turn comes,
/// as in a formatter that reads from a stream: the terms before it are with the caller by then.
///
/// text: anything but control characters. csv: a comma between fields, each line with as many
/// as the first; quotes, doubled inside them, and no line breaks. markdown: links and code
/// spans are closed in their line, fences (```) before the end. json: a value on each line;
/// the texts in it are looked at, not the names.
///
/// Lifetime: not longer than the body.
class formatter {
public:
    formatter(format how, std::string_view body) noexcept : how_(how), rest_(body) {}

    /// Appends the terms of the next line to `into`. Returns: false at the end.
    /// Errors: malformed.
    [[nodiscard]] bool next(std::vector<std::string>& into);

private:
    [[noreturn]] void refuse(const std::string& why) const;
    void text_line(std::string_view line, std::vector<std::string>& into) const;
    void csv_line(std::string_view line, std::vector<std::string>& into);
    void markdown_line(std::string_view line, std::vector<std::string>& into);
    void json_line(std::string_view line, std::vector<std::string>& into) const;

    format how_;
    std::string_view rest_;
    std::size_t line_ = 0;
    std::optional<std::size_t> columns_; // csv: of the first line
    std::size_t fence_ = 0;              // markdown: the line of one that is open, or 0
};

/// All terms, sorted, each of them once. Errors: malformed.
[[nodiscard]] std::vector<std::string> terms_of(const document& what);
/// Of what was in a journal or a snapshot, where only what a formatter has taken comes.
/// `whatever`: those before what is malformed, if something is. Errors: std::runtime_error.
[[nodiscard]] std::vector<std::string> terms_of_kept(const document& what,
                                                     bool whatever = false);

} // namespace cache

#endif
