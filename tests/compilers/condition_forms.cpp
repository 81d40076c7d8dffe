// co_await in conditions; lists, and variables that a frame cannot hold.
#include "compilers/forms.hpp"

#include <array>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

// Conditions, in coroutines that declare nothing.

FORM(condition_if) {
    // wrong: condition
    if (co_await yes()) expect(true);
}

FORM(condition_not) {
    // wrong: condition
    if (!co_await yes()) expect(false);
}

FORM(condition_while) {
    // wrong: condition
    while (co_await yes()) break;
}

FORM(condition_do) {
    do {
        // wrong: condition
    } while (!co_await yes());
}

FORM(condition_switch) {
    // wrong: condition
    switch (co_await number(1)) {
    case 1:
        break;
    default:
        expect(false);
    }
}

FORM(condition_for) {
    // wrong: condition
    for (; !co_await yes();) {
    }
}

FORM(condition_and) {
    // wrong: condition
    if (faults == 0 && co_await yes()) expect(true);
}

FORM(condition_in_try) {
    try {
        // wrong: condition
        if (co_await yes()) expect(true);
    } catch (...) {
    }
}

FORM(condition_in_loop) {
    for (;;) {
        // wrong: condition
        if (co_await yes()) break;
    }
}

FORM(condition_in_block) {
    {
        // wrong: condition
        if (co_await yes()) expect(true);
    }
}

FORM(condition_else) {
    if (faults != 0) {
        co_await yield_now();
    }
    // wrong: condition
    else if (co_await yes())
        expect(true);
}

FORM(condition_behind_await) {
    co_await yield_now();
    // wrong: condition
    if (co_await yes()) expect(true);
}

FORM(condition_returns) {
    // wrong: condition
    if (co_await yes()) co_return;
    expect(false);
}

FORM(condition_static_assert) {
    static_assert(true);
    // wrong: condition
    if (co_await yes()) expect(true);
}

FORM(condition_label) {
again:
    // wrong: condition
    if (!co_await yes()) goto again;
}

FORM(condition_of_object) {
    // wrong: condition
    if ((co_await give()).value == 7) expect(true);
}

task<> condition_with_parameter(item one) {
    // wrong: condition
    if (co_await yes()) expect(one.value == 7);
}
FORM(condition_parameter) {
    co_await condition_with_parameter(item(7));
}

task<> condition_whole_try() try {
    // wrong: condition
    if (co_await yes()) expect(true);
} catch (...) {
}
FORM(condition_function_try) {
    co_await condition_whole_try();
}

template <class T>
task<> condition_of_template(T one) {
    // wrong: condition
    if (co_await yes()) expect(one == 7);
}
FORM(condition_template) {
    co_await condition_of_template(7);
}

struct conditions {
    int n = 7;
    task<> test() {
        // wrong: condition
        if (co_await yes()) expect(n == 7);
    }
};
FORM(condition_member) {
    conditions here;
    co_await here.test();
}

FORM(declared_before) {
    int n = 0;
    if (co_await yes()) expect(n == 0);
}

FORM(declared_behind) {
    if (co_await yes()) expect(true);
    [[maybe_unused]] int n = 0;
}

FORM(declared_in_block) {
    {
        [[maybe_unused]] int n = 0;
    }
    if (co_await yes()) expect(true);
}

FORM(declared_in_body) {
    while (co_await yes()) {
        int n = co_await number(1);
        if (n == 1) break;
    }
}

FORM(declared_in_for) {
    for (int i = 0; i < co_await number(2); ++i) {
    }
}

FORM(declared_in_if) {
    if (const int n = co_await number(1); n == 1) expect(true);
}

FORM(declared_in_condition) {
    if (auto n = co_await number(1)) expect(n == 1);
}

FORM(declared_type) {
    using number_type = int;
    if (co_await yes()) expect(number_type(1) == 1);
}

FORM(declared_by_range) {
    for (const char c : std::string("ab"))
        if (co_await yes()) expect(c != 'c');
}

FORM(declared_by_catch) {
    try {
        if (co_await yes()) expect(true);
    } catch (const std::exception& error) {
        std::puts(error.what());
    }
}

FORM(declared_for_result) {
    for (;;) {
        const bool done = co_await yes();
        if (done) break;
    }
}

FORM(condition_without_await) {
    if (faults == 0) co_await yield_now();
}

FORM(condition_of_numbers) {
    expect(co_await yes() ? true : false);
}

FORM(condition_of_logical) {
    expect(co_await yes() && co_await yes());
}

FORM(condition_of_closure) {
    auto f = []() -> task<> {
        if (co_await yes()) expect(true);
    };
    co_await f();
}

// What a frame cannot hold, and what does not compile.

struct alignas(128) wide {
    char bytes[128];
};

#if defined(__clang__) || __GNUC__ > 12
FORM(list_of_numbers) {
    // wrong: list
    std::vector<int> all{co_await number(1), 2};
    expect(all.size() == 2);
}
FORM(list_operand) {
    auto count = [](std::vector<item> all) -> task<int> {
        co_await yield_now();
        co_return static_cast<int>(all.size());
    };
    // wrong: list
    const int n = co_await count({item(7), item(7)});
    expect(n == 2);
}
#endif

FORM(list_named_first) {
    std::vector<item> all{item(7), item(7)};
    all.push_back(co_await give());
    expect(all.size() == 3);
}

// Never run: where it lies is luck.
[[maybe_unused]] task<> too_wide() {
    // wrong: alignment
    wide one;
    // wrong: alignment
    std::array<wide, 2> two;
    // wrong: alignment
    alignas(256) char bytes[256];
    alignas(64) char fits[64];
    static wide elsewhere;
    co_await yield_now();
    expect(&one != two.data() && &bytes[0] != &fits[0] && &elsewhere != &one);
}

} // namespace
