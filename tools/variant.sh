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
if [ "$mode" != asan ]; then
    exec "$@"
fi

# The interpreter is not instrumented: the runtime has to come first, pymalloc would hide overruns,
# and what CPython leaves behind at exit is not ours. Reports go to files, as a subprocess' report
# may go unseen; pytest must not swallow those that reach standard error all the same. It aborts, for
# pytest's faulthandler to tell the test.
reports=$tree/sanitizer-report
rm -f "$reports".*
status=0
# Servers are not looked into: they run as they are.
server=$(command -v "${AIECS_REDIS_SERVER:-redis-server}" || command -v valkey-server || :)
if [ -n "$server" ]; then
    printf '#!/bin/sh\nunset LD_PRELOAD\nexec "%s" "$@"\n' "$server" >"$tree/server"
    chmod +x "$tree/server"
    export AIECS_REDIS_SERVER="$tree/server"
fi
env PYTEST_ADDOPTS="--capture=sys ${PYTEST_ADDOPTS:-}" \
    LD_PRELOAD="$(${CC:-gcc} -print-file-name=libasan.so)" PYTHONMALLOC=malloc \
    ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:log_path=$reports:${ASAN_OPTIONS:-}" \
    UBSAN_OPTIONS="print_stacktrace=1:log_path=$reports:${UBSAN_OPTIONS:-}" "$@" || status=$?
if ls "$reports".* >/dev/null 2>&1; then
    status=1
    cat "$reports".* >&2
    # Once more what matters, last: logs may be cut.
    grep -hE '^(==.*ERROR|SUMMARY|[a-zA-Z].* (thread|at 0x|located)|.*runtime error)|^ *#[0-7] ' \
        "$reports".* >&2 || :
fi
exit $status
