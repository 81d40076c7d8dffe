#!/usr/bin/env bash
# run.sh subproject|pkgconfig SOURCE_DIR WORK_DIR
#
# Builds the project of that name beside this script against toadstone as a stranger would, and
# runs it. The work directory is emptied first. CXX chooses the compiler.
set -euo pipefail

mode=$1 source_dir=$2 work_dir=$3
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "consume/$mode: $*" >&2
    exit 1
}

rm -rf "$work_dir"
mkdir -p "$work_dir"
cp -r "$here/$mode" "$work_dir/project"
cp "$here/main.cpp" "$here/simulation.cpp" "$work_dir/project"
cd "$work_dir/project"

case $mode in
subproject)
    mkdir subprojects
    ln -s "$source_dir" subprojects/toadstone
    meson setup build
    ninja -C build
    meson introspect --targets build | grep -q '_test"' &&
        fail "a superproject gets toadstone's tests without asking"
    meson test -C build --print-errorlogs
    if command -v clang-query-19 >/dev/null; then
        ninja -C build lint || fail "the lint finds something in a project that is right"
        cat >main.cpp <<'END'
#include <toadstone/runtime.hpp>

toadstone::task<bool> ready() { co_return true; }
toadstone::task<> wait() {
    while (!co_await ready()) {}
}
int main() { toadstone::run(wait()); }
END
        ninja -C build lint && fail "the lint does not find a co_await in a condition"
    fi
    ;;
pkgconfig)
    prefix=$work_dir/prefix
    meson setup "$work_dir/build" "$source_dir" --prefix "$prefix" --libdir lib \
        -Ddefault_library=both -Doptimization=0 \
        -Dtests=disabled -Dexamples=disabled -Dbench=disabled
    ninja -C "$work_dir/build"
    meson install --no-rebuild -C "$work_dir/build"

    [ -z "$(find "$prefix/include" -type l)" ] || fail "links were installed where files belong"
    [ ! -e "$prefix/include/toadstone/runtime/uring" ] || fail "runtime/uring was installed"

    export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
    make
    LD_LIBRARY_PATH=$prefix/lib ./consumer-shared || fail "consumer-shared failed"
    ./consumer-static || fail "consumer-static failed"
    LD_LIBRARY_PATH=$prefix/lib ./simulation || fail "simulation failed"
    [ ! -e "$prefix/include/toadstone/sim/kernel" ] || fail "sim/kernel was installed"

    # The safe choice where the system's compiler is g++ 12: its library, clang's application.
    if command -v clang++-19 >/dev/null; then
        make clean
        make CXX=clang++-19
        LD_LIBRARY_PATH=$prefix/lib ./consumer-shared || fail "clang's consumer-shared failed"
        ./consumer-static || fail "clang's consumer-static failed"
        LD_LIBRARY_PATH=$prefix/lib ./simulation || fail "clang's simulation failed"
    fi
    ;;
*)
    fail "the mode is subproject or pkgconfig"
    ;;
esac
