// Reading them, line by line, word by word.
#include <toadstone/io/dns/text_file.hpp>

#include <toadstone/io/detail/descriptor.hpp>

#include <algorithm>
#include <cerrno>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace toadstone::io::detail {

file_stamp file_stamp::of(const std::string& path) noexcept {
    struct stat about{};
    if (path.empty() || ::stat(path.c_str(), &about) != 0) return {};
    return {about.st_dev, about.st_ino, about.st_size, about.st_mtim.tv_sec,
            about.st_mtim.tv_nsec};
}

std::string read_text(const std::string& path) {
    std::string text;
    if (path.empty()) return text;
    // A FIFO would keep open() waiting.
    const descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    struct stat about{};
    if (!fd || ::fstat(fd.get(), &about) != 0 || !S_ISREG(about.st_mode)) return text;
    constexpr std::size_t step = 16 * 1024;
    for (;;) {
        const std::size_t had = text.size();
        text.resize(had + step);
        const ssize_t count = ::read(fd.get(), text.data() + had, step);
        text.resize(had + static_cast<std::size_t>(std::max<ssize_t>(count, 0)));
        if (count == 0 || (count < 0 && errno != EINTR)) return text;
    }
}

std::string_view next_line(std::string_view& rest) noexcept {
    const auto end = std::min(rest.find('\n'), rest.size());
    std::string_view line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    return line.substr(0, line.find('#'));
}

std::string_view next_word(std::string_view& rest) noexcept {
    constexpr std::string_view blank = " \t\r\v\f";
    const auto begin = rest.find_first_not_of(blank);
    if (begin == std::string_view::npos) return rest = {};
    rest.remove_prefix(begin);
    const auto end = std::min(rest.find_first_of(blank), rest.size());
    const std::string_view word = rest.substr(0, end);
    rest.remove_prefix(end);
    return word;
}

} // namespace toadstone::io::detail
