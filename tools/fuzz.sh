#!/bin/sh
# Builds a fuzzer of tests/fuzz with clang's libFuzzer and the sanitizers, and runs it.
#
#   tools/fuzz.sh reply|encode|names [LIBFUZZER OPTION...]
#   tools/fuzz.sh reply|encode|names seeds
#
# Without options it runs a million inputs. -max_total_time=SECONDS, -runs=NUMBER and -jobs=NUMBER
# are the useful ones; a file name runs just that input. What is found is written to build/fuzz.
# `seeds` tries each of the seeds once, and takes any compiler (CC), without libFuzzer and sanitizers.
set -eu
cd "$(dirname "$0")/.."

name=$1
shift
python=${PYTHON:-.venv/bin/python}
out=build/fuzz
mkdir -p "$out/corpus-$name"
if [ "${1:-}" = seeds ]; then
    compiler="${CC:-cc} -O1"
    driver=tests/fuzz/replay.c
    program=$out/replay_$name
else
    compiler=${CLANG:-$(command -v clang || command -v clang-19 || command -v clang-16 || command -v clang-14 || true)}
    if [ -z "$compiler" ]; then
        echo "fuzz: needs clang with libFuzzer (Debian packages: clang libclang-rt-14-dev)" >&2
        exit 2
    fi
    compiler="$compiler -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined"
    driver=
    program=$out/fuzz_$name
fi

variables='import sysconfig; v = sysconfig.get_config_var
print(sysconfig.get_path("include"), v("LIBDIR"), v("LDVERSION"), v("LIBPL"))'
"$python" -c "$variables" >"$out/python"
read -r include libdir version libpl <"$out/python"

# What the fuzzers call, and what that calls.
units=
for unit in reply plain errors encode outq words lanes keyspec keyslot inlet bulk; do
    units="$units csrc/$unit.c"
done
# shellcheck disable=SC2086 # lists of words
$compiler -g -fwrapv -fno-omit-frame-pointer -UNDEBUG -DAR_DEBUG -w \
    -Icsrc -Itests/fuzz -I"$include" -isystem vendored/hiredis -isystem vendored/libev \
    "tests/fuzz/fuzz_$name.c" $driver $units \
    vendored/hiredis/read.c vendored/hiredis/sds.c vendored/hiredis/alloc.c \
    -L"$libdir" -L"$libpl" -Wl,-rpath,"$libdir" "-lpython$version" -lcrypto -ldl -lm -lpthread -lutil \
    -o "$program"

home=$("$python" -c 'import sys; print(sys.base_prefix)')
if [ "${1:-}" = seeds ]; then
    exec env PYTHONHOME="$home" "$program" tests/fuzz/seeds/"$name"/*
fi
# One input may not make us allocate by what it announces: 16 MiB at once, 2 GiB in all.
[ $# -gt 0 ] || set -- -runs=1000000
for argument in "$@"; do
    if [ -f "$argument" ]; then
        exec env PYTHONHOME="$home" "$out/fuzz_$name" "$@"
    fi
done
dictionary=tests/fuzz/resp.dict
[ "$name" != names ] || dictionary=tests/fuzz/names.dict
exec env PYTHONHOME="$home" ASAN_OPTIONS="detect_leaks=0:${ASAN_OPTIONS:-}" \
    "$out/fuzz_$name" -dict="$dictionary" -max_len=4096 -timeout=20 \
    -malloc_limit_mb=16 -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$out/" \
    "$@" "$out/corpus-$name" "tests/fuzz/seeds/$name"
