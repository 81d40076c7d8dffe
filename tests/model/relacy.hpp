// The parts of Relacy in use, without the header of its own that redefines `new`, `delete`,
// `assert` and the memory orders as macros.
#ifndef TOADSTONE_TESTS_MODEL_RELACY_HPP
#define TOADSTONE_TESTS_MODEL_RELACY_HPP

#include <relacy/atomic.hpp>
#include <relacy/atomic_fence.hpp>
#include <relacy/context.hpp>
#include <relacy/context_base_impl.hpp>
#include <relacy/dyn_thread.hpp>
#include <relacy/stdlib/condition_variable.hpp>
#include <relacy/stdlib/event.hpp>
#include <relacy/stdlib/mutex.hpp>
#include <relacy/stdlib/semaphore.hpp>
#include <relacy/test_suite.hpp>
#include <relacy/thread_local.hpp>
#include <relacy/var.hpp>

#endif
