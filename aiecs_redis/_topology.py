"""Which node has which slots: asked for, kept for redis-py's methods, and handed to the core.

Redis Cluster tells its topology by CLUSTER SLOTS. Any node will do; one that does not answer is not
waited for, the next one is asked meanwhile.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import random
import time
import weakref
from collections import Counter
from collections.abc import Coroutine, Iterable
from typing import Any, Callable

import redis.exceptions
from redis._parsers.helpers import parse_info
from redis.asyncio.cluster import ClusterNode, NodesManager
from redis.asyncio.connection import ConnectionPool
from redis.backoff import NoBackoff
from redis.cluster import PRIMARY, REPLICA, get_node_name
from redis.utils import str_if_bytes

from aiecs_redis import _native, _options
from aiecs_redis._single_flight import SingleFlight
from aiecs_redis._tasks import stop
from aiecs_redis.client import Redis
from aiecs_redis.connection import Connection, SSLConnection

HEDGE = 0.15
"""Seconds after which a further node is asked for the topology."""

MEASURE_EVERY = 5.0
"""Seconds between two measurements of the nodes' latencies, when they are read by them."""

SLOTS = 16384
NATIVE = (Connection, SSLConnection)
_node_execute_command = ClusterNode.execute_command
_REDIRECTIONS = ("moved", "asked", "again", "down", "refreshes")
_LASTING = ("connects", "reconnects", "circuit_opened")
"""Figures of a node that only grow: its end does not take them away."""
_GONE_AFTER = 3  # topologies in a row without a node: its connections are closed

logger: logging.Logger = logging.getLogger(__name__)

# What redis-py's nodes take, and pools do not.
_NOT_FOR_POOLS = (
    "response_callbacks",
    "redis_connect_func",
    "oss_cluster_maint_notifications_handler",
    "maint_notifications_config",
    "event_dispatcher",
    "host",
    "port",
)


class _NodeClient(Redis[Any]):
    """A client of one node; its commands are those of the cluster's client."""

    def _feed_observability(self) -> None:
        """The cluster's client does."""


