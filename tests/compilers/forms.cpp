// forms [NAME]: runs a form, exit 0 if it went right; without a name lists them all.
#include "compilers/forms.hpp"

#include <toadstone/sim.hpp>

#include <cstdio>
#include <cstring>

using namespace toadstone;
using namespace toadstone::tests;

namespace {

int run_form(const form& one) {
    const auto report = sim::simulate([&one](sim::world&) -> task<> {
        auto started = one.start();
        co_await std::move(started);
    });
    if (!report) std::puts(report.failure.c_str());
    if (faults != 0) std::printf("%d faults\n", faults);
    if (!alive.empty()) std::printf("%zu were never destroyed\n", alive.size());
    return report && faults == 0 && alive.empty() ? 0 : 1;
}

} // namespace

int main(int count, char** arguments) {
    for (const form& one : forms()) {
        if (count < 2)
            std::puts(one.name);
        else if (std::strcmp(arguments[1], one.name) == 0)
            return run_form(one);
    }
    return count < 2 ? 0 : 2;
}
