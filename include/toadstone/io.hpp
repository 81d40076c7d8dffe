// Table of contents: everything public of io/.
#ifndef TOADSTONE_IO_HPP
#define TOADSTONE_IO_HPP

// Addresses and connections.
#include <toadstone/io/buffer.hpp>
#include <toadstone/io/buffered_reader.hpp>
#include <toadstone/io/endpoint.hpp>
#include <toadstone/io/received.hpp>
#include <toadstone/io/tcp_listener.hpp>
#include <toadstone/io/tcp_stream.hpp>
#include <toadstone/io/unexpected_end.hpp>

// Names.
#include <toadstone/io/connect_options.hpp>
#include <toadstone/io/resolve_error.hpp>
#ifndef TOADSTONE_NO_DNS
#include <toadstone/io/resolver.hpp>
#endif

// A whole server.
#include <toadstone/io/serve.hpp>

// Files and signals.
#include <toadstone/io/file.hpp>
#include <toadstone/io/folder.hpp>
#include <toadstone/io/signal_set.hpp>

// Pipes, processes, and descriptors of other libraries.
#include <toadstone/io/child_process.hpp>
#include <toadstone/io/pipe.hpp>
#include <toadstone/io/readiness.hpp>

#endif // TOADSTONE_IO_HPP
