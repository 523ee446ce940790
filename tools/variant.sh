#!/bin/sh
# Runs a command in a copy of the tree whose extension is built in another mode, so that the
# extension in place stays as it is. Only what changed is copied and compiled again.
#
#   tools/variant.sh MODE COMMAND...     MODE: debug, asan or coverage
set -eu
cd "$(dirname "$0")/.."

mode=$1
shift
root=$PWD
tree=$root/build/$mode
python=$root/.venv/bin/python

"$python" tools/copy_tree.py "$tree"
cd "$tree"
AIECS_REDIS_BUILD=$mode "$python" setup.py --quiet build_ext --inplace

# Before the editable install, for scripts that tests run from other folders.
export PYTHONPATH="$tree"
if [ "$mode" = asan ]; then
    # The interpreter is not instrumented: the runtime has to come first, pymalloc would hide
    # overruns, and what CPython leaves behind at exit is not ours.
    LD_PRELOAD=$(${CC:-gcc} -print-file-name=libasan.so)
    export LD_PRELOAD
    export PYTHONMALLOC=malloc
    export ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=1:${ASAN_OPTIONS:-}"
    export UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1:${UBSAN_OPTIONS:-}"
fi
exec "$@"
