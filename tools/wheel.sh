#!/bin/sh
# Builds this interpreter's wheel, repairs it, and tests it in a fresh environment in which there is
# no compiler, no header and no other library of ours. The result is in dist/.
#
#   tools/wheel.sh [PYTEST-ARGUMENT...]     then runs these tests of tests/ on the installed wheel
set -eu
cd "$(dirname "$0")/.."

python=$PWD/.venv/bin/python
out=$PWD/build/wheel
rm -rf "$out"
mkdir -p "$out/bin" dist

$python -m build --quiet --wheel --outdir "$out/built" .
wheel=$(PATH=$PWD/.venv/bin:$PATH $python tools/repair_wheel.py "$out"/built/*.whl "$out/repaired")
echo "wheel: $(basename "$wheel")"

# All that is on the PATH: a server, and what makes certificates for it.
for name in redis-server redis-cli openssl; do
    found=$(command -v "$name") || { echo "wheel: $name is not installed" >&2; exit 1; }
    ln -s "$found" "$out/bin/$name"
done
$python -m venv --without-pip "$out/venv"
$python -m pip --python "$out/venv/bin/python" install --quiet --disable-pip-version-check \
    --only-binary :all: "$wheel"

bare() { (cd / && env -i HOME="$out" LANG=C.UTF-8 PATH="$out/bin" "$out/venv/bin/python" "$@"); }

# -I: neither the working directory nor the script's own is looked at for modules.
bundled=$([ "$(uname)" = Linux ] && echo --bundled || true)
bare -I "$PWD/tools/check_wheel.py" --no-compiler $bundled

if [ $# -gt 0 ]; then
    $python -m pip --python "$out/venv/bin/python" install --quiet --disable-pip-version-check \
        --only-binary :all: "$wheel[test]"
    # Beside the wheel, not beside the sources, which would be imported instead.
    cp -r tests examples pyproject.toml "$out"
    (cd "$out" && env -i HOME="$out" LANG=C.UTF-8 PATH="$out/bin:/usr/bin:/bin" \
        venv/bin/python -m pytest -q -p no:cacheprovider "$@")
fi
cp "$wheel" dist/
echo "wheel: dist/$(basename "$wheel")"
