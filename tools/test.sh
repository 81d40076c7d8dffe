#!/usr/bin/env bash
# Installs the packages, builds toadstone in several configurations and runs all its tests.
set -euo pipefail

usage() {
    cat <<'END'
tools/test.sh [--no-install] [--quick | --full] [--only NAME]...

  --no-install   the packages are there, do not call apt-get
  --quick        g++ alone, without sanitizers
  --full         every compiler and sanitizer, deep models, long explorations: for hours
  --only NAME    this configuration, one of
                 format gcc clang-asan gcc-tsan gate,
                 or of --full: clang gcc-asan clang-tsan explore

Builds in build/<configuration>. The last line counts the tests of all configurations; a
configuration that does not build counts as one failed test.
END
}

install=yes full=no quick=no
configurations=(format gcc clang-asan gcc-tsan gate)
only=()
while [ $# -gt 0 ]; do
    case $1 in
    --no-install) install=no ;;
    --quick) quick=yes configurations=(format gcc) ;;
    --full)
        full=yes
        configurations=(format gcc clang clang-asan gcc-tsan gate gcc-asan clang-tsan explore)
        ;;
    --only) only+=("${2:?--only needs a name}") && shift ;;
    --help | -h) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done
[ ${#only[@]} -eq 0 ] || configurations=("${only[@]}")

cd "$(dirname "$0")/.."
started=$SECONDS
passed=0 failed=0 skipped=0
failures=build/failures.txt
mkdir -p build
: >"$failures"

setup=(bash tools/setup.sh)
[ $full = no ] || setup+=(--full)
[ "$install" = no ] || "${setup[@]}"

cache=
command -v ccache >/dev/null && cache='ccache '
# Precompiled headers do not fit into a cache otherwise.
# Another clone of the same tree finds what this one has compiled.
export CCACHE_BASEDIR=$PWD CCACHE_NOHASHDIR=1
export CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime

symbolizer=$(command -v llvm-symbolizer-19 || true)
export ASAN_SYMBOLIZER_PATH=$symbolizer UBSAN_SYMBOLIZER_PATH=$symbolizer
export TSAN_SYMBOLIZER_PATH=$symbolizer
export ASAN_OPTIONS=detect_leaks=1:detect_stack_use_after_return=1
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
tsan_knows=$PWD/tests/support/tsan.supp
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1:suppressions=$tsan_knows

# Runs what follows its first argument, a configuration's log file.
logged() {
    local log=$1
    shift
    echo "+ $*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null
}

fail_whole() {
    local name=$1 what=$2 log=$3
    failed=$((failed + 1))
    echo "$name: $what, see $log"
    {
        echo "== $name: $what ($log)"
        grep -nE '(error|Error|ERROR)\b|FAILED|undefined reference' "$log" | head -n 20 || true
        echo "-- the end of the log:"
        tail -n 40 "$log"
    } >>"$failures"
}

# Old ThreadSanitizer runtimes die at start-up where the kernel randomises more address bits
# than they know of. Only without randomisation do the tests run then.
tsan_launcher() {
    local compiler=$1 program=build/tsan_start
    echo 'int main() {}' >"$program.cpp"
    "$compiler" -fsanitize=thread "$program.cpp" -o "$program" || return 0
    for _ in $(seq 20); do
        if "$program" 2>&1 | grep 'unexpected memory mapping' >/dev/null; then
            echo "setarch $(uname -m) -R"
            return
        fi
    done
}

# Adds the results of the last `meson test` in $1 to the counts, its failures to the report.
count_results() {
    local log=$1/meson-logs/testlog.json name=$2
    local counts
    if [ ! -s "$log" ]; then
        fail_whole "$name" 'no test ran' "build/$name.log"
        return
    fi
    read -r -a counts <<<"$(python3 tools/count_results.py "$log" "$name" "$failures")"
    passed=$((passed + counts[0]))
    failed=$((failed + counts[1]))
    skipped=$((skipped + counts[2]))
    echo "$name: ${counts[0]} passed, ${counts[1]} failed, ${counts[2]} skipped"
}

# run NAME COMPILER MULTIPLIER SETUP_OPTION...
#
# Sanitizers make programs slower, hence the multiplier of the tests' time-outs.
run() {
    local name=$1 compiler=$2 multiplier=$3
    shift 3
    local directory=build/$name log=build/$name.log begun=$SECONDS launcher=()
    : >"$log"
    echo "$name: building"

    # Functions and lines are enough for a stack trace; the rest of what debuggers can know is
    # two thirds of an object file, and a quarter of the time of a compilation.
    local setup=(env "CXX=$cache$compiler" meson setup "$directory" -Dcpp_args=-g1
        -Dtests=enabled -Dexamples=enabled "$@")
    # What an older configuration of the same name left may not fit: then start over.
    if [ -d "$directory/meson-private" ]; then
        logged "$log" "${setup[@]}" --reconfigure || logged "$log" rm -rf "$directory"
    fi
    if [ ! -d "$directory/meson-private" ] && ! logged "$log" "${setup[@]}"; then
        fail_whole "$name" 'not configured' "$log"
        return
    fi
    if ! logged "$log" ninja -C "$directory" -k 0; then
        fail_whole "$name" 'not built' "$log"
        return
    fi

    echo "$name: testing ($((SECONDS - begun)) s to build)"
    case $name in
    *-asan) launcher=(env "TOADSTONE_SIM_SHARE=$share") ;;
    *-tsan) read -r -a launcher <<<"$(tsan_launcher "$compiler" 2>>"$log")" ;;
    esac
    rm -f "$directory"/meson-logs/testlog.*
    # The exit status is in the counts.
    logged "$log" "${launcher[@]}" \
        meson test -C "$directory" --no-rebuild -t "$multiplier" || true
    count_results "$directory" "$name"
    echo "$name: done in $((SECONDS - begun)) s, log in $log"
}

