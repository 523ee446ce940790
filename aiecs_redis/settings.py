"""Settings of a client: environment variables and config dictionaries, validated.

`load()` turns both into keyword arguments for `aiecs_redis.Redis`; a wrong name or value is
a `ValueError` that names it and says what to write instead, and never shows a password.

**Names.** A config dictionary takes every keyword of `redis.asyncio.Redis`, those that
`aiecs_redis.Redis` adds (`max_pending_bytes`, bytes; `pool_timeout`, `operation_timeout`,
seconds; `circuit_breaker`, failed attempts to connect, or a `CircuitBreaker`), and `url`.
The environment variable of a key is `REDIS_` and the key in capitals: REDIS_HOST,
REDIS_SOCKET_TIMEOUT, REDIS_SSL_CA_CERTS, ... (`VARIABLES` lists them). Other variables that
begin with REDIS_ are none of our business. An empty variable counts as not set, and `none`
in one of the time limits means no limit.

**Sentinel.** `sentinels` is a list of "host:port" texts or (host, port) pairs, or one text with
commas, and `sentinel_master` the name of the master; REDIS_SENTINELS and REDIS_SENTINEL_MASTER.
`sentinel_username`, `sentinel_password` and `sentinel_ssl` are for the Sentinels themselves, the
other settings for the master.

**Cluster.** `cluster_nodes` (REDIS_CLUSTER_NODES) is such a list of some of the nodes. With
`cluster` true (REDIS_CLUSTER) the host is one of them; when that is not said, a `RedisClient` asks
the server. Each of these ways to say where is by itself: with a list, an address is an error.

**Precedence.** For each key: explicit config, then environment, then the documented default
(`DEFAULTS`). Within one source a URL comes before host, port and the other pieces; what it
leaves out (user name, password, database, options) is filled from them. An explicit `url`,
`host` or `unix_socket_path` puts REDIS_URL and REDIS_UNIX_SOCKET_PATH aside altogether. With
an explicit `connection_pool` the environment and the defaults are not looked at: the settings
are the pool's own.
"""

from __future__ import annotations

import codecs
import difflib
import inspect
import math
import operator
import os
import re
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Callable, Union
from urllib.parse import parse_qsl, unquote, urlsplit

import redis.asyncio

from aiecs_redis.circuit_breaker import CircuitBreaker

__all__ = ["DEFAULTS", "KEYS", "VARIABLES", "check", "load", "location", "merged"]

DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "host": "localhost",
        "port": 6379,
        "db": 0,
        "decode_responses": True,
        "max_connections": 20,
        "retry_on_timeout": True,
    }
)
"""What the documented RedisClient connects with when nothing else is said."""

Path = Union[str, "os.PathLike[str]"]


class _Wrong(Exception):
    """A value does not fit; the text says what does."""


# ------------------------------------------------------------------ one value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _Wrong("a text that is not empty")
    return value


def _host(value: Any) -> str:
    host = _text(value).strip()  # of a file with a line's end, say
    if "/" in host or "@" in host or any(map(str.isspace, host)):
        raise _Wrong("the name or address of one host (a whole redis:// address is for url)")
    if host.count(":") == 1:
        raise _Wrong("the name or address of one host (its port is for port)")
    return host


def _secret(value: Any) -> str | bytes:
    if not isinstance(value, (str, bytes)):
        raise _Wrong(f"a text, not {type(value).__name__} (quote it)")
    return value


def _path(value: Any) -> str:
    try:
        return _text(os.fspath(value))
    except TypeError:
        raise _Wrong("the path of a file") from None


def _flag(value: Any) -> bool:
    word = value.strip().lower() if isinstance(value, str) else value
    if word in ("true", "yes", "on", "t", "y", "1", 1):  # True == 1
        return True
    if word in ("false", "no", "off", "f", "n", "0", 0):
        return False
    raise _Wrong("true or false")


def _whole(low: int, high: int | None = None) -> Callable[[Any], int]:
    wanted = f"a whole number from {low} to {high}" if high else f"a whole number, {low} or more"

    def parse(value: Any) -> int:
        try:
            number = int(value) if isinstance(value, str) else operator.index(value)
        except (TypeError, ValueError):
            raise _Wrong(wanted) from None
        if isinstance(value, bool) or number < low or (high is not None and number > high):
            raise _Wrong(wanted)
        return number

    return parse


