// The only file that knows the JSON library.
#include "operation_json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tracker {
namespace {

using nlohmann::json;

constexpr int deepest = 16;
constexpr std::size_t longest_name = 200;
constexpr std::size_t longest_note = 2000;

/// The members of one JSON object, as the parser tells them; what is nested in them is checked
/// and dropped. No tree is made: the library's trees need memory to be destroyed, and we have
/// to survive without.
class members final : public nlohmann::json_sax<json> {
public:
    /// Errors: bad_json.
    explicit members(std::string_view text) {
        // The parser takes it for the end of the text, whatever comes after it.
        if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
            throw bad_json("this is not valid JSON, byte " + std::to_string(at + 1) + " is 0");
        }
        json::sax_parse(text.begin(), text.end(), static_cast<json_sax*>(this));
    }

    /// Empty if there is none. Errors: bad_json.
    [[nodiscard]] std::string text(const char* name, std::size_t longest) const {
        const member* found = find(name);
        if (!found) return {};
        if (found->is != kind::text) throw bad_json(quoted(name) + " is not a string");
        if (found->text.size() > longest) {
            throw bad_json(quoted(name) + " is longer than " + std::to_string(longest) +
                           " bytes");
        }
        return found->text;
    }
    /// Errors: bad_json.
    [[nodiscard]] std::uint64_t number(const char* name) const {
        const member* found = find(name);
        if (!found || found->is != kind::number) {
            throw bad_json(quoted(name) + " is missing or not a number");
        }
        return found->number;
    }
    [[nodiscard]] bool has(const char* name) const noexcept { return find(name) != nullptr; }

private:
    enum class kind : unsigned char { text, number, other };
    struct member {
        std::string name;
        kind is = kind::other;
        std::string text{};
        std::uint64_t number = 0;
    };

    static std::string quoted(const char* name) { return '"' + std::string(name) + '"'; }

    [[nodiscard]] const member* find(std::string_view name) const noexcept {
        const member* last = nullptr; // of those with the same name
        for (const member& each : all_) {
            if (each.name == name) last = &each;
        }
        return last;
    }

    // json_sax: every value, and where it is.
    bool null() override { return simple("null"); }
    bool boolean(bool) override { return simple("a boolean"); }
    bool number_integer(number_integer_t) override { return simple("a number"); }
    bool number_float(number_float_t, const string_t&) override { return simple("a number"); }
    bool binary(binary_t&) override { return simple("bytes"); }
    bool number_unsigned(number_unsigned_t value) override {
        simple("a number");
        if (depth_ == 1) {
            all_.back().is = kind::number;
            all_.back().number = value;
        }
        return true;
    }
    bool string(string_t& value) override {
        simple("a string");
        if (depth_ == 1) {
            all_.back().is = kind::text;
            all_.back().text = value;
        }
        return true;
    }
    bool key(string_t& name) override {
        if (depth_ == 1) all_.push_back({name});
        return true;
    }
    bool start_object(std::size_t) override { return deeper(); }
    bool end_object() override { return --depth_ >= 0; }
    bool start_array(std::size_t) override { return simple("an array") && deeper(); }
    bool end_array() override { return --depth_ >= 0; }
    bool parse_error(std::size_t at, const std::string&, const json::exception& why) override {
        if (dynamic_cast<const json::parse_error*>(&why)) {
            throw bad_json("this is not valid JSON, see byte " + std::to_string(at));
        }
        throw bad_json("the JSON holds a number that is out of range");
    }

    bool simple(const char* what) const {
        if (depth_ > 0) return true;
        throw bad_json("a JSON object is expected, not " + std::string(what));
    }
    bool deeper() {
        if (++depth_ <= deepest) return true;
        throw bad_json("the JSON is nested deeper than " + std::to_string(deepest) + " levels");
    }

    std::vector<member> all_;
    int depth_ = 0;
};

std::string name_of(const members& object) {
    std::string name = object.text("name", longest_name);
    if (name.empty()) throw bad_json("\"name\" is missing or empty");
    return name;
}

message message_of(const members& object) {
    const std::string name = object.text("event", 100);
    if (name.empty()) throw bad_json("\"event\" is missing; it is one of " + all_events());
    const auto what = event_of(name);
    if (!what) throw bad_json("\"event\" is none of " + all_events());
    message read;
    read.what = *what;
    read.note = object.text("note", longest_note);
    return read;
}

bool is_plain(char c) noexcept {
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

/// Most texts are plain, and many of them are listed at once. Bytes that are not UTF-8, quoted
/// in an error, become U+FFFD instead of an exception.
void append_quoted(std::string& to, std::string_view text) {
    if (std::all_of(text.begin(), text.end(), is_plain)) {
        to.append(1, '"').append(text).append(1, '"');
    } else {
        to.append(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
    }
}

std::string in_quotes(std::string_view text) {
    std::string quoted;
    append_quoted(quoted, text);
    return quoted;
}

void append_object(std::string& to, const operation& which) {
    to.append("{\"id\":").append(std::to_string(which.id)).append(",\"name\":");
    append_quoted(to, which.name);
    to.append(",\"state\":\"").append(to_string(which.now)).append("\",\"messages\":");
    to.append(std::to_string(which.messages));
    if (!which.note.empty()) {
        to.append(",\"note\":");
        append_quoted(to, which.note);
    }
    to.append("}");
}

} // namespace

std::string read_name(std::string_view body) {
    return name_of(members(body));
}

message read_message(std::string_view body) {
    return message_of(members(body));
}

std::string to_json(const operation& which) {
    std::string text;
    append_object(text, which);
    return text;
}

std::string to_json(std::span<const operation> all) {
    std::string text = "{\"operations\":[";
    for (const operation& each : all) {
        if (text.back() != '[') text += ',';
        append_object(text, each);
    }
    return text.append("]}");
}

bool list_writer::add(const operation& which) {
    if (text_.size() >= page_bytes) return false;
    if (last_ != 0) text_ += ',';
    append_object(text_, which);
    last_ = which.id;
    return true;
}

std::string list_writer::finish(bool more, std::size_t limit) {
    text_ += ']';
    if (more) {
        text_.append(",\"next\":\"/operations?after=").append(std::to_string(last_));
        text_.append("&limit=").append(std::to_string(limit)).append("\"");
    }
    text_ += '}';
    return std::move(text_);
}

std::string error_to_json(std::string_view sentence) {
    return "{\"error\":" + in_quotes(sentence) + '}';
}

journal_record read_record(std::string_view line) {
    const members object(line);
    journal_record record;
    record.id = object.number("id");
    if (object.has("event")) {
        record.what = message_of(object);
    } else {
        record.name = name_of(object);
    }
    return record;
}

std::string line_for_new(operation_id id, std::string_view name) {
    return "{\"id\":" + std::to_string(id) + ",\"name\":" + in_quotes(name) + "}\n";
}

std::string line_for_message(operation_id id, const message& what) {
    std::string text = "{\"id\":" + std::to_string(id);
    text.append(",\"event\":").append(in_quotes(to_string(what.what)));
    if (!what.note.empty()) text.append(",\"note\":").append(in_quotes(what.note));
    return text.append("}\n");
}

} // namespace tracker
