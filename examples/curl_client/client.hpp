// A client of HTTP: libcurl's multi interface does the talking, io::readiness() the waiting.
#ifndef TOADSTONE_EXAMPLES_CURL_CLIENT_CLIENT_HPP
#define TOADSTONE_EXAMPLES_CURL_CLIENT_CLIENT_HPP

#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <chrono>
#include <stdexcept>
#include <string>
#include <utility>

#include <curl/curl.h>
#include <sys/epoll.h>
#include <unistd.h>

namespace curl {
using namespace toadstone;

struct response {
    long status = 0;
    std::string body;
};

/// Fetches for tasks of one worker. libcurl closes sockets when it likes, and what readiness()
/// waits for stays open: so they are in an epoll set, and that is waited for.
class client {
public:
    client() : multi_(curl_multi_init()), sockets_(epoll_create1(EPOLL_CLOEXEC)) {
        curl_multi_setopt(multi_, CURLMOPT_SOCKETDATA, this);
        curl_multi_setopt(multi_, CURLMOPT_SOCKETFUNCTION, &client::socket_wanted);
        curl_multi_setopt(multi_, CURLMOPT_TIMERDATA, this);
        curl_multi_setopt(multi_, CURLMOPT_TIMERFUNCTION, &client::time_wanted);
    }
    ~client() {
        curl_multi_cleanup(multi_);
        ::close(sockets_);
    }

    /// Runs `body(client&)`, and beside it, to its very end, what libcurl has to do.
    template <class Body>
    static task<> with(Body body) {
        client made;
        if (!made.multi_ || made.sockets_ < 0) throw std::runtime_error("curl: cannot begin");
        auto serving = spawn(when_all(made.serves_sockets(), made.serves_timer()));
        auto ends = [&]() -> task<> {
            serving.cancel();
            static_cast<void>(co_await serving.outcome());
        };
        co_await finally(body(made), ends());
    }

    /// Errors: std::runtime_error with the address and what libcurl says. Cancellation: the
    ///     transfer is taken back; libcurl closes a connection that is in the middle of it.
    task<response> fetch(std::string url) {
        response got;
        completion<CURLcode> answer;
        CURL* const easy = curl_easy_init();
        const scope_exit cleans([&] { curl_easy_cleanup(easy); });
        curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
        curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
        curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(easy, CURLOPT_PRIVATE, &answer);
        curl_easy_setopt(easy, CURLOPT_WRITEDATA, &got.body);
        curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &client::bytes_came);
        const scope_exit takes_back([&] { curl_multi_remove_handle(multi_, easy); });
        const auto begin = [&](completion<CURLcode> c) {
            answer = std::move(c);
            if (curl_multi_add_handle(multi_, easy) != CURLM_OK) throw std::bad_alloc();
        };
        const auto given_up = [] { return true; }; // nothing comes: it is taken back
        const CURLcode end = co_await with_completion<CURLcode>(begin, given_up);
        if (end != CURLE_OK)
            throw std::runtime_error("fetch " + url + ": " + curl_easy_strerror(end));
        curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &got.status);
        co_return got;
    }

private:
    task<> serves_sockets() {
        for (epoll_event ready{};;) {
            co_await io::readiness(sockets_, io::events::readable);
            while (epoll_wait(sockets_, &ready, 1, 0) > 0) act(ready.data.fd);
        }
    }
    task<> serves_timer() {
        for (;; act(CURL_SOCKET_TIMEOUT)) {
            co_await timer_;
            timer_.reset(idle);
        }
    }
    void act(curl_socket_t which) {
        int count = 0;
        curl_multi_socket_action(multi_, which, 0, &count);
        while (const CURLMsg* const told = curl_multi_info_read(multi_, &count)) {
            completion<CURLcode>* answer = nullptr;
            curl_easy_getinfo(told->easy_handle, CURLINFO_PRIVATE, &answer);
            answer->complete(told->data.result);
        }
    }
    static int socket_wanted(CURL*, curl_socket_t which, int what, void* self, void*) {
        const int sockets = static_cast<client*>(self)->sockets_;
        epoll_event wanted{.events = 0, .data = {.fd = which}};
        if (what & CURL_POLL_IN) wanted.events |= EPOLLIN;
        if (what & CURL_POLL_OUT) wanted.events |= EPOLLOUT;
        epoll_ctl(sockets, EPOLL_CTL_DEL, which, &wanted); // if it is there
        return wanted.events ? epoll_ctl(sockets, EPOLL_CTL_ADD, which, &wanted) : 0;
    }
    static int time_wanted(CURLM*, long ms, void* self) {
        static_cast<client*>(self)->timer_.reset(ms < 0 ? idle : std::chrono::milliseconds(ms));
        return 0;
    }
    static std::size_t bytes_came(const char* from, std::size_t, std::size_t n, void* to) try {
        static_cast<std::string*>(to)->append(from, n);
        return n;
    } catch (const std::bad_alloc&) {
        return 0; // libcurl ends the transfer
    }
    static constexpr std::chrono::milliseconds idle = std::chrono::hours(1);
    CURLM* multi_;
    int sockets_;
    movable_sleep timer_{idle};
};

} // namespace curl

#endif
