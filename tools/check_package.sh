#!/bin/sh
# Builds the source distribution and a wheel, and installs the former into a fresh environment
# that can reach no index: it has to contain everything that is compiled.
set -eu
cd "$(dirname "$0")/.."

python=.venv/bin/python
out=build/package
rm -rf $out
mkdir -p $out/wheels
$python -m build --outdir $out .
$python -m twine check --strict $out/*.tar.gz $out/*.whl

listed=$($python -m zipfile --list $out/*.whl)
for name in /licenses/vendored/hiredis/COPYING /licenses/vendored/libev/LICENSE \
    aiecs_redis/py.typed aiecs_redis/*.pyi aiecs_redis/*/*.pyi; do
    case $listed in
        *"$name "*) ;;
        *) echo "package: the wheel lacks $name" >&2; exit 1 ;;
    esac
done

$python -m pip download --quiet --dest $out/wheels 'setuptools>=77' pip 'redis>=7.0,<9'
$python -m venv $out/venv
PIP_NO_INDEX=1 PIP_FIND_LINKS=$out/wheels PIP_EXTRA_INDEX_URL='' XDG_CACHE_HOME=$out/cache \
    $out/venv/bin/python -m pip install --quiet --no-cache-dir $out/*.tar.gz
cd $out
venv/bin/python -c 'import aiecs_redis._native as native; print("package:", native.__file__)'
