"""What the servers of a group, a cluster or one under Sentinels, have in common."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import redis
import redis.exceptions

from aiecs_redis.testing._certificates import ServerError
from aiecs_redis.testing._server import RedisServer, free_local_port

__all__ = ["Group", "Member", "together", "wait_for"]

T = TypeVar("T")
R = TypeVar("R")


def together(call: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Call it for every item, each in a thread; the first error is raised when all have ended."""
    found = list(items)
    with ThreadPoolExecutor(max_workers=max(1, len(found))) as threads:
        return [future.result() for future in [threads.submit(call, item) for item in found]]


def wait_for(
    condition: Callable[[], T | None], timeout: float, what: Callable[[], str], pause: float = 0.02
) -> T:
    """Ask again and again until the answer is neither None nor False, and return it.

    Args:
        condition: what is asked.
        timeout: seconds to wait.
        what: what to say after that.
        pause: seconds between two questions.

    Raises:
        ServerError: time is up; the text is `what()`.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if found is not None and found is not False:
            return found
        if time.monotonic() > deadline:
            raise ServerError(f"{what()}, {timeout:g} s waited")
        time.sleep(pause)


class Member(RedisServer):
    """A `RedisServer` of a group."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._admin: tuple[int | None, redis.Redis] | None = None

    def call(self, *args: Any) -> Any:
        """Execute a command on this very server and return the reply as it came, texts decoded.

        Raises:
            redis.exceptions.RedisError: as redis-py; nothing is tried twice.
        """
        if self._admin is None or self._admin[0] != self.port:
            client = self.connect(decode_responses=True, protocol=2, socket_timeout=10)
            self._admin = self.port, client
        pool = self._admin[1].connection_pool
        connection: Any = pool.get_connection()
        try:
            connection.send_command(*args)
            return connection.read_response()
        except BaseException as exc:
            if not isinstance(exc, redis.exceptions.ResponseError):
                connection.disconnect()
            raise
        finally:
            pool.release(connection)

    def is_master(self) -> bool:
        """Return whether it says that it is a master now (ROLE); not if it says nothing."""
        try:
            return bool(self.call("ROLE")[0] == "master")
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            return False  # whoever changes roles, Sentinel above all, cuts connections

    def replication(self) -> dict[str, str]:
        """Return the section "replication" of INFO, the values as texts."""
        lines = str(self.call("INFO", "replication")).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def _choose_port(self) -> int:
        return free_local_port()

    def _give_up(self) -> None:
        self.kill()  # the group removes the folder, which has the log and who it is

    def _end(self, number: Any) -> None:
        admin, self._admin = self._admin, None
        if admin is not None:
            admin[1].close()
        super()._end(number)


class Group:
    """Servers that belong together, each in a folder of its own below one of the group."""

    def __init__(self) -> None:
        self._folder: Path | None = None

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all of them and remove the folder."""
        everybody = self._dismiss()
        together(RedisServer.stop, everybody)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def recover(self, timeout: float | None = None) -> None:
        """Resume and start again what was paused and killed; return when all agree again.

        Args:
            timeout: seconds to wait for that; those of `wait_until_agreed()` when it is None.

        Raises:
            ServerError: as `wait_until_agreed()`.
        """
        for server in self._everybody():
            if server.paused:
                server.resume()
            server.start()
        if timeout is None:
            self.wait_until_agreed()
        else:
            self.wait_until_agreed(timeout)

    def logs(self, lines: int = 20) -> str:
        """Return the last lines of everybody's log, each under its address."""
        return "\n".join(f"--- {server!r}\n{server.log(lines)}" for server in self._everybody())

    def wait_until_agreed(self, timeout: float = 40) -> None:
        """Return when those that run tell the same of one another, and all is well.

        Raises:
            ServerError: it does not come to that in `timeout` seconds; with the last difference.
        """
        self._wait_until_none(self._disagreement, timeout)

    # What the groups do in ways of their own.

    def _everybody(self) -> Sequence[Member]:
        raise NotImplementedError

    def _dismiss(self) -> Sequence[Member]:
        """Return everybody, and have nobody from then on."""
        raise NotImplementedError

    def _disagreement(self) -> str | None:
        raise NotImplementedError

    # ------------------------------------------------------------------- helpers

    def _take_in(self, server: Member, name: str) -> None:
        assert self._folder is not None
        server.folder = self._folder / name
        server.folder.mkdir()
        server._swept_folders = (self._folder,)

    def _wait_until_none(self, ask: Callable[[], str | None], timeout: float) -> None:
        """Ask again and again for what is still amiss, until there is nothing."""
        last = ""

        def settled() -> bool:
            nonlocal last
            try:
                last = ask() or ""
            except redis.exceptions.RedisError as exc:
                last = f"{type(exc).__name__}: {exc}"
            return not last

        wait_for(settled, timeout, lambda: f"{self!r} does not agree: {last}", 0.03)
