"""`RedisCluster`: redis-py's asyncio cluster client, its commands routed by the core."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

import redis.exceptions
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.cluster import RedisCluster as BaseRedisCluster
from redis.asyncio.connection import SSLConnection as BaseSSLConnection

from aiecs_redis import _native
from aiecs_redis._bind import observability_collector, response_callbacks
from aiecs_redis._cluster_pipeline import ClusterPipeline
from aiecs_redis._options import asynchronous_retry
from aiecs_redis._stand_in import StandIn
from aiecs_redis._topology import Topology, is_driven_by_hand
from aiecs_redis.client import CoroutineExecutor, take_own_options
from aiecs_redis.connection import Connection, SSLConnection

__all__ = ["ClusterNode", "ClusterPipeline", "RedisCluster"]

Self = TypeVar("Self", bound="RedisCluster")

REFRESH_INTERVAL = 60.0
"""Seconds between two looks at the topology while nothing asks for one."""

_WAYS = {
    "primary": _native.READ_PRIMARY,
    "any": _native.READ_ROUND_ROBIN,
    "replicas": _native.READ_ROUND_ROBIN_REPLICAS,
    "nearest": _native.READ_NEAREST,
    "zone": _native.READ_ZONE,
}
_STRATEGIES = {  # of redis-py's LoadBalancingStrategy
    "random": _native.READ_ROUND_ROBIN,  # each as often as the others, too
    "round_robin": _native.READ_ROUND_ROBIN,
    "round_robin_replicas": _native.READ_ROUND_ROBIN_REPLICAS,
    "random_replica": _native.READ_RANDOM_REPLICA,
}
_ASKED_AGAIN = (redis.exceptions.ClusterDownError, redis.exceptions.SlotNotCoveredError)


_EXECUTE_COMMAND: Any = BaseRedisCluster.execute_command
"""What our class shows, too, unless it was replaced. It is not asked for it here: Python code that
runs often gets the descriptor itself from a class."""


class _Core(_native.Client):
    """Has the native methods of a RedisCluster, whose class cannot have a C base of ours."""

    response_callbacks: Any

    def __init__(self, callbacks: Any, transport: _native.Transport) -> None:
        self.response_callbacks = callbacks
        self.connection = None
        self._native_configure(transport, False)

    def _configure(self) -> None:
        """The settings of a cluster client are those of its constructor."""

    def _on_resp2_fallback(self) -> None:
        """The servers speak RESP2 only: replies have its shapes."""
        before, after = response_callbacks(None, True), response_callbacks(2, True)
        for name in {*before, *after}:
            if self.response_callbacks.get(name) is before.get(name):
                if name in after:
                    self.response_callbacks[name] = after[name]
                else:
                    del self.response_callbacks[name]


def _read_from(given: Any, kwargs: dict[str, Any]) -> int:
    """Where reads go: our own argument, or redis-py's."""
    strategy = kwargs.get("load_balancing_strategy")
    if given is None:
        if strategy is not None:
            name = str(getattr(strategy, "value", strategy))
            if name not in _STRATEGIES:
                raise ValueError(
                    f"load_balancing_strategy={strategy!r}: this one is not known; give read_from="
                )
            return _STRATEGIES[name]
        return _WAYS["any" if kwargs.get("read_from_replicas") else "primary"]
    if strategy is not None or kwargs.get("read_from_replicas"):
        raise ValueError(
            f"read_from={given!r} beside redis-py's read_from_replicas or "
            "load_balancing_strategy: give one of them"
        )
    if given not in _WAYS:
        raise ValueError(f"read_from={given!r}: give one of {', '.join(map(repr, _WAYS))}")
    return _WAYS[given]


