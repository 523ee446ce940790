"""Environment variables and config dictionaries become keyword arguments, or a clear error."""

import inspect
import pathlib
import ssl

import pytest
import redis.asyncio
import redis.asyncio.sentinel

import aiecs_redis
from aiecs_redis import CircuitBreaker, settings
from aiecs_redis.redis_client import RedisClient

SECRET = "s3cret-p4ss"


def failure(config=None, environ=None):
    with pytest.raises(ValueError) as caught:
        settings.load(config, environ or {})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return str(caught.value)


# ------------------------------------------------------------------- defaults


def test_defaults_are_the_documented_ones():
    assert settings.load({}, {}) == {
        "host": "localhost",
        "port": 6379,
        "db": 0,
        "decode_responses": True,
        "max_connections": 20,
        "retry_on_timeout": True,
    }


def test_the_environment_of_the_process_is_the_default(no_environment):
    no_environment.setenv("REDIS_PORT", "7001")
    assert settings.load()["port"] == 7001
    no_environment.setenv("REDIS_PORT", "7002")
    assert settings.load()["port"] == 7002


def test_loading_gives_a_dictionary_of_ones_own():
    settings.load({}, {})["host"] = "elsewhere"
    assert settings.load({}, {})["host"] == "localhost"


# ---------------------------------------------------------------- environment


@pytest.mark.parametrize(
    ("name", "text", "key", "value"),
    [
        ("REDIS_HOST", "redis.example.com", "host", "redis.example.com"),
        ("REDIS_HOST", "redis.example.com\n", "host", "redis.example.com"),
        ("REDIS_HOST", "fe80::1%eth0", "host", "fe80::1%eth0"),
        ("REDIS_PORT", "6380", "port", 6380),
        ("REDIS_PORT", " 6380 ", "port", 6380),
        ("REDIS_DB", "3", "db", 3),
        ("REDIS_USERNAME", "ann", "username", "ann"),
        ("REDIS_PASSWORD", "none", "password", "none"),
        ("REDIS_PASSWORD", " blank ", "password", " blank "),
        ("REDIS_MAX_CONNECTIONS", "50", "max_connections", 50),
        ("REDIS_RETRY_ON_TIMEOUT", "false", "retry_on_timeout", False),
        ("REDIS_DECODE_RESPONSES", "0", "decode_responses", False),
        ("REDIS_DECODE_RESPONSES", "YES", "decode_responses", True),
        ("REDIS_SSL", "true", "ssl", True),
        ("REDIS_SSL_CERT_REQS", "none", "ssl_cert_reqs", "none"),
        ("REDIS_SOCKET_TIMEOUT", "2.5", "socket_timeout", 2.5),
        ("REDIS_SOCKET_TIMEOUT", "none", "socket_timeout", None),
        ("REDIS_SOCKET_CONNECT_TIMEOUT", "1", "socket_connect_timeout", 1.0),
        ("REDIS_POOL_TIMEOUT", "None", "pool_timeout", None),
        ("REDIS_OPERATION_TIMEOUT", "0.25", "operation_timeout", 0.25),
        ("REDIS_CIRCUIT_BREAKER", "7", "circuit_breaker", CircuitBreaker(failures=7)),
        ("REDIS_MAX_PENDING_BYTES", "1048576", "max_pending_bytes", 1048576),
        ("REDIS_HEALTH_CHECK_INTERVAL", "30", "health_check_interval", 30),
        ("REDIS_SOCKET_KEEPALIVE", "on", "socket_keepalive", True),
        ("REDIS_CLIENT_NAME", "worker-1", "client_name", "worker-1"),
        ("REDIS_PROTOCOL", "2", "protocol", 2),
        ("REDIS_ENCODING", "latin-1", "encoding", "latin-1"),
    ],
)
def test_a_variable_sets_its_key(name, text, key, value):
    found = settings.load({}, {name: text})[key]
    assert found == value
    assert type(found) is type(value)


def test_an_empty_variable_counts_as_not_set():
    empty = dict.fromkeys(settings.VARIABLES, "") | {"REDIS_HOST": "  "}
    assert settings.load({}, empty) == dict(settings.DEFAULTS)


