// The table of contents of the locks, for newcomers and examples.
#ifndef TOADSTONE_SYNC_HPP
#define TOADSTONE_SYNC_HPP

#include <toadstone/sync/auto_reset_event.hpp>
#include <toadstone/sync/barrier.hpp>
#include <toadstone/sync/broadcast.hpp>
#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/closed_error.hpp>
#include <toadstone/sync/condition_variable.hpp>
#include <toadstone/sync/guard.hpp>
#include <toadstone/sync/lagged.hpp>
#include <toadstone/sync/latch.hpp>
#include <toadstone/sync/local_mutex.hpp>
#include <toadstone/sync/lock_all.hpp>
#include <toadstone/sync/manual_reset_event.hpp>
#include <toadstone/sync/mpsc.hpp>
#include <toadstone/sync/mutex.hpp>
#include <toadstone/sync/once_cell.hpp>
#include <toadstone/sync/oneshot.hpp>
#include <toadstone/sync/owned_guard.hpp>
#include <toadstone/sync/policy.hpp>
#include <toadstone/sync/read_guard.hpp>
#include <toadstone/sync/rollback_guard.hpp>
#include <toadstone/sync/semaphore.hpp>
#include <toadstone/sync/shared_mutex.hpp>
#include <toadstone/sync/transaction.hpp>
#include <toadstone/sync/upgradable_guard.hpp>
#include <toadstone/sync/watch.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#endif
