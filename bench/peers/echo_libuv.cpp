// An echo server on libuv: prints its port and serves until it is killed.
#include <array>
#include <cstdio>
#include <cstdlib>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <uv.h>

namespace {

struct connection {
    uv_tcp_t stream;
    uv_write_t request;
    std::array<char, 16384> buffer;
};

connection& of(uv_handle_t* handle) {
    return *static_cast<connection*>(handle->data);
}

void read_on(connection& with);

void close(connection& with) {
    uv_close(reinterpret_cast<uv_handle_t*>(&with.stream),
             [](uv_handle_t* handle) { delete &of(handle); });
}

void written(uv_write_t* request, int status) {
    connection& with = of(reinterpret_cast<uv_handle_t*>(request->handle));
    if (status < 0) return close(with);
    read_on(with);
}

// The buffer is free again when it has been written: one message at a time.
void came(uv_stream_t* stream, ssize_t got, const uv_buf_t* buffer) {
    connection& with = of(reinterpret_cast<uv_handle_t*>(stream));
    if (got == 0) return;
    if (got < 0) return close(with);
    uv_buf_t out = uv_buf_init(buffer->base, static_cast<unsigned>(got));
    if (uv_try_write(stream, &out, 1) == got) return;
    uv_read_stop(stream);
    uv_write(&with.request, stream, &out, 1, written);
}

void read_on(connection& with) {
    const auto give_buffer = [](uv_handle_t* handle, std::size_t, uv_buf_t* buffer) {
        connection& owner = of(handle);
        *buffer = uv_buf_init(owner.buffer.data(), owner.buffer.size());
    };
    uv_read_start(reinterpret_cast<uv_stream_t*>(&with.stream), give_buffer, came);
}

void connected(uv_stream_t* listener, int status) {
    if (status < 0) return;
    auto* const with = new connection;
    uv_tcp_init(listener->loop, &with->stream);
    with->stream.data = with;
    if (uv_accept(listener, reinterpret_cast<uv_stream_t*>(&with->stream)) != 0) {
        return close(*with);
    }
    uv_tcp_nodelay(&with->stream, 1);
    read_on(*with);
}

} // namespace

int main() {
    uv_loop_t* const loop = uv_default_loop();
    uv_tcp_t listener;
    uv_tcp_init(loop, &listener);
    sockaddr_in at{};
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_bind(&listener, reinterpret_cast<const sockaddr*>(&at), 0);
    const int failed = uv_listen(reinterpret_cast<uv_stream_t*>(&listener), 4096, connected);
    if (failed != 0) {
        std::fprintf(stderr, "echo_libuv: %s\n", uv_strerror(failed));
        return 1;
    }
    int length = sizeof at;
    uv_tcp_getsockname(&listener, reinterpret_cast<sockaddr*>(&at), &length);
    std::printf("%u\n", ntohs(at.sin_port));
    std::fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}
