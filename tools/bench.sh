#!/usr/bin/env bash
# Measures toadstone beside its peers and writes bench/results/NAME.md and NAME.svg:
#
#   tools/bench.sh [--no-install] [--brief] [--docs] [--name NAME] [--only GROUP]
#
# --docs puts the short form into docs/performance.md, with the instruction counts of the gate.
# Installs the peers from Debian's packages, builds in build/bench, and takes about ten minutes
# on a machine that should do nothing else meanwhile. docs/performance.md has the method. As
# root it counts system calls, too.
set -euo pipefail

install=yes
arguments=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --brief | --docs) arguments+=("$1") ;;
    --name | --only) arguments+=("$1" "${2:?$1 needs a value}") && shift ;;
    --help | -h) sed -n '2,8s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) "$0" --help >&2 && exit 2 ;;
    esac
    shift
done

cd "$(dirname "$0")/.."
[ "$install" = no ] || bash tools/setup.sh --bench

build=build/bench
cache=
command -v ccache >/dev/null && cache='ccache '
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
# Again each time, because peers that have come since are looked for there.
setup=(env "CXX=${CXX:-${cache}g++}" meson setup "$build" --buildtype=release
    -Dbench=enabled -Dtests=disabled -Dexamples=disabled)
if [ -d "$build/meson-private" ]; then
    "${setup[@]}" --reconfigure >"$build.log"
else
    mkdir -p build
    "${setup[@]}" >"$build.log"
fi
ninja -C "$build" \
    bench/bench_{cancel,channels,contended,doors,echo,fiber,mutex,poison,readers,spawn} \
    bench-peers >>"$build.log"

# The trace point that counts system calls. Without it a column stays empty.
tracing=/sys/kernel/tracing
if [ "$(id -u)" -eq 0 ] && [ ! -e "$tracing/events" ]; then
    mount -t tracefs tracefs "$tracing" 2>/dev/null || true
fi
exec python3 bench/report.py "$build" "${arguments[@]}"
