#!/bin/sh
# Counts the user instructions of one uncontended lock and unlock, of one call of a child task,
# of one spawn and join, of one yield, and of one echo, with valgrind --tool=callgrind. The
# counts repeat almost exactly, whatever else the machine does, so they are what to compare
# before and after a change.
#
# Each figure is the slope between two runs, (I(b) - I(a)) / (b - a), so start-up and end do not
# count. Optimised code is worth counting, and no -march=native: valgrind 3.19 lacks AVX-512.
#
#   meson setup build --buildtype=release
#   ninja -C build
#   bench/callgrind.sh build [KEEP]
#
# With a directory KEEP the profiles stay there: callgrind_annotate KEEP/lock.b shows where the
# instructions go. Goals: performance.md; for an echo 450 at one connection, 320 at 20.
set -eu

if [ $# -lt 1 ] || [ ! -x "$1/bench/bench_mutex" ]; then
    echo "usage: $0 BUILD-DIRECTORY [KEEP], with bench/ built in it" >&2
    exit 2
fi
programs=$1/bench
if [ $# -ge 2 ]; then
    keep=$2
    mkdir -p "$keep"
else
    keep=$(mktemp -d)
    trap 'rm -rf "$keep"' EXIT
fi

# valgrind 3.19 runs one thread at a time and does not know that io_uring_enter(2) waits. The
# programs see to it that the worker has to do all the time; but if it is chosen first when it
# is born, before its first task, it sleeps and nobody else runs. Then the run is tried again.
tries=20

count() { # file, command...: instructions of the whole process
    file=$1
    shift
    try=0
    while [ "$try" -lt "$tries" ]; do
        try=$((try + 1))
        if timeout -s KILL 15 valgrind --tool=callgrind --callgrind-out-file="$file" "$@" \
            >"$file.out" 2>"$file.err"; then
            total "$file"
            return
        fi
    done
    cat "$file.err" >&2
    echo "$0: failed $tries times: $*" >&2
    exit 1
}

total() {
    sed -n 's/^\(totals\|summary\): \([0-9]*\).*/\2/p' "$1" | tail -n 1
}

slope() { # name, a, count for a, b, count for b
    awk -v name="$1" -v a="$2" -v at="$3" -v b="$4" -v bt="$5" \
        'BEGIN { printf "%-44s %8.1f\n", name, (bt - at) / (b - a) }'
}

operation() { # name, file, program, subject
    few=$(count "$keep/$2.a" "$programs/$3" --only "$4" --count 20000)
    many=$(count "$keep/$2.b" "$programs/$3" --only "$4" --count 120000)
    slope "$1" 20000 "$few" 120000 "$many"
}

# Leaves the server's process in $server and its port in the file; false: it did not start.
start_server() { # file, server, connections
    valgrind --tool=callgrind --callgrind-out-file="$1" \
        "$programs/bench_echo" --serve "$2" --connections "$3" >"$1.port" 2>"$1.err" &
    server=$!
    for tenth in $(seq 60); do
        if [ -s "$1.port" ]; then
            return 0
        fi
        sleep 0.1
    done
    kill -KILL "$server"
    wait "$server" || true
    return 1
}

echoes() { # file, server, connections, requests: instructions of the server
    try=0
    until start_server "$1" "$2" "$3"; do
        try=$((try + 1))
        if [ "$try" -ge "$tries" ]; then
            cat "$1.err" >&2
            exit 1
        fi
    done
    "$programs/bench_echo" --load "$(cat "$1.port")" --connections "$3" --size 64 \
        --count "$4" || {
        kill -KILL "$server"
        exit 1
    }
    wait "$server"
    total "$1"
}

echo_of() { # name, server, connections
    few=$(echoes "$keep/echo.$2.$3.a" "$2" "$3" 2000)
    many=$(echoes "$keep/echo.$2.$3.b" "$2" "$3" 12000)
    slope "$1" 2000 "$few" 12000 "$many"
}

echo "user instructions per operation"
operation 'two compare-and-swap' swaps bench_mutex 'two compare-and-swap'
operation 'std::mutex lock + unlock' std bench_mutex 'std::mutex'
operation 'sync::mutex lock + unlock' lock bench_mutex 'sync::mutex lock'
operation 'sync::local_mutex lock + unlock' local bench_mutex 'sync::local_mutex lock'
operation 'sync::mutex lock + g.unlock()' unlock bench_mutex \
    'sync::mutex lock, g.unlock(): no poison check'
operation 'sync::mutex lock(on_cancel::defer) + unlock' defer bench_mutex \
    'sync::mutex lock(on_cancel::defer)'
operation 'sync::mutex try_lock + unlock' try bench_mutex 'sync::mutex try_lock'
operation 'bare coroutine child, malloc' bare bench_spawn 'bare coroutine, malloc'
operation 'child call and return' child bench_spawn 'co_await child'
operation 'spawn and join' spawn bench_spawn 'spawn and join'
operation 'spawn and join in batches of 1000' batch bench_spawn \
    'spawn and join, batches of 1000'
operation 'yield_now' yield bench_spawn 'yield_now, alone'
operation 'checkpoint' checkpoint bench_spawn 'checkpoint'
operation 'with_timeout of a ready child' timeout bench_spawn 'with_timeout of a ready child'
echo_of 'echo, raw, 1 connection' raw 1
echo_of 'echo, toadstone, 1 connection' toadstone 1
echo_of 'echo, raw, 20 connections' raw 20
echo_of 'echo, toadstone, 20 connections' toadstone 20
