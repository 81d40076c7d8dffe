// The only file that knows the JSON library.
#include "operation_json.hpp"

#include <nlohmann/json.hpp>

#include <cstddef>

namespace tracker {
namespace {

using nlohmann::json;
using nlohmann::ordered_json; // members come out in the order in which they went in

constexpr int deepest = 16;
constexpr std::size_t longest_name = 200;
constexpr std::size_t longest_note = 2000;

std::string dump(const ordered_json& what) {
    // Bytes that are not UTF-8, quoted in an error, become U+FFFD instead of an exception.
    return what.dump(-1, ' ', false, ordered_json::error_handler_t::replace);
}

json parse(std::string_view text) {
    const auto not_too_deep = [](int depth, json::parse_event_t, json&) {
        if (depth > deepest) {
            throw bad_json("the JSON is nested deeper than " + std::to_string(deepest) +
                           " levels");
        }
        return true;
    };
    try {
        json parsed = json::parse(text.begin(), text.end(), not_too_deep);
        if (!parsed.is_object()) {
            throw bad_json("a JSON object is expected, not " +
                           std::string(parsed.is_array() ? "an array" : parsed.type_name()));
        }
        return parsed;
    } catch (const json::parse_error& error) {
        throw bad_json("this is not valid JSON, see byte " + std::to_string(error.byte));
    } catch (const json::exception&) {
        throw bad_json("the JSON holds a number that is out of range");
    }
}

std::string text_member(const json& object, const char* name, std::size_t longest) {
    const auto found = object.find(name);
    if (found == object.end()) return {};
    if (!found->is_string()) throw bad_json("\"" + std::string(name) + "\" is not a string");
    auto text = found->get<std::string>();
    if (text.size() > longest) {
        throw bad_json("\"" + std::string(name) + "\" is longer than " +
                       std::to_string(longest) + " bytes");
    }
    return text;
}

std::string name_of(const json& object) {
    std::string name = text_member(object, "name", longest_name);
    if (name.empty()) throw bad_json("\"name\" is missing or empty");
    return name;
}

message message_of(const json& object) {
    const std::string name = text_member(object, "event", 100);
    if (name.empty()) throw bad_json("\"event\" is missing; it is one of " + all_events());
    const auto what = event_of(name);
    if (!what) throw bad_json("\"event\" is none of " + all_events());
    message read;
    read.what = *what;
    read.note = text_member(object, "note", longest_note);
    return read;
}

ordered_json object_of(const operation& which) {
    ordered_json object = {{"id", which.id},
                           {"name", which.name},
                           {"state", to_string(which.now)},
                           {"messages", which.messages}};
    if (!which.note.empty()) object["note"] = which.note;
    return object;
}

} // namespace

std::string read_name(std::string_view body) {
    return name_of(parse(body));
}

message read_message(std::string_view body) {
    return message_of(parse(body));
}

std::string to_json(const operation& which) {
    return dump(object_of(which));
}

std::string to_json(std::span<const operation> all) {
    ordered_json list = ordered_json::array();
    for (const operation& each : all) list.push_back(object_of(each));
    ordered_json object;
    object["operations"] = std::move(list);
    return dump(object);
}

std::string error_to_json(std::string_view sentence) {
    ordered_json object;
    object["error"] = sentence;
    return dump(object);
}

journal_record read_record(std::string_view line) {
    const json object = parse(line);
    const auto id = object.find("id");
    if (id == object.end() || !id->is_number_unsigned()) {
        throw bad_json("\"id\" is missing or not a number");
    }
    journal_record record;
    record.id = id->get<operation_id>();
    if (object.contains("event")) {
        record.what = message_of(object);
    } else {
        record.name = name_of(object);
    }
    return record;
}

std::string line_for_new(operation_id id, std::string_view name) {
    ordered_json object;
    object["id"] = id;
    object["name"] = name;
    return dump(object) + '\n';
}

std::string line_for_message(operation_id id, const message& what) {
    ordered_json object;
    object["id"] = id;
    object["event"] = to_string(what.what);
    if (!what.note.empty()) object["note"] = what.note;
    return dump(object) + '\n';
}

} // namespace tracker
