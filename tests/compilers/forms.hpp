// The ways to write co_await that compilers get wrong, and their right neighbours: what files
// share. forms_test.py runs each form and compares tools/lint with the marks.
//
// "// wrong: KIND" stands above a line that g++ 12 compiles wrongly and that tools/lint has to
// find as that kind. All other lines are right with every compiler, and the lint is silent.
#ifndef TOADSTONE_TESTS_COMPILERS_FORMS_HPP
#define TOADSTONE_TESTS_COMPILERS_FORMS_HPP

#include <toadstone/runtime.hpp>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace toadstone::tests {

// Every item that lives, by its address.
inline std::set<const void*> alive;
inline int faults = 0;

inline void expect(bool claim) {
    if (!claim) ++faults;
}

// Notices when it is destroyed twice, or copied by its bytes.
class item {
public:
    explicit item(int number) : value(number), self_(this) { alive.insert(this); }
    item(const item& other) : value(other.value), self_(this) {
        expect(other.self_ == &other);
        alive.insert(this);
    }
    item& operator=(const item& other) {
        expect(self_ == this && other.self_ == &other);
        value = other.value;
        return *this;
    }
    ~item() { expect(self_ == this && alive.erase(this) == 1); }
    int value;

private:
    const item* self_;
};

struct bundle {
    item first;
    int count;
};
struct outer_bundle {
    bundle inside;
    int more;
};
struct derived_bundle : item {
    int extra;
};
struct numbers_of_items {
    item a, b;
};
struct numbers {
    int a, b;
};
struct defaulted {
    item name = item(7);
    int count = 1;
};
class constructed {
public:
    constructed(item first, int count) : first(std::move(first)), count(count) {}
    item first;
    int count;
};

inline task<item> give(int number = 7) {
    co_await yield_now();
    co_return item(number);
}
inline task<bool> yes() {
    co_await yield_now();
    co_return true;
}
inline task<int> number(int n) {
    co_await yield_now();
    co_return n;
}
inline task<std::string> text() {
    co_await yield_now();
    co_return std::string(60, 'x');
}
inline task<> take(item one) {
    co_await yield_now();
    expect(one.value == 7);
}
inline task<> take_bundle(bundle all) {
    co_await yield_now();
    expect(all.first.value == 7);
}
inline task<> take_default(int, bundle all = {item(7), 1}) {
    co_await yield_now();
    expect(all.first.value == 7);
}
inline task<> take_defaulted(defaulted all) {
    co_await yield_now();
    expect(all.name.value == 7);
}
template <class Fn>
task<> call(Fn fn) {
    co_await yield_now();
    expect(fn() == 7);
}
inline item made(int n) {
    return item(n);
}
inline void eat(const bundle& all) {
    expect(all.first.value == 7);
}
inline void eat_item(item one) {
    expect(one.value == 7);
}
inline void eat_both(const bundle& all, int) {
    expect(all.first.value == 7);
}

struct form {
    const char* name;
    task<> (*start)();
};
inline std::vector<form>& forms() {
    static std::vector<form> all;
    return all;
}
struct entry {
    entry(const char* name, task<> (*start)()) { forms().push_back({name, start}); }
};
#define FORM(name)                                                                             \
    task<> name();                                                                             \
    const entry name##_entry(#name, name);                                                     \
    task<> name()

} // namespace toadstone::tests

#endif
