// Objects that an expression with a co_await makes: closures, ?:, new, throw, results.
#include <toadstone/sync.hpp>

#include "compilers/forms.hpp"

#include <chrono>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

// Closures that hold something by value.

FORM(closure_init_capture) {

    // wrong: closure
    auto f = [one = co_await give()] { return one.value; };
    expect(f() == 7);
    co_await yield_now();
}

FORM(closure_text) {

    // wrong: closure
    auto f = [name = co_await text()] { return name.size(); };
    expect(f() == 60);
    co_await yield_now();
}

FORM(closure_operand) {
    item one(7);
    // wrong: closure
    co_await call([one] { return one.value; });

    co_await yield_now();
}

FORM(closure_pointer) {
    auto one = std::make_shared<int>(7);
    // wrong: closure
    co_await call([one] { return *one; });
    expect(one.use_count() == 1);
    co_await yield_now();
}

FORM(closure_called) {
    item one(7);
    // wrong: closure
    const int n = [one](int k) { return one.value + k; }(co_await number(1));
    expect(n == 8);
    co_await yield_now();
}

FORM(closure_number) {

    auto f = [n = co_await number(7)] { return n; };
    expect(f() == 7);
    co_await yield_now();
}

FORM(closure_reference) {
    item one(7);
    co_await call([&one] { return one.value; });

    co_await yield_now();
}

FORM(closure_named_first) {
    item one(7);
    auto f = [one] { return one.value; };
    co_await call(f);

    co_await yield_now();
}

FORM(closure_inside_closure) {
    item one(7);
    co_await call([&one] {
        auto f = [one] { return one.value; };
        return f();
    });

    co_await yield_now();
}

// ?: that makes an object.

FORM(conditional_both) {
    bool b = true;
    // wrong: conditional
    item one = b ? co_await give(7) : co_await give(1);
    expect(one.value == 7);
    co_await yield_now();
}

FORM(conditional_one) {
    bool b = true;
    // wrong: conditional
    item one = b ? co_await give() : item(1);
    expect(one.value == 7);
    co_await yield_now();
}

FORM(conditional_other) {
    bool b = false;
    // wrong: conditional
    item one = b ? co_await give(1) : item(7);
    expect(one.value == 7);
    co_await yield_now();
}

FORM(conditional_tested) {

    // wrong: conditional
    item one = co_await yes() ? item(7) : item(1);
    expect(one.value == 7);
    co_await yield_now();
}

FORM(conditional_text) {
    bool b = true;
    // wrong: conditional
    std::string s = b ? (co_await text()) : std::string();
    expect(s.size() == 60);
    co_await yield_now();
}

FORM(conditional_operand) {
    bool b = true;
    // wrong: conditional
    co_await take(b ? item(7) : item(1));

    co_await yield_now();
}

FORM(conditional_tasks) {
    bool b = true;
    // wrong: conditional
    co_await (b ? take(item(7)) : take(item(7)));

    co_await yield_now();
}

FORM(conditional_beside) {
    bool b = true;
    std::string p = "a";
    // wrong: conditional
    std::string s = (b ? p : std::string("b")) + co_await text();
    expect(s.size() == 61);
    co_await yield_now();
}

FORM(conditional_or_throw) {
    bool b = true;
    // wrong: conditional
    item one = b ? co_await give() : throw 1;
    expect(one.value == 7);
    co_await yield_now();
}

FORM(conditional_reference) {
    bool b = true;
    item other(7);
    // wrong: conditional
    const item& one = b ? other : co_await give();
    expect(one.value == 7);
    co_await yield_now();
}

FORM(conditional_numbers) {
    bool b = true;
    int n = b ? co_await number(7) : co_await number(1);
    expect(n == 7);
    co_await yield_now();
}

FORM(conditional_number_of_object) {
    bool b = true;
    int n = b ? (co_await give()).value : 0;
    expect(n == 7);
    co_await yield_now();
}

FORM(conditional_lvalues) {
    bool b = true;
    item one(7);
    item other(1);
    co_await take(b ? one : other);

    co_await yield_now();
}

FORM(conditional_tests_number) {

    int n = co_await yes() ? 7 : 1;
    expect(n == 7);
    co_await yield_now();
}

FORM(conditional_without_await) {
    bool b = true;
    item one = b ? item(7) : item(1);
    co_await yield_now();
    expect(one.value == 7);
    co_await yield_now();
}

FORM(logical_and) {

    bool b = (co_await give()).value == 7 && (co_await give()).value == 7;
    expect(b);
    co_await yield_now();
}

// new that takes over a temporary.

FORM(new_awaited) {

    // wrong: new
    std::unique_ptr<item> one(new item(co_await give()));
    expect(one->value == 7);
    co_await yield_now();
}

FORM(new_in_braces) {

    // wrong: new
    std::unique_ptr<item> one(new item{co_await give()});
    expect(one->value == 7);
    co_await yield_now();
}

FORM(new_returned) {

    // wrong: new
    std::unique_ptr<item> one(new item(made(co_await number(7))));
    expect(one->value == 7);
    co_await yield_now();
}

