// The table of contents of the locks, for newcomers and examples.
#ifndef TOADSTONE_SYNC_HPP
#define TOADSTONE_SYNC_HPP

#include <toadstone/sync/channel_closed.hpp>
#include <toadstone/sync/guard.hpp>
#include <toadstone/sync/local_mutex.hpp>
#include <toadstone/sync/mpsc.hpp>
#include <toadstone/sync/mutex.hpp>
#include <toadstone/sync/oneshot.hpp>
#include <toadstone/sync/policy.hpp>
#include <toadstone/sync/would_deadlock.hpp>

#endif
