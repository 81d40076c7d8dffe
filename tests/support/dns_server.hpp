// A small name server that does what a test tells it: answers, keeps quiet, lies.
#ifndef TOADSTONE_TESTS_SUPPORT_DNS_SERVER_HPP
#define TOADSTONE_TESTS_SUPPORT_DNS_SERVER_HPP

#include <toadstone/io/endpoint.hpp>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

namespace toadstone::tests {

enum class dns_type : std::uint16_t { a = 1, cname = 5, aaaa = 28 };

struct dns_question {
    std::string name; ///< in small letters
    dns_type type;
    bool by_tcp;
    unsigned times; ///< that this has been asked, by UDP or TCP; the first time it is 1
};

/// One message that goes back. Without anything said: no error, and no record.
class dns_answer {
public:
    dns_answer& address(const char* text) {
        std::array<std::uint8_t, 16> bytes{};
        const bool v4 = ::inet_pton(AF_INET, text, bytes.data()) == 1;
        if (!v4) ::inet_pton(AF_INET6, text, bytes.data());
        add(v4 ? dns_type::a : dns_type::aaaa, owner_,
            std::string(reinterpret_cast<const char*>(bytes.data()), v4 ? 4 : 16));
        return *this;
    }
    /// `from` is another name of `to`; what follows belongs to `to`.
    dns_answer& alias(const std::string& from, const std::string& to) {
        add(dns_type::cname, name_of(from), name_of(to));
        owner_ = name_of(to);
        return *this;
    }
    dns_answer& code(unsigned value) { return code_ = value, *this; }
    dns_answer& truncated() { return truncated_ = true, *this; }
    dns_answer& wrong_id() { return wrong_id_ = true, *this; }
    dns_answer& other_question() { return other_question_ = true, *this; }
    dns_answer& from_another_port() { return other_port_ = true, *this; }
    /// By UDP: goes out with dns_server::release(), or before somebody hangs up.
    dns_answer& held() { return held_ = true, *this; }
    /// By TCP: the end of the stream, and a reset behind it.
    dns_answer& hangs_up() { return hangs_up_ = true, *this; }
    /// Instead of a message.
    dns_answer& garbage(std::string bytes) { return raw_ = std::move(bytes), *this; }
    /// A record that claims to be longer than the message.
    dns_answer& cut_record() { return cut_ = true, *this; }

    /// As it goes out, to a question of which `query` is the message.
    [[nodiscard]] std::string message(std::string_view query, std::size_t question_end) const {
        if (!raw_.empty()) return raw_;
        std::string text(query.substr(0, 2));
        if (wrong_id_) text[0] = static_cast<char>(~text[0]);
        text += number(0x8180U | (truncated_ ? 0x0200U : 0U) | code_);
        text += number(1) + number(count_ + (cut_ ? 1U : 0U)) + number(0) + number(0);
        std::string asked(query.substr(12, question_end - 12));
        if (other_question_) asked[1] = asked[1] == 'x' ? 'y' : 'x';
        text += asked;
        // The name of a record without an alias is that of the question: a pointer to it.
        text += records_;
        if (cut_)
            text += "\xc0\x0c" + number(1) + number(1) + number(0) + number(60) + number(999);
        return text;
    }
    [[nodiscard]] bool leaves_another_port() const noexcept { return other_port_; }
    [[nodiscard]] bool closes() const noexcept { return hangs_up_; }
    [[nodiscard]] bool waits() const noexcept { return held_; }

    [[nodiscard]] static std::string number(unsigned value) {
        return {static_cast<char>(value >> 8U), static_cast<char>(value)};
    }

private:
    static std::string name_of(const std::string& text) {
        std::string bytes;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = std::min(text.find('.', at), text.size());
            bytes += static_cast<char>(end - at);
            bytes += text.substr(at, end - at);
            at = end + 1;
        }
        return bytes + '\0';
    }
    void add(dns_type type, const std::string& owner, const std::string& data) {
        ++count_;
        records_ += owner + number(static_cast<unsigned>(type)) + number(1) + number(0) +
                    number(60) + number(static_cast<unsigned>(data.size())) + data;
    }

    std::string owner_ = "\xc0\x0c";
    std::string records_;
    unsigned count_ = 0;
    unsigned code_ = 0;
    bool truncated_ = false;
    bool wrong_id_ = false;
    bool other_question_ = false;
    bool other_port_ = false;
    bool hangs_up_ = false;
    bool held_ = false;
    bool cut_ = false;
    std::string raw_;
};

/// UDP and TCP on a port of 127.0.0.1. It works when it is told to: by turns of a test, or by
/// the thread of a running_dns_server.
class dns_server {
public:
    /// What goes back, in order; nothing at all is loss. Called by whoever calls turn().
    using script = std::function<std::vector<dns_answer>(const dns_question&)>;

    explicit dns_server(script answers) : answers_(std::move(answers)) {
        // A port that is free for both.
        for (int tries = 0; tries < 100 && udp_ < 0; ++tries) open();
        if (udp_ < 0) throw std::system_error(errno, std::generic_category(), "dns_server");
        other_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    }
    dns_server(const dns_server&) = delete;
    dns_server& operator=(const dns_server&) = delete;
    ~dns_server() {
        for (const auto& each : clients_) ::close(each.first);
        for (const int each : {udp_, tcp_, other_}) ::close(each);
    }

    [[nodiscard]] io::endpoint at() const noexcept { return io::endpoint::loopback(port_); }
    [[nodiscard]] unsigned asked() const noexcept { return asked_; }
    [[nodiscard]] unsigned asked_by_tcp() const noexcept { return asked_by_tcp_; }

