#!/usr/bin/env bash
# run.sh subproject|wrap|pkgconfig|debian|cmake|fetchcontent SOURCE_DIR WORK_DIR BUILD_DIR
#
# Builds the project of that name beside this script against toadstone as a stranger would, and
# runs it. The work directory is emptied first. CXX chooses the compiler.
set -euo pipefail

mode=$1 source_dir=$2 work_dir=$3 build_dir=$4
here=$(cd "$(dirname "$0")" && pwd)

fail() {
    echo "consume/$mode: $*" >&2
    exit 1
}

# A release, under the name that the README's wrap file expects.
archive=$work_dir/toadstone.tar.gz
pack() {
    tar --create --gzip --file "$archive" --directory "$source_dir" --exclude __pycache__ \
        --transform "s,^,toadstone-$(version)/," \
        CMakeLists.txt LICENSE README.md bench cmake docs examples include io meson.build \
        meson_options.txt runtime sim sync tests tools
}

# The version that meson.build has.
version() {
    sed -n "s/^ *version: '\([0-9.]*\)',\$/\1/p" "$source_dir/meson.build"
}

# As the README shows it, from a place of its own: wrap_file ARCHIVE
wrap_file() {
    mkdir -p subprojects
    sed "s,^source_url = .*,source_url = file://$1,
        s,^source_hash = .*,source_hash = $(sha256sum "$1" | cut -d ' ' -f 1)," \
        "$source_dir/docs/toadstone.wrap" >subprojects/toadstone.wrap
    grep "file://$1" subprojects/toadstone.wrap >/dev/null ||
        fail "the wrap file has no address"
}

rm -rf "$work_dir"
mkdir -p "$work_dir"
project=$here/$mode
[ "$mode" != wrap ] || project=$here/subproject
[ ! -d "$project" ] || cp -r "$project" "$work_dir/project"
mkdir -p "$work_dir/project"
cp "$here/main.cpp" "$here/simulation.cpp" "$work_dir/project"
cd "$work_dir/project"

case $mode in
subproject)
    pack
    wrap_file "$archive"
    meson setup build -Doptimization=0 -Ddebug=false
    ninja -C build
    meson introspect --targets build | grep -q '_tests\?"' &&
        fail "a superproject gets toadstone's tests without asking"
    meson test -C build --print-errorlogs

    # A superproject without type information; the library, which has it, stays as it is.
    meson configure build -Dcpp_rtti=false
    ninja -C build
    grep -q -- -fno-rtti build/compile_commands.json || fail "cpp_rtti=false says nothing"
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
        if ninja -C build lint; then
            fail "the lint does not find a co_await in a condition"
        fi
    fi
    ;;
wrap)
    # A release, and nothing but it and the wrap file.
    if [ ! -e "$source_dir/.git" ]; then
        echo "consume/wrap: no git repository, so nothing that meson dist could pack"
        exit 77
    fi
    meson dist -C "$build_dir" --no-tests --formats gztar --allow-dirty
    wrap_file "$build_dir/meson-dist/toadstone-$(version).tar.gz"
    meson setup build -Doptimization=0 -Ddebug=false
    ninja -C build
    meson test -C build --print-errorlogs
    # All that it is tested with is in it, too.
    released=subprojects/toadstone-$(version)
    python3 "$released/tools/tidy.py" --root "$released"
    python3 "$released/tests/tree/readme_test.py"
    meson setup "$work_dir/whole" "$released" -Dtests=enabled -Dexamples=enabled -Dbench=enabled
    ;;
debian)
    missing=
    for tool in dpkg-buildpackage dh lintian; do
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    if [ -n "$missing" ]; then
        echo "consume/debian: tools/setup.sh --full installs what is missing:$missing"
        exit 77
    fi
    pack
    tree=$work_dir/toadstone-$(version)
    tar --extract --gzip --file "$archive" --directory "$work_dir"
    cp -r "$source_dir/debian" "$source_dir/CHANGELOG.md" "$tree"
    cd "$tree"
    dpkg-buildpackage -us -uc --build=full
    lintian --fail-on error,warning --display-info "$work_dir"/*.changes

    package=$(echo "$work_dir"/libtoadstone-dev_*.deb)
    apt-get --simulate install "$package" >/dev/null || fail "what it depends on is not there"
    prefix=$work_dir/installed
    dpkg-deb --extract "$package" "$prefix"
    for file in io.hpp sync/mutex.hpp sim/simulate.hpp; do
        [ -f "$prefix/usr/include/toadstone/$file" ] || fail "$file is not in the package"
    done
    config=$(find "$prefix" -name toadstone-config.cmake)
    [ -n "$config" ] || fail "no toadstone-config.cmake is in the package"

    # debian/tests, as if it were installed.
    export PKG_CONFIG_SYSROOT_DIR=$prefix
    PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name toadstone.pc)")
    export PKG_CONFIG_PATH AUTOPKGTEST_TMP=$work_dir
    sh debian/tests/consumer
    ;;
pkgconfig)
    prefix=$work_dir/prefix
    meson setup "$work_dir/build" "$source_dir" --prefix "$prefix" --libdir lib \
        -Ddefault_library=both -Doptimization=0 -Ddebug=false \
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
cmake)
    # What is built already, and not where it was to be.
    DESTDIR=$work_dir/moved meson install --no-rebuild --quiet -C "$build_dir"
    config=$(find "$work_dir/moved" -name toadstone-config.cmake)
    [ -n "$config" ] || fail "no toadstone-config.cmake was installed"
    cmake -S . -B build -G Ninja -Dtoadstone_DIR="$(dirname "$config")"
    cmake --build build
    (cd build && ctest --output-on-failure)
    ;;
fetchcontent)
    pack
    TOADSTONE_ARCHIVE=$archive cmake -S . -B build -G Ninja
    cmake --build build
    (cd build && ctest --output-on-failure)
    ;;
*)
    fail "the mode is subproject, wrap, pkgconfig, debian, cmake or fetchcontent"
    ;;
esac
