// The kernel of a simulated ring: what is in flight, and what happens to it.
#ifndef TOADSTONE_SIM_KERNEL_SIM_KERNEL_HPP
#define TOADSTONE_SIM_KERNEL_SIM_KERNEL_HPP

#include <toadstone/runtime/uring/kernel.hpp>
#include <toadstone/sim/kernel/buffer_ring.hpp>
#include <toadstone/sim/kernel/loan.hpp>
#include <toadstone/sim/kernel/state.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace toadstone::sim::detail {

/// The kernel behind one worker's ring. Never blocks: when nothing can complete, the driver
/// moves the clock.
class sim_kernel final : public toadstone::detail::kernel {
public:
    explicit sim_kernel(world::state& world) noexcept;
    ~sim_kernel();

    int setup(unsigned entries, io_uring& ring, io_uring_params& params) noexcept override;
    void teardown(io_uring& ring) noexcept override;
    int enter(io_uring& ring, unsigned to_submit, unsigned min_complete, unsigned flags,
              const __kernel_timespec* wait) noexcept override;
    int enroll(io_uring& ring, unsigned opcode, void* argument,
               unsigned count) noexcept override;
    std::chrono::steady_clock::time_point now() noexcept override { return world_.now(); }
    /// The world begins on the second day of the epoch, and its clock is never set.
    std::chrono::system_clock::time_point calendar_now() noexcept override {
        return std::chrono::system_clock::time_point(world_.now().time_since_epoch());
    }
    std::uint64_t entropy() noexcept override { return world_.choose(256, choice::timing); }

    /// Something submitted could complete now.
    [[nodiscard]] bool can_progress() noexcept;
    /// Operations that the runtime has handed over and that have not had their last completion.
    [[nodiscard]] std::size_t in_flight() const noexcept;
    /// The operation at this position of the submission queue will end with -EIO.
    void doom(unsigned position) { doomed_.push_back(position); }
    /// In a run that has to come to its end: no more delays.
    void be_prompt() noexcept { prompt_ = true; }
    /// Every submission has had exactly one last completion, and no buffer was touched while it
    /// was the kernel's.
    [[nodiscard]] bool balanced() const noexcept {
        return taken_.count == ended_.count && taken_.sum == ended_.sum && complaint_.empty();
    }
    /// What was done to a buffer in flight; empty if nothing was.
    [[nodiscard]] const std::string& complaint() const noexcept { return complaint_; }

private:
    struct memory;
    /// What the kernel reads of a submission entry; it copies it, and so the entry is free
    /// again.
    struct submission {
        submission() = default;
        explicit submission(const io_uring_sqe& entry) noexcept;
        std::uint8_t opcode = IORING_OP_NOP;
        std::uint8_t link = 0; ///< what follows it waits for its end
        int fd = -1;
        std::uint64_t off = 0; ///< or a second address
        std::uint64_t addr = 0;
        std::uint32_t len = 0;
        int flags = 0;
        std::uint64_t user_data = 0;
        bool multishot = false;
        bool polls_first = false; ///< an accept that waits before it looks for a number
        bool selects = false;     ///< its buffer from this group
        std::uint16_t group = 0;
    };
    /// Where an entry says that its memory is.
    struct extent {
        std::byte* at = nullptr;
        std::size_t size = 0;
        bool written = false; ///< by the kernel
    };
    struct request {
        submission entry;
        bool valid = true;
        bool doomed = false;
        /// Its turn in a chain has come. Until then no cancellation finds it.
        bool begun = false;
        bool severed = false;      ///< its chain broke before its turn
        std::vector<request> rest; ///< of the chain
        /// Of a buffer that only this one is to read, since it was submitted.
        std::optional<std::uint64_t> sum_when_submitted;
        std::shared_ptr<object> file;
        bool never_waits = false; ///< on a non-blocking pipe
        loan buffer;
        std::uint32_t done = 0; ///< bytes so far, of a send or receive that wants all
        unsigned delays = 0;
        /// It ends so, and has had its effect; only the completion is missing.
        std::optional<int> end;
        bool stopped = false; ///< cancelled: ends soon, by itself or not
        unsigned flags = 0;   ///< of the next completion
        // Of a zero-copy send that has completed: its notification is missing, and may have to
        // wait until so many bytes have come to the other side.
        bool notifies = false;
        std::shared_ptr<connection> route;
        int to_side = 0;
        std::uint64_t until = 0;
        // Of a poll that goes on: what it has told last, and what had happened by then.
        int told = 0;
        std::optional<std::uint64_t> wakes;
        unsigned repeats = 0;
        /// Of an accept that waits, or that was woken: see socket_object::sleepers.
        std::optional<std::uint64_t> sleeper;
    };
    /// Of many values, in any order.
    struct tally {
        void add(std::uint64_t user_data) noexcept {
            ++count;
            sum += (user_data ^ (user_data >> 29)) * 0x9e3779b97f4a7c15;
        }
        std::uint64_t count = 0;
        std::uint64_t sum = 0;
    };

