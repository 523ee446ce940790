"""A network namespace with a redis-server in it, whose packets can be made to vanish.

Needs root on Linux. Unlike a reset or a closed socket, this is how a pulled cable, a dead host or
a forgetful NAT looks: no packet ever comes back.
"""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import subprocess
import time
from types import TracebackType

import redis

NETWORK = ipaddress.ip_network("198.18.0.0/15")  # kept free for tests of this kind


def available() -> bool:
    """Whether namespaces can be made here."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        return False
    name = f"probe{secrets.token_hex(4)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True).returncode:
        return False
    subprocess.run(["ip", "netns", "del", name], check=True)
    return True


class FarServer:
    """A server behind a pair of virtual network cards; its addresses are out of NETWORK.

    Args:
        program: path of redis-server.
    """

    port = 6379

    def __init__(self, program: str) -> None:
        self._program = program
        # By chance, as another container's processes have the same pids, and maybe see these names.
        token = secrets.token_hex(4)
        network = 4 * secrets.randbelow(1 << 15)
        self.near, self.host = (str(NETWORK[network + number]) for number in (1, 2))
        self.name = f"far{token}"
        self._card, self._far_card = f"a{token}", f"b{token}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> FarServer:
        try:
            self._ip("netns", "add", self.name)
            self._ip("link", "add", self._card, "type", "veth", "peer", "name", self._far_card)
            self._ip("link", "set", self._far_card, "netns", self.name)
            self._ip("addr", "add", f"{self.near}/30", "dev", self._card)
            self._ip("link", "set", self._card, "up")
            self._ip("-n", self.name, "addr", "add", f"{self.host}/30", "dev", self._far_card)
            self._ip("-n", self.name, "link", "set", self._far_card, "up")
            command = ["ip", "netns", "exec", self.name, self._program, "--bind", self.host]
            command += ["--protected-mode", "no", "--save", "", "--port", str(self.port)]
            self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        subprocess.run(["ip", "link", "del", self._card], capture_output=True)
        subprocess.run(["ip", "netns", "del", self.name], capture_output=True)

    def vanish(self) -> None:
        """From now on nothing the server sends, acknowledgements included, arrives."""
        self._ip("-n", self.name, "route", "add", "blackhole", f"{self.near}/32")

    def appear(self) -> None:
        self._ip("-n", self.name, "route", "del", "blackhole", f"{self.near}/32")

    def _ip(self, *words: str) -> None:
        subprocess.run(["ip", *words], check=True, capture_output=True)

    def _wait(self) -> None:
        until = time.monotonic() + 10
        while True:
            try:
                with redis.Redis(self.host, self.port, socket_timeout=1) as client:
                    client.ping()
                return
            except (redis.ConnectionError, redis.TimeoutError):
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)
