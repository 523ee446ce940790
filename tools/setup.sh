#!/bin/sh
# Everything a make target needs, on a fresh machine with python3: system packages, .venv, the
# Python packages of the given extras, and the extension built in place. Quick when all is there.
#
#   tools/setup.sh EXTRA...     extras of pyproject.toml, e.g. tools/setup.sh test dev
#
# PYTHON chooses the interpreter of a new .venv (default: python3); PROGRAMS names what else is needed,
# by the names that programs and their Debian packages share.
set -eu
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
venv=.venv

say() { printf '%s\n' "$*" >&2; }
die() { say "setup: $*"; exit 1; }
compiles() { printf '%s\n' "$2" | ${CC:-cc} $1 -E -x c - >/dev/null 2>&1; }

# Names of the Debian packages for what is missing.
missing_packages() {
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    if [ ! -x $venv/bin/python ]; then
        "$python" -c 'import venv, ensurepip' 2>/dev/null || echo "python$version-venv"
    fi
    compiles "" "#include <stdlib.h>" || echo build-essential
    [ -f "$include/Python.h" ] || echo "python$version-dev"
    compiles "${CPPFLAGS:-} ${CFLAGS:-}" "#include <openssl/ssl.h>" || echo libssl-dev
    # A server in REDIS_HOST serves as well, and so does Valkey.
    [ -n "${REDIS_HOST:-}" ] || command -v "${AIECS_REDIS_SERVER:-redis-server}" >/dev/null ||
        command -v valkey-server >/dev/null || echo redis-server
    # The tests make themselves certificates for TLS.
    command -v openssl >/dev/null || echo openssl
    for program in ${PROGRAMS:-}; do
        command -v "$program" >/dev/null || echo "$program"
    done
}

install_packages() {
    if [ "$(id -u)" = 0 ]; then
        as_root="env"
    elif sudo -n true 2>/dev/null; then
        as_root="sudo -n env"
    else
        die "Debian packages are missing, install them with: sudo apt-get install $*"
    fi
    command -v apt-get >/dev/null || die "missing, by their names on Debian: $*"
    say "setup: installing $*"
    apt="$as_root DEBIAN_FRONTEND=noninteractive apt-get -qq -y"
    log=$(mktemp)
    $apt update >/dev/null || say "setup: apt-get update failed, going on with the known packages"
    if ! $apt install --no-install-recommends "$@" </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        die "apt-get install $* failed"
    fi
    rm -f "$log"
}

command -v "$python" >/dev/null || die "$python not found: install Python 3.9 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 9))' ||
    die "$python is $("$python" -V 2>&1), Python 3.9 or newer is needed"
packages=$(missing_packages)
if [ -n "$packages" ]; then
    # shellcheck disable=SC2086
    install_packages $packages
fi

if ! $venv/bin/python -c 'import pip' 2>/dev/null; then
    "$python" -m venv --clear $venv
fi

# Extras are installed once for each state of pyproject.toml.
state=$(cksum <pyproject.toml)
extras=
for extra in "$@"; do
    [ "$(cat "$venv/installed-$extra" 2>/dev/null)" = "$state" ] || extras="${extras:+$extras,}$extra"
done
if [ -n "$extras" ]; then
    say "setup: installing Python packages ($extras)"
    pip="$venv/bin/python -m pip install --quiet --disable-pip-version-check"
    $pip 'setuptools>=77' wheel
    $pip --no-build-isolation --editable ".[$extras]"
    for extra in "$@"; do
        echo "$state" >"$venv/installed-$extra"
    done
fi

exec $venv/bin/python setup.py --quiet build_ext --inplace
