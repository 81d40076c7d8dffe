// A completion token: Asio's operations, awaited in a task and cancelled by their slots.
//
// #define TOADSTONE_GUEST_OF_BOOST before it to have it for Boost.Asio (1.77 or newer).
#ifndef TOADSTONE_EXAMPLES_ASIO_GUEST_USE_TOADSTONE_HPP
#define TOADSTONE_EXAMPLES_ASIO_GUEST_USE_TOADSTONE_HPP

#include <toadstone/runtime.hpp>

#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <system_error>
#include <tuple>
#include <type_traits>
#include <utility>

#ifdef TOADSTONE_GUEST_OF_BOOST
#include <boost/asio.hpp>
namespace asio_guest {
namespace asio = boost::asio;
using error_code = boost::system::error_code;
using system_error = boost::system::system_error;
} // namespace asio_guest
#else
#include <asio.hpp>
namespace asio_guest {
namespace asio = ::asio;
using error_code = asio::error_code;
using system_error = asio::system_error;
} // namespace asio_guest
#endif

namespace asio_guest {

using toadstone::completion;

/// The operation says itself where it runs.
struct of_the_operation {};

/// `co_await socket.async_read_some(buffer, use_toadstone)` in a task. The operation begins, is
/// cancelled and answers on its own executor: the task's worker only posts there, and so never
/// touches an Asio object beside the io_context's thread. An io_context that several threads
/// run needs a strand, as everywhere in Asio.
///
/// Returns: what the handler would get behind its error: nothing, a value, or a tuple.
///     as_tuple(): all of it, the error first, which is then a value.
/// Errors: std::system_error; the exception of a handler that gets one, and of an operation
///     that throws as it begins. broken_completion, when Asio destroys the handler without
///     calling it: the io_context is gone.
/// Cancellation: with a request pending nothing is begun. Later the slot is told `terminal`,
///     and the task waits for the handler. What ends with operation_aborted then ends the task;
///     everything else is delivered, and the next cancellation point ends it. An operation that
///     does not look at its slot is waited for, and named in the report of a shutdown; so is
///     one of an io_context that nobody runs.
/// Lifetime: buffers, and the Asio object, stay until the co_await is over, as ever. So does
///     the io_context, or its thread has ended when it is destroyed.
template <class Executor = of_the_operation, bool Tuple = false>
class token {
public:
    constexpr token() = default;
    constexpr explicit token(Executor on) : executor_(std::move(on)) {}

    [[nodiscard]] constexpr token<Executor, true> as_tuple() const {
        return token<Executor, true>(executor_);
    }
    /// For an operation that does not say where it runs, or is to run on this strand.
    template <class Other>
    [[nodiscard]] token<Other, Tuple> on(Other executor) const {
        return token<Other, Tuple>(std::move(executor));
    }

    template <class Initiation>
    [[nodiscard]] auto executor_of(const Initiation& initiation) const {
        if constexpr (!std::is_same_v<Executor, of_the_operation>) {
            return executor_;
        } else if constexpr (requires { initiation.get_executor(); }) {
            return initiation.get_executor();
        } else {
            return of_the_operation();
        }
    }

private:
    [[no_unique_address]] Executor executor_;
};
inline constexpr token<> use_toadstone;

/// Of one execution context: whether anything may still be posted to it. Asio has no lock
/// between that and the end of the context, whose services are shut down first.
struct gate {
    std::mutex lock;
    bool open = true; ///< Guarded by lock.
};
class gate_service final : public asio::execution_context::service {
public:
    static inline asio::execution_context::id id;
    explicit gate_service(asio::execution_context& of)
        : asio::execution_context::service(of), shared(std::make_shared<gate>()) {}
    const std::shared_ptr<gate> shared;

private:
    void shutdown() override {
        const std::lock_guard hold(shared->lock);
        shared->open = false;
    }
};

/// How a cancellation gets from the task's worker to the operation's executor. That is there
/// for as long as the handler: a strand's must not outlive its context.
template <class Executor>
class route {
public:
    explicit route(Executor to)
        : gate_(asio::use_service<gate_service>(asio::query(to, asio::execution::context))
                    .shared),
          executor_(std::move(to)) {}