def _seconds(value: Any) -> float:
    wanted = "a number of seconds above 0, or None for no limit"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _Wrong(wanted) from None
    if isinstance(value, bool) or not math.isfinite(number) or number <= 0:
        raise _Wrong(wanted)
    return number


def _interval(value: Any) -> float:
    wanted = "a number of seconds, 0 for never"
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _Wrong(wanted) from None
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise _Wrong(wanted)
    return int(number) if number.is_integer() else number


def _breaker(value: Any) -> CircuitBreaker:
    if isinstance(value, CircuitBreaker):
        return value
    return CircuitBreaker(failures=_whole(1, 2**31 - 1)(value))


def _encoding(value: Any) -> str:
    try:
        codecs.lookup(_text(value))
    except LookupError:
        raise _Wrong("an encoding Python knows, such as utf-8") from None
    return str(value)


def _encoding_errors(value: Any) -> str:
    try:
        codecs.lookup_error(_text(value))
    except LookupError:
        raise _Wrong("an error handler Python knows, such as strict or replace") from None
    return str(value)


def _protocol(value: Any) -> int:
    if str(value) not in ("2", "3"):
        raise _Wrong("2 or 3 (the RESP version)")
    return int(value)


def _cert_reqs(value: Any) -> Any:
    if isinstance(value, ssl.VerifyMode):
        return value
    word = value.strip().lower() if isinstance(value, str) else value
    if word not in ("none", "optional", "required"):
        raise _Wrong("none, optional or required")
    return word


def _tls_version(value: Any) -> ssl.TLSVersion:
    if isinstance(value, str) and not value.isdigit():
        name = "TLSv" + value.strip().lower().replace("tlsv", "").replace(".", "_")
        version = getattr(ssl.TLSVersion, name, None)
        if isinstance(version, ssl.TLSVersion):
            return version
    else:
        try:
            return ssl.TLSVersion(int(value))
        except (TypeError, ValueError):
            pass
    raise _Wrong("a TLS version such as TLSv1.2 or TLSv1.3")


def _nodes(value: Any) -> list[tuple[str, int]]:
    wanted = (
        "host:port pairs such as 10.0.0.1:26379,10.0.0.2:26379, with commas or as a list; an IPv6"
        " address in brackets"
    )
    items = value.split(",") if isinstance(value, str) else value
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise _Wrong(wanted)
    found: list[tuple[str, int]] = []
    for item in items:
        if isinstance(item, str):
            if not item.strip():
                continue  # a comma at the end
            host, _, port = item.strip().rpartition(":")
            host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
            bare = ":" in host and "[" not in item
        elif isinstance(item, (list, tuple)) and len(item) == 2:
            host, port, bare = item[0], item[1], False
        else:
            raise _Wrong(wanted)
        if not isinstance(host, str) or not host.strip() or "/" in host or "@" in host or bare:
            raise _Wrong(wanted)
        address = host, _whole(1, 65535)(port)
        if address not in found:
            found.append(address)
    if not found:
        raise _Wrong(wanted)
    return found


def _as_it_is(value: Any) -> Any:
    return value


# ------------------------------------------------------------------- the keys

# Keys that can be written as text, so that a variable and a URL option can give them.
_FROM_TEXT: dict[str, Callable[[Any], Any]] = {
    "host": _host,
    "port": _whole(1, 65535),
    "db": _whole(0, 2**31 - 1),
    "username": _secret,
    "password": _secret,
    "unix_socket_path": _path,
    "max_connections": _whole(1),
    "pool_timeout": _seconds,
    "max_pending_bytes": _whole(1),
    "operation_timeout": _seconds,
    "circuit_breaker": _breaker,
    "decode_responses": _flag,
    "encoding": _encoding,
    "encoding_errors": _encoding_errors,
    "protocol": _protocol,
    "legacy_responses": _flag,
    "client_name": _text,
    "lib_name": _text,
    "lib_version": _text,
    "single_connection_client": _flag,
    "retry_on_timeout": _flag,
    "health_check_interval": _interval,
    "socket_timeout": _seconds,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _flag,
    "socket_read_size": _whole(1),
    "ssl": _flag,
    "ssl_keyfile": _path,
    "ssl_certfile": _path,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_ca_certs": _path,
    "ssl_ca_data": _secret,
    "ssl_ca_path": _path,
    "ssl_check_hostname": _flag,
    "ssl_min_version": _tls_version,
    "ssl_ciphers": _text,
    "ssl_password": _secret,
    "sentinels": _nodes,
    "sentinel_master": _text,
    "sentinel_username": _secret,
    "sentinel_password": _secret,
    "sentinel_ssl": _flag,
    "cluster_nodes": _nodes,
    "cluster": _flag,
}