def test_other_variables_are_left_alone():
    strange = {"REDIS_VERSION": "7.2.4", "REDIS_PORT_6379_TCP": "tcp://10.0.0.1:6379"}
    assert settings.load({}, strange) == dict(settings.DEFAULTS)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("REDIS_PORT", "abc", "a whole number from 1 to 65535"),
        ("REDIS_PORT", "0", "a whole number from 1 to 65535"),
        ("REDIS_PORT", "65536", "a whole number from 1 to 65535"),
        ("REDIS_PORT", "6379.0", "a whole number from 1 to 65535"),
        ("REDIS_DB", "-1", "a whole number from 0 to 2147483647"),
        ("REDIS_DB", "4294967296", "a whole number from 0 to 2147483647"),
        ("REDIS_MAX_CONNECTIONS", "0", "a whole number, 1 or more"),
        ("REDIS_MAX_CONNECTIONS", "-5", "a whole number, 1 or more"),
        ("REDIS_MAX_CONNECTIONS", "many", "a whole number, 1 or more"),
        ("REDIS_MAX_PENDING_BYTES", "1M", "a whole number, 1 or more"),
        ("REDIS_RETRY_ON_TIMEOUT", "maybe", "true or false"),
        ("REDIS_DECODE_RESPONSES", "2", "true or false"),
        ("REDIS_SSL", "tls", "true or false"),
        ("REDIS_SOCKET_TIMEOUT", "0", "seconds above 0"),
        ("REDIS_SOCKET_TIMEOUT", "nan", "seconds above 0"),
        ("REDIS_SOCKET_CONNECT_TIMEOUT", "soon", "seconds above 0"),
        ("REDIS_HEALTH_CHECK_INTERVAL", "-1", "0 for never"),
        ("REDIS_PROTOCOL", "4", "2 or 3"),
        ("REDIS_ENCODING", "utf-99", "an encoding Python knows"),
        ("REDIS_ENCODING_ERRORS", "shrug", "an error handler Python knows"),
        ("REDIS_SSL_CERT_REQS", "perhaps", "none, optional or required"),
        ("REDIS_SSL_MIN_VERSION", "SSLv2", "a TLS version"),
    ],
)
def test_a_wrong_variable_is_named_with_its_value_and_what_to_write(name, text, wanted):
    said = failure(environ={name: text})
    assert said.startswith(f"{name}={text!r} ")
    assert wanted in said


def test_a_port_set_by_kubernetes_is_explained():
    said = failure(environ={"REDIS_PORT": "tcp://10.0.0.1:6379"})
    assert "tcp://10.0.0.1:6379" in said
    assert "enableServiceLinks" in said


# ---------------------------------------------------------------------- config


def test_the_documented_config_dictionaries():
    basic = {
        "host": "redis.example.com",
        "port": 6379,
        "db": 0,
        "password": "secure_password",
        "max_connections": 50,
        "retry_on_timeout": True,
        "decode_responses": True,
    }
    production = {
        **basic,
        "host": "redis-cluster.internal",
        "max_connections": 100,
        "socket_keepalive": True,
        "socket_keepalive_options": {},
        "health_check_interval": 30,
    }
    adjusted = {
        "max_connections": 10,
        "retry_on_timeout": True,
        "socket_connect_timeout": 5,
        "socket_timeout": 5,
    }
    assert settings.load(basic, {}) == basic
    assert settings.load(production, {}) == production
    assert settings.load(adjusted, {}) == {**settings.DEFAULTS, **adjusted}


def test_every_keyword_of_redis_py_is_a_key():
    keywords = set(inspect.signature(redis.asyncio.Redis.__init__).parameters) - {"self"}
    assert keywords <= settings.KEYS
    assert {"retry", "socket_keepalive", "ssl_ca_certs", "credential_provider"} <= settings.KEYS


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_every_key_is_a_keyword_of_our_redis():
    client = aiecs_redis.Redis
    for key in settings.KEYS - {"url", *settings.SENTINEL_KEYS, "cluster", "cluster_nodes"}:
        default = inspect.signature(redis.asyncio.Redis.__init__).parameters.get(key)
        ours = CircuitBreaker() if key == "circuit_breaker" else 1
        client(**{key: default.default if default is not None else ours})


