#!/usr/bin/env bash
# Installs what toadstone is built and tested with, on Debian 12 or 13:
#
#   setup.sh [--demo | --bench | --full]
#
# --demo leaves out what only the tests need, --bench adds the peers of the benches, --full what
# only test.sh --full needs. Says nothing and needs neither root nor a network when everything
# is there already.
set -euo pipefail

packages=(
    g++ make meson ninja-build pkgconf python3 ccache
    liburing-dev libboost-dev libboost-context-dev libc-ares-dev
    libhttp-parser-dev nlohmann-json3-dev libcli11-dev libexpat1-dev libsqlite3-dev
    curl jq
    libhiredis-dev libpq-dev # examples/redis_client, examples/postgres_client
    libasio-dev libcurl4-openssl-dev # examples/asio_guest, examples/curl_client
    libisal-dev # examples/journal: its CRC32C
)
[ "${1-}" = --demo ] || packages+=(
    catch2
    cmake # only for the test that its users find toadstone
    doxygen # the API reference: meson compile docs
    relacy-dev # the model checker behind tests/model
    clang-19 libclang-rt-19-dev clang-format-19 clang-tidy-19
    clang-tools-19 # clang-query, for tools/lint
    llvm-19 # its symbolizer gives clang's sanitizer reports names and lines
    valgrind # its callgrind counts instructions for bench/gate.py
    wrk netcat-openbsd
    redis-server postgresql # what those two examples talk to
)

[ "${1-}" != --bench ] || packages+=(
    libboost-fiber-dev libuv1-dev golang-go cargo librust-tokio-dev librust-parking-lot-dev
)

[ "${1-}" != --full ] || packages+=(
    debhelper dpkg-dev fakeroot lintian # the Debian package, built and looked at
)

installed() {
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=()
for package in "${packages[@]}"; do
    installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "setup: this installs Debian packages, and there is no apt-get here." \
        "Needed: ${missing[*]}" >&2
    exit 1
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: run this as root or install sudo; missing: ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi

echo "setup: installing ${missing[*]}"
# The array is empty for root, which old shells take for unset.
apt=(${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -qq)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
