// Critical sections, one for each operation that something happens to.
#ifndef TOADSTONE_EXAMPLES_OPERATION_TRACKER_SECTIONS_HPP
#define TOADSTONE_EXAMPLES_OPERATION_TRACKER_SECTIONS_HPP

#include "operation.hpp"

#include "journal/journal.hpp"

#include <toadstone/sync/auto_reset_event.hpp>
#include <toadstone/sync/mutex.hpp>

#include <array>
#include <cstddef>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

namespace tracker {

/// What a section holds. Healthy, no record of the operation is on its way: the book has what
/// became of it.
struct section {
    /// Of a record that is on its way, or was when the section was cut.
    std::optional<journal::ticket> sent;
};

/// A lock for each operation, made when somebody comes and gone when nobody is there any more,
/// unless it is poisoned.
///
/// Threads: any worker.
class sections {
    struct place {
        explicit place(operation_id which) : id(which) {}
        const operation_id id;
        toadstone::sync::mutex<section> lock{section{}, "operation"};
        std::size_t users = 0; // guarded by its shard's lock
        place* next = nullptr; // guarded by broken_lock_
    };

public:
    sections() = default;
    sections(const sections&) = delete;
    sections& operator=(const sections&) = delete;

    /// Somebody who is at a section, or waits for it. Outlives his guard.
    class user {
    public:
        user(user&& other) noexcept : of_(other.of_), at_(std::exchange(other.at_, nullptr)) {}
        user& operator=(user&&) = delete;
        ~user() {
            if (at_) of_->leave(*at_);
        }
        [[nodiscard]] toadstone::sync::mutex<section>& lock() const noexcept {
            return at_->lock;
        }
        [[nodiscard]] operation_id id() const noexcept { return at_->id; }

    private:
        friend class sections;
        user(sections& of, place& at) noexcept : of_(&of), at_(&at) {}
        sections* of_;
        place* at_;
    };

    /// Errors: std::bad_alloc.
    [[nodiscard]] user enter(operation_id id);
    /// Nothing unless it is poisoned.
    [[nodiscard]] std::optional<user> enter_if_poisoned(operation_id id) noexcept;

    /// Passes when a poisoned one was left by everybody.
    [[nodiscard]] toadstone::sync::auto_reset_event& broken() noexcept { return broken_; }
    /// One of those; nothing if there are no more.
    [[nodiscard]] std::optional<user> take_broken() noexcept;

private:
    struct shard {
        std::mutex lock;
        std::unordered_map<operation_id, place> places; // guarded by lock
    };
    [[nodiscard]] shard& shard_of(operation_id id) noexcept {
        return shards_[id % shards_.size()];
    }
    void leave(place& at) noexcept;

    std::array<shard, 16> shards_;
    std::mutex broken_lock_;
    place* first_broken_ = nullptr; // guarded by broken_lock_
    toadstone::sync::auto_reset_event broken_;
};

} // namespace tracker

#endif
