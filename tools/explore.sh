#!/usr/bin/env bash
# Runs the explorations of tests/sim for longer than the tests of every day do, and adds them
# up: explore.sh BUILD_DIR [TIMES [DEEPER [REPEAT_PERCENT]]]
#
# TIMES as many random runs (1), DEEPER added to the bound of each exhaustive search (0),
# REPEAT_PERCENT of the seeds run twice to compare the hashes (as the test says).
set -euo pipefail

if [ $# -lt 1 ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
build=$1
statistics=$(mktemp)
trap 'rm -f "$statistics" "$statistics.all"' EXIT
export TOADSTONE_SIM_STATISTICS=$statistics TOADSTONE_SIM_TIMES=${2:-1}
export TOADSTONE_SIM_DEEPER=${3:-0}
[ $# -lt 4 ] || export TOADSTONE_SIM_REPEAT_PERCENT=$4

root=$(cd "$(dirname "$0")/.." && pwd)
# is_listed LIST NAME
is_listed() {
    sed -n "/^$1 = /,/^]/p" "$root/tests/meson.build" | grep "'sim/$2'" >/dev/null
}

failed=0
for source in "$root"/tests/sim/*_test.cpp; do
    begun=$SECONDS
    : >"$statistics"
    # Most are in one of two programs; the others have one of their own.
    name=$(basename "$source" .cpp)
    log=$build/tests/sim_$name.log
    if is_listed tests_alone "${name%_test}"; then
        program=("$build/tests/sim_$name")
    elif is_listed tests_refused "${name%_test}"; then
        program=("$build/tests/sim_tests_refused" '-#' "[#$name]")
    else
        program=("$build/tests/sim_tests" '-#' "[#$name]")
    fi
    if "${program[@]}" >"$log" 2>&1; then end=ok; else
        end="FAILED, see $log"
        failed=1
    fi
    awk -v name="$name" -v seconds=$((SECONDS - begun)) -v end="$end" '
        { runs += $2; steps += $3 }
        END { printf "%-36s %10d runs %13d steps %6d s  %s\n", name, runs, steps, seconds, end }
    ' "$statistics"
    cat "$statistics" >>"$statistics.all"
done
awk '{ runs += $2; steps += $3; seconds += $4 }
    END {
        printf "in all %d runs, %d steps in %.0f s: %.0f steps/s\n", runs, steps, seconds,
            steps / (seconds > 0 ? seconds : 1)
    }' "$statistics.all"
exit $failed