def test_every_variable_sets_a_key():
    assert set(settings.VARIABLES.values()) <= settings.KEYS
    assert settings.VARIABLES["REDIS_MAX_CONNECTIONS"] == "max_connections"


def test_objects_are_handed_on_as_they_are():
    retry, provider = object(), object()
    found = settings.load({"retry": retry, "credential_provider": provider}, {})
    assert found["retry"] is retry
    assert found["credential_provider"] is provider


def test_texts_are_read_as_in_the_environment():
    found = settings.load({"port": "6380", "decode_responses": "no", "socket_timeout": "3"}, {})
    assert (found["port"], found["decode_responses"], found["socket_timeout"]) == (6380, False, 3)


def test_none_stands_where_it_has_a_meaning():
    nothing = {"password": None, "socket_timeout": None, "max_connections": None, "url": None}
    found = settings.load(nothing, {"REDIS_PASSWORD": SECRET, "REDIS_SOCKET_TIMEOUT": "3"})
    assert found["password"] is None
    assert found["socket_timeout"] is None
    assert found["max_connections"] is None


@pytest.mark.parametrize("key", ["host", "port", "db", "decode_responses", "ssl"])
def test_none_is_refused_where_it_has_none(key):
    assert failure({key: None}).startswith(f"{key}=None ")


@pytest.mark.parametrize(
    ("config", "start", "wanted"),
    [
        ({"max_connections": -1}, "max_connections=-1 ", "1 or more"),
        ({"max_connections": 2.0}, "max_connections=2.0 ", "a whole number"),
        ({"max_pending_bytes": -1}, "max_pending_bytes=-1 ", "1 or more"),
        ({"port": True}, "port=True ", "a whole number"),
        ({"decode_responses": "oui"}, "decode_responses='oui' ", "true or false"),
        ({"decode_responses": 2}, "decode_responses=2 ", "true or false"),
        ({"socket_timeout": 0}, "socket_timeout=0 ", "above 0"),
        ({"socket_timeout": True}, "socket_timeout=True ", "above 0"),
        ({"host": ""}, "host='' ", "a text"),
        ({"host": 127001}, "host=127001 ", "a text"),
        ({"host": "redis://h:1"}, "host='redis://h:1' ", "is for url"),
        ({"host": f"redis://:{SECRET}@h"}, "host=*** ", "is for url"),
        ({"host": "h:6380"}, "host='h:6380' ", "is for port"),
        ({"host": "h g"}, "host='h g' ", "one host"),
        ({"socket_timeout": 10**400}, "socket_timeout=1000", "above 0"),
        ({"health_check_interval": 10**400}, "health_check_interval=1000", "0 for never"),
        ({"ssl": True, "ssl_ca_certs": 5}, "ssl_ca_certs=5 ", "the path of a file"),
        ({"password": 12345}, "password=*** ", "a text, not int (quote it)"),
        ({"client_name": "x" * 500, "port": []}, "port=[] ", "a whole number"),
        ({"encoding": "x" * 500}, "encoding='xxx", "..."),
    ],
)
def test_a_wrong_value_is_named_and_what_to_write(config, start, wanted):
    said = failure(config)
    assert said.startswith(start)
    assert wanted in said
    assert len(said) < 250


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("prot", "port"),
        ("hots", "host"),
        ("Host", "host"),
        ("hostname", "host"),
        ("pasword", "password"),
        ("passwd", "password"),
        ("user", "username"),
        ("database", "db"),
        ("timeout", "socket_timeout"),
        ("connect_timeout", "socket_connect_timeout"),
        ("max_conections", "max_connections"),
        ("pool_size", "max_connections"),
        ("decode_response", "decode_responses"),
        ("retry-on-timeout", "retry_on_timeout"),
        ("REDIS_HOST", "host"),
        ("tls", "ssl"),
        ("ssl_ca_cert", "ssl_ca_certs"),
    ],
)
def test_an_unknown_key_is_named_with_the_one_that_was_meant(key, meant):
    assert failure({key: SECRET}) == f"unknown Redis setting {key!r}: did you mean {meant!r}?"


