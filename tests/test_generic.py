"""Redis[str] and Pipeline[str] at runtime: names for type checkers, no classes of their own."""

import copy
import pickle
import typing

import pytest

from aiecs_redis import Pipeline, Redis, _native
from aiecs_redis._bind import BasePipeline, BaseRedis

CLASSES = [(Redis, _native.Client, BaseRedis), (Pipeline, _native.Pipeline, BasePipeline)]


@pytest.mark.parametrize("cls, core, base", CLASSES)
def test_no_base_is_added(cls, core, base):
    assert cls.__mro__[:3] == (cls, core, base)


@pytest.mark.parametrize("cls, core, base", CLASSES)
def test_aliases(cls, core, base):
    alias = cls[str]
    assert typing.get_origin(alias) is cls
    assert typing.get_args(alias) == (str,)
    assert alias == cls[str] != cls[bytes]
    assert pickle.loads(pickle.dumps(alias)) == copy.copy(alias) == alias
    assert typing.Optional[alias] == typing.Union[alias, None]


async def test_an_alias_makes_clients(server):
    async with Redis[str](**server.kwargs, decode_responses=True) as client:
        assert type(client) is Redis
        await client.set("k", "v")
        assert await client.get("k") == "v"
        async with client.pipeline() as pipe:
            assert type(pipe) is Pipeline
            assert await pipe.get("k").incr("n").execute() == ["v", 1]
    client = Redis[bytes].from_url("redis://localhost")
    assert type(client) is Redis


def test_subclasses_of_an_alias():
    class Texts(Redis[str]):
        pass

    assert Texts.__mro__[:2] == (Texts, Redis)
    client = Texts.from_url("redis://localhost")
    assert type(client) is Texts and isinstance(client, Redis)


def test_generic_subclasses():
    T = typing.TypeVar("T")

    class Mine(Redis[T], typing.Generic[T]):
        pass

    assert issubclass(Mine, Redis)
    assert type(Mine[str]()) is Mine
