// Braces around an aggregate in an expression with a co_await.
#include "compilers/forms.hpp"

#include <array>
#include <initializer_list>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

FORM(agg_variable) {

    // wrong: aggregate
    bundle all{co_await give(), 1};
    eat(all);
    co_await yield_now();
}

FORM(agg_two) {

    // wrong: aggregate
    numbers_of_items all{co_await give(), co_await give()};
    expect(all.b.value == 7);
    co_await yield_now();
}

FORM(agg_equals) {

    // wrong: aggregate
    bundle all = {co_await give(), 1};
    eat(all);
    co_await yield_now();
}

FORM(agg_designated) {

    // wrong: aggregate
    bundle all{.first = co_await give(), .count = 1};
    eat(all);
    co_await yield_now();
}

FORM(agg_number_awaited) {

    // wrong: aggregate
    bundle all{item(7), co_await number(1)};
    eat(all);
    co_await yield_now();
}

FORM(agg_in_parentheses) {

    // wrong: aggregate
    bundle all(co_await give(), 1);
    eat(all);
    co_await yield_now();
}

FORM(agg_nested) {

    // wrong: aggregate
    outer_bundle all{{co_await give(), 1}, 2};
    eat(all.inside);
    co_await yield_now();
}

FORM(agg_nested_number) {

    // wrong: aggregate
    outer_bundle all{{item(7), 1}, co_await number(2)};
    eat(all.inside);
    co_await yield_now();
}

FORM(agg_derived) {

    // wrong: aggregate
    derived_bundle all{item(7), co_await number(1)};
    expect(all.value == 7);
    co_await yield_now();
}

FORM(agg_defaulted) {

    // wrong: aggregate
    defaulted all{.count = co_await number(2)};
    expect(all.name.value == 7);
    co_await yield_now();
}

FORM(agg_argument) {

    // wrong: aggregate
    eat({co_await give(), 1});

    co_await yield_now();
}

FORM(agg_named_argument) {

    // wrong: aggregate
    eat(bundle{co_await give(), 1});

    co_await yield_now();
}

FORM(agg_push_back) {
    std::vector<bundle> all;
    // wrong: aggregate
    all.push_back({co_await give(), 1});
    eat(all.at(0));
    co_await yield_now();
}

FORM(agg_assigned) {
    bundle all{item(1), 2};
    // wrong: aggregate
    all = {co_await give(), 1};
    eat(all);
    co_await yield_now();
}

FORM(agg_structured_binding) {

    // wrong: aggregate
    auto [first, count] = bundle{co_await give(), 2};
    expect(first.value == 7 && count == 2);
    co_await yield_now();
}

FORM(agg_bound_to_reference) {

    // wrong: aggregate
    const bundle& all = bundle{co_await give(), 1};
    eat(all);
    co_await yield_now();
}

FORM(agg_member_of_temporary) {

    // wrong: aggregate
    const int n = bundle{co_await give(), 1}.count;
    expect(n == 1);
    co_await yield_now();
}

FORM(agg_optional) {

    // wrong: aggregate
    std::optional<bundle> all = bundle{co_await give(), 1};
    eat(*all);
    co_await yield_now();
}

FORM(agg_array) {

    // wrong: aggregate
    std::array<item, 2> all{co_await give(), item(7)};
    expect(all[0].value == 7);
    co_await yield_now();
}

FORM(agg_unique_pointer) {
    struct owner {
        std::unique_ptr<int> first;
        int count;
    };
    // wrong: aggregate
    owner all{std::make_unique<int>(7), co_await number(1)};
    expect(*all.first == 7);
    co_await yield_now();
}

FORM(agg_operand) {

    // wrong: aggregate
    co_await take_bundle({item(7), 1});

    co_await yield_now();
}

FORM(agg_operand_of_named) {
    item one(7);
    // wrong: aggregate
    co_await take_bundle(bundle{one, 1});

    co_await yield_now();
}

FORM(agg_operand_empty) {

    // wrong: aggregate
    co_await take_defaulted({});

    co_await yield_now();
}

FORM(agg_operand_default_argument) {

    // wrong: aggregate
    co_await take_default(1);

    co_await yield_now();
}

FORM(agg_beside) {

    // wrong: aggregate
    eat_both(bundle{item(7), 1}, co_await number(1));

    co_await yield_now();
}

FORM(agg_range) {

    // wrong: aggregate
    for (const item& one : {co_await give(), item(7)}) expect(one.value == 7);

    co_await yield_now();
}

FORM(agg_if_initialiser) {

    // wrong: aggregate
    if (bundle all{co_await give(), 1}; all.count == 1) eat(all);

    co_await yield_now();
}

FORM(agg_discarded) {

    // wrong: aggregate
    (void)bundle{co_await give(), 1};

    co_await yield_now();
}

FORM(agg_awaited_before) {
    item one = co_await give();
    bundle all{std::move(one), 1};
    eat(all);
    co_await yield_now();
}

FORM(agg_without_await) {

    bundle all{item(7), 1};
    co_await yield_now();
    eat(all);
    co_await yield_now();
}

FORM(agg_of_numbers) {

    numbers all{co_await number(1), 2};
    expect(all.a == 1);
    co_await yield_now();
}

FORM(agg_array_of_numbers) {

    std::array<int, 2> all{co_await number(1), 2};
    expect(all[0] == 1);
    co_await yield_now();
}

FORM(agg_c_array_of_numbers) {

    int all[2] = {co_await number(1), 2};
    expect(all[0] == 1);
    co_await yield_now();
}

FORM(agg_has_constructor) {

    constructed all{co_await give(), 1};
    expect(all.first.value == 7);
    co_await yield_now();
}

FORM(agg_copy_in_braces) {

    item one{co_await give()};
    expect(one.value == 7);
    co_await yield_now();
}

FORM(agg_pair) {

    std::pair<item, int> all{co_await give(), 1};
    expect(all.first.value == 7);
    co_await yield_now();
}

FORM(agg_binding_of_result) {

    auto [first, second] = co_await when_all(give(), number(1));
    expect(first.value == 7 && second == 1);
    co_await yield_now();
}

FORM(agg_operand_copied) {
    bundle all{item(7), 1};
    co_await take_bundle(all);

    co_await yield_now();
}

FORM(agg_emplace) {
    std::vector<bundle> all;
    all.emplace_back(co_await give(), 1);
    eat(all.at(0));
    co_await yield_now();
}

FORM(agg_number_list_range) {

    for (const int n : {co_await number(1), 2}) expect(n > 0);

    co_await yield_now();
}

} // namespace
