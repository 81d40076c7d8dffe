// The table of contents of the runtime, for newcomers and examples.
#ifndef TOADSTONE_RUNTIME_HPP
#define TOADSTONE_RUNTIME_HPP

#include <toadstone/runtime/abort_on_drop.hpp>
#include <toadstone/runtime/aggregate_error.hpp>
#include <toadstone/runtime/as_outcome.hpp>
#include <toadstone/runtime/async_generator.hpp>
#include <toadstone/runtime/await_future.hpp>
#include <toadstone/runtime/cancel.hpp>
#include <toadstone/runtime/cancellable.hpp>
#include <toadstone/runtime/checkpoint.hpp>
#include <toadstone/runtime/completion.hpp>
#ifndef TOADSTONE_NO_FIBERS
#include <toadstone/runtime/fiber.hpp>
#endif
#include <toadstone/runtime/finally.hpp>
#include <toadstone/runtime/foreign.hpp>
#include <toadstone/runtime/interval.hpp>
#include <toadstone/runtime/join_set.hpp>
#include <toadstone/runtime/log.hpp>
#include <toadstone/runtime/loop.hpp>
#include <toadstone/runtime/movable_sleep.hpp>
#include <toadstone/runtime/outcome.hpp>
#include <toadstone/runtime/poison.hpp>
#include <toadstone/runtime/poison_cause.hpp>
#include <toadstone/runtime/scope_guard.hpp>
#include <toadstone/runtime/shared_task.hpp>
#include <toadstone/runtime/shield.hpp>
#include <toadstone/runtime/sleep.hpp>
#include <toadstone/runtime/spawn.hpp>
#include <toadstone/runtime/spawn_blocking.hpp>
#include <toadstone/runtime/task.hpp>
#include <toadstone/runtime/task_local.hpp>
#include <toadstone/runtime/task_scope.hpp>
#include <toadstone/runtime/this_task.hpp>
#include <toadstone/runtime/when_all.hpp>
#include <toadstone/runtime/when_any.hpp>
#include <toadstone/runtime/when_any_success.hpp>
#include <toadstone/runtime/with_timeout.hpp>
#include <toadstone/runtime/with_token.hpp>

#endif
