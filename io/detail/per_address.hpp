// per_address: how many connections one address has, counted across workers.
#ifndef TOADSTONE_IO_DETAIL_PER_ADDRESS_HPP
#define TOADSTONE_IO_DETAIL_PER_ADDRESS_HPP

#include <toadstone/io/endpoint.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>

namespace toadstone::io::detail {

class share_of_address;

/// An IPv4 address counts for itself, of an IPv6 address the first 64 bits do: a host has a
/// whole network of them to choose from. IPv4 addresses mapped into IPv6 are the former.
///
/// Threads: all workers of a server; everything is guarded by lock_.
class per_address {
public:
    /// 0: no limit, and nothing is counted.
    explicit per_address(std::size_t most) noexcept : most_(most) {}

    /// Empty when the address has as many as it may have.
    [[nodiscard]] share_of_address enter(const endpoint& peer);

private:
    friend class share_of_address;
    using key = std::array<std::uint8_t, 9>; // family and 64 bits
    using counts = std::map<key, std::size_t>;

    [[nodiscard]] static key key_of(const endpoint& peer) noexcept;
    void leave(counts::iterator which) noexcept;

    std::mutex lock_;
    const std::size_t most_;
    counts counts_; // no entry is 0
};

/// One connection of an address; its destructor gives it back.
class share_of_address {
public:
    share_of_address() noexcept = default;
    share_of_address(share_of_address&& other) noexcept
        : admitted_(other.admitted_), of_(std::exchange(other.of_, nullptr)),
          which_(other.which_) {}
    share_of_address& operator=(share_of_address&&) = delete;
    ~share_of_address() {
        if (of_) of_->leave(which_);
    }
    [[nodiscard]] bool admitted() const noexcept { return admitted_; }

private:
    friend class per_address;
    bool admitted_ = false;
    per_address* of_ = nullptr;
    per_address::counts::iterator which_;
};

} // namespace toadstone::io::detail

#endif
