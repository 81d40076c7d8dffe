// close() beside operations that begin on other workers: they have the descriptor or none, and
// ThreadSanitizer sees the order. tests/model/in_use_model.cpp explores the schedules.
#include <toadstone/io.hpp>
#include <toadstone/runtime.hpp>

#include <catch2/catch.hpp>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <system_error>

using namespace toadstone;

namespace {

struct shared_file {
    std::optional<io::file> file;
    // Relaxed: what orders the descriptor is the file's own business.
    std::atomic<int> stage{0};

    void tell(int reached) { stage.store(reached, std::memory_order_relaxed); }
    [[nodiscard]] bool reached(int which) const {
        return stage.load(std::memory_order_relaxed) >= which;
    }
};

/// 0, or the error of a read.
task<int> read_once(io::file& from) {
    std::array<std::byte, 16> buffer{};
    try {
        static_cast<void>(co_await from.read_some(buffer));
    } catch (const std::system_error& error) {
        co_return error.code().value();
    }
    co_return 0;
}

task<> closes(shared_file& shared) {
    co_await shared.file->close();
    shared.tell(1);
}

task<int> uses_after(shared_file& shared) {
    while (!shared.reached(1)) co_await yield_now();
    const int error = co_await read_once(*shared.file);
    const bool open = shared.file->is_open();
    const int number = shared.file->native_handle();
    bool refused = false;
    try {
        static_cast<void>(shared.file->size());
    } catch (const std::system_error& caught) {
        refused = caught.code().value() == EBADF;
    }
    co_await shared.file->close(); // does nothing
    co_return open || number != -1 || !refused ? -1 : error;
}

task<int> uses_beside(shared_file& shared) {
    int last = 0;
    while (!shared.reached(1)) {
        static_cast<void>(shared.file->is_open());
        const int error = co_await read_once(*shared.file);
        if (error != 0 && error != EBADF) co_return error;
        if (last == EBADF && error == 0) co_return -1; // open again
        last = error;
        co_await yield_now();
    }
    co_return 0;
}

task<int> one_round() {
    shared_file shared;
    shared.file.emplace(co_await io::file::open("/dev/zero"));
    auto beside = spawn(uses_beside(shared), {.where = placement::worker(1)});
    auto after = spawn(uses_after(shared), {.where = placement::worker(1)});
    auto closer = spawn(closes(shared), {.where = placement::worker(0)});
    co_await closer;
    const int error_after = co_await after;
    const int error_beside = co_await beside;
    CHECK(error_after == EBADF);
    CHECK(error_beside == 0);
    co_return 0;
}

} // namespace

TEST_CASE("S105: an operation that begins on another worker after close() fails with EBADF") {
    runtime here({.workers = 2});
    for (int round = 0; round < 100; ++round) here.block_on(one_round());
}