    /// While the handler is there.
    [[nodiscard]] Executor executor() const { return *executor_; }
    /// On the executor.
    [[nodiscard]] asio::cancellation_slot slot() noexcept { return signal_.slot(); }
    [[nodiscard]] bool is_asked() const {
        const std::lock_guard hold(gate_->lock);
        return asked_;
    }
    /// On the task's worker.
    static void ask(const std::shared_ptr<route>& self) {
        const std::lock_guard hold(self->gate_->lock);
        self->asked_ = true;
        if (!self->executor_ || !self->gate_->open) return;
        const auto tell = [self] { self->signal_.emit(asio::cancellation_type::terminal); };
        asio::post(*self->executor_, tell);
    }
    /// The handler is called, or destroyed: nothing is there to be cancelled any more.
    void over() noexcept {
        std::optional<Executor> last; // goes behind the lock
        const std::lock_guard hold(gate_->lock);
        last.swap(executor_);
        signal_.slot().clear();
    }

private:
    const std::shared_ptr<gate> gate_;
    std::optional<Executor> executor_; ///< Guarded by the gate's lock; there until over().
    bool asked_ = false;               ///< Guarded by the gate's lock.
    asio::cancellation_signal signal_; ///< On the executor, and of whoever ends its context.
};

inline bool is_aborted(const error_code& error) noexcept {
    return error == asio::error::operation_aborted;
}
inline bool is_aborted(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const system_error& thrown) {
        return is_aborted(thrown.code());
    } catch (...) {
        return false;
    }
}
inline std::exception_ptr as_exception(const error_code& error) {
    return std::make_exception_ptr(std::system_error(error, "asio"));
}
inline std::exception_ptr as_exception(std::exception_ptr error) noexcept {
    return error;
}

template <class... Values>
struct several {
    using type = std::tuple<Values...>;
};
template <class Value>
struct several<Value> {
    using type = Value;
};
template <>
struct several<> {
    using type = void;
};

/// What co_await makes of a handler's arguments.
template <bool Tuple, class... Args>
struct meaning {
    static constexpr bool has_error = false;
    using type = typename several<Args...>::type;
};
template <bool Tuple, class Error, class... Values>
    requires(std::is_same_v<Error, error_code> || std::is_same_v<Error, std::exception_ptr>)
struct meaning<Tuple, Error, Values...> {
    static constexpr bool has_error = true;
    using type = std::conditional_t<Tuple, std::tuple<Error, Values...>,
                                    typename several<Values...>::type>;
};

/// What Asio calls, once, or destroys.
template <class Executor, bool Tuple, class... Args>
class handler {
public:
    using means = meaning<Tuple, Args...>;
    using result = typename means::type;
    using executor_type = Executor;
    using cancellation_slot_type = asio::cancellation_slot;

    handler(completion<result> answer, std::shared_ptr<route<Executor>> by)
        : answer_(std::move(answer)), route_(std::move(by)) {}
    handler(handler&&) noexcept = default;
    handler& operator=(handler&&) = delete;
    ~handler() {
        if (route_) route_->over();
    }

    [[nodiscard]] executor_type get_executor() const noexcept { return route_->executor(); }
    [[nodiscard]] cancellation_slot_type get_cancellation_slot() const noexcept {
        return route_->slot();
    }
    [[nodiscard]] const completion<result>& answer() const noexcept { return answer_; }

    void operator()(Args... args) {
        const auto by = std::move(route_);
        by->over();
        const completion<result> here = std::move(answer_);
        tell(here, by->is_asked(), args...);
    }

private:
    static void tell(completion<result> to, bool asked, Args&... args) {
        if constexpr (means::has_error) {
            if (const auto& error = std::get<0>(std::tie(args...))) {
                // Unanswered: a task that has to stop ends by that.
                if (asked && is_aborted(error)) return;
                if constexpr (!Tuple) {
                    to.fail(as_exception(error));
                    return;
                }
            }
        }
        if constexpr (means::has_error && !Tuple) {
            const auto behind = [&to](auto&, auto&... values) { give(to, values...); };
            behind(args...);
        } else {
            give(to, args...);
        }
    }
    template <class... Values>
    static void give(completion<result>& to, Values&... values) {
        if constexpr (std::is_void_v<result>) {
            to.complete();
        } else if constexpr (std::is_same_v<result, std::tuple<Values...>>) {
            to.complete(std::tuple<Values&&...>(std::move(values)...));
        } else {
            to.complete(std::move(values)...);
        }
    }