def test_an_unknown_key_that_is_like_none_gets_the_list():
    said = failure({"qqqqqq": 1})
    assert "'qqqqqq'" in said
    assert "max_connections" in said


def test_a_key_must_be_a_text():
    assert "5" in failure({5: "x"})


@pytest.mark.parametrize("config", ["redis://localhost", 5, ["host"], object()])
def test_a_config_must_be_a_mapping(config):
    with pytest.raises(TypeError, match="dictionary"):
        settings.load(config, {})


def test_paths_and_tls_options():
    found = settings.load(
        {
            "ssl": True,
            "ssl_ca_certs": pathlib.Path("/etc/ca.pem"),
            "ssl_min_version": "TLSv1.3",
            "ssl_cert_reqs": ssl.CERT_REQUIRED,
        },
        {},
    )
    assert found["ssl_ca_certs"] == "/etc/ca.pem"
    assert found["ssl_min_version"] is ssl.TLSVersion.TLSv1_3
    assert found["ssl_cert_reqs"] is ssl.CERT_REQUIRED
    version = settings.load({"ssl_min_version": ssl.TLSVersion.TLSv1_2}, {})["ssl_min_version"]
    assert version is ssl.TLSVersion.TLSv1_2
    assert settings.load({"ssl_min_version": "1.2"}, {})["ssl_min_version"] is version


def test_certificates_without_tls_do_not_pass_in_silence():
    assert "ssl_ca_certs" in failure({"ssl_ca_certs": "/etc/ca.pem"})
    assert "ssl=True" in failure(environ={"REDIS_SSL_CERTFILE": "/etc/c.pem"})
    assert settings.load({"ssl_ca_certs": "/etc/ca.pem", "ssl": False}, {})["ssl"] is False
    assert settings.load({"ssl_ca_certs": None}, {})["ssl_ca_certs"] is None


# ------------------------------------------------------------------------- URL


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", {"host": "localhost", "port": 6379}),
        ("redis://h", {"host": "h", "port": 6379}),
        ("redis://h:1/2", {"host": "h", "port": 1, "db": 2}),
        ("redis://h:1/", {"host": "h", "port": 1}),
        ("redis://[::1]:1", {"host": "::1", "port": 1}),
        ("redis://:pw@h", {"host": "h", "port": 6379, "password": "pw"}),
        (
            "redis://ann:p%40s%2Fs@h:1",
            {"host": "h", "port": 1, "username": "ann", "password": "p@s/s"},
        ),
        ("rediss://h:1", {"host": "h", "port": 1, "ssl": True}),
        (
            "rediss://h:1?ssl_cert_reqs=none&socket_timeout=3",
            {"host": "h", "port": 1, "ssl": True, "ssl_cert_reqs": "none", "socket_timeout": 3.0},
        ),
        ("redis://h?db=4&decode_responses=no", {"host": "h", "db": 4, "decode_responses": False}),
        ("redis://h?socket_timeout=none", {"host": "h", "socket_timeout": None}),
        ("unix:///run/redis.sock?db=2", {"unix_socket_path": "/run/redis.sock", "db": 2}),
        (
            "unix://ann:pw@/run/redis.sock",
            {"unix_socket_path": "/run/redis.sock", "username": "ann", "password": "pw"},
        ),
    ],
)
@pytest.mark.parametrize("source", ["url", "REDIS_URL"])
def test_a_url(url, expected, source):
    found = settings.load({"url": url}, {}) if source == "url" else settings.load({}, {source: url})
    wanted = {**settings.DEFAULTS, **expected}
    if "unix_socket_path" in expected:
        del wanted["host"], wanted["port"]
    assert found == wanted


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        ("http://h:1", "begins with redis://, rediss:// or unix://"),
        ("localhost:6379", "begins with redis://, rediss:// or unix://"),
        ("redis://h:70000", "redis://[user:password@]host:port/db"),
        ("redis://h:0", "a URL whose port is a whole number from 1 to 65535"),
        ("redis://h:x", "redis://[user:password@]host:port/db"),
        ("redis://h/one", "a URL whose database is a whole number"),
        ("redis://h?db=-1", "whose option db is a whole number from 0 to 2147483647, not '-1'"),
        ("redis://h?tmeout=1", "unknown Redis setting 'tmeout': did you mean 'socket_timeout'?"),
        ("redis://h?url=redis://g", "unknown Redis setting 'url'"),
        ("unix://", "the path of the socket"),
        (f"redis://:{SECRET}/x@h", "special characters of the password"),
        (f"redis://:{SECRET}?x@h", "special characters of the password"),
        (f"redis://:{SECRET}#x@h", "special characters of the password"),
        (f"redis://:1#{SECRET}@h", "special characters of the password"),
        (f"redis://u/{SECRET}@h", "special characters of the password"),
        (f"redis://u?{SECRET}@h", "special characters of the password"),
        (f"redis://:{SECRET}", "special characters of the password"),
        (f"redis://:{SECRET}@h:70000", "special characters of the password"),
        (f"redis://[:{SECRET}@h", "special characters of the password"),
        (f"redis://h?password={SECRET}&port=x", "option port"),
        (f"{SECRET}@h", "begins with redis://"),
    ],
)
@pytest.mark.parametrize("source", ["url", "REDIS_URL"])
def test_a_wrong_url_is_named_and_shows_no_password(url, wanted, source):
    said = failure({"url": url}) if source == "url" else failure(environ={source: url})
    assert said.startswith(source)
    assert wanted in said


