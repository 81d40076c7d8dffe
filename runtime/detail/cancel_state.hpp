// The shared state behind cancellation sources and tokens: a sticky reason, its listeners, and
// the states that follow it.
#ifndef TOADSTONE_RUNTIME_DETAIL_CANCEL_STATE_HPP
#define TOADSTONE_RUNTIME_DETAIL_CANCEL_STATE_HPP

#include <toadstone/runtime/cancel_reason.hpp>
#include <toadstone/runtime/detail/atomic.hpp>
#include <toadstone/runtime/detail/frame_pool.hpp>
#include <toadstone/runtime/detail/posted.hpp>

#include <cstdint>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace toadstone::detail {

class cancel_ref;
class cancel_state;
class context;

/// Somebody to be told of a request, once. Told on the thread that requests.
class cancel_listener {
public:
    cancel_listener() = default;
    cancel_listener(const cancel_listener&) = delete;
    cancel_listener& operator=(const cancel_listener&) = delete;

protected:
    virtual ~cancel_listener() = default;
    virtual void cancelled(cancel_reason reason) noexcept = 0;

private:
    friend class cancel_state;
    // Guarded by the state's lock.
    plain<cancel_listener*> next_ = nullptr;
    plain<cancel_listener*> previous_ = nullptr;
    plain<bool> listed_ = false;
};

/// Counted by hand, so that a token is one pointer. Posted by itself, so that the end of a
/// deferral needs no memory.
///
/// A state may follow one other: a request to that one is a request to it, with the same
/// reason. The follower holds a reference to its leader and stands in the leader's list without
/// one, so that dropping a follower ends the link. Neither a request nor a destruction recurses
/// along such a chain. Locks are taken from the follower to the leader.
class cancel_state : public pooled, private posted {
public:
    cancel_state() = default;
    cancel_state(const cancel_state&) = delete;
    cancel_state& operator=(const cancel_state&) = delete;

    /// True for the first request. When it returns, this state and all that follow it have the
    /// reason, and then their listeners have been told, on this thread.
    bool request(cancel_reason reason) noexcept;
    /// request() for the callback of a std::stop_token, which may come while the last reference
    /// goes on another thread. Inside another request() on this thread, that one tells.
    void request_unless_dying(cancel_reason reason) noexcept;

    /// Follows `leader` from now on; at once, if that has been requested. False: it follows one
    /// already.
    bool follow(cancel_state& leader) noexcept;
    [[nodiscard]] bool follows() noexcept;
    /// A later request to the leader is none of its business.
    void stop_following() noexcept;
    /// Owns what makes it follow a std::stop_token. Before the state is shared.
    void own_link(std::shared_ptr<void> link) noexcept { stop_link_ = std::move(link); }

    [[nodiscard]] bool requested() const noexcept {
        return reason_.load(std::memory_order_acquire) != 0;
    }
    /// For whoever knows that there was a request.
    [[nodiscard]] cancel_reason reason() const noexcept {
        return static_cast<cancel_reason>(reason_.load(std::memory_order_relaxed) - 1);
    }

    /// Lists a listener. False, and not listed, when the request has been made already.
    [[nodiscard]] bool listen(cancel_listener& listener) noexcept;

    /// Takes a listener off. Waits for it if another thread is telling it just now.
    void leave(cancel_listener& listener) noexcept;

    /// What keep() keeps, or null.
    [[nodiscard]] std::shared_ptr<void> kept() noexcept;
    /// Keeps `owned` alive until the state goes, unless something is kept already. Returns what
    /// is kept.
    std::shared_ptr<void> keep(std::shared_ptr<void> owned) noexcept;

