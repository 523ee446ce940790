"""The stubs of commands against the installed redis-py: names, parameters, kinds, defaults."""

from __future__ import annotations

import ast
import builtins
import inspect
from pathlib import Path

import pytest
import redis
from redis.asyncio.client import PubSub
from redis.commands import core, sentinel

from aiecs_redis._bind import BasePipeline, BaseRedis
from aiecs_redis.client import _OWN_OPTIONS

PACKAGE = Path(__file__).parent.parent / "aiecs_redis"
WRITTEN_FOR = (8, 1)
OLDER = tuple(int(part) for part in redis.__version__.split(".")[:2]) < WRITTEN_FOR

NOT_IN_CLIENT = {
    # redis-py refuses these.
    *("command_docs", "failover", "hello", "latency_doctor", "latency_graph"),
    *("latency_histogram", "script_debug"),
    # redis-py's own annotations are as good.
    *("command_info", "debug_segfault", "digest_local", "memory_doctor", "memory_help"),
    *("sentinel", "unwatch", "watch"),
    # for use by redis-py itself
    *("himport_discard_all_internal", "himport_discard_internal", "himport_prepare_internal"),
}


def methods(folder):
    """(file, name) and all definitions of every method in the stubs of a folder."""
    found = {}
    for path in sorted((PACKAGE / folder).glob("*.pyi")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and node.name not in ("RedisOptions", "Queued"):
                for item in node.body:
                    if isinstance(item, (ast.FunctionDef, ast.AsyncFunctionDef)):
                        found.setdefault((path.stem, item.name), []).append(item)
    return found


CLIENT = methods("_commands")
PIPELINE = methods("_queued")


def parameters_of(definition):
    """[(name, kind, default)] of a definition; a default is its source, or None."""
    a = definition.args
    P = inspect.Parameter
    positional = [*a.posonlyargs, *a.args]
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    found = [(p.arg, P.POSITIONAL_OR_KEYWORD, d) for p, d in zip(positional, defaults)]
    if a.vararg:
        found.append((a.vararg.arg, P.VAR_POSITIONAL, None))
    found += [(p.arg, P.KEYWORD_ONLY, d) for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    if a.kwarg:
        found.append((a.kwarg.arg, P.VAR_KEYWORD, None))
    return found[1:]


def value_of(default):
    """`default` as a value; Ellipsis stands for any."""
    if isinstance(default, ast.Name):
        return getattr(builtins, default.id)
    return ast.literal_eval(default)


def differences(definition, function, overloaded):
    """In words, what a definition says otherwise than the function."""
    theirs = list(inspect.signature(function).parameters.values())[1:]
    ours = parameters_of(definition)
    if OLDER:  # it may lack some of ours
        ours = [p for p in ours if p[0] in {t.name for t in theirs}]
    if [p[0] for p in ours] != [t.name for t in theirs]:
        yield f"{[p[0] for p in ours]} != {[t.name for t in theirs]}"
        return
    for (name, kind, default), their in zip(ours, theirs):
        # What decides between overloads is required in one, and what follows by keyword only.
        if kind != their.kind and not (overloaded and kind == inspect.Parameter.KEYWORD_ONLY):
            yield f"{name}: {kind} != {their.kind}"
        if default is None:
            if their.default is not inspect.Parameter.empty and not overloaded:
                yield f"{name} has no default"
        elif their.default is inspect.Parameter.empty:
            yield f"{name} has a default"
        elif value_of(default) is not Ellipsis and value_of(default) != their.default:
            yield f"{name} = {ast.unparse(default)} != {their.default!r}"


def test_signatures():
    found = []
    for base, listed in ((BaseRedis, CLIENT), (BasePipeline, PIPELINE)):
        for (file, name), definitions in listed.items():
            function = getattr(PubSub if file == "pubsub" else base, name, None)
            if function is None:
                found += [] if OLDER else [f"{file}: redis-py has no {name}"]
                continue
            if isinstance(function, property):
                function = function.fget
            if inspect.ismethod(function):
                function = function.__func__
            overloaded = len(definitions) > 1
            for definition in definitions:
                for text in differences(definition, function, overloaded):
                    found.append(f"{base.__name__}.{name} (line {definition.lineno}): {text}")
    assert found == []


def test_every_call_has_an_overload():
    """With every argument optional or given: the parameters that have defaults, have them once."""
    for listed in (CLIENT, PIPELINE):
        for (_, name), definitions in listed.items():
            required = [{n for n, k, d in parameters_of(x) if d is None} for x in definitions]
            assert any(all(r <= other for other in required) for r in required), name


def test_names_occur_once():
    for listed in (CLIENT, PIPELINE):
        names = [name for file, name in listed if file != "pubsub"]
        assert len(names) == len(set(names))


def commands():
    """redis-py's commands that an asyncio client has."""
    return {
        name
        for name in dir(BaseRedis)
        if not name.startswith("_")
        and getattr(getattr(BaseRedis, name), "__module__", "")
        in (core.__name__, sentinel.__name__)
    }


@pytest.mark.skipif(OLDER, reason="the stubs are for newer redis-py")
def test_all_commands_are_listed():
    client = {name for file, name in CLIENT if file != "pubsub"}
    assert sorted(commands() - client - NOT_IN_CLIENT) == []
    assert sorted(NOT_IN_CLIENT & client) == []


def test_pipelines_queue_what_clients_execute():
    """All but what gives no command: iterators, SHUTDOWN, the Sentinel's, and RESET."""
    client = {name for file, name in CLIENT if file not in ("client", "pubsub")}
    missing = client - {name for _, name in PIPELINE}
    assert missing == {
        name
        for name in client
        if name.endswith("_iter") or name.startswith("sentinel_") or name == "shutdown"
    }


def test_a_queued_command_takes_what_the_client_takes():
    for (file, name), definitions in PIPELINE.items():
        for other in CLIENT.get((file, name), []):
            ours = [p[0] for p in parameters_of(definitions[0])]
            assert ours == [p[0] for p in parameters_of(other)], name


def test_options():
    tree = ast.parse((PACKAGE / "_commands" / "options.pyi").read_text())
    options = next(node for node in tree.body if isinstance(node, ast.ClassDef))
    ours = {item.target.id for item in options.body if isinstance(item, ast.AnnAssign)}
    theirs = set(inspect.signature(BaseRedis.__init__).parameters)
    theirs -= {"self", "decode_responses", "connection_pool"}  # named in client.py
    assert theirs <= ours
    assert OLDER or ours - theirs == set(_OWN_OPTIONS)
