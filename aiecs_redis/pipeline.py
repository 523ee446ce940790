"""`Pipeline`: redis-py's asyncio pipeline as one write and one slot on the shared connection."""

from __future__ import annotations

import inspect
import types
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, Union

from redis.client import EMPTY_RESPONSE
from redis.exceptions import ExecAbortError, ResponseError, WatchError

from aiecs_redis import _native
from aiecs_redis._bind import BasePipeline
from aiecs_redis._clients import client_of
from aiecs_redis._generic import QueuedCommands, T_co
from aiecs_redis._stand_in import StandIn

if TYPE_CHECKING:
    from redis.asyncio.client import CommandStackT
    from redis.commands.core import Script

    from aiecs_redis.client import Redis

    Commands = Union[_native.CommandQueue, CommandStackT]

    # For type checkers, redis-py's annotations of what QueuedCommands lacks come first.
    _First = BasePipeline
    _Second = _native.Pipeline
else:
    _First = _native.Pipeline
    _Second = BasePipeline

__all__ = ["Pipeline"]

Self = TypeVar("Self", bound="Pipeline[Any]")

_PLAIN = _native.BATCH_PLAIN
_TRANSACTION = _native.BATCH_TRANSACTION
_RAW = _native.BATCH_RAW


class Pipeline(QueuedCommands[T_co], _First, _Second, metaclass=StandIn):  # type: ignore[misc]
    """redis.asyncio's Pipeline; with WATCH it works on a connection of its own, as there.

    Made of a native client's `connection_pool` and `response_callbacks` it is native too.
    """

    scripts: set[Script]

    if not TYPE_CHECKING:
        __class_getitem__ = classmethod(types.GenericAlias)

    _queueing_execute_command = BasePipeline.execute_command

    def __init__(
        self,
        connection_pool: Any,
        response_callbacks: Any,
        transaction: bool,
        shard_hint: str | None,
        client: Redis[T_co] | None = None,
    ) -> None:
        client = client or client_of(connection_pool, response_callbacks)
        if client is not None:
            connection_pool = client._leases or connection_pool
        super().__init__(connection_pool, response_callbacks, transaction, shard_hint)
        self._client = client
        self._forget()  # redis-py's empty list: nobody has seen it

    def __copy__(self: Self) -> Self:
        """As of redis.asyncio's: what is queued is shared until either is executed or reset."""
        copied = type(self).__new__(type(self))
        for name, value in vars(self).items():
            setattr(copied, name, value)
        copied.command_stack = self.command_stack
        return copied

    def _is_native(self) -> bool:
        client = self._client
        if client is None or self.watching or self.connection is not None:
            return False
        if not client._native_pipelining:
            return False
        if self.response_callbacks is not client.response_callbacks:
            return False
        # HIMPORT prepares connections in a way only redis-py's own code knows.
        return not self._queued().himport

    async def reset(self) -> None:  # type: ignore[override]  # of the command RESET
        """Drop the queued commands; a connection that watched goes back to the pool."""
        if self.connection is None and not self.watching:
            self._forget()
            if self.scripts:
                self.scripts = set()  # as redis-py: a copy keeps what it has
            self.explicit_transaction = False
            return
        await super().reset()
        if len(self) == 0:
            self._forget()

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        """Send all queued commands and return their results, as redis.asyncio's pipeline."""
        if not self._is_native():
            result: list[Any] = await super().execute(raise_on_error)
            return result
        commands = self._queued()
        if not commands:
            return []
        try:
            if self.scripts:
                await self._load_scripts()
            transaction = self.is_transaction or self.explicit_transaction
            if transaction and commands.empty_response:
                return await self._run_parts(commands, raise_on_error)
            results, failed, awaitables = await self._send(
                commands, _TRANSACTION if transaction else _PLAIN
            )
            if failed and transaction:
                return await self._sort_out(commands.stack(), results, raise_on_error)
            if failed:
                self._raise_connection_error(results)
                if raise_on_error:
                    self.raise_first_error(commands.stack(), results)
            if awaitables:
                results = [await r if inspect.isawaitable(r) else r for r in results]
            return results
        finally:
            await self.reset()

    def _send(self, commands: Commands, mode: int) -> Awaitable[tuple[list[Any], bool, bool]]:
        client = self._client
        assert client is not None
        if not client._native_retrying:
            return client._native_batch(commands, mode)

        async def attempt() -> tuple[list[Any], bool, bool]:
            outcome = await client._native_batch(commands, mode)
            if outcome[1]:
                self._raise_connection_error(outcome[0])
            return outcome

        return client._retrying(attempt)

    async def _load_scripts(self) -> None:
        """Make the server know every registered script that is about to run."""
        client = self._client
        assert client is not None
        scripts = list(self.scripts)
        known = await client._native_execute("SCRIPT EXISTS", *(s.sha for s in scripts))
        for script, exists in zip(scripts, known):
            if not exists:
                script.sha = await client._native_execute("SCRIPT LOAD", script.script)

    async def _run_parts(self, commands: _native.CommandQueue, raise_on_error: bool) -> list[Any]:
        """A transaction without the commands that redis-py answers by itself."""
        stack = commands.stack()
        sent = [command for command in stack if EMPTY_RESPONSE not in command[1]]
        replies, _, _ = await self._send([(("MULTI",), {}), *sent, (("EXEC",), {})], _RAW)
        return await self._sort_out(stack, replies, raise_on_error)

    async def _sort_out(
        self, stack: CommandStackT, replies: list[Any], raise_on_error: bool
    ) -> list[Any]:
        """The results of a transaction in which something failed; it raises as redis-py does."""
        errors = self._queueing_errors(stack, replies)
        response = replies[-1]
        if isinstance(response, Exception):
            refused = [error for _, error in errors if isinstance(error, Exception)]
            if isinstance(response, ExecAbortError) and refused:
                raise refused[0] from response
            raise response
        if response is None:
            raise WatchError("Watched variable changed.")
        for position, error in errors:
            response.insert(position, error)
        if len(response) != len(stack):
            raise ResponseError("Wrong number of response items from pipeline execution")
        # As redis-py: an error such as LOADING that comes first is raised in any case.
        self._raise_connection_error(response[:1])
        if raise_on_error:
            self.raise_first_error(stack, response)
            self._raise_connection_error(response)
        return [
            result if isinstance(result, Exception) else await self._convert(result, *command)
            for result, command in zip(response, stack)
        ]

    def _raise_connection_error(self, results: list[Any]) -> None:
        """Raise what is no answer to a command: LOADING, say, is redis-py's BusyLoadingError."""
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, ResponseError):
                raise result

    def _queueing_errors(self, stack: CommandStackT, replies: list[Any]) -> list[tuple[int, Any]]:
        """What MULTI and the commands between it and EXEC were refused with."""
        errors: list[tuple[int, Any]] = []
        answers = iter(replies)
        multi = next(answers)
        if isinstance(multi, Exception):
            errors.append((0, multi))
        for position, (args, options) in enumerate(stack):
            if EMPTY_RESPONSE in options:
                errors.append((position, options[EMPTY_RESPONSE]))
                continue
            answer = next(answers)
            if isinstance(answer, Exception):
                if not isinstance(answer, ResponseError):
                    raise answer
                self.annotate_exception(answer, position + 1, args)
                errors.append((position, answer))
        return errors

    async def _convert(self, result: Any, args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
        if args[0] in self.response_callbacks:
            options = {name: value for name, value in options.items() if name != "keys"}
            result = self.response_callbacks[args[0]](result, **options)
            if inspect.isawaitable(result):
                result = await result
        return result
