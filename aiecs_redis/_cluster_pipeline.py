"""Pipelines on a cluster: their commands go to all nodes concerned at once, in one write each."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from redis.asyncio.cluster import ClusterPipeline as BaseClusterPipeline
from redis.asyncio.cluster import PipelineStrategy, TransactionStrategy
from redis.commands.cluster import AsyncRedisClusterCommands
from redis.exceptions import (
    AskError,
    ClusterDownError,
    CrossSlotTransactionError,
    MovedError,
    RedisClusterException,
    RedisError,
    TryAgainError,
    WatchError,
)
from redis.utils import safe_str, truncate_text

from aiecs_redis import _native
from aiecs_redis._stand_in import StandIn

if TYPE_CHECKING:
    from aiecs_redis.cluster import RedisCluster

__all__ = ["ClusterPipeline"]

_AGAIN = 0.01
"""Seconds to the next attempt of a transaction whose slot is on its way."""


class _Core(_native.Pipeline):
    """Has the native methods of a ClusterPipeline, and its state: copies have it in common."""

    watching: bool  # the core leaves its methods to redis-py's meanwhile
    elsewhere = False  # a command names its node, or has no key: redis-py finds the way
    inner: Any = None  # of a transaction that watches: a pipeline on the node of its slot
    slot: int | None = None
    explicit = False
    _queueing_execute_command = BaseClusterPipeline.execute_command
    execute_command = BaseClusterPipeline.execute_command


class ClusterPipeline(BaseClusterPipeline, metaclass=StandIn):
    """redis.asyncio's ClusterPipeline; without `transaction=True` it is not atomic.

    Commands of one node are one write, and all nodes work at the same time. What a node refuses
    because a slot has moved is sent on by itself. A connection lost meanwhile fails the commands
    that may have been executed with OutcomeUnknownError; nothing is repeated unless its repetition
    changes nothing.
    """

    __slots__ = ("_core",)  # Forward finds it there

    if TYPE_CHECKING:
        cluster_client: RedisCluster
        _event_dispatcher: Any

    def __init__(self, client: RedisCluster, transaction: bool | None = None) -> None:
        super().__init__(client, transaction)
        self._core = _Core()
        self._core._native_face(self, BaseClusterPipeline, ClusterPipeline.execute_command)

    def __copy__(self) -> ClusterPipeline:
        """As of redis-py's: it queues and executes what the first does, and keeps that alive."""
        how: Any = object.__reduce_ex__(self, 4)
        function, arguments, (attributes, slots) = how[:3]
        copied: ClusterPipeline = function(*arguments)
        for name, value in {**(attributes or {}), **slots}.items():
            setattr(copied, name, value)
        vars(copied).setdefault("_first", self)  # the core does not hold it
        return copied

    # redis-py's way of executing, which nothing here takes: kept, it would make each pipeline a
    # cycle, and work for the garbage collector.
    @property
    def _execution_strategy(self) -> Any:
        return (TransactionStrategy if self._transaction else PipelineStrategy)(self)

    @_execution_strategy.setter
    def _execution_strategy(  # pyright: ignore[reportIncompatibleVariableOverride]
        self, value: Any
    ) -> None:
        pass

    # ------------------------------------------------------------------ queueing

    def execute_command(self, *args: Any, **kwargs: Any) -> Any:
        """Queue a command; while keys are watched and before multi(), execute it."""
        if self._core.inner is not None and not self._core.explicit:
            self._check_slot(args)
            return self._core.inner.immediate_execute_command(*args, **kwargs)
        if "target_nodes" in kwargs or self._native_cluster().slots(args) is None:
            self._core.elsewhere = True
        self._core.pipeline_execute_command(*args, **kwargs)
        return self

    def _native_cluster(self) -> _native.Cluster:
        cluster: _native.Cluster = self.cluster_client._topology.cluster
        return cluster

    def __len__(self) -> int:
        return len(self._core)

    def _check_slot(self, args: tuple[Any, ...]) -> None:
        """All keys of a transaction that watches are in one slot."""
        slots = set(self._native_cluster().slots(args) or ())
        if len(slots) > 1:
            raise RedisClusterException(f"{args[0]} - all keys must map to the same key slot")
        if self._core.slot is not None:
            slots.add(self._core.slot)
        if len(slots) > 1:
            raise CrossSlotTransactionError("Cannot watch or send commands on different slots")
        self._core.slot = next(iter(slots), None)

    # ------------------------------------------------------------------ watching

    async def watch(self, *names: Any) -> Any:  # type: ignore[override]  # as redis-py's
        """WATCH: the transaction is executed only if these keys, all in one slot, do not change.

        Raises:
            redis.exceptions.CrossSlotTransactionError: they are in several slots.
            redis.exceptions.RedisClusterException: the pipeline is no transaction.
            redis.exceptions.RedisError: multi() was called already.
        """
        if not self._transaction:
            raise RedisClusterException(
                "method watch() is not supported outside of transactional context"
            )
        if self._core.explicit:
            raise RedisError("Cannot issue a WATCH after a MULTI")
        await self.cluster_client.initialize()
        self._check_slot(("WATCH", *names))
        attempts = self.cluster_client.retry.get_retries()
        while True:
            if self._core.inner is not None:
                return await self._core.inner.watch(*names)
            inner = _transaction_on(self._node_client())
            try:
                outcome = await inner.watch(*names)
            except (AskError, *self.cluster_client.ERRORS_ALLOW_RETRY) as error:
                await inner.reset()
                if attempts <= 0:
                    raise
                attempts -= 1
                await self._learn_from(error)
            else:
                self._core.inner = inner
                self._core.watching = True
                return outcome

    async def _learn_from(self, error: Exception) -> None:
        """Nothing is watched yet: another node is tried, as told or as the topology has it."""
        if isinstance(error, MovedError):
            await self.cluster_client.nodes_manager.move_slot(error)
            return
        await asyncio.sleep(0.05)
        await self.cluster_client.nodes_manager.initialize()

    def _node_client(self) -> Any:
        if self._core.slot is None:
            raise RedisClusterException(
                "At least a command with a key is needed to identify a node"
            )
        node = self.cluster_client.nodes_manager.get_node_from_slot(self._core.slot)
        return self.cluster_client._topology.client(node.host, int(node.port))

    async def unwatch(self) -> Any:  # type: ignore[override]
        """Forget the keys that are watched.

        Raises:
            redis.exceptions.RedisClusterException: the pipeline is no transaction.
        """
        if not self._transaction:
            raise RedisClusterException(
                "method unwatch() is not supported outside of transactional context"
            )
        return await self._core.inner.unwatch() if self._core.inner is not None else True

    def multi(self) -> None:
        """From now on queue commands, until execute().

        Raises:
            redis.exceptions.RedisClusterException: the pipeline is no transaction.
            redis.exceptions.RedisError: multi() was called already, or commands are queued.
        """
        if not self._transaction:
            raise RedisClusterException(
                "method multi() is not supported outside of transactional context"
            )
        if self._core.explicit:
            raise RedisError("Cannot issue nested calls to MULTI")
        if len(self):
            raise RedisError("Commands without an initial WATCH have already been issued")
        self._core.explicit = True
        self._core.watching = False

    async def discard(self) -> None:
        """Drop what is queued, and forget the keys that are watched.

        Raises:
            redis.exceptions.RedisClusterException: the pipeline is no transaction.
        """
        if not self._transaction:
            raise RedisClusterException(
                "method discard() is not supported outside of transactional context"
            )
        await self.reset()

    async def unlink(self, *names: Any) -> Any:
        """Queue UNLINK; outside of a transaction of one key, as redis-py's.

        Raises:
            redis.exceptions.RedisClusterException: several keys, outside of a transaction.
        """
        if not self._transaction and len(names) != 1:
            raise RedisClusterException(
                "unlinking multiple keys is not implemented in pipeline command"
            )
        return self.execute_command("UNLINK", *names)

    def mset_nonatomic(self, mapping: Any) -> Any:
        """Queue an MSET for each slot that the keys are in.

        Args:
            mapping: values by key.

        Raises:
            NotImplementedError: the pipeline is a transaction.
        """
        if self._transaction:
            raise NotImplementedError("Method is not supported in transactional context.")
        for pairs in self.cluster_client._partition_pairs_by_slot(mapping).values():
            self.execute_command("MSET", *pairs)
        return self

    async def initialize(self) -> ClusterPipeline:
        """Have the topology learnt, if it is not known."""
        await self.cluster_client.initialize()
        self._core._forget()
        return self

    async def reset(self) -> None:  # type: ignore[override]  # of the command RESET
        """Drop what is queued; a connection that watched is given back."""
        self._core._forget()
        inner, self._core.inner = self._core.inner, None
        self._core.slot = None
        self._core.explicit = self._core.elsewhere = self._core.watching = False
        if inner is not None:
            await inner.reset()

    # ----------------------------------------------------------------- executing

    async def execute(self, raise_on_error: bool = True, allow_redirections: bool = True) -> Any:
        """Send all queued commands and return their results, in order.

        Commands of one node are executed in order, those of different nodes at the same time. A
        command without keys, or with `target_nodes`, is sent when those queued before it have been
        answered, and those behind it when it has been.

        Args:
            raise_on_error: raise the first error there is; otherwise errors are results.
            allow_redirections: redis-py's, without effect: what a node refuses because a slot has
                moved was not executed, and the core sends it on in any case.

        Raises:
            redis.exceptions.CrossSlotTransactionError: keys of a transaction are in several slots.
            redis.exceptions.WatchError: a watched key has changed, or its slot has moved.
        """
        try:
            if self._transaction:
                return await self._execute_transaction(raise_on_error)
            if not len(self):
                return []
            if self._core.elsewhere:
                return await self._execute_elsewhere(raise_on_error)
            queue = self._core._queued()
            results, failed, awaitables = await self.cluster_client._core._native_batch(
                queue, _native.BATCH_PLAIN
            )
            if failed and raise_on_error:
                _raise_first(queue.stack(), results)
            if awaitables:
                results = [await r if inspect.isawaitable(r) else r for r in results]
            return results
        finally:
            await self.reset()

    async def _execute_elsewhere(self, raise_on_error: bool) -> list[Any]:
        """Commands whose nodes redis-py finds go one by one, each when those before it are done.

        Those between them are pipelines of their own.
        """
        client = self.cluster_client
        stack = self._core._queued().stack()
        stretches = self._stretches(stack)
        await client.initialize()
        results: list[Any] = []
        for has_keys, commands in stretches:
            if has_keys:
                found, _, _ = await client._core._native_batch(commands, _native.BATCH_PLAIN)
                results += [await one if inspect.isawaitable(one) else one for one in found]
                continue
            for args, options in commands:
                try:
                    results.append(await _one_node(client, args, dict(options)))
                except Exception as error:
                    results.append(error)
        if raise_on_error:
            _raise_first(stack, results)
        return results

    def _stretches(self, stack: list[Any]) -> list[tuple[bool, list[Any]]]:
        """The commands in order: such as the core routes, others, such as it routes, and so on."""
        stretches: list[tuple[bool, list[Any]]] = []
        for args, options in stack:
            slots = None if "target_nodes" in options else self._native_cluster().slots(args)
            if slots is not None and len(set(slots)) > 1:
                raise RedisClusterException(f"{args[0]} - all keys must map to the same key slot")
            has_keys = slots is not None
            if not stretches or stretches[-1][0] is not has_keys:
                stretches.append((has_keys, []))
            stretches[-1][1].append((args, options))
        return stretches

    async def _execute_transaction(self, raise_on_error: bool) -> list[Any]:
        queue = self._core._queued()
        if self._core.inner is None and not len(queue):
            return []
        await self.cluster_client.initialize()
        stack = queue.stack()
        slots: set[int] = set() if self._core.slot is None else {self._core.slot}
        for args, _ in stack:
            slots.update(self._native_cluster().slots(args) or ())
        if len(slots) > 1:
            raise CrossSlotTransactionError(
                "All keys involved in a cluster transaction must map to the same slot"
            )
        self._core.slot = next(iter(slots), None)
        watching = self._core.inner is not None
        until = time.monotonic() + self._patience()
        while True:
            inner = self._core.inner
            if inner is None:
                inner = self._core.inner = _transaction_on(self._node_client())
            elif self._core.explicit:
                inner.multi()
            for args, options in stack:
                inner.pipeline_execute_command(*args, **options)
            try:
                result: list[Any] = await inner.execute(raise_on_error)
            except AskError as error:
                self._native_cluster().want_refresh()
                raise WatchError("Slot rebalancing occurred while watching keys") from error
            except (ClusterDownError, TryAgainError) as error:
                # Nothing was executed: some keys are here and some there, or nobody has them.
                if watching or time.monotonic() > until:
                    raise
                self._core.inner = None
                await inner.reset()
                if isinstance(error, ClusterDownError):
                    self._native_cluster().want_refresh()
                await asyncio.sleep(_AGAIN)
            else:
                return result

    def _patience(self) -> float:
        """Seconds that a transaction waits for its keys to be in one place."""
        if self.cluster_client.retry.get_retries() <= 0:
            return 0.0
        timeout = self.cluster_client.get_connection_kwargs().get("socket_timeout")
        return float(timeout or 10)