OURS = ("max_pending_bytes", "pool_timeout", "operation_timeout", "circuit_breaker")
SENTINEL_KEYS = (
    "sentinels",
    "sentinel_master",
    "sentinel_username",
    "sentinel_password",
    "sentinel_ssl",
)
_CLUSTER = ("cluster_nodes", "cluster")
_HIDDEN = frozenset({"password", "ssl_password", "sentinel_password", "credential_provider"})
_ADDRESS = ("host", "port", "unix_socket_path")
_PLACES = ("sentinels", "cluster_nodes", "host", "unix_socket_path")
"""Keys that say where the server is; the first of them that is set does."""
_NEVER_NONE = frozenset(
    {
        "host",
        "port",
        "db",
        "decode_responses",
        "encoding",
        "encoding_errors",
        "legacy_responses",
        "single_connection_client",
        "retry_on_timeout",
        "health_check_interval",
        "socket_read_size",
        "ssl",
        "ssl_check_hostname",
    }
)
_LIMITS = ("socket_timeout", "socket_connect_timeout", "pool_timeout", "operation_timeout")
_TLS_FILES = ("ssl_keyfile", "ssl_certfile", "ssl_ca_certs", "ssl_ca_data", "ssl_ca_path")

# What other clients and configuration files call the same thing.
_ALIASES = {
    "hostname": "host",
    "server": "host",
    "address": "host",
    "user": "username",
    "pass": "password",
    "passwd": "password",
    "pwd": "password",
    "auth": "password",
    "database": "db",
    "uri": "url",
    "dsn": "url",
    "tls": "ssl",
    "path": "unix_socket_path",
    "socket": "unix_socket_path",
    "timeout": "socket_timeout",
    "connect_timeout": "socket_connect_timeout",
    "connection_timeout": "socket_connect_timeout",
    "pool_size": "max_connections",
    "maxsize": "max_connections",
    "keepalive": "socket_keepalive",
    "sentinel_hosts": "sentinels",
    "sentinel_nodes": "sentinels",
    "master_name": "sentinel_master",
    "sentinel_master_name": "sentinel_master",
    "service_name": "sentinel_master",
    "sentinel_service_name": "sentinel_master",
    "startup_nodes": "cluster_nodes",
    "nodes": "cluster_nodes",
    "cluster_mode": "cluster",
    "cluster_enabled": "cluster",
    "charset": "encoding",
    "errors": "encoding_errors",
}


def parameters(client_class: type) -> dict[str, inspect.Parameter]:
    """Return what can be given by name to the constructor of a client."""
    found: dict[str, inspect.Parameter] = {}
    # The whole MRO: redis.asyncio.Redis may by now be a subclass with **kwargs of its own.
    for cls in reversed(client_class.__mro__):
        init = vars(cls).get("__init__")
        if inspect.isfunction(init):
            found.update(inspect.signature(init).parameters)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in found.items() if n != "self" and p.kind in named}


_PARAMETERS = parameters(redis.asyncio.Redis)

KEYS: frozenset[str] = frozenset({"url", *OURS, *SENTINEL_KEYS, *_CLUSTER, *_PARAMETERS})
"""Every key a config dictionary may hold, with the installed redis-py."""

VARIABLES: Mapping[str, str] = MappingProxyType(
    {f"REDIS_{key.upper()}": key for key in ("url", *_FROM_TEXT) if key in KEYS}
)
"""Every environment variable that is read, and the key it sets."""


