#!/usr/bin/env bash
# Builds the operation tracker, starts it and shows what it does, also when a client leaves in
# the middle of a critical section.
set -euo pipefail

usage() {
    cat <<'END'
tools/demo.sh [--no-install]

  --no-install   the packages are there, do not call apt-get
END
}

install=yes
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
build=build/demo
program=examples/operation_tracker
reader=examples/journal_check
work=$(mktemp -d)
server=

clean_up() {
    if [ -n "$server" ]; then
        kill -KILL "$server" || true
        wait "$server" || true
    fi 2>/dev/null
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n%s\n' "$*"; }

fail() {
    echo "demo: $*" >&2
    [ ! -s "$work/server.log" ] || sed 's/^/  | /' "$work/server.log" >&2
    exit 1
}

build_tracker() {
    local log=build/demo.log
    mkdir -p build
    if ! {
        [ -d "$build/meson-private" ] ||
            meson setup "$build" --buildtype=release \
                -Dtests=disabled -Dbench=disabled -Dexamples=enabled
        ninja -C "$build" "$program" "$reader"
    } >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        fail "the tracker did not build, see $log"
    fi
}

# Prints the first line the tracker says, or has said, that matches; fails if none does in time.
# tail ends with the tracker and wakes up when there is something to read.
said() {
    timeout 10 grep --max-count=1 -- "$1" \
        <(tail --lines=+1 --follow --pid="$server" "$work/server.log" 2>/dev/null)
}

start() {
    : >"$work/server.log"
    "$build/$program" --host 127.0.0.1 --port 0 "$@" >>"$work/server.log" 2>&1 &
    server=$!
    local line
    line=$(said '^listening on ') || fail 'the tracker did not say that it listens'
    url=http://${line#listening on }
}

# request METHOD PATH [JSON]: prints the request and the answer.
request() {
    local method=$1 path=$2
    printf '  %s %s %s\n' "$method" "$path" "${3-}"
    curl --silent --show-error --fail-with-body --max-time 10 --request "$method" \
        ${3+--header 'Content-Type: application/json' --data "$3"} "$url$path" |
        sed 's/^/    /' || fail "$method $path failed"
}

# metrics PATTERN: the lines of the metrics page that match.
metrics() {
    echo '  GET /metrics, in part'
    curl --silent --show-error --fail --max-time 10 "$url/metrics" | grep -E "^($1)" |
        sed 's/^/    /' || fail 'GET /metrics failed'
}

# Log lines without their time, folded.
quote_log() {
    cut -d ' ' -f 2- | fold -s -w 88 | sed 's/^/    /'
}

# Normal use.
story() {
    say 'An operation is created, started, and looked at.'
    request POST /operations '{"name":"rollout"}'
    request POST /operations/1/messages '{"event":"start","note":"two of five hosts"}'
    request GET /operations
    say 'A message that does not fit the state is refused.'
    printf '  POST /operations/1/messages {"event":"resume"}\n    '
    curl --silent --max-time 10 "$url/operations/1/messages" --json '{"event":"resume"}'
}

# A client that leaves in the middle of a critical section, what the server says about it, and
# that the others see nothing of it.
poisoning() {
    say 'Now each change takes a second (--slow-sync 1000), in which the lock of its operation'
    echo 'is held. The restarted tracker has read its journal.'
    stop
    start --journal "$work/operations.journal" --slow-sync 1000
    grep ': read ' "$work/server.log" | sed "s|$work/||" | quote_log

    say 'A client asks for a pause and gives up after 0.5 s, in the middle. Another one reads.'
    local status=0
    (sleep 0.2 && exec curl --silent --max-time 10 --write-out '(after %{time_total} s)\n' \
        "$url/operations/1" >"$work/reader" 2>&1) &
    local other=$!
    printf '  POST /operations/1/messages {"event":"pause"}\n'
    curl --silent --max-time 0.5 "$url/operations/1/messages" --json '{"event":"pause"}' ||
        status=$?
    [ "$status" -eq 28 ] || fail "curl should have given up (28), but ended with $status"
    echo '    curl: gave up'

    say 'What the server says: who left, why, at which co_await, and where he took the lock.'
    local line
    line=$(said 'restored, as it is in the journal') || fail 'the tracker did not recover'
    grep -E 'left during|poisoned|restored' "$work/server.log" | quote_log

    say 'What the other one saw: what is certain to be on the disk, at once.'
    wait "$other" || fail 'the reader failed'
    echo '  GET /operations/1'
    sed 's/^/    /' "$work/reader"

    say 'The pause had not reached the journal, so it has not happened. It can be repeated.'
    request POST /operations/1/messages '{"event":"pause"}'
    say 'The counters.'
    metrics 'tracker_poisonings_total.*requested|tracker_recover'
}

# Read by another program, when the server has let it go.
show_journal() {
    echo "  journal_check --print operations.journal operations.journal"
    "$build/$reader" --print "$work/operations.journal" "$work/operations.journal" |
        sed 's/^/    /' || fail 'the journal is not whole'
}

stop() {
    local status=0
    kill -TERM "$server"
    wait "$server" || status=$?
    server=
    [ "$status" -eq 0 ] || fail "the tracker ended with exit code $status on SIGTERM"
}

if [ "$install" = yes ]; then
    echo 'Installing packages.'
    bash tools/setup.sh --demo
fi
echo 'Building the tracker (release).'
build_tracker
echo 'Starting it on a free port.'
start --journal "$work/operations.journal"
echo "It listens on $url"
story
poisoning
stop
say 'The tracker drained, stopped and reported no error. Its journal, which is the truth:'
show_journal
