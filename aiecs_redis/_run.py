"""`python -m aiecs_redis run`: somebody's program, with `install()` done before it starts.

The program sees what it would see under `python script.py` or `python -m module`: sys.argv,
sys.path, `__main__`, its exit code, tracebacks without our frames, Ctrl-C.
"""

from __future__ import annotations

import functools
import io
import os
import runpy
import sys
import types
import zipfile
from importlib.machinery import SourceFileLoader
from typing import Any, Callable

from aiecs_redis._install import install

USAGE = """usage: python -m aiecs_redis run SCRIPT [ARGUMENT ...]
       python -m aiecs_redis run -m MODULE [ARGUMENT ...]

Runs a Python program whose redis.asyncio clients are native: aiecs_redis.install()
is called first. A new interpreter that the program starts has to call it again.
"""

_SAFE_PATH = bool(sys.flags.isolated or getattr(sys.flags, "safe_path", False))


def _fresh_main() -> types.ModuleType:
    main = types.ModuleType("__main__")
    vars(main).update(__builtins__=__builtins__)
    if sys.version_info < (3, 14):  # from there on made when somebody asks for them
        vars(main).update(__annotations__={})
    sys.modules["__main__"] = main
    return main


def _set_first_path(folder: str) -> None:
    """Put the program's folder in the place where `-m` has put the current one."""
    if not _SAFE_PATH and sys.path and sys.path[0] in ("", os.getcwd()):
        del sys.path[0]
    sys.path.insert(0, folder)


def _run_file(path: str) -> None:
    path = os.path.abspath(path)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        reason = f"[Errno {error.errno}] {error.strerror}"
        sys.stderr.write(f"{sys.executable}: can't open file {path!r}: {reason}\n")
        raise SystemExit(2) from None
    if not _SAFE_PATH:
        _set_first_path(os.path.dirname(os.path.realpath(path)))
    main = _fresh_main()
    loader = SourceFileLoader("__main__", path)
    vars(main).update(__file__=path, __cached__=None, __loader__=loader)
    exec(compile(source, path, "exec", dont_inherit=True), vars(main))


def _run_main_of_folder(path: str) -> None:
    _set_first_path(os.path.abspath(path))
    _fresh_main()
    # What the interpreter itself calls for a folder, and below for `-m`.
    runpy._run_module_as_main("__main__", alter_argv=False)  # type: ignore[attr-defined]


def _run_path(path: str) -> None:
    if os.path.isdir(path) or zipfile.is_zipfile(path):
        _run_main_of_folder(path)
    else:
        _run_file(path)


def _run_module(name: str) -> None:
    _fresh_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]


def _is_ours(traceback: types.TracebackType) -> bool:
    code = traceback.tb_frame.f_code
    file = code.co_filename
    package = os.path.dirname(os.path.abspath(__file__))
    return os.path.dirname(os.path.abspath(file)) == package or file in (
        runpy.__file__,
        "<frozen runpy>",
    )


def _report(hook: Callable[..., Any], kind: Any, error: Any, traceback: Any) -> None:
    """sys.excepthook, told of the program's frames only."""
    while traceback is not None and _is_ours(traceback):
        traceback = traceback.tb_next
    hook(kind, error.with_traceback(traceback), traceback)


def main(arguments: list[str]) -> int | None:
    """Run the program that the arguments name; what it raises goes on to the interpreter."""
    if not arguments or arguments[0] in ("-h", "--help"):
        (sys.stdout if arguments else sys.stderr).write(USAGE)
        return 0 if arguments else 2
    module = arguments[0] == "-m"
    if module and len(arguments) == 1:
        sys.stderr.write(f"{USAGE}\naiecs_redis run: name a module after -m\n")
        return 2
    if not module and arguments[0].startswith("-"):
        wrong = f"{arguments[0]!r} is no option of it: name a script, or -m and a module"
        sys.stderr.write(f"{USAGE}\naiecs_redis run: {wrong}\n")
        return 2
    install()
    try:
        if module:
            sys.argv = ["-m", *arguments[2:]]
            _run_module(arguments[1])
        else:
            sys.argv = list(arguments)
            _run_path(arguments[0])
    except SystemExit:
        raise
    except BaseException:
        # The interpreter reports it and knows the exit code (or signal): we only trim.
        sys.excepthook = functools.partial(_report, sys.excepthook)
        raise
    return None
