#!/bin/sh
# Builds a fuzzer of tests/fuzz with clang's libFuzzer and the sanitizers, and runs it.
#
#   tools/fuzz.sh reply|encode [LIBFUZZER OPTION...]
#
# Without options it runs a million inputs. -max_total_time=SECONDS, -runs=NUMBER and -jobs=NUMBER
# are the useful ones; a file name runs just that input. What is found is written to build/fuzz.
set -eu
cd "$(dirname "$0")/.."

name=$1
shift
python=${PYTHON:-.venv/bin/python}
clang=${CLANG:-$(command -v clang || command -v clang-19 || command -v clang-16 || command -v clang-14 || true)}
if [ -z "$clang" ]; then
    echo "fuzz: needs clang with libFuzzer (Debian packages: clang libclang-rt-14-dev)" >&2
    exit 2
fi
out=build/fuzz
mkdir -p "$out/corpus-$name"

variables='import sysconfig; v = sysconfig.get_config_var
print(sysconfig.get_path("include"), v("LIBDIR"), v("LDVERSION"), v("LIBPL"))'
"$python" -c "$variables" >"$out/python"
read -r include libdir version libpl <"$out/python"

$clang -g -O1 -fwrapv -fno-omit-frame-pointer -UNDEBUG -DAR_DEBUG -w \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined \
    -Icsrc -Itests/fuzz -I"$include" -isystem vendored/hiredis -isystem vendored/libev \
    "tests/fuzz/fuzz_$name.c" csrc/reply.c csrc/plain.c csrc/errors.c csrc/encode.c csrc/outq.c csrc/words.c \
    vendored/hiredis/read.c vendored/hiredis/sds.c vendored/hiredis/alloc.c \
    -L"$libdir" -L"$libpl" -Wl,-rpath,"$libdir" "-lpython$version" -lcrypto -ldl -lm -lpthread -lutil \
    -o "$out/fuzz_$name"

# One input may not make us allocate by what it announces: 16 MiB at once, 2 GiB in all.
home=$("$python" -c 'import sys; print(sys.base_prefix)')
[ $# -gt 0 ] || set -- -runs=1000000
for argument in "$@"; do
    if [ -f "$argument" ]; then
        exec env PYTHONHOME="$home" "$out/fuzz_$name" "$@"
    fi
done
exec env PYTHONHOME="$home" ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" \
    "$out/fuzz_$name" -dict=tests/fuzz/resp.dict -max_len=4096 -timeout=20 \
    -malloc_limit_mb=16 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$out/" \
    "$@" "$out/corpus-$name" tests/fuzz/seeds
