"""A private network namespace, where the ports that the tests hard-code are nobody else's."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys

INSIDE = "AIECS_COMPAT_NAMESPACE"

_SIOCSIFFLAGS = 0x8914
_UP_RUNNING = 0x41


def is_private() -> bool:
    """Whether this process is in a namespace that `enter()` made."""
    return INSIDE in os.environ


def enter(arguments: list[str]) -> None:
    """Start the program anew in a private namespace; return where none can be made."""
    prefix = _prefix()
    if prefix is None:
        return
    environment = {**os.environ, INSIDE: "1"}
    command = [*prefix, sys.executable, "-m", "compat", *arguments]
    sys.stdout.flush()
    os.execvpe(command[0], command, environment)


def raise_loopback() -> None:
    """A new namespace has its loopback interface down."""
    with socket.socket() as any_socket:
        request = struct.pack("16sH14x", b"lo", _UP_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)


def _prefix() -> list[str] | None:
    """`unshare` as root, or as a plain user where the kernel permits that."""
    if not sys.platform.startswith("linux") or shutil.which("unshare") is None:
        return None
    for options in (["-n"], ["-r", "-n"]):
        prefix = ["unshare", *options, "--"]
        probe = [*prefix, sys.executable, "-c", "import socket; socket.socket().close()"]
        if subprocess.run(probe, capture_output=True).returncode == 0:
            return prefix
    return None
