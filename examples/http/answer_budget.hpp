// A budget for what all answers need together: beyond it a client is told to come back.
#ifndef TOADSTONE_EXAMPLES_HTTP_ANSWER_BUDGET_HPP
#define TOADSTONE_EXAMPLES_HTTP_ANSWER_BUDGET_HPP

#include <atomic>
#include <cstddef>
#include <optional>
#include <utility>

namespace http {

/// Threads: any worker. The counter says nothing about other data, so all accesses are relaxed.
class answer_budget {
public:
    /// Bytes that were taken; the destructor gives them back.
    class share {
    public:
        share() noexcept = default;
        share(share&& other) noexcept
            : of_(std::exchange(other.of_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
        share& operator=(share&& other) noexcept {
            std::swap(of_, other.of_);
            std::swap(bytes_, other.bytes_);
            return *this;
        }
        ~share() { resize(0); }

        /// To what is really needed, once that is known. Never refused: the answer is there.
        void resize(std::size_t bytes) noexcept {
            if (!of_) return;
            of_->taken_.fetch_add(bytes - bytes_, std::memory_order_relaxed); // modulo 2^64
            bytes_ = bytes;
        }

    private:
        friend class answer_budget;
        share(answer_budget& of, std::size_t bytes) noexcept : of_(&of), bytes_(bytes) {}
        answer_budget* of_ = nullptr;
        std::size_t bytes_ = 0;
    };

    explicit answer_budget(std::size_t most) noexcept : most_(most) {}
    answer_budget(const answer_budget&) = delete;
    answer_budget& operator=(const answer_budget&) = delete;

    /// Nothing when there is not as much left. With nothing taken anybody gets what is asked.
    [[nodiscard]] std::optional<share> take(std::size_t bytes) noexcept {
        std::size_t taken = taken_.load(std::memory_order_relaxed);
        do {
            if (taken > 0 && (bytes > most_ || taken > most_ - bytes)) return std::nullopt;
        } while (
            !taken_.compare_exchange_weak(taken, taken + bytes, std::memory_order_relaxed));
        return share(*this, bytes);
    }
    [[nodiscard]] std::size_t taken() const noexcept {
        return taken_.load(std::memory_order_relaxed);
    }

private:
    const std::size_t most_;
    std::atomic<std::size_t> taken_{0};
};

} // namespace http

#endif