def test_a_url_must_be_a_text():
    assert failure({"url": 5}).startswith("url=5 ")


# ------------------------------------------------------------------ precedence


def test_config_comes_before_environment_before_default():
    environ = {"REDIS_HOST": "e", "REDIS_PORT": "1", "REDIS_PASSWORD": SECRET}
    found = settings.load({"host": "c", "password": "mine"}, environ)
    assert (found["host"], found["port"], found["password"]) == ("c", 1, "mine")
    assert found["max_connections"] == 20


def test_a_url_comes_before_the_pieces_of_its_source_and_is_completed_by_them():
    pieces = {"REDIS_HOST": "e", "REDIS_PORT": "1", "REDIS_DB": "5", "REDIS_PASSWORD": "pw"}
    found = settings.load({}, {"REDIS_URL": "redis://u", **pieces})
    assert (found["host"], found["port"], found["db"], found["password"]) == ("u", 6379, 5, "pw")
    found = settings.load({}, {"REDIS_URL": "redis://:other@u/3", **pieces})
    assert (found["db"], found["password"]) == (3, "other")
    found = settings.load({"url": "redis://u/3", "host": "c", "port": 2, "db": 7}, {})
    assert (found["host"], found["port"], found["db"]) == ("u", 6379, 3)
    found = settings.load({"url": "redis://u", "unix_socket_path": "/c.sock"}, {})
    assert found["host"] == "u"
    assert "unix_socket_path" not in found


@pytest.mark.parametrize(
    "config", [{"host": "c"}, {"unix_socket_path": "/c.sock"}, {"url": "redis://c"}]
)
def test_an_explicit_address_puts_the_url_of_the_environment_aside(config):
    found = settings.load(config, {"REDIS_URL": f"rediss://:{SECRET}@u:1/7"})
    assert "password" not in found
    assert "ssl" not in found
    assert found["db"] == 0
    assert found.get("host") in ("c", None)


def test_explicit_pieces_complete_the_url_of_the_environment():
    found = settings.load({"db": 7, "port": 2}, {"REDIS_URL": "redis://:pw@u:1/3"})
    assert (found["host"], found["port"], found["db"], found["password"]) == ("u", 2, 7, "pw")


def test_a_socket_path_takes_the_place_of_host_and_port():
    found = settings.load({}, {"REDIS_UNIX_SOCKET_PATH": "/e.sock", "REDIS_PORT": "1"})
    assert found["unix_socket_path"] == "/e.sock"
    assert "host" not in found
    assert "port" not in found
    found = settings.load({"host": "c"}, {"REDIS_UNIX_SOCKET_PATH": "/e.sock"})
    assert found["host"] == "c"
    assert "unix_socket_path" not in found


