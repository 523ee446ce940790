"""What the public names say of themselves: something at all, and every exception they raise."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import textwrap

import pytest

import aiecs_redis

MODULES = [
    "aiecs_redis",
    "aiecs_redis.testing",
    *(
        f"aiecs_redis.{module.name}"
        for module in pkgutil.iter_modules(aiecs_redis.__path__)
        if not module.name.startswith("_") and not module.ispkg
    ),
]


def public():
    """(dotted name, function or class, docstrings that may tell) of everything that is public."""
    seen = set()
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found = getattr(module, name)
            if not (inspect.isclass(found) or inspect.isfunction(found)) or found in seen:
                continue
            if not found.__module__.startswith("aiecs_redis"):
                continue
            seen.add(found)
            full = f"{module_name}.{name}"
            if not inspect.isclass(found):
                yield full, found, found.__doc__
                continue
            # A dataclass' own __init__ was made by nobody.
            maker = "__post_init__" if dataclasses.is_dataclass(found) else "__init__"
            yield full, vars(found).get(maker), found.__doc__
            for attribute, value in vars(found).items():
                function = getattr(value, "__func__", getattr(value, "fget", value))
                if attribute.startswith("_") or not inspect.isfunction(function):
                    continue
                if function.__module__.startswith("aiecs_redis"):
                    yield f"{full}.{attribute}", function, function.__doc__


EVERYTHING = [pytest.param(*rest, id=name) for name, *rest in public()]


def raised(function):
    """The names of the exceptions that a function raises by itself, not in what it calls."""
    found = set()
    waiting = list(ast.parse(textwrap.dedent(inspect.getsource(function))).body[0].body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            found.add(ast.unparse(node.exc.func).rpartition(".")[2])
        waiting += ast.iter_child_nodes(node)
    return {name for name in found if name[0].isupper()}


def test_what_is_looked_at():
    assert len(EVERYTHING) > 250
    assert raised(aiecs_redis.PubSub.__init__) == {"TypeError", "ValueError"}


@pytest.mark.parametrize(("function", "text"), EVERYTHING)
def test_a_docstring_tells_what_is_raised(function, text):
    assert text, "no docstring"
    if function is not None and inspect.isfunction(function):
        assert {name for name in raised(function) if name not in text} == set()