class Topology(NodesManager):
    """redis-py's NodesManager, which also owns the native connections to the nodes."""

    default_node: ClusterNode

    def __init__(
        self,
        before: NodesManager,
        startup_nodes: Iterable[ClusterNode],
        own: dict[str, Any],
        *,
        connection_class: type,
        patience: float,
        read_from: int,
        zone: str | None,
        refresh_interval: float | None,
        response_callbacks: Any,
    ) -> None:
        arguments: dict[str, Any] = {
            "dynamic_startup_nodes": getattr(before, "_dynamic_startup_nodes", True),
            "address_remap": before.address_remap,
            "event_dispatcher": getattr(before, "_event_dispatcher", None),
        }
        known = inspect.signature(NodesManager.__init__).parameters
        super().__init__(
            list(startup_nodes),
            before.require_full_coverage,
            {**before.connection_kwargs, "connection_class": connection_class},
            **{name: value for name, value in arguments.items() if name in known},
        )
        self.needed: bool = True
        self._seeds = tuple((node.host, int(node.port)) for node in self.startup_nodes.values())
        self._own = own
        self._zone = zone
        self._zones: dict[str, str | None] = {}
        self._refresh_interval = refresh_interval
        self._response_callbacks = response_callbacks
        self._clients: dict[str, _NodeClient] = {}
        self._counting: _native.Client | None = None
        self._past: Counter[str] = Counter()  # of nodes that are gone
        self._absent: dict[str, int] = {}
        self._flight = SingleFlight()
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: weakref.WeakKeyDictionary[Any, asyncio.TimerHandle] = (
            weakref.WeakKeyDictionary()
        )
        self._measured = 0.0
        kwargs = self.connection_kwargs
        encoding, errors = kwargs.get("encoding", "utf-8"), kwargs.get("encoding_errors", "strict")
        utf8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
        self.read_from: int = read_from
        self.cluster: _native.Cluster = _native.Cluster(
            self._refresh,
            self._locate,
            None if utf8 else encoding,
            None if errors == "strict" else errors,
            patience,
            read_from,
        )

    # ------------------------------------------------------------- connections

    def client(self, host: str, port: int) -> _NodeClient:
        """The native client of one node, which need not be in the topology."""
        name = get_node_name(host, port)
        client = self._clients.get(name)
        if client is None:
            kwargs = {k: v for k, v in self.connection_kwargs.items() if k not in _NOT_FOR_POOLS}
            kwargs["retry"] = _options.ConnectRetry(NoBackoff(), 0)
            pool = ConnectionPool(host=host, port=int(port), **kwargs)
            _options.set_own_options(
                pool, {**self._own, "readonly": self.read_from != _native.READ_PRIMARY}
            )
            client = _NodeClient(connection_pool=pool)
            client.response_callbacks = self._response_callbacks
            self._clients[name] = client
            if self._counting is not None:
                client._native_count_in(self._counting)
        return client

    def _asking(self, host: str, port: int) -> _NodeClient:
        """The same connections for questions of our own, which are not counted."""
        client = _NodeClient(connection_pool=self.client(host, port).connection_pool)
        client.response_callbacks = self._response_callbacks
        return client

    def transport(self, host: str, port: int) -> _native.Transport:
        """What carries the commands to one node."""
        client = self.client(host, port)
        transport = client._native_transport
        if transport is None:
            raise redis.exceptions.RedisClusterException(
                f"The connections to {host}:{port} have settings that only redis-py's own "
                "connections know; use redis.asyncio.RedisCluster"
            )
        return transport

    def _locate(self, host: str, port: int) -> tuple[str, _native.Transport]:
        """The node a redirection names."""
        host, port = self.remap_host_port(str_if_bytes(host), int(port))
        return get_node_name(host, port), self.transport(host, port)

    # ----------------------------------------------------------------- metrics

    @property
    def seed(self) -> tuple[str, int]:
        """Host and port of the node that was given first."""
        return self._seeds[0]

    def count_in(self, counting: _native.Client | None) -> None:
        """Have the commands of all nodes, also of those to come, counted by this client."""
        for client in self._clients.values():
            if counting is not None:
                client._native_count_in(counting)
            else:
                client._native_observe(False, None, None, 0.0)
        self._counting = counting

    def stats(self) -> dict[str, int]:
        """The figures of all nodes' transports together, and of the cluster itself."""
        found: Counter[str] = Counter(self._past)
        protocols = []
        for client in self._clients.values():
            figures = _stats(client)
            protocols.append(figures.pop("protocol", 0))
            found.update(figures)
        cluster = self.cluster.stats()
        found["waiting"] += cluster["waiting"]
        for name in _REDIRECTIONS:
            found[name] = cluster[name]
        found["protocol"] = min(filter(None, protocols), default=0)
        found["nodes"] = len(self.nodes_cache)
        return found

    # ------------------------------------------------------------ the topology

    def _refresh(self) -> None:
        """Called by the core when it has to know where the slots are."""
        self._start(self._refresh_now()).add_done_callback(self._refresh_ended)

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _refresh_ended(self, task: asyncio.Task[None]) -> None:
        """Told from outside of the task: one cancelled before its first step has run nothing."""
        if task.cancelled() or task.exception() is not None:
            self.cluster.failed(
                redis.exceptions.ConnectionError("Asking for the cluster's topology was cancelled.")
            )

    async def _refresh_now(self) -> None:
        try:
            await self._flight.run(self._learn)
        except Exception as error:
            logger.debug("The cluster's topology is not to be had: %s", error)
            self.cluster.failed(error)
        else:
            self._publish()  # another caller's flight may have ended before the core asked

    async def initialize(
        self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> None:
        """Learn the topology anew; concurrent callers share one attempt.

        Raises:
            redis.exceptions.RedisClusterException: no node can be reached, none is a cluster's, or
                slots are nobody's while `require_full_coverage` is set.
        """
        further = tuple(additional_startup_nodes_info or ())
        await self._flight.run(lambda: self._learn(further, last_failed_node_name))

    async def _learn(
        self, further: tuple[tuple[str, int], ...] = (), last_failed: str | None = None
    ) -> None:
        slots, host = await self._ask(self._candidates(further, last_failed))
        self._adopt(slots, host)
        self.needed = False
        await self._look_after_nodes()
        self._publish()
        self._arm_timer()
        await self._tell_listeners()

    def _candidates(
        self, further: tuple[tuple[str, int], ...], last_failed: str | None
    ) -> list[tuple[str, int]]:
        """Whom to ask, best first: nodes in no particular order, the seeds, the one that failed."""
        known = [(node.host, int(node.port)) for node in self.nodes_cache.values()]
        startup = [(node.host, int(node.port)) for node in self.startup_nodes.values()]
        random.shuffle(known)
        random.shuffle(startup)
        found = dict.fromkeys([*known, *startup, *further, *self._seeds])
        failed = [address for address in found if get_node_name(*address) == last_failed]
        return [address for address in found if address not in failed] + failed

    async def _ask(self, addresses: list[tuple[str, int]]) -> tuple[list[Any], str]:
        """CLUSTER SLOTS of whichever node answers first, and that node's host."""
        waiting = iter(addresses)
        asking: dict[asyncio.Future[list[Any]], str] = {}
        error: Exception | None = None
        best: tuple[list[Any], str] | None = None
        exhausted = False
        try:
            while True:
                address = next(waiting, None)
                exhausted = exhausted or address is None
                if address is not None:
                    asking[asyncio.ensure_future(self._slots_of(*address))] = address[0]
                if not asking:
                    break
                done, _ = await asyncio.wait(
                    asking,
                    timeout=None if exhausted else HEDGE,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                for task in done:
                    host = asking.pop(task)
                    if task.exception() is None:
                        answer = task.result(), host
                        if _covered(answer[0]) == SLOTS:
                            return answer
                        if best is None or _covered(answer[0]) > _covered(best[0]):
                            best = answer
                    else:
                        failure = task.exception()
                        error = failure if isinstance(failure, Exception) else error
        finally:
            for task in asking:
                task.cancel()
        if best is not None:
            return best
        refusal = redis.exceptions.RedisClusterException(
            "Redis Cluster cannot be connected. Please provide at least one reachable node: "
            f"{error}"
        )
        refusal.__context__ = error
        raise refusal from error

    async def _slots_of(self, host: str, port: int) -> list[Any]:
        name = get_node_name(host, port)
        node = self.startup_nodes.get(name) or self.nodes_cache.get(name)
        answer: list[Any]
        try:
            if node is not None and is_driven_by_hand(node):
                answer = await node.execute_command("CLUSTER SLOTS")
            else:
                answer = await self._asking(host, port)._native_execute("CLUSTER SLOTS")
        except redis.exceptions.ResponseError as error:
            raise redis.exceptions.RedisClusterException(
                "Cluster mode is not enabled on this node"
            ) from error
        return answer

    def _address(self, entry: list[Any], answering_host: str) -> tuple[str, int]:
        host: str | None = str_if_bytes(entry[0])
        if host == "?":  # it has no name, where names are preferred: its address is beside it
            details = _pairs(entry[3]) if len(entry) > 3 else {}
            host = details.get("ip")
        return self.remap_host_port(host or answering_host, int(entry[1]))

    def _node(self, found: dict[str, ClusterNode], host: str, port: int, kind: str) -> ClusterNode:
        name = get_node_name(host, port)
        if name not in found:
            found[name] = ClusterNode(host, port, kind, **self.connection_kwargs)
        return found[name]

    def _adopt(self, cluster_slots: list[Any], answering_host: str) -> None:
        """Keep the topology as redis-py's methods want it.

        Raises:
            redis.exceptions.RedisClusterException: slots are nobody's, and all have to be covered.
        """
        covered = _covered(cluster_slots)
        if covered < SLOTS and self.require_full_coverage:
            raise redis.exceptions.RedisClusterException(
                "All slots are not covered after query all startup_nodes. "
                f"{covered} of {SLOTS} covered..."
            )
        found: dict[str, ClusterNode] = {}
        ranges = []
        for first, last, primary, *replicas in cluster_slots:
            members = [self._node(found, *self._address(primary, answering_host), PRIMARY)]
            for replica in replicas:
                members.append(self._node(found, *self._address(replica, answering_host), REPLICA))
            ranges.append((int(first), int(last), [node.name for node in members]))
        self.set_nodes(self.nodes_cache, found, remove_old=True)
        slots: dict[int, list[ClusterNode]] = {}
        for first, last, names in ranges:
            nodes = [self.nodes_cache[name] for name in names]
            slots.update(dict.fromkeys(range(first, last + 1), nodes))
        self.slots_cache = slots
        if getattr(self, "_dynamic_startup_nodes", True):
            self.set_nodes(self.startup_nodes, self.nodes_cache, remove_old=True)
        primaries = self.get_nodes_by_server_type(PRIMARY)
        if self.default_node is None or self.default_node not in primaries:
            self.default_node = primaries[0]
        self._epoch = getattr(self, "_epoch", 0) + 1
        self._ranges = ranges

    async def move_slot(self, e: Any) -> None:
        """As redis-py's; the core learns of it as well."""
        await super().move_slot(e)
        self.cluster.want_refresh()

    def _publish(self) -> None:
        """Hand the topology to the core."""
        names = list(self.nodes_cache)
        index = {name: number for number, name in enumerate(names)}
        nodes = []
        for name in names:
            node = self.nodes_cache[name]
            nodes.append(
                (name, self.transport(node.host, int(node.port)), self._is_preferred(name))
            )
        shards: dict[tuple[str, ...], list[tuple[int, int]]] = {}
        for first, last, members in self._ranges:
            shards.setdefault(tuple(members), []).append((first, last))
        self.cluster.update(
            nodes,
            [(ranges, [index[name] for name in members]) for members, ranges in shards.items()],
        )

    async def _tell_listeners(self) -> None:
        """As redis-py after each refresh: subscriptions to shard channels follow their slots."""
        dispatcher = getattr(self, "_event_dispatcher", None)
        event = _refreshed_event()
        if dispatcher is None or event is None:
            return
        try:
            await dispatcher.dispatch_async(event)
        except Exception:
            logger.exception("A listener to changes of the cluster's topology has failed")

    # --------------------------------------------------- nodes and their moods

    def _is_preferred(self, name: str) -> bool:
        return self._zone is not None and self._zones.get(name) == self._zone

    async def _look_after_nodes(self) -> None:
        """Close what belongs to nodes that are gone; learn what reading from replicas needs."""
        seeds = {get_node_name(*seed) for seed in self._seeds}
        for name in list(self._clients):
            if name in self.nodes_cache or name in seeds:
                self._absent.pop(name, None)
                continue
            self._absent[name] = self._absent.get(name, 0) + 1
            if self._absent[name] >= _GONE_AFTER:
                del self._absent[name]
                gone = self._clients.pop(name)
                self._past.update({key: _stats(gone).get(key, 0) for key in _LASTING})
                await _close(gone)
        if self.read_from == _native.READ_ZONE:
            unknown = [name for name in self.nodes_cache if name not in self._zones]
            await asyncio.gather(*(self._learn_zone(name) for name in unknown))
        if self.read_from == _native.READ_NEAREST:
            self._start(self._measure())

    async def _learn_zone(self, name: str) -> None:
        """Valkey's nodes tell their availability zone in INFO."""
        node = self.nodes_cache[name]
        try:
            info = await self._asking(node.host, int(node.port))._native_execute("INFO", "server")
        except redis.exceptions.RedisError:
            return  # asked again with the next topology
        values = info if isinstance(info, dict) else parse_info(info)  # type: ignore[no-untyped-call]
        self._zones[name] = values.get("availability_zone") or None

    async def _measure(self) -> None:
        """Tell the core how long each node takes to answer a PING."""
        if time.monotonic() - self._measured < MEASURE_EVERY:
            return
        self._measured = time.monotonic()
        for name, node in list(self.nodes_cache.items()):
            client = self._asking(node.host, int(node.port))
            try:
                await client._native_execute("PING")  # connects, the first time
                start = time.monotonic()
                await client._native_execute("PING")
                self.cluster.note_latency(name, time.monotonic() - start)
            except redis.exceptions.RedisError:
                self.cluster.note_latency(name, 1.0)

    # ------------------------------------------------------------------ timers

    def _arm_timer(self) -> None:
        """The next look at the topology, at a time that other clients do not share."""
        interval = self._refresh_interval
        if interval is None:
            return
        loop = asyncio.get_running_loop()
        timer = self._timers.get(loop)
        if timer is not None:
            timer.cancel()
        reference: weakref.ref[Topology] = weakref.ref(self)
        self._timers[loop] = loop.call_later(
            interval * random.uniform(0.75, 1.25), _on_timer, reference
        )

    # ------------------------------------------------------------------- ending

    async def close(self) -> None:
        """Close every connection; the next command begins anew."""
        self.needed = True
        for timer in list(self._timers.values()):
            timer.cancel()
        self._timers.clear()
        here = asyncio.get_running_loop()
        await stop(*(task for task in self._tasks if task.get_loop() is here))
        self.cluster.reset()
        for client in list(self._clients.values()):
            await _close(client)
        self._absent.clear()


def is_driven_by_hand(node: ClusterNode) -> bool:
    """Whether somebody has replaced what redis-py's node sends by, or lent it a connection."""
    if ClusterNode.execute_command is not _node_execute_command:
        return True
    return any(not isinstance(spare, NATIVE) for spare in node._free)


def _on_timer(reference: weakref.ref[Topology]) -> None:
    topology = reference()
    if topology is not None and not topology.needed:
        topology._refresh()


def _stats(client: Redis[Any]) -> dict[str, int]:
    transport = client._native_transport
    return transport.stats() if transport is not None else {}


async def _close(client: Redis[Any]) -> None:
    await client.connection_pool.disconnect()


def _pairs(details: Any) -> dict[str, str]:
    if isinstance(details, dict):
        items = list(details.items())
    else:
        items = list(zip(details[::2], details[1::2]))
    return {str_if_bytes(name): str_if_bytes(value) for name, value in items}


def _covered(cluster_slots: list[Any]) -> int:
    covered: set[int] = set()
    for first, last, *_ in cluster_slots:
        covered.update(range(int(first), int(last) + 1))
    return len(covered)


@functools.cache
def _event_class() -> Callable[[], Any] | None:
    import redis.event

    return getattr(redis.event, "AsyncAfterSlotsCacheRefreshEvent", None)


def _refreshed_event() -> Any:
    cls = _event_class()
    return None if cls is None else cls()