async def test_a_connection_pool_brings_everything_itself():
    pool = redis.asyncio.ConnectionPool(host="p", port=1, db=3)
    found = settings.load({"connection_pool": pool}, {"REDIS_HOST": "e", "REDIS_PASSWORD": SECRET})
    assert found == {"connection_pool": pool}
    assert settings.location(found) == "p:1/3"
    assert settings.load({"connection_pool": pool, "cluster": False}, {}) == found


def test_keys_set_to_none_put_those_of_the_environment_aside():
    environ = {"REDIS_SENTINELS": "h:1", "REDIS_SENTINEL_MASTER": "m"}
    nothing = dict.fromkeys(("sentinels", "sentinel_master", "cluster", "connection_pool"))
    assert settings.load(nothing, environ) == dict(settings.DEFAULTS)


@pytest.mark.parametrize(
    ("config", "keywords", "expected"),
    [
        ({"unix_socket_path": "/s"}, {"host": "h"}, "h:6379/0"),
        ({"url": "unix:///s?db=2"}, {"url": "redis://h:1"}, "h:1/2"),
        ({"sentinels": "s:1", "sentinel_master": "m"}, {"host": "h"}, "h:6379/0"),
        ({"cluster_nodes": "c:1"}, {"unix_socket_path": "/s"}, "unix:/s/0"),
        ({"url": "redis://h:1/2"}, {"unix_socket_path": "/s"}, "unix:/s/2"),
        ({"url": "redis://h"}, {"sentinels": "s:1", "sentinel_master": "m"}, "m@s:1/0"),
        ({"host": "a", "port": 1}, {"host": "b"}, "b:1/0"),
        ({"host": "a"}, {"port": 2}, "a:2/0"),
    ],
)
def test_keywords_come_before_the_config_beside_them(config, keywords, expected):
    assert settings.location(settings.load(settings.merged(config, keywords), {})) == expected
    assert RedisClient(config, **keywords)._config == settings.merged(config, keywords)


# -------------------------------------------------------------------- location


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, "localhost:6379/0"),
        ({"host": "h", "port": 1, "db": 2, "password": SECRET}, "h:1/2"),
        ({"host": "::1"}, "[::1]:6379/0"),
        ({"unix_socket_path": "/run/redis.sock", "db": 2}, "unix:/run/redis.sock/2"),
    ],
)
def test_location(config, expected):
    assert settings.location(settings.load(config, {})) == expected


# ----------------------------------------------------------- Sentinel and cluster

TWO = [("10.0.0.1", 26379), ("10.0.0.2", 26380)]


@pytest.mark.parametrize(
    "given",
    [
        "10.0.0.1:26379,10.0.0.2:26380",
        " 10.0.0.1:26379 , 10.0.0.2:26380, ",
        ["10.0.0.1:26379", "10.0.0.2:26380"],
        [("10.0.0.1", 26379), ("10.0.0.2", "26380")],
        (["10.0.0.1", 26379], "10.0.0.2:26380", "10.0.0.1:26379"),
    ],
)
@pytest.mark.parametrize("key", ["sentinels", "cluster_nodes"])
def test_lists_of_nodes(key, given):
    config = {key: given, **({"sentinel_master": "mymaster"} if key == "sentinels" else {})}
    found = settings.load(config, {})
    assert found[key] == TWO
    assert "host" not in found
    assert "port" not in found
    if isinstance(given, str):
        environ = {f"REDIS_{name.upper()}": value for name, value in config.items()}
        assert settings.load(None, environ) == found


def test_an_ipv6_address_is_written_in_brackets():
    assert settings.load({"cluster_nodes": "[::1]:7000"}, {})["cluster_nodes"] == [("::1", 7000)]
    assert "brackets" in failure({"cluster_nodes": "::1:7000"})


@pytest.mark.parametrize(
    "given",
    [
        *("", ",", "host", "host:", "host:x", "host:0", ":6379", "redis://h:1", [], [1], 7),
        *(f":{SECRET}@h:1", [f"redis://u:{SECRET}@h:1"], [(f"u:{SECRET}@h", 1)]),
    ],
)
def test_what_is_no_list_of_nodes_is_named(given):
    said = failure({"cluster_nodes": given})
    assert said.startswith("cluster_nodes=")
    assert "valid" in said