    void add_reference() noexcept { references_.fetch_add(1, std::memory_order_relaxed); }
    void drop_reference() noexcept {
        // (R) with (A) below: whoever frees the state sees what every other holder did to it.
        if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) free(this);
    }

    /// Guards with on_cancel::defer that the task holds. Whoever takes the last one away calls
    /// deferral_ended(); it and the flag of a request are sequentially consistent, so that one
    /// of the two sides sees the other.
    atomic<unsigned> deferrals{0};
    /// A request that waited for the guard is carried out. Any thread; resumes nothing.
    void deferral_ended() noexcept;

    /// The context whose cancellation is deferred; null when it is gone. Its home worker.
    void set_owner(context* owner) noexcept;

    /// The states of guards that came out of contexts which have ended inside the owner: what
    /// they defer is its cancellation. The owner's home worker; afterwards, whoever has the
    /// context for himself.
    void adopt(cancel_state& from);
    [[nodiscard]] bool adopted_deferral() const noexcept;
    [[nodiscard]] auto take_adopted() noexcept { return std::move(adopted_); }
    /// The owner has ended.
    void disown_adopted() noexcept;
    void drop_adopted() noexcept;

protected:
    ~cancel_state() override;

private:
    /// The states that one call of request() has marked and not told. The caller's thread.
    struct marked {
        cancel_state* first = nullptr;
        cancel_state* last = nullptr;
        void add(cancel_state& state) noexcept;
    };
    static per_thread<marked*>& telling_here() noexcept;

    static void free(cancel_state* state) noexcept;
    /// False when the last reference has gone and the state is being freed.
    [[nodiscard]] bool add_reference_unless_dying() noexcept;
    [[nodiscard]] bool mark(cancel_reason reason) noexcept;
    void mark_followers(marked& all) noexcept;
    [[nodiscard]] cancel_state* take_followers() noexcept;
    void tell() noexcept;
    void tell_all() noexcept;
    /// Leaves its leader's list. Returns the leader, with the reference to it, or null.
    [[nodiscard]] cancel_state* take_leader() noexcept;

    /// Carries the end of a deferral to the home worker; holds a reference.
    void run_posted() noexcept override;

    plain<context*> owner_ = nullptr; // guarded by lock_
    plain<bool> posted_ = false;      // guarded by lock_
    atomic<std::uint32_t> references_{1};
    atomic<std::uint8_t> reason_{0}; // 0, or reason + 1; set under lock_
    mutex lock_;
    plain<cancel_listener*> first_ = nullptr;   // guarded by lock_
    atomic<cancel_listener*> telling_{nullptr}; // set under lock_
    plain<const void*> teller_ = nullptr;       // guarded by lock_
    plain<cancel_state*> leader_ = nullptr;     // guarded by lock_; holds a reference
    plain<cancel_state*> followers_ = nullptr;  // guarded by lock_
    // Guarded by the leader's lock. Taken off the list by a request, `next_follower_` is its.
    plain<cancel_state*> next_follower_ = nullptr;
    plain<cancel_state*> previous_follower_ = nullptr;
    plain<bool> following_ = false;
    plain<cancel_state*> next_marked_ = nullptr;       // the thread whose request was the first
    std::shared_ptr<void> kept_;                       // guarded by lock_
    std::shared_ptr<void> stop_link_;                  // set before the state is shared
    std::unique_ptr<std::vector<cancel_ref>> adopted_; // rarely there
};

/// A counted pointer to a cancel_state.
class cancel_ref {
public:
    cancel_ref() = default;
    explicit cancel_ref(cancel_state* adopted) noexcept : state_(adopted) {}
    cancel_ref(const cancel_ref& other) noexcept : state_(other.state_) {
        if (state_) state_->add_reference();
    }
    cancel_ref(cancel_ref&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    cancel_ref& operator=(cancel_ref other) noexcept {
        std::swap(state_, other.state_);
        return *this;
    }
    ~cancel_ref() {
        if (state_) state_->drop_reference();
    }
    cancel_state* operator->() const noexcept { return state_; }
    cancel_state& operator*() const noexcept { return *state_; }
    explicit operator bool() const noexcept { return state_ != nullptr; }
    friend bool operator==(const cancel_ref&, const cancel_ref&) = default;

private:
    cancel_state* state_ = nullptr;
};

inline cancel_state::~cancel_state() = default;

/// A state of a worker: no task leaves it behind, so it is not counted among the frames.
class worker_cancel_state final : public cancel_state {
public:
    static void* operator new(std::size_t size) { return ::operator new(size); }
    static void operator delete(void* state) noexcept { ::operator delete(state); }

private:
    ~worker_cancel_state() override = default;
};

} // namespace toadstone::detail

#endif
