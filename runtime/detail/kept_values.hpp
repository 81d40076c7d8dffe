// A callable and its arguments, kept by value until they are called, as std::thread keeps its.
#ifndef TOADSTONE_RUNTIME_DETAIL_KEPT_VALUES_HPP
#define TOADSTONE_RUNTIME_DETAIL_KEPT_VALUES_HPP

#include <toadstone/runtime/detail/config.hpp>

#include <type_traits>
#include <utility>

namespace toadstone::detail {

/// Calls as std::invoke() does, whose header costs too much here.
template <class Fn, class... A>
TOADSTONE_CORO_WRAPPER decltype(auto) invoke_rvalues(Fn&& fn, A&&... arguments) {
    return static_cast<Fn&&>(fn)(static_cast<A&&>(arguments)...);
}
template <class M, class Class, class Object, class... A>
TOADSTONE_CORO_WRAPPER decltype(auto) invoke_rvalues(M Class::*&& member, Object&& object,
                                                     A&&... arguments) {
    if constexpr (std::is_base_of_v<Class, std::remove_cvref_t<Object>>) {
        return (static_cast<Object&&>(object).*member)(static_cast<A&&>(arguments)...);
    } else if constexpr (requires { *object; }) {
        return ((*object).*member)(static_cast<A&&>(arguments)...);
    } else { // a std::reference_wrapper
        return (object.get().*member)(static_cast<A&&>(arguments)...);
    }
}

/// Values that are destroyed in the reverse order, whichever the standard library. The first is
/// the callable.
template <class... T>
struct kept_values {
    template <class... Before>
    TOADSTONE_CORO_WRAPPER decltype(auto) call(Before&&... values) {
        return invoke_rvalues(static_cast<Before&&>(values)...);
    }
};
template <class First, class... Rest>
struct kept_values<First, Rest...> {
    template <class A, class... More>
    explicit kept_values(A&& value, More&&... more)
        : first(std::forward<A>(value)), rest(std::forward<More>(more)...) {}

    template <class... Before>
    TOADSTONE_CORO_WRAPPER decltype(auto) call(Before&&... before) {
        return rest.call(static_cast<Before&&>(before)..., std::move(first));
    }

    First first;
    [[no_unique_address]] kept_values<Rest...> rest;
};

} // namespace toadstone::detail

#endif