format() {
    local log=build/format.log
    : >"$log"
    local files
    mapfile -t files < <(find runtime sync io sim include tests examples bench -name '*.[ch]pp')
    if logged "$log" clang-format-19 --dry-run -Werror "${files[@]}"; then
        passed=$((passed + 1))
        echo "format: 1 passed, 0 failed"
    else
        fail_whole format 'clang-format would change files' "$log"
    fi
}

# The instruction counts of the hot paths, in an optimised build of the benches alone.
gate() {
    local log=build/gate.log begun=$SECONDS
    : >"$log"
    echo "gate: building and counting"
    if logged "$log" env CXX="${cache}g++" python3 -u bench/gate.py --build build/gate; then
        passed=$((passed + 1))
        sed -n '/^path  /,$p' "$log"
        echo "gate: 1 passed, 0 failed, done in $((SECONDS - begun)) s"
    else
        fail_whole gate 'a path is dearer than held, or could not be counted' "$log"
    fi
}

# The explorations of tests/sim again, with more runs and one departure more.
explore() {
    local log=build/explore.log
    : >"$log"
    if logged "$log" bash tools/explore.sh build/gcc 10 1; then
        passed=$((passed + 1))
        echo "explore: 1 passed, 0 failed, $(tail -n 1 "$log")"
    else
        fail_whole explore 'an exploration failed' "$log"
    fi
}

# --full is clang's without sanitizers, too, where every file has its own includes alone: the
# others have a precompiled header.
plain=(-Dbench=enabled -Dwerror=true -Dtree_tests=true)

# Not optimised, but for one: that builds in half the time, and is where stacks are deepest and
# nothing is optimised away that a sanitizer could have seen. The instrumentation makes g++ 12
# warn about what it generated itself, so there warnings are errors in the plain build only;
# clang sees everything else with its own warnings as errors.
sanitized=(-Doptimization=0 -Db_lundef=false)
small=(-Dbench=disabled)
[ $full = no ] || small+=(-Dslow_tests=true)

# Of the random explorations a sixth: the plain build makes all of them, --full does here,
# too.
share=6 preemptions=2
slow=false
[ $full = no ] || share=1 preemptions=3 slow=true
# Queries to real servers, in the tests of their clients.
[ $full = no ] || export TOADSTONE_CLIENT_QUERIES=10000
plain+=(-Dmodel_preemptions=$preemptions -Dslow_tests=$slow)
# The suites of the lower floors run with g++'s optimiser under ThreadSanitizer, and need not be
# built by g++ once more; and the simulations' own code takes it a third less time with -O1.
# --full does all of it, with -O2.
if [ $full = no ] && [ $quick = no ]; then
    plain+=(-Dtest_floors=sim -Dtest_optimization=1)
fi

for configuration in "${configurations[@]}"; do
    case $configuration in
    format) format ;;
    explore) explore ;;
    gate) gate ;;
    gcc) run gcc g++ 1 "${plain[@]}" ;;
    clang) run clang clang++-19 1 "${plain[@]}" -Db_pch=false ;;
    gcc-asan)
        run gcc-asan g++ 4 -Db_sanitize=address,undefined "${sanitized[@]}" "${small[@]}"
        ;;
    clang-asan)
        run clang-asan clang++-19 4 -Db_sanitize=address,undefined "${sanitized[@]}" \
            -Dwerror=true "${small[@]}"
        ;;
    gcc-tsan)
        run gcc-tsan g++ 4 -Db_sanitize=thread "${sanitized[@]}" -Doptimization=1 "${small[@]}"
        ;;
    clang-tsan)
        run clang-tsan clang++-19 4 -Db_sanitize=thread "${sanitized[@]}" "${small[@]}"
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done

[ ! -s "$failures" ] || { echo && cat "$failures" && echo; }
echo "$((SECONDS - started)) s in all, $skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
