// What a scenario asks of its world.
#include <toadstone/sim/world.hpp>

#include <toadstone/sim/kernel/own_memory.hpp>
#include <toadstone/sim/kernel/state.hpp>

namespace toadstone::sim {

std::chrono::steady_clock::time_point world::now() const noexcept {
    return state_.now();
}
choices& world::choices() noexcept {
    return state_.dice();
}
void world::note(std::string_view event) noexcept {
    state_.mix(event);
}
void world::partition() noexcept {
    state_.set_partitioned(true);
}
void world::heal() noexcept {
    state_.set_partitioned(false);
}

namespace {

template <class Fn>
void for_each_side(side which, Fn fn) {
    const detail::own_memory ours;
    if (which != side::acceptor) fn(0);
    if (which != side::connector) fn(1);
}

} // namespace

void world::clog(std::size_t connection, side at) {
    for_each_side(at, [&](int each) { state_.set_clogged(connection, each, true); });
}
void world::unclog(std::size_t connection, side at) {
    for_each_side(at, [&](int each) { state_.set_clogged(connection, each, false); });
}
void world::clog_all(side at) {
    for_each_side(at, [&](int each) { state_.set_all_clogged(each, true); });
}
void world::unclog_all(side at) {
    for_each_side(at, [&](int each) { state_.set_all_clogged(each, false); });
}
std::size_t world::connections_made() const noexcept {
    return state_.connections_made();
}
void world::reset_connections() noexcept {
    const detail::own_memory ours;
    state_.reset_all();
}
std::size_t world::open_connections() const noexcept {
    return state_.open_connections();
}
std::size_t world::descriptors() const noexcept {
    return state_.descriptors();
}
void world::crash_disks() {
    const detail::own_memory ours;
    state_.crash_disks();
}
void world::fail_next_sync() noexcept {
    state_.fail_next_sync();
}

std::optional<std::string> world::file(std::string_view path) const {
    const detail::inode* node = state_.file(path);
    if (!node) return std::nullopt;
    return std::string(reinterpret_cast<const char*>(node->cached.data()), node->cached.size());
}

void world::make_folder(std::string_view path) {
    const detail::own_memory ours;
    state_.make_folder(path);
}

void world::remove_file(std::string_view path) {
    const detail::own_memory ours;
    state_.remove_file(path);
}

void world::put_file(std::string_view path, std::string_view content) {
    const detail::own_memory ours;
    auto& node = state_.make_file(path);
    const auto* bytes = reinterpret_cast<const std::byte*>(content.data());
    node.cached.assign(bytes, bytes + content.size());
    node.durable = node.cached;
    node.dirty.clear();
    state_.sync_name(path);
}

} // namespace toadstone::sim