@pytest.mark.parametrize(
    ("config", "environ", "words"),
    [
        ({"sentinels": "h:1"}, {}, ("sentinels", "sentinel_master", "REDIS_SENTINEL_MASTER")),
        ({}, {"REDIS_SENTINELS": "h:1"}, ("REDIS_SENTINELS", "REDIS_SENTINEL_MASTER")),
        ({"sentinel_master": "m"}, {}, ("sentinel_master", "REDIS_SENTINELS")),
        ({"sentinel_password": SECRET}, {}, ("sentinel_password", "REDIS_SENTINELS")),
        (
            {"sentinels": "h:1", "sentinel_master": "m", "cluster_nodes": "h:2"},
            {},
            ("sentinels", "cluster_nodes", "exclude"),
        ),
        ({"sentinels": "h:1", "sentinel_master": "m", "host": "x"}, {}, ("sentinels", "host")),
        ({"cluster_nodes": "h:1", "url": "redis://x"}, {}, ("cluster_nodes", "host")),
        (
            {},
            {"REDIS_CLUSTER_NODES": "h:1", "REDIS_HOST": "x"},
            ("REDIS_CLUSTER_NODES", "REDIS_HOST", "empty"),
        ),
        (
            {},
            {"REDIS_CLUSTER_NODES": "h:1", "REDIS_URL": f"redis://:{SECRET}@x"},
            ("REDIS_CLUSTER_NODES", "REDIS_URL"),
        ),
        ({"cluster_nodes": "h:1", "db": 1}, {}, ("db=1", "database 0")),
        ({}, {"REDIS_CLUSTER": "yes", "REDIS_DB": "2"}, ("REDIS_DB=2", "database 0")),
        ({"cluster_nodes": "h:1", "cluster": False}, {}, ("cluster_nodes", "cluster=False")),
        (
            {"cluster": True, "sentinels": "h:1", "sentinel_master": "m"},
            {},
            ("cluster", "sentinels"),
        ),
        (
            {"cluster_nodes": "h:1", "single_connection_client": True},
            {},
            ("single_connection_client",),
        ),
        ({"cluster": True, "unix_socket_path": "/s"}, {}, ("cluster", "unix_socket_path")),
        (
            {"connection_pool": object(), "sentinels": "h:1", "sentinel_master": "m"},
            {},
            ("connection_pool", "sentinels"),
        ),
    ],
)
def test_what_contradicts_itself_is_refused_by_name(config, environ, words):
    said = failure(config, environ)
    assert all(word in said for word in words), said


def test_where_the_config_says_so_the_environment_does_not():
    environ = {"REDIS_SENTINELS": "h:1", "REDIS_SENTINEL_MASTER": "m", "REDIS_PASSWORD": SECRET}
    found = settings.load({"host": "x"}, environ)
    assert (found["host"], found["password"]) == ("x", SECRET)
    assert not set(found) & set(settings.SENTINEL_KEYS)
    found = settings.load({"cluster_nodes": "h:1"}, environ)
    assert not set(found) & set(settings.SENTINEL_KEYS)
    config = {"sentinels": "h:1", "sentinel_master": "m"}
    found = settings.load(config, {"REDIS_HOST": "x", "REDIS_PORT": "1", "REDIS_URL": "redis://y"})
    assert "host" not in found
    assert "port" not in found


def test_the_location_of_sentinels_and_clusters():
    config = {"sentinels": TWO, "sentinel_master": "mymaster", "db": 3}
    where = "mymaster@10.0.0.1:26379,10.0.0.2:26380/3"
    assert settings.location(settings.load(config, {})) == where
    for sentinel in redis.asyncio.sentinel.Sentinel(TWO), aiecs_redis.Sentinel(TWO):
        pool = sentinel.master_for("mymaster", db=3).connection_pool
        assert settings.location({"connection_pool": pool}) == where
    config = {"cluster_nodes": "a:1,[::1]:2"}
    assert settings.location(settings.load(config, {})) == "a:1,[::1]:2/0"


def test_the_names_of_others_are_explained():
    assert "'cluster_nodes'" in failure({"startup_nodes": "h:1"})
    assert "'sentinel_master'" in failure({"service_name": "m"})
    assert "sentinels" in failure({"url": "redis://h?sentinels=h:1"})