    [[nodiscard]] static bool known(std::uint8_t opcode) noexcept;
    [[nodiscard]] static bool known_flags(const io_uring_sqe& entry) noexcept;
    void accept_entry(const io_uring_sqe& entry, bool doomed);
    void end_of_chain();
    void begin(request&& what);
    void follow(request& ended, int result);
    [[nodiscard]] static bool breaks_chain(const request& ended, int result) noexcept;
    [[nodiscard]] static extent extent_of(const submission& entry) noexcept;
    void borrow(request& what);
    void give_back(request& what, int result);
    void complain(const request& of);
    void cancel(request&& by);
    [[nodiscard]] int stopped_result(request& what);
    void progress();
    /// The flags of the first of two completions; nothing if there is only one.
    [[nodiscard]] std::optional<unsigned> announces(const request& sent, int result);
    void await_notification(request&& sent);
    /// It could have its effect now.
    [[nodiscard]] bool ready(request& what);
    void fall_asleep(request& what);
    static void get_up(request& what);
    /// True: it has had its effect, with `result`.
    [[nodiscard]] bool attempt(request& what, int& result);
    [[nodiscard]] bool attempt_socket(request& what, int& result);
    [[nodiscard]] bool attempt_transfer(request& what, int& result);
    [[nodiscard]] bool attempt_file(request& what, int& result);
    [[nodiscard]] bool attempt_pipe(request& what, int& result);
    [[nodiscard]] bool pipe_ready(const request& what) const;
    [[nodiscard]] bool attempt_selecting(request& what, int& result);
    [[nodiscard]] bool attempt_poll(request& what, int& result);
    [[nodiscard]] int accept(socket_object& listener, const submission& entry);
    [[nodiscard]] request take(std::size_t index);
    void finish(std::size_t index, int result) { conclude(take(index), result); }
    void conclude(request&& ended, int result);
    /// Its last completion.
    void post(std::uint64_t user_data, int result, unsigned flags = 0);
    /// One that others follow, or which says at least that they do.
    void post_early(std::uint64_t user_data, int result, unsigned flags);
    /// More will come of it, and this one has been posted.
    [[nodiscard]] bool goes_on(request& what, int result);
    [[nodiscard]] bool has_room() const noexcept;
    [[nodiscard]] buffer_ring* group_of(const submission& entry);
    [[nodiscard]] int provide(const io_uring_buf_reg& wanted);
    [[nodiscard]] int take_back(const io_uring_buf_reg& wanted);
    void put(const io_uring_cqe& completion);
    void flush_overflow();

    world::state& world_;
    std::unique_ptr<memory> memory_;
    std::vector<request> forming_; // a chain of which more is to come
    std::vector<request> pending_;
    std::map<std::uint16_t, buffer_ring> groups_;
    tally taken_;
    tally ended_;
    std::string complaint_;
    std::vector<unsigned> doomed_; // positions of the submission queue
    bool prompt_ = false;
};

} // namespace toadstone::sim::detail

#endif
