// Lines made fit for a log, and the hooks for failures and poison.
#include <toadstone/runtime/log.hpp>

#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/fork_mark.hpp>
#include <toadstone/runtime/detail/log.hpp>
#include <toadstone/runtime/detail/log_writer.hpp>
#include <toadstone/runtime/poison_cause.hpp>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace toadstone::detail {
namespace {

struct character {
    char32_t value = 0;
    std::size_t length = 1; // bytes
    bool valid = false;
};

// One character of UTF-8: no overlong forms, no surrogates, nothing beyond U+10FFFF.
character decode(std::string_view text) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned first = byte(0);
    if (first < 0x80) return {first, 1, true};
    const std::size_t length = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    if (first < 0xc2 || first > 0xf4 || text.size() < length) return {};
    char32_t value = first & (0x7fU >> length);
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0) != 0x80) return {};
        value = (value << 6) | (byte(i) & 0x3f);
    }
    constexpr char32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < least[length] || value > 0x10ffff) return {};
    if (value >= 0xd800 && value <= 0xdfff) return {};
    return {value, length, true};
}

struct range {
    char32_t first;
    char32_t last;
};
// What a terminal or an editor obeys instead of showing it.
constexpr range obeyed[] = {
    {0x00, 0x1f},     // C0, with ESC
    {0x7f, 0x9f},     // DEL and C1, with CSI
    {0xad, 0xad},     // soft hyphen: not shown
    {0x61c, 0x61c},   // Arabic letter mark
    {0x180e, 0x180e}, // Mongolian vowel separator
    {0x200b, 0x200b}, // zero width space
    {0x200e, 0x200f}, // marks of direction
    {0x2028, 0x202e}, // separators of lines and paragraphs; embeddings, overrides of direction
    {0x2060, 0x206f}, // invisible operators, isolates, deprecated format characters
    {0xfeff, 0xfeff}, // byte order mark
    {0xfff9, 0xfffb}, // interlinear annotations
    {0xe0000, 0xe007f}, // tags
};

bool is_obeyed(char32_t value) noexcept {
    return std::any_of(std::begin(obeyed), std::end(obeyed), [value](const range& each) {
        return value >= each.first && value <= each.last;
    });
}

constexpr std::string_view more = "...";

thread_local constinit log_diversion* diverted = nullptr;
thread_local constinit bool in_poison_hook = false;

struct hooks {
    process_lock lock;
    std::shared_ptr<hook<const unobserved_failure&>> unobserved; // guarded by lock
    std::shared_ptr<hook<const poison_cause&>> poison;           // guarded by lock
};

hooks& all_hooks() noexcept {
    return never_destroyed<hooks>();
}
const made_early<hooks> hooks_early;

template <class Hook>
Hook taken(Hook hooks::* which) noexcept {
    hooks& all = all_hooks();
    const std::lock_guard hold(all.lock);
    return all.*which;
}

template <class Hook>
void put(Hook hooks::* which, Hook& with) noexcept {
    hooks& all = all_hooks();
    const std::lock_guard hold(all.lock);
    (all.*which).swap(with); // the old one ends outside of the lock
}

void say_that_a_hook_failed(const char* which) noexcept {
    try {
        log_line("toadstone: the function given to " + std::string(which) +
                 " failed: " + describe_for_log(std::current_exception()));
    } catch (...) {
        log_line("toadstone: a function that was to be told something failed");
    }
}

} // namespace

std::size_t make_printable(std::string_view text, char* to, std::size_t most,
                           std::size_t& taken) noexcept {
    std::size_t size = 0;
    taken = 0;
    while (taken < text.size()) {
        const character next = decode(text.substr(taken));
        const bool shown = next.valid && !is_obeyed(next.value);
        const std::size_t length = shown ? next.length : 1;
        if (size + length > most) break;
        if (shown) {
            std::memcpy(to + size, text.data() + taken, length);
        } else {
            const bool space = next.valid && next.value >= '\t' && next.value <= '\r';
            to[size] = space ? ' ' : '?';
        }
        size += length;
        taken += next.length;
    }
    return size;
}