class RedisCluster(BaseRedisCluster, metaclass=StandIn):
    """redis.asyncio.RedisCluster with its commands on native connections, one to each node.

    Takes every argument of redis.asyncio.RedisCluster, and of its own:

    Args:
        read_from: where commands that change nothing go. "primary" (the default); "any": primary
            and replicas in turn; "replicas": replicas in turn; "nearest": the node that answers
            fastest; "zone": nodes of `zone`, others where it has none. Replicas lag behind.
        zone: availability zone of this client, as the servers call it (Valkey 8).
        topology_refresh_interval: seconds between two looks at the topology while nothing asks for
            one, default 60; None: none. It varies by a quarter, so that clients do not ask at once.
        max_pending_bytes, pool_timeout, operation_timeout: as of `aiecs_redis.Redis`, per node.

    Commands of all tasks share one connection to each node, in the order in which they were
    issued. MOVED and ASK are followed, 16 times at most. While a slot has no node that can take it
    (a failover, TRYAGAIN, CLUSTERDOWN), commands wait, for as long as `socket_timeout` (10 seconds
    without one); with `cluster_error_retry_attempts=0` or a `retry` without attempts they fail at
    once. After a lost connection, commands are sent again or raise OutcomeUnknownError as with
    `aiecs_redis.Redis`: nothing that may have been executed is repeated.

    MGET, MSET, DEL, EXISTS, TOUCH and UNLINK take keys of several slots; so do the parts of a
    pipeline. Neither is atomic then.

    Raises:
        ValueError: an option has no such value; it is named.
        redis.exceptions.RedisClusterException: no node is named, or a database other than 0.
    """

    __slots__ = ("_core",)  # Forward finds it there

    if TYPE_CHECKING:
        nodes_manager: Topology
        _topology: Topology
        _core: _Core

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        read_from = kwargs.pop("read_from", None)
        zone = kwargs.pop("zone", None)
        interval = kwargs.pop("topology_refresh_interval", REFRESH_INTERVAL)
        own = take_own_options(kwargs)
        if "circuit_breaker" in own:
            raise ValueError(
                "circuit_breaker= is for a single server: a cluster's commands wait for a "
                "failover, and fail after socket_timeout"
            )
        way = _read_from(read_from, kwargs)
        if zone is not None and read_from != "zone":
            raise ValueError(f"zone={zone!r} needs read_from='zone'")
        if read_from == "zone" and not zone:
            raise ValueError("read_from='zone' needs zone=, the availability zone of this client")
        if interval is not None and not (isinstance(interval, (int, float)) and interval > 0):
            raise ValueError(
                f"topology_refresh_interval={interval!r}: give seconds greater than 0, or None"
            )
        if kwargs.get("retry") is not None:
            kwargs["retry"] = asynchronous_retry(kwargs["retry"])
        super().__init__(*args, **kwargs)
        tls = issubclass(self.connection_kwargs["connection_class"], BaseSSLConnection)
        connection_class = SSLConnection if tls else Connection
        for node in self.nodes_manager.startup_nodes.values():
            node.connection_class = connection_class
        topology = Topology(
            self.nodes_manager,
            self.nodes_manager.startup_nodes.values(),
            own,
            connection_class=connection_class,
            patience=1.0 if self.retry.get_retries() > 0 else 0.0,
            read_from=way,
            zone=zone,
            refresh_interval=interval,
            response_callbacks=self.response_callbacks,
        )
        first = next(iter(topology.startup_nodes.values()))
        vars(self)["_topology"] = self.nodes_manager = topology
        core = _Core(self.response_callbacks, topology.transport(first.host, int(first.port)))
        self._core = core
        core._native_cluster(topology.cluster, self, BaseRedisCluster, _EXECUTE_COMMAND)
        collected = observability_collector()
        if collected is not None:
            from aiecs_redis._observability import feed  # needs the client

            feed(self, collected)

    # ----------------------------------------------------------------- metrics

    def _native_observe(self, enabled: bool, *observers: Any) -> None:
        """As of a single client; commands that redis-py sends to a node are counted as well."""
        self._core._native_observe(enabled, *observers)
        self._topology.count_in(self._core if enabled else None)

    def _native_metrics(self) -> dict[str, tuple[Any, ...]] | None:
        return self._core._native_metrics()

    @property
    def _native_transport(self) -> Topology:
        return self._topology

    # ------------------------------------------------------------ the topology

    # redis-py asks for this before each command of its own, and sets it to have the topology learnt
    # anew; the core may have learnt it meanwhile.
    @property
    def _initialize(self) -> bool:
        topology = self.__dict__.get("_topology")
        return topology is None or topology.needed

    @_initialize.setter
    def _initialize(self, value: bool) -> None:
        topology = self.__dict__.get("_topology")
        if topology is not None:
            topology.needed = value

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self._look_at(name)

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._look_at(name)

    def _look_at(self, name: str) -> None:
        core = getattr(self, "_core", None)
        if core is None:
            return
        if name == "execute_command":
            core._native_face_changed()
        elif name == "response_callbacks":
            core.response_callbacks = self.response_callbacks

    async def initialize(
        self: Self,
        additional_startup_nodes_info: list[tuple[str, int]] | None = None,
        last_failed_node_name: str | None = None,
    ) -> Self:
        """Learn the topology, unless it is known.

        Raises:
            redis.exceptions.RedisClusterException: no node can be reached, none is a cluster's, or
                slots are nobody's while `require_full_coverage` is set.
        """
        if self._initialize:
            await self.nodes_manager.initialize(
                additional_startup_nodes_info=additional_startup_nodes_info,
                last_failed_node_name=last_failed_node_name,
            )
        self.commands_parser.node = self.nodes_manager.default_node
        return self

    async def _execute_command(self, target_node: Any, *args: Any, **kwargs: Any) -> Any:
        """A command for a node that is named, or that redis-py has chosen.

        A redirection is followed by the core.
        """
        kwargs.pop("asking", None)
        if _is_himport(args[0]) or is_driven_by_hand(target_node):
            return await super()._execute_command(target_node, *args, **kwargs)
        client = self._topology.client(target_node.host, int(target_node.port))
        try:
            return await client._native_execute(*args, **kwargs)
        except redis.exceptions.BusyLoadingError as error:
            error.connection = target_node  # type: ignore[attr-defined]
            raise
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
            self.nodes_manager.move_node_to_end_of_cached_nodes(target_node.name)
            error.last_failed_node_name = target_node.name  # type: ignore[union-attr]
            error.connection = target_node  # type: ignore[union-attr]
            self._initialize = True
            raise
        except _ASKED_AGAIN as error:
            error.connection = target_node  # type: ignore[union-attr]
            self._initialize = True
            raise

    def pipeline(
        self, transaction: bool | None = None, shard_hint: Any | None = None
    ) -> ClusterPipeline:
        """A queue of commands, sent to all nodes concerned at once; the replies in order.

        With `transaction=True` between MULTI and EXEC, all keys in one slot; WATCH is possible.

        Raises:
            redis.exceptions.RedisClusterException: `shard_hint` is given.
        """
        if shard_hint:
            raise redis.exceptions.RedisClusterException("shard_hint is deprecated in cluster mode")
        return ClusterPipeline(self, transaction)

    if not TYPE_CHECKING:

        @functools.wraps(BaseRedisCluster.xread)
        def xread(self, *args: Any, **kwargs: Any) -> Any:
            return BaseRedisCluster.xread(CoroutineExecutor(self), *args, **kwargs)

        @functools.wraps(BaseRedisCluster.xreadgroup)
        def xreadgroup(self, *args: Any, **kwargs: Any) -> Any:
            return BaseRedisCluster.xreadgroup(CoroutineExecutor(self), *args, **kwargs)

    def touch(self, *keys: Any) -> Any:
        """TOUCH: how many of the keys, in whatever slots, exist."""
        return self.execute_command("TOUCH", *keys)

    def unlink(self, *keys: Any) -> Any:
        """UNLINK: how many of the keys, in whatever slots, were removed."""
        return self.execute_command("UNLINK", *keys)

    async def aclose(self) -> None:
        """Close all connections. The client may be used again: the next command connects anew."""
        await super().aclose()
        await self._topology.close()


def _is_himport(name: Any) -> bool:
    text = name.decode("ascii", "replace") if isinstance(name, bytes) else name
    return isinstance(text, str) and text[:7].upper() == "HIMPORT"


def _forward_methods() -> None:
    """The native methods of the core, as methods of the class."""
    slot = vars(RedisCluster)["_core"]
    for name in ("execute_command", *_native.HOT_METHODS):
        function = getattr(BaseRedisCluster, name, None)
        if function is not None:
            method = getattr(_native.Client, name)
            setattr(RedisCluster, name, _native.Forward(function, slot, method))


_forward_methods()
