"""Sentinels of our own over a master and its replicas, and what tests of failovers need."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import redis.exceptions

from aiecs_redis.testing._certificates import Certificates, ServerError
from aiecs_redis.testing._member import Group, Member, together, wait_for
from aiecs_redis.testing._server import ConfigValue, RedisServer, quoted, redis_version

__all__ = ["SentinelServer", "SentinelServers"]

# Periods of Redis 7's SENTINEL DEBUG in milliseconds, a tenth of what they are in service.
_HASTE = {
    "INFO-PERIOD": 300,
    "PING-PERIOD": 300,  # five of them have to outlast a replica's INFO, asked for every second
    "ASK-PERIOD": 100,
    "PUBLISH-PERIOD": 200,
    "MIN-LINK-RECONNECT-PERIOD": 500,
    "ELECTION-TIMEOUT": 2000,
    # Hands off for a second, not 30, after a pause of 5 s, not 2: the machine may be busy.
    "TILT-TRIGGER": 5000,
    "TILT-PERIOD": 1000,
}


class _Replicated(Member):
    """The master, or a replica; who is who is what Sentinel wrote into its configuration."""

    _rewritten = True
    leader: RedisServer | None = None

    def _configuration(self) -> Iterator[tuple[str, ConfigValue]]:
        yield from super()._configuration()
        yield "repl-diskless-sync-delay", 0
        yield "repl-ping-replica-period", 1
        if self.tls:
            yield "tls-replication", "yes"
        if self.requirepass is not None:
            yield "masterauth", quoted(self.requirepass)
        if self.leader is not None:
            yield "replicaof", f"{self.leader.host} {self.leader.port}"


class SentinelServer(Member):
    """One Sentinel of `SentinelServers`; everything a `RedisServer` can."""

    _arguments = ("--sentinel",)
    _rewritten = True
    lines: tuple[tuple[str, ConfigValue], ...] = ()

    def _configuration(self) -> Iterator[tuple[str, ConfigValue]]:
        yield from self._access()
        if self.tls:
            yield "tls-replication", "yes"
        if self.requirepass is not None and redis_version(self._executable) >= (6, 2):
            yield "sentinel", f"sentinel-pass {quoted(self.requirepass)}"
        yield from self.lines
        yield from self._own_lines()

    def _launch(self, executable: str) -> RedisServer:
        super()._launch(executable)
        if redis_version(self._executable) >= (7,):
            settings = [word for pair in _HASTE.items() for word in pair]
            self.call("SENTINEL", "DEBUG", *settings)
        return self

    def master_address(self, name: str) -> tuple[str, int] | None:
        """Return host and port of the master by its word; None when it knows no such master."""
        found = self.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        return None if found is None else (found[0], int(found[1]))


class SentinelServers(Group):
    """A master, its replicas and Sentinels over them, on 127.0.0.1.

    It starts with `start()` or `with`, in about 3 s.

    Args:
        replicas: how many.
        sentinels: how many.
        name: of the master, to the Sentinels.
        requirepass: password of the master and the replicas, letters and digits.
        sentinel_password: password of the Sentinels themselves, letters and digits.
        tls: speak TLS only, all of them.
        quorum: how many Sentinels have to think that the master is down; most of them when it
            is None.
        down_after: seconds of silence after which they do.
        failover_timeout: seconds for a failover (failover-timeout of Sentinel).
        config: further lines of redis.conf of the master and the replicas.
        executable: path of the program; what `find_server()` finds when it is None.

    Attributes:
        servers: master and replicas, first the one which began as master.
        sentinels: the `SentinelServer`s.

    Raises:
        ValueError: numbers that make no sense, or a password with other characters.
    """

    def __init__(
        self,
        replicas: int = 2,
        sentinels: int = 3,
        *,
        name: str = "mymaster",
        requirepass: str | None = None,
        sentinel_password: str | None = None,
        tls: bool = False,
        quorum: int | None = None,
        down_after: float = 2.0,
        failover_timeout: float = 3.0,
        config: Mapping[str, ConfigValue] | None = None,
        executable: str | None = None,
    ) -> None:
        if replicas < 0 or sentinels < 1:
            raise ValueError(f"replicas={replicas}, sentinels={sentinels}: at least 0 and 1")
        for password in (requirepass, sentinel_password):
            if password is not None and not password.isalnum():
                raise ValueError(
                    "passwords of letters and digits only: Sentinel writes others into its"
                    " configuration in a way that it cannot read"
                )
        super().__init__()
        self.name = name
        self.servers: list[_Replicated] = []
        self.sentinels: list[SentinelServer] = []
        self._counts = 1 + replicas, sentinels
        self._quorum = quorum or sentinels // 2 + 1
        self._milliseconds = int(down_after * 1000), int(failover_timeout * 1000)
        self._sentinel_password = sentinel_password
        self._options: dict[str, Any] = {
            "requirepass": requirepass,
            "tls": tls,
            "config": config,
            "executable": executable,
        }

    def __enter__(self) -> SentinelServers:
        return self.start()

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {len(self.sentinels)} Sentinels, {len(self.servers)} servers>"
        )

    # ------------------------------------------------------------- how to get in

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of every Sentinel."""
        return [(sentinel.host, int(sentinel.port or 0)) for sentinel in self.sentinels]

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments for connections to master and replicas: password, ssl_ options."""
        return _without_address(self.servers[0])

    @property
    def sentinel_kwargs(self) -> dict[str, Any]:
        """Keyword arguments for connections to the Sentinels: password, ssl_ options."""
        return _without_address(self.sentinels[0])

    # ---------------------------------------------------------------- life cycle

    def start(self) -> SentinelServers:
        """Start all; return when the Sentinels agree on the master and know one another.

        Raises:
            ProgramMissingError: a program is not installed.
            ServerError: it comes to nothing; with the last words.
        """
        if self.servers:
            return self
        self._folder = Path(tempfile.mkdtemp(prefix="aiecs-redis-sentinel-"))
        servers, sentinels = self._counts
        tls = self._options["tls"]
        executable = self._options["executable"]
        try:
            certificates = Certificates(self._folder) if tls else None
            for number in range(servers):
                server = _Replicated(certificates=certificates, **self._options)
                self._take_in(server, f"server-{number}")
                self.servers.append(server)
            first, *others = self.servers
            first.start()
            for replica in others:
                replica.leader = first
            for number in range(sentinels):
                sentinel = SentinelServer(
                    requirepass=self._sentinel_password,
                    tls=tls,
                    executable=executable,
                    certificates=certificates,
                )
                self._take_in(sentinel, f"sentinel-{number}")
                sentinel.lines = tuple(self._monitored(first))
                self.sentinels.append(sentinel)
            together(RedisServer.start, [*others, *self.sentinels])
            self.wait_until_agreed()
        except BaseException:
            self.stop()
            raise
        return self

    def _everybody(self) -> list[Member]:
        return [*self.servers, *self.sentinels]

    def _dismiss(self) -> list[Member]:
        everybody = [*self.sentinels, *self.servers]
        self.servers, self.sentinels = [], []
        return everybody

    def _monitored(self, master: RedisServer) -> Iterator[tuple[str, ConfigValue]]:
        down_after, failover_timeout = self._milliseconds
        name = self.name
        yield "sentinel", f"monitor {name} {master.host} {master.port} {self._quorum}"
        yield "sentinel", f"down-after-milliseconds {name} {down_after}"
        yield "sentinel", f"failover-timeout {name} {failover_timeout}"
        yield "sentinel", f"parallel-syncs {name} 2"
        if master.requirepass is not None:
            yield "sentinel", f"auth-pass {name} {quoted(master.requirepass)}"

    # ------------------------------------------------------------------- who is who

    def master(self) -> Member:
        """Return the master, by the word of the first Sentinel that runs.

        Raises:
            ServerError: none runs, or it names none of these servers.
        """
        found = self._running_sentinels()[0].master_address(self.name)
        for server in self.servers:
            if (server.host, server.port) == found:
                return server
        raise ServerError(f"the Sentinels name {found} as master")

    def replicas(self) -> list[Member]:
        """Return the others that run."""
        master = self.master()
        return [server for server in self._running_servers() if server is not master]

    def _running_sentinels(self) -> list[SentinelServer]:
        found = [one for one in self.sentinels if one.pid is not None and not one.paused]
        if not found:
            raise ServerError("no Sentinel runs")
        return found

    def _running_servers(self) -> list[_Replicated]:
        return [one for one in self.servers if one.pid is not None and not one.paused]

    # ---------------------------------------------------------------------- faults

    def failover(self, timeout: float = 30) -> Member:
        """Have a replica made master (SENTINEL FAILOVER), and return it.

        It returns when the new one says that it is the master; `wait_until_agreed()` waits until
        all Sentinels have heard of it and the replicas follow it.
        """
        old = self.master()
        asked = self._running_sentinels()[0]

        def accepted() -> bool:
            with contextlib.suppress(redis.exceptions.ResponseError):
                # Refused while one is under way, and while no replica is known to be fit.
                asked.call("SENTINEL", "FAILOVER", self.name)
                return True
            return False

        wait_for(accepted, timeout, lambda: f"{asked!r} begins no failover", 0.1)
        return self.wait_for_promotion(old, timeout)

    def wait_for_promotion(self, old: Member, timeout: float = 30) -> Member:
        """Return the first of the other servers to say that it is master, as soon as it does."""

        def promoted() -> Member | None:
            for server in self._running_servers():
                if server is not old and server.is_master():
                    return server
            return None

        return wait_for(promoted, timeout, lambda: f"no master in place of {old!r}", 0.005)

    def wait_for_switch(self, new: Member, timeout: float = 30) -> float:
        """Return as soon as a Sentinel names that master; the time of that (time.monotonic())."""

        def named() -> float | None:
            for sentinel in self._running_sentinels():
                if sentinel.master_address(self.name) == (new.host, new.port):
                    return time.monotonic()
            return None

        return wait_for(named, timeout, lambda: f"no Sentinel names {new!r}", 0.005)

    def wait_until_agreed(self, timeout: float = 80) -> None:
        """Return when all Sentinels that run name the same master and know one another, none of
        them keeps its hands off (TILT), and the replicas that run are in step with it.

        Before Redis 7 a Sentinel that was paused for 2 s keeps its hands off for half a minute.

        Raises:
            ServerError: it does not come to that in `timeout` seconds; with the last difference.
        """
        super().wait_until_agreed(timeout)

    def _disagreement(self) -> str | None:
        master = self.master()
        if master.pid is None or not master.is_master():
            return f"{master!r} is not master yet"
        followers = self.replicas()
        for replica in followers:
            role = replica.replication()
            where = role.get("master_host"), role.get("master_port")
            if where != (master.host, str(master.port)) or role.get("master_link_status") != "up":
                return f"{replica!r} is not in step with {master!r}"
        expected = {f"{one.host}:{one.port}" for one in followers}
        for sentinel in self._running_sentinels():
            if sentinel.master_address(self.name) != (master.host, master.port):
                return f"{sentinel!r} names another master"
            if "sentinel_tilt:0" not in sentinel.call("INFO", "sentinel"):
                return f"{sentinel!r} is in TILT: it would begin no failover"
            state = _pairs(sentinel.call("SENTINEL", "MASTER", self.name))
            if state["flags"] != "master":
                return f"{sentinel!r} sees the master as {state['flags']}"
            others = [_pairs(one) for one in sentinel.call("SENTINEL", "SENTINELS", self.name)]
            if len(others) != len(self.sentinels) - 1:
                return f"{sentinel!r} knows {len(others)} other Sentinels"
            replicas = [_pairs(one) for one in sentinel.call("SENTINEL", "REPLICAS", self.name)]
            fit = {
                f"{one['ip']}:{one['port']}"
                for one in replicas
                if one["flags"] == "slave" and one["master-link-status"] == "ok"
            }
            if not expected <= fit:
                return f"{sentinel!r} knows {sorted(fit)} as replicas"
        return None


def _pairs(reply: list[str]) -> dict[str, str]:
    return dict(zip(reply[::2], reply[1::2]))


def _without_address(server: RedisServer) -> dict[str, Any]:
    return {k: v for k, v in server.kwargs.items() if k not in ("db", "host", "port")}
