// The only file that knows the JSON library.
#include "json.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>

namespace http {
namespace {

using nlohmann::json;

constexpr int deepest = 16;

std::string quoted(const char* name) {
    return '"' + std::string(name) + '"';
}

bool is_plain(char c) noexcept {
    return c >= ' ' && c <= '~' && c != '"' && c != '\\';
}

} // namespace

/// Takes the members as the parser tells them.
struct json_object::reader final : nlohmann::json_sax<json> {
    explicit reader(std::vector<member>& members) : of(members) {}

    // Every value, and where it is.
    bool null() override { return simple("null"); }
    bool boolean(bool) override { return simple("a boolean"); }
    bool number_integer(number_integer_t) override { return simple("a number"); }
    bool number_float(number_float_t, const string_t&) override { return simple("a number"); }
    bool binary(binary_t&) override { return simple("bytes"); }
    bool number_unsigned(number_unsigned_t value) override {
        simple("a number");
        if (depth == 1) {
            of.back().is = json_object::kind::number;
            of.back().number = value;
        }
        return true;
    }
    bool string(string_t& value) override {
        simple("a string");
        if (depth == 1) {
            of.back().is = json_object::kind::text;
            of.back().text = value;
        }
        return true;
    }
    bool key(string_t& name) override {
        if (depth == 1) of.push_back({name});
        return true;
    }
    bool start_object(std::size_t) override { return deeper(); }
    bool end_object() override { return --depth >= 0; }
    bool start_array(std::size_t) override { return simple("an array") && deeper(); }
    bool end_array() override { return --depth >= 0; }
    bool parse_error(std::size_t at, const std::string&, const json::exception& why) override {
        if (dynamic_cast<const json::parse_error*>(&why)) {
            throw bad_json("this is not valid JSON, see byte " + std::to_string(at));
        }
        throw bad_json("the JSON holds a number that is out of range");
    }

    bool simple(const char* what) const {
        if (depth > 0) return true;
        throw bad_json("a JSON object is expected, not " + std::string(what));
    }
    bool deeper() {
        if (++depth <= deepest) return true;
        throw bad_json("the JSON is nested deeper than " + std::to_string(deepest) + " levels");
    }

    std::vector<member>& of;
    int depth = 0;
};

json_object::json_object(std::string_view text) {
    // The parser takes it for the end of the text, whatever comes after it.
    if (const std::size_t at = text.find('\0'); at != std::string_view::npos) {
        throw bad_json("this is not valid JSON, byte " + std::to_string(at + 1) + " is 0");
    }
    reader takes(all_);
    json::sax_parse(text.begin(), text.end(), static_cast<nlohmann::json_sax<json>*>(&takes));
}

std::string json_object::text(const char* name, std::size_t longest) const {
    const member* found = find(name);
    if (!found) return {};
    if (found->is != kind::text) throw bad_json(quoted(name) + " is not a string");
    if (found->text.size() > longest) {
        throw bad_json(quoted(name) + " is longer than " + std::to_string(longest) + " bytes");
    }
    return found->text;
}

std::uint64_t json_object::number(const char* name) const {
    const member* found = find(name);
    if (!found || found->is != kind::number) {
        throw bad_json(quoted(name) + " is missing or not a number");
    }
    return found->number;
}

const json_object::member* json_object::find(std::string_view name) const noexcept {
    const member* last = nullptr; // of those with the same name
    for (const member& each : all_) {
        if (each.name == name) last = &each;
    }
    return last;
}

void append_quoted(std::string& to, std::string_view text) {
    // Most texts are plain, and many of them are listed at once.
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

std::string error_to_json(std::string_view sentence) {
    return "{\"error\":" + in_quotes(sentence) + '}';
}

} // namespace http
