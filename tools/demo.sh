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
        ninja -C "$build" "$program"
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
    echo
}

# Normal use.
story() {
    say 'An operation is created, listed and started.'
    request POST /operations '{"name":"rollout"}'
    request GET /operations
    request POST /operations/1/messages '{"event":"start"}'
    say 'The server tells how it is.'
    request GET /healthz
    request GET /metrics
}

# A client that leaves in the middle of a critical section, what the server says about it, and
# that the next client sees nothing of it.
poisoning() {
    :
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
start --log "$work/operations.log"
echo "It listens on $url"
story
poisoning
stop
say 'The tracker drained, stopped and reported no error.'
