// A parser whose callbacks wait: expat, in the middle of a document, on a fiber.
//
// Shows: run_fiber() around a C library that knows nothing of coroutines. When it meets
// <include/>, its callback reads the rest of the text from a socket, within fiber::no_unwind
// and by fiber::try_await(): a cancellation comes back as a value, expat is told to stop,
// cleans up by itself, and can be used again. The fiber ends at its next await.
//
//     $ fiber_xml
//     parsed: 3 paragraphs
//     cancelled in the middle: expat says "parsing aborted"
//     the same parser, again: 3 paragraphs
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <expat.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string_view>

namespace {

using namespace toadstone;
using namespace std::chrono_literals;

constexpr std::string_view page = "<page><p/><include/><p/></page>";
constexpr std::string_view rest = "<rest><p/></rest>";

struct free_parser {
    void operator()(XML_Parser parser) const noexcept { XML_ParserFree(parser); }
};
using parser_ptr = std::unique_ptr<XML_ParserStruct, free_parser>;

/// What the callbacks know.
struct reading {
    io::endpoint included; ///< where the rest is to be had
    XML_Parser parser = nullptr;
    int paragraphs = 0;
    XML_Error error = XML_ERROR_NONE;
};

/// On the fiber, and between frames of expat: whatever happens, it returns. False: stop.
bool include(reading& state) {
    const fiber::no_unwind between_c_frames;
    auto connected = fiber::try_await(io::tcp_stream::connect(state.included));
    if (!connected) return false;
    io::tcp_stream from = std::move(connected).value();
    const parser_ptr inner(XML_ParserCreate(nullptr));
    XML_SetUserData(inner.get(), &state);
    XML_SetStartElementHandler(inner.get(),
                               [](void* data, const XML_Char* name, const XML_Char**) {
                                   if (std::string_view(name) == "p")
                                       ++static_cast<reading*>(data)->paragraphs;
                               });
    std::array<char, 4> piece;
    for (;;) {
        const auto read = fiber::try_await(from.read_some({piece.data(), piece.size()}));
        if (!read) return false;
        const bool last = read.value() == 0;
        if (!XML_Parse(inner.get(), piece.data(), static_cast<int>(read.value()), last)) {
            return false;
        }
        if (last) return true;
    }
}

void on_element(void* data, const XML_Char* name, const XML_Char**) {
    auto& state = *static_cast<reading*>(data);
    if (std::string_view(name) == "p") ++state.paragraphs;
    if (std::string_view(name) == "include" && !include(state)) {
        XML_StopParser(state.parser, XML_FALSE);
    }
}

task<> parse(reading& state) {
    auto body = [&] {
        XML_ParserReset(state.parser, nullptr);
        XML_SetUserData(state.parser, &state);
        XML_SetStartElementHandler(state.parser, on_element);
        state.paragraphs = 0;
        XML_Parse(state.parser, page.data(), static_cast<int>(page.size()), 1);
        state.error = XML_GetErrorCode(state.parser);
        fiber::await(checkpoint()); // where a task that was asked to stop ends
    };
    co_await run_fiber(body);
}

/// Sends what is included, or half of it and then nothing.
task<> serve(io::tcp_listener& listener, std::string_view text, bool whole) {
    io::tcp_stream to = co_await listener.accept();
    co_await to.write_all(text.substr(0, text.size() / 2));
    co_await sleep_for(whole ? 1ms : 24h);
    co_await to.write_all(text.substr(text.size() / 2));
}

task<> both(reading& state, io::tcp_listener& listener, bool whole) {
    co_await when_any(parse(state), [](io::tcp_listener& at, bool all) -> task<> {
        co_await serve(at, rest, all);
        co_await sleep_for(24h);
    }(listener, whole));
}

task<> show() {
    io::tcp_listener listener = io::tcp_listener::bind(io::endpoint::loopback(0));
    const parser_ptr parser(XML_ParserCreate(nullptr));
    reading state;
    state.included = listener.local_endpoint();
    state.parser = parser.get();

    co_await both(state, listener, true);
    std::printf("parsed: %d paragraphs\n", state.paragraphs);

    const auto cut = co_await try_with_timeout(20ms, both(state, listener, false));
    if (!cut.is_cancelled()) std::puts("not cancelled?");
    std::printf("cancelled in the middle: expat says \"%s\"\n", XML_ErrorString(state.error));

    co_await both(state, listener, true);
    std::printf("the same parser, again: %d paragraphs\n", state.paragraphs);
}

} // namespace

int main() {
    run(show());
}
