#!/usr/bin/env bash
# Runs tools/test.sh --quick on Debian 13: debian13.sh [--in DIRECTORY] [ARGUMENT OF test.sh]...
#
# Makes a Debian 13 in DIRECTORY, by default build/debian13, with mmdebstrap and the mirror that
# apt uses here, copies the tree into it and runs tools/test.sh there, which installs what it
# needs. What is there already is used again. Needs root, mmdebstrap and a network.
set -euo pipefail

cd "$(dirname "$0")/.."
system=$PWD/build/debian13
if [ "${1-}" = --help ] || [ "${1-}" = -h ]; then
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    exit 0
fi
if [ "${1-}" = --in ]; then
    system=$(realpath -m "${2:?--in needs a directory}")
    shift 2
fi
[ $# -gt 0 ] || set -- --quick

if [ "$(id -u)" -ne 0 ]; then
    echo "debian13: run this as root: it mounts and changes the root directory" >&2
    exit 1
fi
if ! command -v mmdebstrap >/dev/null; then
    echo "debian13: needs mmdebstrap (apt-get install mmdebstrap)" >&2
    exit 1
fi

mirror=$(apt-get indextargets --format '$(ORIGIN) $(SITE)' 'Created-By: Packages' |
    awk '$1 == "Debian" && $2 !~ /security/ && !seen++ { print $2 }')

# Runs a command in namespaces of its own: what it mounts and starts ends with it, or with this.
apart() {
    unshare --mount-proc --pid --fork --kill-child "$@" </dev/null &
    wait $!
}
trap 'jobs -p | xargs --no-run-if-empty kill -KILL' EXIT
trap 'exit 1' HUP INT TERM

if [ ! -e "$system/etc/debian_version" ]; then
    # An earlier run was interrupted.
    rm -rf --one-file-system "$system.new"
    # Nobody misses the system after a power failure: dpkg need not wait for the disk.
    apart mmdebstrap --variant=minbase --mode=root --include=ca-certificates \
        --dpkgopt=force-unsafe-io trixie "$system.new" \
        "deb ${mirror:-http://deb.debian.org/debian} trixie main"
    # Debian's installer writes it, the packages do not.
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$system.new/etc/hosts"
    mv "$system.new" "$system"
fi
echo "debian13: Debian $(cat "$system/etc/debian_version") in $system"

# The tree without what git ignores. Builds of an earlier run stay.
mkdir -p "$system/toadstone"
find "$system/toadstone" -mindepth 1 -maxdepth 1 ! -name build -exec rm -rf {} +
git ls-files -z --cached --others --exclude-standard |
    xargs -0 sh -c 'for f; do [ ! -e "$f" ] || printf "%s\0" "$f"; done' copy |
    tar --null --files-from - --create |
    tar --extract --no-same-owner --directory "$system/toadstone"
cp --dereference /etc/resolv.conf "$system/etc/resolv.conf"

apart bash -c '
    set -e
    system=$1 && shift
    mount -t proc proc "$system/proc"
    mount --rbind /sys "$system/sys"
    mount --rbind /dev "$system/dev"
    mount -t tmpfs tmpfs "$system/tmp"
    exec chroot "$system" /usr/bin/env LC_ALL=C.UTF-8 HOME=/root \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${http_proxy:+http_proxy="$http_proxy"} ${CCACHE_DIR:+CCACHE_DIR="$CCACHE_DIR"} \
        bash /toadstone/tools/test.sh "$@"
' debian13 "$system" "$@"
