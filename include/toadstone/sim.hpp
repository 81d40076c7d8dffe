// Contents of the simulation: a hostile kernel, every schedule, a cancellation at every await.
//
// Link with the library toadstone-sim (Meson: dependency('toadstone-sim')).
#ifndef TOADSTONE_SIM_HPP
#define TOADSTONE_SIM_HPP

#include <toadstone/sim/choices.hpp>
#include <toadstone/sim/simulate.hpp>
#include <toadstone/sim/world.hpp>

#endif
