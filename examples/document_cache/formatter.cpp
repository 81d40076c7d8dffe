// Small and strict: what these refuse is what a document cache is tried with.
#include "formatter.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <utility>

namespace cache {
namespace {

bool in_a_term(char byte) noexcept {
    return (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
           (byte >= 'A' && byte <= 'Z') || static_cast<unsigned char>(byte) >= 0x80;
}
char lower(char byte) noexcept {
    return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte - 'A' + 'a') : byte;
}

void add_terms(std::string_view text, std::vector<std::string>& into) {
    std::string term;
    for (std::size_t i = 0; i <= text.size(); ++i) {
        if (i < text.size() && in_a_term(text[i])) {
            if (term.size() < longest_term) term += lower(text[i]);
        } else if (!term.empty()) {
            into.push_back(std::exchange(term, {}));
        }
    }
}

/// The texts in a value of JSON, however deep: the parser tells of each, and builds nothing.
class text_taker : public nlohmann::json_sax<nlohmann::json> {
public:
    explicit text_taker(std::vector<std::string>& into) noexcept : into_(into) {}
    bool null() override { return true; }
    bool boolean(bool) override { return true; }
    bool number_integer(number_integer_t) override { return true; }
    bool number_unsigned(number_unsigned_t) override { return true; }
    bool number_float(number_float_t, const string_t&) override { return true; }
    bool string(string_t& text) override {
        add_terms(text, into_);
        return true;
    }
    bool binary(binary_t&) override { return true; }
    bool start_object(std::size_t) override { return true; }
    bool key(string_t&) override { return true; }
    bool end_object() override { return true; }
    bool start_array(std::size_t) override { return true; }
    bool end_array() override { return true; }
    bool parse_error(std::size_t, const std::string&,
                     const nlohmann::json::exception&) override {
        return false;
    }

private:
    std::vector<std::string>& into_;
};

} // namespace

std::string only_term(std::string_view text) {
    std::vector<std::string> terms;
    add_terms(text, terms);
    return terms.size() == 1 ? std::move(terms.front()) : std::string();
}

void formatter::refuse(const std::string& why) const {
    throw malformed(std::string(to_string(how_)) + ", line " + std::to_string(line_) + ": " +
                    why);
}

bool formatter::next(std::vector<std::string>& into) {
    if (rest_.empty()) {
        if (fence_ != 0) {
            line_ = fence_;
            refuse("this fence is not closed");
        }
        return false;
    }
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    std::string_view line = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    ++line_;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    switch (how_) {
    case format::text:
        text_line(line, into);
        break;
    case format::csv:
        csv_line(line, into);
        break;
    case format::markdown:
        markdown_line(line, into);
        break;
    case format::json:
        json_line(line, into);
        break;
    }
    return true;
}

void formatter::text_line(std::string_view line, std::vector<std::string>& into) const {
    for (const char each : line) {
        const auto byte = static_cast<unsigned char>(each);
        if ((byte < 0x20 && byte != '\t') || byte == 0x7f) {
            refuse("a control character, " + std::to_string(byte));
        }
    }
    add_terms(line, into);
}

void formatter::csv_line(std::string_view line, std::vector<std::string>& into) {
    std::size_t fields = 1;
    bool quoted = false;
    for (std::size_t i = 0; i < line.size(); ++i) {
        if (line[i] == ',' && !quoted) ++fields;
        if (line[i] != '"') continue;
        if (!quoted && i > 0 && line[i - 1] != ',') refuse("a quote inside a field");
        if (quoted && i + 1 < line.size() && line[i + 1] == '"') {
            ++i;
        } else {
            quoted = !quoted;
            if (!quoted && i + 1 < line.size() && line[i + 1] != ',') {
                refuse("something behind the end of a quoted field");
            }
        }
    }
    if (quoted) refuse("a quoted field has no end");
    if (!columns_) columns_ = fields;
    if (fields != *columns_) {
        refuse(std::to_string(fields) + " fields, the first line has " +
               std::to_string(*columns_));
    }
    add_terms(line, into);
}

void formatter::markdown_line(std::string_view line, std::vector<std::string>& into) {
    if (line.starts_with("```")) {
        fence_ = fence_ == 0 ? line_ : 0;
        add_terms(line, into);
        return;
    }
    if (fence_ == 0) {
        if (std::count(line.begin(), line.end(), '`') % 2 != 0) {
            refuse("a code span has no end");
        }
        for (std::size_t at = 0; (at = line.find("](", at)) != std::string_view::npos; ++at) {
            if (line.find(')', at) == std::string_view::npos) refuse("a link has no end");
        }
    }
    add_terms(line, into);
}

void formatter::json_line(std::string_view line, std::vector<std::string>& into) const {
    if (line.empty()) return;
    text_taker texts(into);
    if (!nlohmann::json::sax_parse(line.begin(), line.end(), &texts)) {
        refuse("this is no JSON");
    }
}

namespace {

void sort_out(std::vector<std::string>& terms) {
    std::sort(terms.begin(), terms.end());
    terms.erase(std::unique(terms.begin(), terms.end()), terms.end());
}

} // namespace

std::vector<std::string> terms_of(const document& what) {
    std::vector<std::string> terms;
    formatter pieces(what.how, what.body);
    while (pieces.next(terms)) {
    }
    sort_out(terms);
    return terms;
}

std::vector<std::string> terms_of_kept(const document& what, bool whatever) {
    std::vector<std::string> terms;
    formatter pieces(what.how, what.body);
    try {
        while (pieces.next(terms)) {
        }
    } catch (const malformed& error) {
        if (!whatever) {
            throw std::runtime_error(
                "the document '" + what.id +
                "' was kept, and its formatter refuses it: " + error.what());
        }
    }
    sort_out(terms);
    return terms;
}

} // namespace cache
