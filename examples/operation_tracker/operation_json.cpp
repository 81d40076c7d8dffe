// From requests to values, and back.
#include "operation_json.hpp"

#include "http/json.hpp"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tracker {
namespace {

using http::append_quoted;
using http::bad_json;
using http::in_quotes;

constexpr std::size_t longest_name = 200;
constexpr std::size_t longest_note = 2000;

std::string name_of(const http::json_object& object) {
    std::string name = object.text("name", longest_name);
    if (name.empty()) throw bad_json("\"name\" is missing or empty");
    return name;
}

message message_of(const http::json_object& object) {
    const std::string name = object.text("event", 100);
    if (name.empty()) throw bad_json("\"event\" is missing; it is one of " + all_events());
    const auto what = event_of(name);
    if (!what) throw bad_json("\"event\" is none of " + all_events());
    message read;
    read.what = *what;
    read.note = object.text("note", longest_note);
    return read;
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
    return name_of(http::json_object(body));
}

message read_message(std::string_view body) {
    return message_of(http::json_object(body));
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

journal_record read_record(std::string_view line) {
    const http::json_object object(line);
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
