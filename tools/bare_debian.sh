#!/bin/sh
# `make demo` and `make test` on a bare Debian that has python3, make and git only: as root, who gets
# what is missing installed, and as a user without rights, who is told in one line what to install.
#
#   tools/bare_debian.sh [SUITE [PYTEST-ARGUMENT...]]      bookworm (default), trixie, ...
#
# Needs root, debootstrap and util-linux; takes the last commit, and works in build/bare.
# DEBIAN_MIRROR chooses the mirror. The machine's certificates and index settings are handed in.
set -eu
cd "$(dirname "$0")/.."

suite=${1:-bookworm}
[ $# = 0 ] || shift
tests="$*"
folder=$PWD/build/bare
base=$folder/$suite
copy=$folder/$suite-run
project=/srv/aiecs-redis

say() { printf 'bare: %s\n' "$*"; }
die() { say "$*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root, for chroot"
for program in debootstrap unshare git; do
    command -v "$program" >/dev/null || die "$program is not installed: apt-get install $program"
done
case $copy in */build/bare/*-run) ;; *) die "SUITE=$suite is no name" ;; esac

# inside USER COMMAND: runs it in the copy, with mounts and processes that end with it.
inside() {
    user=$1
    shift
    set -- env -i HOME="/home/$user" USER="$user" LANG=C.UTF-8 \
        PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        ${PIP_CERT:+PIP_CERT="$PIP_CERT"} ${PIP_INDEX_URL:+PIP_INDEX_URL="$PIP_INDEX_URL"} \
        ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
        /bin/sh -c "cd $project && $*"
    # shellcheck disable=SC2016
    unshare --mount --pid --fork --kill-child /bin/sh -c '
        copy=$1 user=$2
        shift 2
        mount -t proc proc "$copy/proc"
        mount -t tmpfs -o mode=1777 tmpfs "$copy/dev/shm"
        mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts "$copy/dev/pts"
        mount --bind "$copy/dev/pts/ptmx" "$copy/dev/ptmx"
        exec chroot --userspec="$user" "$copy" "$@"' sh "$copy" "$user" "$@" </dev/null
}

# A fresh system with a clone of the project that belongs to USER.
fresh() {
    rm -rf --one-file-system "$copy"
    cp -a "$base" "$copy"
    mkdir -p "$copy${project%/*}"
    git clone --quiet --no-hardlinks . "$copy$project"
    chroot "$copy" chown -R "$1:" "$project"
}

if [ ! -f "$base/.complete" ]; then
    say "making $suite"
    mkdir -p "$folder"
    rm -rf --one-file-system "$base"
    debootstrap --variant=minbase --include=python3,make,git,ca-certificates "$suite" "$base" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >"$folder/$suite.log" 2>&1 ||
        die "debootstrap failed, see $folder/$suite.log"
    chroot "$base" useradd --create-home --shell /bin/sh tester
    ln -s /root "$base/home/root"
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$base/etc/hosts"  # as every installer does
    cp /etc/ssl/certs/ca-certificates.crt "$base/etc/ssl/certs/"
    [ ! -f /etc/pip.conf ] || cp /etc/pip.conf "$base/etc/"
    touch "$base/.complete"
fi

say "$suite, root: make demo, make test"
fresh root
inside root make demo || die "$suite, root: make demo failed"
inside root make test "ARGS='$tests'" || die "$suite, root: make test failed"

say "$suite, a user: make demo says what is missing"
fresh tester
log=$folder/$suite-user.log
if inside tester make demo >"$log" 2>&1; then
    die "$suite: a user without rights cannot have made the demo run"
fi
hint=$(grep '^setup: ' "$log") || die "no hint: $(cat "$log")"
[ "$(grep -vc '^make' "$log")" = 1 ] || die "not one line: $(cat "$log")"
say "$hint"
packages=${hint##*apt-get install }
[ "$packages" != "$hint" ] || die "the hint names no packages"

say "$suite, root installs just that: $packages"
# shellcheck disable=SC2086
chroot "$copy" env DEBIAN_FRONTEND=noninteractive sh -c \
    "apt-get -qq update && apt-get -qq -y install --no-install-recommends $packages" >"$log" 2>&1 ||
    die "apt-get install failed, see $log"
say "$suite, the user: make demo, make test"
inside tester make demo || die "$suite, a user: make demo failed"
inside tester make test "ARGS='$tests'" || die "$suite, a user: make test failed"
rm -rf --one-file-system "$copy"
say "$suite: all is well"