    completion<result> answer_;
    std::shared_ptr<route<Executor>> route_;
};

/// An operation that has not begun: what Asio gives to begin it with.
template <class Handler, class Initiation, class... Args>
class operation : public route<typename Handler::executor_type> {
public:
    using executor_type = typename Handler::executor_type;
    using result = typename Handler::result;

    template <class... Given>
    explicit operation(executor_type on, Initiation&& initiation, Given&&... args)
        : route<executor_type>(std::move(on)), initiation_(std::move(initiation)),
          args_(std::forward<Given>(args)...) {}

    static void start(const std::shared_ptr<operation>& self, completion<result> answer) {
        auto begins = [self, called = Handler(std::move(answer), self)]() mutable {
            self->begin(std::move(called));
        };
        asio::post(self->executor(), std::move(begins));
    }

private:
    void begin(Handler called) {
        if (this->is_asked()) return;
        completion<result> answer = called.answer();
        const auto initiate = [&](Args&... args) {
            std::move(initiation_)(std::move(called), std::move(args)...);
        };
        try {
            std::apply(initiate, args_);
        } catch (...) {
            answer.fail(std::current_exception());
        }
    }

    Initiation initiation_;
    std::tuple<Args...> args_;
};

template <class Operation>
class starts {
public:
    explicit starts(const std::shared_ptr<Operation>& which) : which_(which) {}
    void operator()(completion<typename Operation::result> answer) const {
        Operation::start(which_, std::move(answer));
    }

private:
    std::shared_ptr<Operation> which_;
};

template <class Executor>
class stops {
public:
    explicit stops(std::shared_ptr<route<Executor>> by) : route_(std::move(by)) {}
    bool operator()() const {
        route<Executor>::ask(route_);
        return false; // the handler is still called
    }

private:
    std::shared_ptr<route<Executor>> route_;
};

template <class Operation>
using awaits = decltype(toadstone::with_completion<typename Operation::result>(
    std::declval<starts<Operation>&>(),
    std::declval<stops<typename Operation::executor_type>&>()));

/// What an operation gives for co_await; a task for functions, as some of Beast's, that have to
/// name their return type.
template <class Operation>
class wait : public awaits<Operation> {
    using result = typename Operation::result;

public:
    explicit wait(awaits<Operation>&& inside) : awaits<Operation>(std::move(inside)) {}
    operator toadstone::task<result>() && { return as_task(std::move(*this)); }

private:
    static toadstone::task<result> as_task(awaits<Operation> inside) {
        co_return co_await std::move(inside);
    }
};

} // namespace asio_guest

template <class Executor, bool Tuple, class... Args>
class asio_guest::asio::async_result<asio_guest::token<Executor, Tuple>, void(Args...)> {
    template <class Initiation>
    using executor_for =
        decltype(std::declval<asio_guest::token<Executor, Tuple>>().executor_of(
            std::declval<const Initiation&>()));
    template <class Initiation>
    using handler_for =
        asio_guest::handler<executor_for<Initiation>, Tuple, std::decay_t<Args>...>;
    template <class Initiation, class... Given>
    using operation_for = asio_guest::operation<handler_for<Initiation>, Initiation, Given...>;

public:
    using return_type =
        toadstone::task<typename asio_guest::meaning<Tuple, std::decay_t<Args>...>::type>;

    // Asio asks whether this is a token with an operation that says nothing; the type is named,
    // so that what it would do then is not looked at.
    template <class Initiation, class Token, class... Given>
    static auto initiate(Initiation&& initiation, Token&& token, Given&&... args)
        -> asio_guest::wait<operation_for<std::decay_t<Initiation>, std::decay_t<Given>...>> {
        using what = operation_for<std::decay_t<Initiation>, std::decay_t<Given>...>;
        static_assert(
            !std::is_same_v<typename what::executor_type, asio_guest::of_the_operation>,
            "this operation does not say where it runs: use_toadstone.on(executor)");
        auto executor = token.executor_of(initiation);
        const auto made = std::make_shared<what>(
            std::move(executor), std::decay_t<Initiation>(std::forward<Initiation>(initiation)),
            std::forward<Given>(args)...);
        asio_guest::starts<what> start(made);
        asio_guest::stops<typename what::executor_type> stop(made);
        return asio_guest::wait<what>(
            toadstone::with_completion<typename what::result>(start, stop));
    }
};

#endif
