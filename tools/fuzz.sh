#!/usr/bin/env bash
# Builds the fuzzer of simulated schedules with clang's libFuzzer and runs it for some seconds.
set -euo pipefail

usage() {
    cat <<'END'
tools/fuzz.sh [SECONDS] [ARGUMENT OF LIBFUZZER ...]

  SECONDS   how long to look, 60 by default

What it learns is kept in build/fuzz/corpus. A failure leaves crash-* in build/fuzz, which
build/fuzz/fuzz_choices FILE runs again. Needs clang++-19, or the compiler that CXX names.
END
}

case ${1-} in
--help | -h) usage && exit 0 ;;
esac
seconds=${1-60}
shift || true

cd "$(dirname "$0")/.."
build=build/fuzz
export CXX=${CXX-clang++-19}
libraries=("$build/libtoadstone-sim.a" "$build/libtoadstone.a")

if [ ! -f "$build/build.ninja" ]; then
    meson setup "$build" --buildtype=debugoptimized -Db_sanitize=address -Db_lundef=false \
        -Ddefault_library=static -Dtests=disabled -Dexamples=disabled -Dbench=disabled \
        -Dcpp_args=-fsanitize=fuzzer-no-link
fi
ninja -C "$build" libtoadstone.a libtoadstone-sim.a
"$CXX" -std=c++20 -O1 -g -fsanitize=fuzzer,address -Iinclude "-I$build/include" \
    tests/sim/fuzz_choices.cpp "${libraries[@]}" -luring -pthread -o "$build/fuzz_choices"

mkdir -p "$build/corpus"
cd "$build"
./fuzz_choices -max_total_time="$seconds" -max_len=2000 -print_final_stats=1 "$@" corpus