    /// Deals with what is there. False: with nothing.
    bool turn() {
        bool something = false;
        char bytes[2048];
        sockaddr_in from{};
        socklen_t length = sizeof from;
        auto* const name = reinterpret_cast<sockaddr*>(&from);
        for (;;) {
            const ssize_t count = ::recvfrom(udp_, bytes, sizeof bytes, 0, name, &length);
            if (count < 0) break;
            something = true;
            const std::string_view query(bytes, static_cast<std::size_t>(count));
            for (const dns_answer& each : answers_to(query, false)) {
                const std::string text = each.message(query, question_end_);
                const int by = each.leaves_another_port() ? other_ : udp_;
                if (each.waits()) {
                    held_.emplace_back(from, text);
                } else {
                    ::sendto(by, text.data(), text.size(), 0, name, length);
                }
            }
        }
        for (int fd = 0;
             (fd = ::accept4(tcp_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
            clients_[fd];
            something = true;
        }
        for (auto it = clients_.begin(); it != clients_.end();) {
            it = talk(*it, something) ? std::next(it) : clients_.erase(it);
        }
        return something;
    }
    /// What is held goes out.
    void release() {
        for (const auto& [to, text] : std::exchange(held_, {})) {
            ::sendto(udp_, text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&to),
                     sizeof to);
        }
    }
    /// Waits until there is something, or `other` is readable.
    void wait(int other) const {
        std::vector<pollfd> all{{udp_, POLLIN, 0}, {tcp_, POLLIN, 0}, {other, POLLIN, 0}};
        for (const auto& each : clients_) all.push_back({each.first, POLLIN, 0});
        ::poll(all.data(), all.size(), -1);
    }

private:
    void open() {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t length = sizeof address;
        auto* const name = reinterpret_cast<sockaddr*>(&address);
        tcp_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        const int udp = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (::bind(tcp_, name, length) == 0 && ::listen(tcp_, 64) == 0 &&
            ::getsockname(tcp_, name, &length) == 0 && ::bind(udp, name, length) == 0) {
            port_ = ntohs(address.sin_port);
            udp_ = udp;
            return;
        }
        ::close(tcp_);
        ::close(udp);
    }
    /// False: it is gone.
    bool talk(std::pair<const int, std::string>& client, bool& something) {
        char bytes[2048];
        const ssize_t count = ::recv(client.first, bytes, sizeof bytes, 0);
        if (count < 0 && errno == EAGAIN) return true;
        something = true;
        if (count <= 0) {
            ::close(client.first);
            return false;
        }
        std::string& text = client.second;
        text.append(bytes, static_cast<std::size_t>(count));
        while (text.size() > 2) {
            const std::size_t size = big(text, 0);
            if (text.size() < 2 + size) break;
            const std::string query = text.substr(2, size);
            for (const dns_answer& each : answers_to(query, true)) {
                if (each.closes()) {
                    release();
                    ::shutdown(client.first, SHUT_WR);
                    const linger at_once{1, 0};
                    ::setsockopt(client.first, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
                    ::close(client.first);
                    return false;
                }
                const std::string answer = each.message(query, question_end_);
                const std::string whole =
                    dns_answer::number(static_cast<unsigned>(answer.size())) + answer;
                ::send(client.first, whole.data(), whole.size(), MSG_NOSIGNAL);
            }
            text.erase(0, 2 + size);
        }
        return true;
    }
    static unsigned big(std::string_view text, std::size_t at) {
        return static_cast<unsigned char>(text[at]) * 256U +
               static_cast<unsigned char>(text[at + 1]);
    }
    std::vector<dns_answer> answers_to(std::string_view query, bool by_tcp) {
        dns_question asked{{}, dns_type::a, by_tcp, 0};
        std::size_t at = 12;
        while (at < query.size() && query[at] != 0) {
            const auto size = static_cast<unsigned char>(query[at]);
            if (!asked.name.empty()) asked.name += '.';
            for (const char each : query.substr(at + 1, size)) {
                asked.name +=
                    each >= 'A' && each <= 'Z' ? static_cast<char>(each | 0x20) : each;
            }
            at += 1U + size;
        }
        if (at + 5 > query.size()) return {};
        question_end_ = at + 5;
        asked.type = static_cast<dns_type>(big(query, at + 1));
        ++asked_;
        asked_by_tcp_ += by_tcp;
        asked.times = ++times_[{asked.name, asked.type}];
        return answers_(asked);
    }

    script answers_;
    int udp_ = -1;
    int tcp_ = -1;
    int other_ = -1;
    std::uint16_t port_ = 0;
    std::size_t question_end_ = 0;       ///< in the message that was last asked
    std::map<int, std::string> clients_; ///< and what they have sent so far
    std::map<std::pair<std::string, dns_type>, unsigned> times_;
    std::vector<std::pair<sockaddr_in, std::string>> held_;
    std::atomic<unsigned> asked_ = 0;
    std::atomic<unsigned> asked_by_tcp_ = 0;
};

/// One with a thread.
class running_dns_server {
public:
    explicit running_dns_server(dns_server::script answers) : it_(std::move(answers)) {
        if (::pipe(ends_) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
        thread_ = std::thread([this] {
            while (!over_) {
                if (!it_.turn()) it_.wait(ends_[0]);
            }
        });
    }
    ~running_dns_server() {
        over_ = true;
        static_cast<void>(::write(ends_[1], "x", 1) == 1);
        thread_.join();
        for (const int each : ends_) ::close(each);
    }
    [[nodiscard]] const dns_server& operator*() const noexcept { return it_; }
    [[nodiscard]] const dns_server* operator->() const noexcept { return &it_; }

private:
    dns_server it_;
    int ends_[2] = {-1, -1};
    std::atomic<bool> over_ = false;
    std::thread thread_;
};

} // namespace toadstone::tests

#endif