log_diversion::log_diversion() noexcept : outer_(std::exchange(diverted, this)) {}

log_diversion::~log_diversion() {
    diverted = outer_;
}

void log_lines(std::string_view text) noexcept {
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        log_line(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
}

std::string describe_for_log(const std::exception_ptr& error) {
    constexpr std::size_t story = 4000; // of poison: the library's own words
    std::string text = printable(describe_type(error));
    try {
        if (error) std::rethrow_exception(error);
    } catch (const poison_error& caught) {
        text += ": " + printable(what_of(caught), story);
    } catch (const std::exception& caught) {
        text += ": " + printable(what_of(caught));
    } catch (...) {
        // The type is all there is.
    }
    return text;
}

void report_unobserved(std::uint64_t task_id, std::string_view task_name, std::string_view what,
                       const std::exception_ptr& error) noexcept {
    if (const auto told = taken(&hooks::unobserved)) {
        try {
            told->call({task_id, task_name, what, error});
            return;
        } catch (...) {
            say_that_a_hook_failed("on_unobserved()");
        }
    }
    try {
        std::string line = "toadstone: " + describe_task(task_id, printable(task_name));
        line.append(what).append(": ").append(describe_for_log(error));
        log_line(line);
    } catch (...) {
        log_line(
            "toadstone: a task failed, nobody took that, and there is no memory to say more");
    }
}

void tell_of_poison(const cause_ref& cause) noexcept {
    if (in_poison_hook) return;
    const auto told = taken(&hooks::poison);
    if (!told) return;
    in_poison_hook = true;
    try {
        told->call(poison_cause(cause));
    } catch (...) {
        say_that_a_hook_failed("on_poison()");
    }
    in_poison_hook = false;
}

void exchange_log_sink(std::shared_ptr<hook<std::string_view>> sink) noexcept {
    log_writer::the().replace_sink(std::move(sink));
}
void exchange_unobserved(std::shared_ptr<hook<const unobserved_failure&>> fn) noexcept {
    put(&hooks::unobserved, fn);
}
void exchange_poison(std::shared_ptr<hook<const poison_cause&>> fn) noexcept {
    put(&hooks::poison, fn);
}

} // namespace toadstone::detail

namespace toadstone {

void log_line(std::string_view text) noexcept {
    std::array<char, detail::log_queue::longest> line;
    std::size_t taken = 0;
    std::size_t size =
        detail::make_printable(text, line.data(), line.size() - detail::more.size(), taken);
    if (taken < text.size()) {
        std::memcpy(line.data() + size, detail::more.data(), detail::more.size());
        size += detail::more.size();
    }
    if (detail::diverted) {
        detail::diverted->line({line.data(), size});
        return;
    }
    detail::log_writer::the().post({line.data(), size});
}

bool flush_log(std::chrono::milliseconds patience) noexcept {
    using clock = detail::log_writer::clock;
    const clock::time_point now = clock::now();
    const bool ever = patience > std::chrono::hours(24 * 365);
    return detail::log_writer::the().flush(now +
                                           (ever ? std::chrono::hours(24 * 365) : patience));
}

std::string_view what_of(const std::exception& error) noexcept {
    const char* const text = error.what();
    return text ? text : "(no text)";
}

std::string printable(std::string_view foreign, std::size_t most) {
    std::string text(std::min(foreign.size(), most), '\0');
    std::size_t taken = 0;
    text.resize(detail::make_printable(foreign, text.data(), most, taken));
    if (taken < foreign.size()) text.append(detail::more);
    return text;
}

void open_standard_descriptors() noexcept {
    for (const int each : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
        if (::fcntl(each, F_GETFD) >= 0 || errno != EBADF) continue;
        // The lowest number that is free, which is this one.
        const int fd = ::open("/dev/null", each == STDIN_FILENO ? O_RDONLY : O_WRONLY);
        if (fd > STDERR_FILENO) ::close(fd);
    }
}

} // namespace toadstone
