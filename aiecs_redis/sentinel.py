"""`Sentinel`: redis-py's, whose clients are native and follow the master.

    sentinel = Sentinel([("10.0.0.1", 26379), ("10.0.0.2", 26379)], password="secret")
    master = sentinel.master_for("mymaster", decode_responses=True)
    replica = sentinel.replica_for("mymaster", decode_responses=True)

See docs/sentinel.md.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Callable, TypeVar

import redis.asyncio.sentinel
import redis.exceptions
from redis.asyncio.connection import ConnectionPool
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError, SlaveNotFoundError
from redis.asyncio.sentinel import Sentinel as BaseSentinel
from redis.asyncio.sentinel import SentinelConnectionPool as BaseSentinelConnectionPool
from redis.backoff import NoBackoff

from aiecs_redis import _options
from aiecs_redis._bind import BaseRedis
from aiecs_redis._sentinel_watch import Watch
from aiecs_redis.client import Redis, take_own_options

__all__ = ["Sentinel", "SentinelConnectionPool"]

T = TypeVar("T")
Self = TypeVar("Self", bound="Sentinel")

_PATIENCE = 0.25
"""Seconds after which the next Sentinel is asked as well."""

_PROMOTED = 10.0
"""Seconds for which the Sentinel that made a replica master is believed before the others."""

_LEARNED = 32
"""Sentinels that are remembered besides those given."""

_LOST = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)


class SentinelConnectionPool(BaseSentinelConnectionPool):
    """redis.asyncio.sentinel.SentinelConnectionPool, of a client on native connections.

    Attributes:
        service_name: of the master, to the Sentinels.
        is_master: whether its connections lead to the master, or to replicas.
        master_address: (host, port) as known last; None before.
        owns_sentinel: whether closing its connections closes those to the Sentinels.
    """

    master_address: tuple[str, int] | None

    owns_sentinel = False

    def __init__(self, service_name: str, sentinel_manager: BaseSentinel, **kwargs: Any) -> None:
        super().__init__(service_name, sentinel_manager, **kwargs)  # type: ignore[no-untyped-call]
        self._turn = 0
        self._flights: dict[asyncio.AbstractEventLoop, asyncio.Task[Any]] = {}
        # What each loop's connections have been told of.
        self._told: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[tuple[str, int]]] = (
            weakref.WeakKeyDictionary()
        )

    @property
    def itself(self) -> SentinelConnectionPool:
        """The pool, through whatever proxy."""
        return self

    async def get_master_address(self) -> tuple[str, int]:
        """Ask the Sentinels for the master.

        Raises:
            redis.asyncio.sentinel.MasterNotFoundError: none of them knows one that is well.
        """
        address: tuple[str, int] = await self.sentinel_manager.discover_master(self.service_name)
        if self._told.get(asyncio.get_running_loop()) != [address]:
            await self.moved_to(address)
        return address

    async def moved_to(self, address: tuple[str, int]) -> None:
        """The master is there: connections that lead elsewhere are given up."""
        if not self.is_master:
            return
        other, self.master_address = self.master_address != address, address
        self._follow([address], 1)
        if other:
            # Those that redis-py has made; not its own method, which closes all of ours.
            await ConnectionPool.disconnect(self, inuse_connections=False)

    async def replicas_are(self, addresses: Sequence[tuple[str, int]]) -> None:
        """These are the replicas that are well: connections that lead elsewhere are given up."""
        if not self.is_master and addresses:
            self._follow(list(addresses), len(addresses))

    def _follow(self, addresses: list[tuple[str, int]], spread: int) -> None:
        loop = asyncio.get_running_loop()
        news = self._told.get(loop) != addresses
        self._told[loop] = addresses
        for transport in list(getattr(self, "_aiecs_transports", ())):
            # What waits for its next attempt need not wait: not unless something has changed.
            if news:
                transport.follow(addresses, spread)

    async def locate(self, in_use: list[tuple[str, int]]) -> Any:
        """Return where the next native connection is to lead to.

        Args:
            in_use: where the others of its kind lead to, with repetitions.

        Returns:
            (host, port); or an exception, when asking again would not help.

        Raises:
            redis.exceptions.ConnectionError: nobody knows.
        """
        self._watch()
        try:
            if self.is_master:
                return await self._shared(self.get_master_address)
            addresses = await self._shared(self._find_replicas)
        except MasterNotFoundError as exc:
            if getattr(exc, "unknown", False):
                return exc
            raise
        uses = Counter(in_use)
        self._turn += 1
        count = len(addresses)
        rotated = [addresses[(self._turn + number) % count] for number in range(count)]
        return min(rotated, key=lambda address: uses[address])

    async def _find_replicas(self) -> list[tuple[str, int]]:
        found = list(await self.sentinel_manager.discover_slaves(self.service_name))
        if found:
            await self.replicas_are(found)
            return found
        self._told.pop(asyncio.get_running_loop(), None)
        try:
            return [await self.sentinel_manager.discover_master(self.service_name)]
        except MasterNotFoundError as exc:
            if getattr(exc, "unknown", False):
                raise
            raise SlaveNotFoundError(f"No slave found for {self.service_name!r}") from exc

    async def _shared(self, ask: Callable[[], Awaitable[T]]) -> T:
        """One question at a time for a loop: who comes meanwhile shares the answer."""
        loop = asyncio.get_running_loop()
        task = self._flights.get(loop)
        if task is None:

            async def run() -> T:
                try:
                    return await ask()
                finally:
                    self._flights.pop(loop, None)

            task = self._flights[loop] = loop.create_task(run())
        return await asyncio.shield(task)

    def _watch(self) -> None:
        if isinstance(self.sentinel_manager, Sentinel):
            self.sentinel_manager._watch.add(self)

    async def unwatch(self) -> None:
        """Its connections are closed: nobody need tell it anything until there are others."""
        task = self._flights.pop(asyncio.get_running_loop(), None)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        if isinstance(self.sentinel_manager, Sentinel):
            await self.sentinel_manager._watch.remove(self)
        if self.owns_sentinel:
            await self.sentinel_manager.aclose()


class Sentinel(BaseSentinel):
    """redis.asyncio.Sentinel whose clients run on native connections, and follow the master.

    The first command of a client finds the master (or the replicas) and subscribes to every
    Sentinel that can be reached: a failover moves the client at once, and errors move it too
    (a lost connection, READONLY). What becomes of commands under way is as on any lost
    connection: see `aiecs_redis.Redis`. One that was refused with READONLY is sent again to the
    new master. Further Sentinels are learned from those that are given, which stay known.

    `master_for()` and `replica_for()` give `aiecs_redis.Redis` clients. The caller closes them;
    with the last one that is closed the subscriptions end.

    Args:
        sentinels: host and port of each.
        min_other_sentinels: how many others a Sentinel has to see for its word to count.
        sentinel_kwargs: arguments for connections to the Sentinels (password, ssl, ...). Without
            them, the socket_ arguments of `connection_kwargs` are for these connections too.
        force_master_ip: the host of the master, whatever the Sentinels say.
        **connection_kwargs: arguments for connections to the servers, which each client may
            override.

    Raises:
        TypeError: `sentinels` is a str.
        ValueError: a wrong setting; it is named.
    """

    def __init__(
        self,
        sentinels: Iterable[tuple[str, int]],
        min_other_sentinels: int = 0,
        sentinel_kwargs: dict[str, Any] | None = None,
        force_master_ip: str | None = None,
        **connection_kwargs: Any,
    ) -> None:
        given: Any = sentinels
        if isinstance(given, str):
            raise TypeError(f"sentinels={sentinels!r}: give a list of (host, port)")
        if sentinel_kwargs is None:
            sentinel_kwargs = {
                name: value
                for name, value in connection_kwargs.items()
                if name.startswith("socket_")
            }
        self.sentinel_kwargs = sentinel_kwargs
        self.sentinels: list[Any] = [self._client(host, port) for host, port in sentinels]
        self.min_other_sentinels = min_other_sentinels
        self.connection_kwargs = connection_kwargs
        self._force_master_ip = force_master_ip
        self._learned: dict[tuple[str, int], Any] = {}
        self._epochs: dict[str, int] = {}
        self._promotions: dict[str, tuple[tuple[str, int], float]] = {}
        self._watch = Watch(self)

    def _client(self, host: str, port: int) -> Any:
        # By redis-py's name, where others put something of their own; a patient one is of no use:
        # there are other Sentinels to ask.
        named: Any = vars(redis.asyncio.sentinel)["Redis"]
        client_class = Redis if named is BaseRedis else named
        options = dict(self.sentinel_kwargs)
        if client_class is Redis and not {"retry", "retry_on_error"} & set(options):
            options["retry"] = Retry(NoBackoff(), 0)
        return client_class(host=host, port=port, **options)

    # ------------------------------------------------------------------ discovery

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return host and port of the master.

        Args:
            service_name: of the master, to the Sentinels.

        The Sentinels are asked one after the other; one that does not answer at once does not
        keep the next from being asked.

        Raises:
            redis.asyncio.sentinel.MasterNotFoundError: none of them knows one that is well; the
                text has the errors of those that could not be asked.
        """
        errors: list[str] = []
        stale: list[tuple[int, tuple[str, int]]] = []
        known = lost = False

        async def ask(client: Any) -> Any:
            nonlocal known, lost
            try:
                masters = await client.sentinel_masters()
            except _LOST as exc:
                errors.append(f"{client} - {exc!r}")
                lost = lost or not isinstance(exc, redis.exceptions.AuthenticationError)
                return None
            state = masters.get(service_name)
            known = known or bool(state)
            if not state or not self.check_master_state(state, service_name):
                return None
            epoch = int(state.get("config-epoch", 0))
            try:
                address = await self._told_by(client, service_name, state)
            except _LOST as exc:
                errors.append(f"{client} - {exc!r}")
                return None
            if epoch < self._epochs.get(service_name, 0):
                stale.append((epoch, address))  # it has not heard of the last failover
                return None
            self._epochs[service_name] = epoch
            if epoch > 0:
                self._promotions.pop(service_name, None)
            return client, address

        found = await self._first_answer(ask)
        if found is not None:
            client, address = found
            if client in self.sentinels:  # the next question goes to it
                number = self.sentinels.index(client)
                self.sentinels[0], self.sentinels[number] = client, self.sentinels[0]
            return address  # type: ignore[no-any-return]
        promoted = self._promoted_lately(service_name)
        if promoted is not None:
            return promoted
        if stale:  # monitored anew, with epochs that begin anew
            self._epochs[service_name], address = max(stale)
            return address
        told = f" : {', '.join(errors)}" if errors else ""
        error = MasterNotFoundError(f"No master found for {service_name!r}{told}")
        error.unknown = not known and not lost  # type: ignore[attr-defined]
        raise error

    async def discover_slaves(self, service_name: str) -> Sequence[tuple[str, int]]:
        """Return host and port of the replicas that are well; [] when nobody knows any.

        Args:
            service_name: of their master, to the Sentinels.
        """

        async def ask(client: Any) -> Any:
            try:
                replicas = await client.sentinel_slaves(service_name)
            except (*_LOST, redis.exceptions.ResponseError):
                return None
            return self._fit(replicas) or None

        return await self._first_answer(ask) or []

    async def discover_replicas(self, service_name: str) -> Sequence[tuple[str, int]]:
        """As `discover_slaves()`, which is all that redis-py 7.0 has."""
        return await self.discover_slaves(service_name)

    def _fit(self, replicas: Iterable[Any]) -> list[tuple[str, int]]:
        """Those that are well; those among them that hear from their master, if any do."""
        found = list(replicas)
        linked = [one for one in found if one.get("master-link-status", "ok") == "ok"]
        well = self.filter_slaves(linked) or self.filter_slaves(found)
        return sorted((str(host), int(port)) for host, port in well)

    def _promoted(self, service_name: str, address: tuple[str, int]) -> None:
        """A replica is master now, and the Sentinels are about to agree on it.

        Until then those that tell of the old master are not listened to.
        """
        self._epochs[service_name] = self._epochs.get(service_name, 0) + 1
        self._promotions[service_name] = address, time.monotonic() + _PROMOTED

    def _promoted_lately(self, service_name: str) -> tuple[str, int] | None:
        address, until = self._promotions.get(service_name, (None, 0.0))
        return address if time.monotonic() < until else None

    async def _told_by(self, client: Any, service_name: str, state: Any) -> tuple[str, int]:
        """The address in the state of a master, or of the replica that is taking its place."""
        if "failover_in_progress" in state.get("flags", ()):
            # Not by the method of that name: its reply is a TypeError with redis-py 7.0.
            ask = "SENTINEL GET-MASTER-ADDR-BY-NAME"
            found = await client.execute_command(ask, service_name)
            if found:
                host, port = found
                host = host.decode() if isinstance(host, bytes) else host
                return self._address_of({"ip": host, "port": int(port)})
        return self._address_of(state)

    def _address_of(self, state: Any) -> tuple[str, int]:
        host = state["ip"] if self._force_master_ip is None else self._force_master_ip
        return host, state["port"]

    def _everybody(self) -> list[Any]:
        return [*self.sentinels, *self._learned.values()]

    async def _first_answer(self, ask: Callable[[Any], Awaitable[T | None]]) -> T | None:
        """What the first Sentinel answers that has an answer."""
        tasks: list[asyncio.Task[T | None]] = []
        clients = self._everybody()
        try:
            while clients or tasks:
                if clients:
                    client = clients.pop(0)
                    tasks.append(asyncio.ensure_future(_coroutine(ask, client)))
                done, _ = await asyncio.wait(
                    tasks,
                    timeout=_PATIENCE if clients else None,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in [task for task in tasks if task in done]:
                    tasks.remove(task)
                    answer = task.result()
                    if answer is not None:
                        return answer
            return None
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.gather(*tasks, return_exceptions=True)

    # ------------------------------------------------------------- what is learned

    async def _learn(self, client: Any, service_name: str) -> None:
        """Remember the Sentinels that one of them knows."""
        # By the command: redis-py 7.0's method hands its callback what that does not take.
        others = await client.execute_command("SENTINEL SENTINELS", service_name)
        known = {_address(one) for one in self._everybody()}
        for other in others:
            address = str(other["ip"]), int(other["port"])
            if address not in known and len(self._learned) < _LEARNED:
                self._learned[address] = self._client(*address)

    async def _forget(self, client: Any) -> None:
        """A learned one that cannot be reached is learned again when it is back."""
        for address, learned in list(self._learned.items()):
            if learned is client:
                del self._learned[address]
                await client.aclose()

    # -------------------------------------------------------------------- clients

    def master_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """Return a client of the master, wherever it is.

        Args:
            service_name: of the master, to the Sentinels.
            redis_class: class of the client.
            connection_pool_class: class of its pool; with one of your own, redis-py's
                connections are used.
            **kwargs: connection arguments, before those of this object.
        """
        return self._client_for(service_name, True, redis_class, connection_pool_class, kwargs)

    def slave_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """Return a client of the replicas, which share its commands; of the master while there is
        no replica. Arguments as of `master_for()`."""
        return self._client_for(service_name, False, redis_class, connection_pool_class, kwargs)

    def replica_for(
        self,
        service_name: str,
        redis_class: Any = Redis,
        connection_pool_class: Any = SentinelConnectionPool,
        **kwargs: Any,
    ) -> Any:
        """As `slave_for()`."""
        return self.slave_for(service_name, redis_class, connection_pool_class, **kwargs)

    def _client_for(
        self,
        service_name: str,
        is_master: bool,
        redis_class: Any,
        pool_class: Any,
        kwargs: dict[str, Any],
    ) -> Any:
        if pool_class is BaseSentinelConnectionPool:
            pool_class = SentinelConnectionPool
        arguments = {**self.connection_kwargs, **kwargs, "is_master": is_master}
        own = take_own_options(arguments)
        if "retry" in arguments:
            arguments["retry"] = _options.asynchronous_retry(arguments["retry"])
        pool = pool_class(service_name, self, **arguments)
        if own:
            _options.set_own_options(pool, own)
        return redis_class.from_pool(pool)

    async def aclose(self) -> None:
        """End the subscriptions and close the connections to the Sentinels.

        Clients of `master_for()` and `replica_for()` are their callers' to close; they work on,
        asking the Sentinels anew.
        """
        await self._watch.stop()
        learned, self._learned = self._learned, {}
        results = await asyncio.gather(
            *(client.aclose() for client in [*self.sentinels, *learned.values()]),
            return_exceptions=True,
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    # redis-py 7 does not have these two.

    async def __aenter__(self: Self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


async def _coroutine(ask: Callable[[Any], Awaitable[T]], client: Any) -> T:
    return await ask(client)


def _address(client: Any) -> tuple[str, int] | None:
    pool = getattr(client, "connection_pool", None)
    kwargs = getattr(pool, "connection_kwargs", None)
    return (kwargs["host"], int(kwargs["port"])) if kwargs else None
