"""Replies of a real server have the types that the stubs tell: tests/typing/replies.py, run."""

from __future__ import annotations

import inspect
import sys

import pytest

from aiecs_redis import Redis

typeguard = pytest.importorskip("typeguard")
if sys.version_info < (3, 10):
    pytest.skip("its types are written as X | Y", allow_module_level=True)

from tests.typing import replies  # noqa: E402

NEWER = {"since_redis_7": pytest.mark.since("7.0", "LCS, EXPIRETIME, LMPOP and the like")}
PROGRAMS = [
    pytest.param(program, marks=NEWER.get(name, ()), id=name)
    for name, program in inspect.getmembers(replies, inspect.iscoroutinefunction)
]
MODES = [{}, {"protocol": 2}]  # an explicit protocol=3 gives RESP3's own shapes, as in redis-py


def check(value, expected):
    """In the place of assert_type."""
    if isinstance(expected, str):
        expected = eval(expected, vars(replies))
    return typeguard.check_type(
        value, expected, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS
    )


@pytest.mark.filterwarnings("ignore:Call to deprecated")
@pytest.mark.parametrize("mode", MODES, ids=str)
@pytest.mark.parametrize("program", PROGRAMS)
async def test_replies(server, monkeypatch, program, mode):
    monkeypatch.setattr(replies, "assert_type", check)
    decode = program is not replies.undecoded
    async with Redis(**server.kwargs, **mode, decode_responses=decode) as client:
        arguments = [True] if "flag" in inspect.signature(program).parameters else []
        await program(client, *arguments)


def test_the_check_can_fail():
    with pytest.raises(typeguard.TypeCheckError):
        check([("a", b"1")], "list[tuple[str, float]]")