# ------------------------------------------------------------------ complaints


# A URL is shown only when nothing in it can be (a piece of) a password.
_PLAIN_URL = re.compile(r"\w+://(([\w.-]+|\[[\da-f:.]+\])(:\d*)?)?(/[\w./-]*)?", re.I)


def _show(key: str, value: Any) -> str:
    if key in _HIDDEN:
        return "***"
    if key == "url" and isinstance(value, str) and not _PLAIN_URL.fullmatch(value):
        return "***"
    text = repr(value)
    if key in _PLACES and "@" in text:  # an address with a password, where none belongs
        return "***"
    return text if len(text) <= 80 else text[:77] + "..."


def _complaint(name: str, key: str, value: Any, wanted: str) -> ValueError:
    hint = ""
    if name == "REDIS_PORT" and isinstance(value, str) and value.startswith("tcp://"):
        hint = (
            " (Kubernetes sets it so for a service named redis: set REDIS_PORT yourself, or"
            " enableServiceLinks: false)"
        )
    return ValueError(f"{name}={_show(key, value)} is not valid: it must be {wanted}{hint}")


def _unknown(key: object) -> ValueError:
    if not isinstance(key, str):
        return ValueError(f"config keys must be texts, got {key!r}")
    plain = key.lower().replace("-", "_")
    plain = plain[6:] if plain.startswith("redis_") else plain
    close = difflib.get_close_matches(plain, sorted({*KEYS, *_ALIASES}), n=1)
    if close:
        hint = f"did you mean {_ALIASES.get(close[0], close[0])!r}?"
    else:
        hint = f"known keys: {', '.join(sorted(KEYS))}"
    return ValueError(f"unknown Redis setting {key!r}: {hint}")


def _parsed(name: str, key: str, value: Any) -> Any:
    if value is None and key not in _NEVER_NONE:
        return None
    try:
        return _FROM_TEXT.get(key, _as_it_is)(value)
    except _Wrong as exc:
        raise _complaint(name, key, value, str(exc)) from None


# ------------------------------------------------------------------ one source


def _from_url(name: str, url: Any) -> dict[str, Any]:
    """Return the settings a redis://, rediss:// or unix:// URL gives, validated."""

    def wrong(wanted: str) -> ValueError:
        return _complaint(name, "url", url, wanted)

    def parsed(piece: str, key: str, value: Any) -> Any:
        try:
            return _FROM_TEXT[key](value)
        except _Wrong as exc:
            got = f", not {_show(key, value)}" if piece.startswith("option") else ""
            raise wrong(f"a URL whose {piece} is {exc}{got}") from None

    if not isinstance(url, str):
        raise wrong("a text such as redis://localhost:6379/0")
    usual = (
        "redis://[user:password@]host:port/db, special characters of the password written as"
        " %40 and the like"
    )
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:  # its text may hold a piece of the password
        raise wrong(usual) from None
    found: dict[str, Any] = {}
    if parts.scheme == "unix":
        if not parts.path:
            raise wrong("unix:// and the path of the socket, such as unix:///run/redis.sock")
        found["unix_socket_path"] = unquote(parts.path)
    elif parts.scheme in ("redis", "rediss"):
        if "@" in parts.path or "@" in parts.query or "@" in parts.fragment:
            raise wrong(usual)
        found["host"] = unquote(host) if host else DEFAULTS["host"]
        found["port"] = DEFAULTS["port"] if port is None else parsed("port", "port", port)
        if parts.scheme == "rediss":
            found["ssl"] = True
        database = unquote(parts.path).strip("/")
        if database:
            found["db"] = parsed("database", "db", database)
    else:
        raise wrong("a URL that begins with redis://, rediss:// or unix://")
    if parts.username:
        found["username"] = unquote(parts.username)
    if parts.password:
        found["password"] = unquote(parts.password)
    for option, text in parse_qsl(parts.query, keep_blank_values=True):
        if option not in VARIABLES.values() or option in ("url", *SENTINEL_KEYS, *_CLUSTER):
            raise ValueError(f"{name}: {_unknown(option)}")
        limitless = _no_limit(option, text)
        found[option] = None if limitless else parsed(f"option {option}", option, text)
    return found


