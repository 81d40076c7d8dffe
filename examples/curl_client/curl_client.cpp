// A client of HTTP by libcurl: curl_client URL...
//
//     $ curl_client http://127.0.0.1:8080/seven http://127.0.0.1:8080/missing
//     http://127.0.0.1:8080/seven: 200, 7 bytes
//     http://127.0.0.1:8080/missing: 404, 0 bytes
#include "client.hpp"

#include <cstdio>
#include <vector>

static toadstone::task<> prints(curl::client& http, std::string url) {
    const curl::response got = co_await http.fetch(url);
    std::printf("%s: %ld, %zu bytes\n", url.c_str(), got.status, got.body.size());
}

int main(int argc, char** argv) {
    auto all = [&](curl::client& http) -> toadstone::task<> {
        std::vector<toadstone::task<>> each;
        for (int i = 1; i < argc; ++i) each.push_back(prints(http, argv[i]));
        co_await toadstone::when_all(std::move(each));
    };
    return toadstone::run(curl::client::with(all), {.workers = 1});
}