FORM(new_text) {

    // wrong: new
    std::unique_ptr<std::string> s(new std::string((co_await text()).substr(1)));
    expect(s->size() == 59);
    co_await yield_now();
}

FORM(new_aggregate) {
    item one(7);
    // wrong: new
    std::unique_ptr<bundle> all(new bundle{one, co_await number(1)});
    eat(*all);
    co_await yield_now();
}

FORM(new_number_awaited) {

    std::unique_ptr<item> one(new item(co_await number(7)));
    expect(one->value == 7);
    co_await yield_now();
}

FORM(new_of_number) {

    std::unique_ptr<int> n(new int(co_await number(7)));
    expect(*n == 7);
    co_await yield_now();
}

FORM(new_plain_aggregate) {

    std::unique_ptr<numbers> all(new numbers{co_await number(7), 1});
    expect(all->a == 7);
    co_await yield_now();
}

FORM(new_constructed) {

    std::unique_ptr<constructed> all(new constructed(co_await give(), 1));
    expect(all->first.value == 7);
    co_await yield_now();
}

FORM(new_made_unique) {

    auto one = std::make_unique<item>(co_await give());
    expect(one->value == 7);
    co_await yield_now();
}

// throw that makes its exception.

FORM(throw_awaited) {
    try {
        // wrong: throw
        throw co_await give();
    } catch (const item& caught) {
        expect(caught.value == 7);
    }
    co_await yield_now();
}

FORM(throw_made) {
    try {
        // wrong: throw
        throw item(co_await number(7));
    } catch (const item& caught) {
        expect(caught.value == 7);
    }
    co_await yield_now();
}

FORM(throw_error) {
    try {
        // wrong: throw
        throw std::runtime_error("x" + co_await text());
    } catch (const std::exception& caught) {
        expect(std::strlen(caught.what()) == 61);
    }
    co_await yield_now();
}

FORM(throw_number) {
    try {
        throw co_await number(7);
    } catch (int caught) {
        expect(caught == 7);
    }
    co_await yield_now();
}

FORM(throw_awaited_before) {
    try {
        item one = co_await give();
        throw one;
    } catch (const item& caught) {
        expect(caught.value == 7);
    }
    co_await yield_now();
}

// Right in all positions.

FORM(right_arguments) {

    eat_item(co_await give());

    co_await yield_now();
}

FORM(right_nested) {

    co_await take(co_await give(co_await number(7)));

    co_await yield_now();
}

FORM(right_operand) {

    co_await take(item(7));

    co_await yield_now();
}

FORM(right_map) {
    std::map<int, item> all;
    all.emplace(1, co_await give());
    expect(all.at(1).value == 7);
    co_await yield_now();
}

FORM(right_sum) {

    std::string s = "x" + (co_await text()) + (co_await text());
    expect(s.size() == 121);
    co_await yield_now();
}

FORM(right_optional) {

    std::optional<item> one = co_await give();
    expect(one->value == 7);
    co_await yield_now();
}

FORM(right_assigned) {
    item one(1);
    one = co_await give();
    expect(one.value == 7);
    co_await yield_now();
}

FORM(right_reference) {

    auto&& one = co_await give();
    co_await yield_now();
    expect(one.value == 7);
    co_await yield_now();
}

FORM(right_range) {

    for (const char c : co_await text()) expect(c == 'x');

    co_await yield_now();
}

FORM(right_discarded) {
    int n = 0;
    co_await give();
    expect(n == 0);
    co_await yield_now();
}

// Results: the operand of co_return.

task<bundle> returned_aggregate() {
    int n = 1;
    // wrong: aggregate
    co_return bundle{co_await give(), n};
}
FORM(return_aggregate) {
    eat(co_await returned_aggregate());
}

task<item> returned_conditional(bool b) {
    int n = 1;
    // wrong: conditional
    co_return b ? co_await give() : co_await give(n);
}
FORM(return_conditional) {
    expect((co_await returned_conditional(true)).value == 7);
}

task<constructed> returned_constructed() {
    int n = 1;
    co_return constructed{co_await give(), n};
}
FORM(return_constructed) {
    expect((co_await returned_constructed()).first.value == 7);
}

// Locks that nothing holds: wrong with every compiler; clang warns.

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-result"
FORM(lock_as_statement) {
    sync::mutex<int> m(0);
    int n = 1;
    // wrong: unheld
    co_await m.lock();
    if (n == 1)
        // wrong: unheld
        co_await m.lock(sync::wait_recovery);
    // wrong: unheld
    co_await m.try_lock_for(std::chrono::seconds(1));
    expect(m.try_lock().has_value());
}
FORM(lock_held) {
    sync::mutex<int> m(0);
    auto held = co_await m.lock();
    held.unlock();
    *co_await m.lock() = 2;
    (co_await m.lock()).poison("said");
    static_cast<void>(co_await m.lock_or_poison());
}
#pragma GCC diagnostic pop

} // namespace
