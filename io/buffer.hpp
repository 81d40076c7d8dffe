// const_buffer and mutable_buffer: what is written and read into, whatever its owner is called.
#ifndef TOADSTONE_IO_BUFFER_HPP
#define TOADSTONE_IO_BUFFER_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <cstddef>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>
#include <utility>

namespace toadstone::io {
namespace detail {

template <class T>
concept byte_like = std::is_same_v<std::remove_cv_t<T>, std::byte> ||
                    std::is_same_v<std::remove_cv_t<T>, char> ||
                    std::is_same_v<std::remove_cv_t<T>, signed char> ||
                    std::is_same_v<std::remove_cv_t<T>, unsigned char> ||
                    std::is_same_v<std::remove_cv_t<T>, char8_t>;

template <class R>
concept range_of_bytes = std::ranges::contiguous_range<R> && std::ranges::sized_range<R> &&
                         byte_like<std::remove_reference_t<std::ranges::range_reference_t<R>>>;

/// A char array may hold a text that ends before it does.
template <class R>
concept array_of_char =
    std::is_array_v<R> && std::is_same_v<std::remove_cv_t<std::remove_extent_t<R>>, char>;

} // namespace detail

/// Bytes to be written: of a string, a string_view, a vector, array or span of char, unsigned
/// char or std::byte. A const char* and an array of char are text that ends at its zero byte.
///
/// Shape: a span; copied, it refers to the same bytes.
/// Lifetime: the bytes stay where they are until the operation that was given them has ended.
class const_buffer {
public:
    /// No bytes.
    constexpr const_buffer() noexcept = default;
    /// The characters up to the terminating zero, which is not one of them.
    constexpr const_buffer(const char* text) noexcept // implicit: for literals
        : const_buffer(std::string_view(text)) {}
    /// The characters of a string.
    constexpr const_buffer(std::string_view text) noexcept // implicit, as all below
        : data_(text.data()), size_(text.size()) {}
    /// `size` bytes from `data` on.
    constexpr const_buffer(const void* data, std::size_t size) noexcept
        : data_(data), size_(size) {}
    /// The bytes of whatever has contiguous ones: std::vector, std::array, std::span.
    template <class R>
        requires(detail::range_of_bytes<const R&> && !detail::array_of_char<R>)
    constexpr const_buffer(const R& bytes) noexcept
        : data_(std::ranges::data(bytes)), size_(std::ranges::size(bytes)) {}

    /// The first byte.
    [[nodiscard]] const std::byte* data() const noexcept {
        return static_cast<const std::byte*>(data_);
    }
    /// In bytes.
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
    /// There is no byte.
    [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
    /// All of it.
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data(), size_}; }
    /// Its last `count` bytes; there are so many.
    [[nodiscard]] const_buffer last(std::size_t count) const noexcept {
        return const_buffer(data() + (size_ - count), count);
    }

private:
    const void* data_ = nullptr;
    std::size_t size_ = 0;
};

/// Room to read into: all of a string, a vector, an array or a span of char, unsigned char or
/// std::byte, as it is; nothing is resized. An array of char counts with all its bytes.
///
/// Shape, Lifetime: as const_buffer. What would die at the end of the expression, such as a
///     vector that nobody owns, does not compile.
class mutable_buffer {
public:
    /// No room.
    constexpr mutable_buffer() noexcept = default;
    /// `size` bytes from `data` on.
    constexpr mutable_buffer(void* data, std::size_t size) noexcept
        : data_(data), size_(size) {}
    /// The bytes of whatever has contiguous ones that may be written.
    template <class R>
        requires(!std::is_same_v<std::remove_cvref_t<R>, mutable_buffer> &&
                 detail::range_of_bytes<R> && std::ranges::borrowed_range<R> &&
                 !std::is_const_v<std::remove_reference_t<std::ranges::range_reference_t<R>>>)
    constexpr mutable_buffer(R&& room) noexcept // implicit: for whatever owns bytes
        : data_(std::ranges::data(room)), size_(std::ranges::size(room)) {}

    /// The first byte.
    [[nodiscard]] std::byte* data() const noexcept { return static_cast<std::byte*>(data_); }
    /// In bytes.
    [[nodiscard]] constexpr std::size_t size() const noexcept { return size_; }
    /// There is no room.
    [[nodiscard]] constexpr bool empty() const noexcept { return size_ == 0; }
    /// All of it.
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return {data(), size_}; }
    /// Its last `count` bytes; there are so many.
    [[nodiscard]] mutable_buffer last(std::size_t count) const noexcept {
        return mutable_buffer(data() + (size_ - count), count);
    }

private:
    void* data_ = nullptr;
    std::size_t size_ = 0;
};

} // namespace toadstone::io

#endif
