#!/usr/bin/env bash
# Builds the operation tracker and attacks it: 2,000 hostile clients beside some good ones, and
# kills. The short form of it is the test 'tracker attack'.
set -euo pipefail

usage() {
    cat <<'END'
tools/attack.sh [--no-install] [PROGRAM]

  --no-install   the packages are there, do not call apt-get
  PROGRAM        an operation_tracker that is built already

All traffic stays on the loopback; it takes about two minutes. Prints how many clients,
connections, requests and kills there were, what was lost, and the latencies of the good
clients alone and beside the hostile ones. Fails when anything confirmed was lost, when
something hostile was accepted, and when the 99th percentile of the good clients' latencies more
than doubles.
END
}

install=yes
program=
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --help | -h) usage && exit 0 ;;
    -*) usage >&2 && exit 2 ;;
    *) program=$1 ;;
    esac
    shift
done
[ -z "$program" ] || program=$(realpath "$program")

cd "$(dirname "$0")/.."
[ "$install" = no ] || bash tools/setup.sh
if [ -z "$program" ]; then
    build=build/attack
    log=build/attack.log
    mkdir -p build
    if ! {
        [ -d "$build/meson-private" ] ||
            meson setup "$build" --buildtype=release \
                -Dtests=disabled -Dbench=disabled -Dexamples=enabled
        ninja -C "$build" examples/operation_tracker
    } >"$log" 2>&1 </dev/null; then
        tail -n 40 "$log" >&2
        echo "attack: the tracker did not build, see $log" >&2
        exit 1
    fi
    program=$PWD/$build/examples/operation_tracker
fi
exec python3 tests/examples/tracker_attack_test.py "$program" --full