def _no_limit(key: str, text: str) -> bool:
    return key in _LIMITS and text.strip().lower() == "none"


def check(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return a config dictionary's settings, validated; the environment is not looked at.

    Args:
        config: keys of `KEYS`, or None for none.

    Raises:
        TypeError: config is no mapping.
        ValueError: an unknown key or a wrong value; names it, and never shows a password.
    """
    if config is None:
        return {}
    given: object = config  # not every caller has a type checker
    if not isinstance(given, Mapping):
        hint = ", as {'url': ...}" if isinstance(given, str) else ""
        raise TypeError(f"config must be a dictionary of settings{hint}, not {type(given)}")
    found: dict[str, Any] = {}
    for key, value in config.items():
        if not isinstance(key, str) or key not in KEYS:
            raise _unknown(key)
        if key != "url":
            found[key] = _parsed(key, key, value)
    if config.get("url") is not None:
        for key in _ADDRESS:
            found.pop(key, None)
        found.update(_from_url("url", config["url"]))
    return found


def merged(config: Mapping[str, Any] | None, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of two config dictionaries, validated; the second comes first.

    Where the server is, only one of them decides. Raises as `check()`.
    """
    found, over = check(config), check(keywords)
    for key in _placed_by(_placed(over)):
        found.pop(key, None)
    found.update(over)
    return found


def _placed(settings: Mapping[str, Any]) -> str:
    """The key that says where the server is, "" if none does."""
    return next((key for key in _PLACES if settings.get(key) is not None), "")


def _placed_by(placed: str) -> tuple[str, ...]:
    """What a lower source does not decide when a higher one says where by such a key."""
    if placed in _ADDRESS:
        return ("unix_socket_path", *SENTINEL_KEYS, *_CLUSTER[:1])
    if placed == "sentinels":
        return (*_ADDRESS, *_CLUSTER)
    return (*_ADDRESS, *SENTINEL_KEYS) if placed else ()


def _refuse_contradictions(found: Mapping[str, Any], said: Mapping[str, str]) -> None:
    """Tell of settings that exclude each other.

    Args:
        found: all that was set, without defaults.
        said: how the user has called a key, if not by its name.
    """

    def name(key: str) -> str:
        return said.get(key, key)

    def refuse(key: str, other: str, fix: str) -> None:
        raise ValueError(f"{name(key)} and {name(other)} exclude each other: {fix}")

    lists = [key for key in ("sentinels", "cluster_nodes") if found.get(key) is not None]
    if len(lists) == 2:
        refuse(lists[0], lists[1], "say where the Sentinels are, or the nodes of the cluster")
    for key in lists:
        for other in _ADDRESS:
            if found.get(other) is not None:
                fix = "leave out (or empty) the one that does not say where the server is"
                refuse(key, other, fix)
    if found.get("sentinels") is not None and found.get("sentinel_master") is None:
        raise ValueError(
            f"{name('sentinels')} is set, but sentinel_master is not: give the name of the master"
            " in the configuration of the Sentinels (REDIS_SENTINEL_MASTER), often mymaster"
        )
    for key in SENTINEL_KEYS[1:]:
        if found.get(key) is not None and found.get("sentinels") is None:
            raise ValueError(
                f"{name(key)} is set, but sentinels is not: say where they are"
                " (REDIS_SENTINELS=host:26379,host:26379)"
            )
    if found.get("cluster") and found.get("sentinels") is not None:
        refuse("cluster", "sentinels", "Sentinels do not watch over a cluster")
    if found.get("cluster") is False and found.get("cluster_nodes") is not None:
        refuse("cluster_nodes", "cluster", "cluster=False is for a single server")
    if not (found.get("cluster") or lists):
        return
    for key in ("connection_pool", "unix_socket_path"):
        if found.get(key) is not None:
            refuse(lists[0] if lists else "cluster", key, "connections of its own are made")
    if found.get("single_connection_client"):
        refuse(
            lists[0] if lists else "cluster",
            "single_connection_client",
            "one connection does not lead to several servers",
        )
    if found.get("sentinels") is None and found.get("db"):
        raise ValueError(f"{name('db')}={found['db']}: a cluster has database 0 only")


def _from_environment(environ: Mapping[str, str], placed: str) -> dict[str, Any]:
    """Return what the environment sets; of where the server is, nothing when the config says so
    in another way (`placed` is its key, or "")."""
    url = "" if placed else environ.get("REDIS_URL", "").strip()
    skipped = {"url", *(_ADDRESS if url else ()), *(_placed_by(placed))}
    found: dict[str, Any] = {}
    for name, key in VARIABLES.items():
        text = environ.get(name, "")
        if text.strip() and key not in skipped:
            found[key] = None if _no_limit(key, text) else _parsed(name, key, text)
    if url:
        found.update(_from_url("REDIS_URL", url))
    return found


# ------------------------------------------------------------------------ both


def load(
    config: Mapping[str, Any] | None = None, environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the keyword arguments for `aiecs_redis.Redis`.

    Args:
        config: explicit settings, keys of `KEYS`; they come before the environment.
        environ: the environment variables (default: `os.environ`, read at every call).

    Raises:
        TypeError: config is no mapping.
        ValueError: an unknown key or a wrong value; names the key or variable, the value
            (never a password) and what to write instead.
    """
    explicit = check(config)
    if explicit.get("connection_pool") is not None:
        _refuse_contradictions(explicit, {})
        nothing = (*SENTINEL_KEYS, *_CLUSTER)  # not set, or cluster=False
        return {key: value for key, value in explicit.items() if key not in nothing}
    placed = _placed(explicit)
    environ = os.environ if environ is None else environ
    ambient = _from_environment(environ, placed)
    said = {key: f"REDIS_{key.upper()}" for key in ambient if key not in explicit}
    if environ.get("REDIS_URL", "").strip():
        said.update({key: "REDIS_URL" for key in _ADDRESS if key in said})
    _refuse_contradictions({**ambient, **explicit}, said)
    found = {**DEFAULTS, **ambient, **explicit}
    elsewhere = ("sentinels", "cluster_nodes", "unix_socket_path")
    if any(found.get(key) is not None for key in elsewhere):
        found.pop("host")
        found.pop("port")
    if found.get("ssl") is None:
        unused = [key for key in _TLS_FILES if found.get(key) is not None]
        if unused:
            raise ValueError(
                f"{unused[0]} is set, but ssl is not: say ssl=True (REDIS_SSL=true, rediss://),"
                " or ssl=False if the connection is to be in plain text"
            )
    for key in ("connection_pool", *SENTINEL_KEYS, *_CLUSTER):
        if found.get(key, "") is None:  # said in order to put the environment's aside
            del found[key]
    return found


def _sentinels_of(pool: Any) -> dict[str, Any]:
    """What `location()` needs of a pool whose address comes from Sentinels; {} of another one."""
    manager = getattr(pool, "sentinel_manager", None)
    if manager is None:
        return {}
    known = [one.connection_pool.connection_kwargs for one in manager.sentinels]
    nodes = [(one["host"], one["port"]) for one in known if "host" in one and "port" in one]
    return {"sentinels": nodes, "sentinel_master": pool.service_name}


def location(settings: Mapping[str, Any]) -> str:
    """Return `host:port/db` of settings as `load()` gives them.

    Or `unix:path/db`, `mymaster@sentinel:port,sentinel:port/db`, `node:port,node:port/0`.
    """
    pool = settings.get("connection_pool")
    if pool is not None:
        settings = {**getattr(pool, "connection_kwargs", {}), **_sentinels_of(pool)}
    db = settings.get("db") or 0
    for key, prefix in (
        ("sentinels", f"{settings.get('sentinel_master')}@"),
        ("cluster_nodes", ""),
    ):
        if settings.get(key):
            nodes = (f"[{h}]:{p}" if ":" in h else f"{h}:{p}" for h, p in settings[key])
            return f"{prefix}{','.join(nodes)}/{db}"
    path = settings.get("unix_socket_path") or settings.get("path")
    if path:
        return f"unix:{path}/{db}"
    host = settings.get("host", DEFAULTS["host"])
    shown = f"[{host}]" if ":" in str(host) else host
    return f"{shown}:{settings.get('port', DEFAULTS['port'])}/{db}"