async def _one_node(client: RedisCluster, args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """One command of a pipeline; as in redis-py's, it may not be for several nodes."""
    targets = options.get("target_nodes")
    named = targets and not client._is_node_flag(targets)
    if named and len(client._parse_target_nodes(targets)) > 1:
        raise RedisClusterException(f"Too many targets for command {args}")
    return await client.execute_command(*args, **options)


def _transaction_on(client: Any) -> Any:
    """A transaction on one node, whose errors are told as those of a cluster's pipeline."""
    pipeline = client.pipeline(transaction=True)
    pipeline.annotate_exception = _annotate
    return pipeline


def _shown(command: Iterable[object]) -> str:
    text: str = truncate_text(" ".join(map(safe_str, command)))  # type: ignore[no-untyped-call]
    return text


def _annotate(exception: Exception, number: int, command: Iterable[object]) -> None:
    text = _shown(command)
    message = f"Command # {number} ({text}) of pipeline caused error: {exception.args[0]}"
    exception.args = (message, *exception.args[1:])


def _raise_first(stack: Any, results: list[Any]) -> None:
    for position, (result, (args, _)) in enumerate(zip(results, stack), 1):
        if isinstance(result, Exception):
            message = (
                f"Command # {position} ({_shown(args)}) of pipeline caused error: {result.args}"
            )
            result.args = (message, *result.args[1:])
            raise result


def _forward_methods() -> None:
    """The native methods of the core, where redis-py's pipeline has nothing of its own."""
    slot = vars(ClusterPipeline)["_core"]
    for name in _native.HOT_METHODS:
        function = getattr(BaseClusterPipeline, name, None)
        plain = function is getattr(AsyncRedisClusterCommands, name, None)
        if (
            function is not None
            and plain
            and name not in ("ping", "echo", "publish", "delete", "exists", "eval", "evalsha")
        ):
            method = getattr(_native.Pipeline, name)
            setattr(ClusterPipeline, name, _native.Forward(function, slot, method))


_forward_methods()
