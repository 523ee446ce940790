"""The command line, on a real server: most commands in this process, some as a program."""

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

pytest.importorskip("rich")
pytest.importorskip("typer")

from aiecs_redis.testing import free_port

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def full(admin):
    """Some keys of every kind."""
    for n in range(120):
        admin.set(f"user:{n}:name", "x" * (10 + n), ex=600 if n % 2 else None)
    admin.hset("task:1", mapping={"status": "running", "progress": 5})
    admin.rpush("queue", *range(50))
    admin.zadd("scores", {"a": 1, "b": 2})
    admin.sadd("li[b]st", "a")
    admin.set(b"bin\xff\n:1", "x")
    return admin


# --------------------------------------------------------------- ping and health


def test_ping(cli, ask):
    status, out, _ = cli("ping")
    assert (status, out[:5]) == (0, "PONG ")
    status, out, _ = cli("ping", "-c", "3", "-i", "0.01", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["ok"] for line in lines] == [True] * 3


def test_health(cli, ask, server):
    found = ask("health")
    assert found["status"] == "healthy"
    assert found["server"].endswith(f":{server.kwargs['port']}/{server.kwargs['db']}")
    assert found["used_memory"] > 100_000
    status, out, _ = cli("health", "--max-latency", "0")
    assert status == 1
    assert out.startswith("PING took")


def test_health_of_a_server_that_is_away(cli):
    began = time.monotonic()
    status, out, _ = cli("health", "--port", free_port(), "--json")
    found = json.loads(out)
    assert status == 1
    assert found["status"] == "unhealthy"
    assert "refused" in found["problems"][0]
    status, _, err = cli("ping", "--port", free_port())
    assert status == 1
    assert err.startswith("aiecs-redis: ")
    assert err.count("\n") == 1
    assert time.monotonic() - began < 60


def test_health_of_a_server_that_hangs(cli, start_server):
    server = start_server()
    server.pause()
    status, out, _ = cli("health", "--port", server.port, "--timeout", "0.2")
    assert status == 1
    assert "Timeout" in out or "in time" in out
    server.resume()


def test_health_above_max_memory(cli, start_server):
    server = start_server(config={"maxmemory": "3mb", "maxmemory-policy": "allkeys-lru"})
    with server.connect() as admin:
        for n in range(60):
            admin.set(n, "x" * 100_000)
    status, out, _ = cli("health", "--port", server.port, "--db", 0, "--max-memory", "0.8")
    assert status == 1
    assert out.startswith("memory in use is ")


def test_a_password_is_never_shown(cli, start_server, environment):
    server = start_server(requirepass="s3cret")
    environment.setenv("REDIS_PASSWORD", "wr0ng")
    status, out, err = cli("ping", "--port", server.port)
    assert status == 1
    environment.setenv("REDIS_PASSWORD", "s3cret")
    assert cli("ping", "--port", server.port)[0] == 0
    status, out2, err2 = cli("ping", "--url", "redis://:wr0ng@127.0.0.1:x")
    assert status == 2
    assert not any(word in out + err + out2 + err2 for word in ("wr0ng", "s3cret"))


def test_errors_name_their_remedy(cli, start_server, environment):
    environment.delenv("REDIS_PASSWORD", raising=False)
    server = start_server(requirepass="secret")
    for command in (["ping"], ["health"], ["info"]):
        status, out, err = cli(*command, "--host", server.host, "--port", server.port)
        assert status == 1
        assert "asks for a password: REDIS_PASSWORD, --ask-password" in out + err
    server = start_server(tls=True)
    status, _, err = cli("ping", "--host", server.host, "--port", server.port, "--tls")
    assert status == 1
    assert "--ca, REDIS_SSL_CA_CERTS" in err
    status, _, err = cli("ping", "--host", server.host, "--port", server.port)
    assert status == 1
    assert "does the server speak nothing but TLS? --tls" in err
    server = start_server()
    at = ("--host", server.host, "--port", server.port)
    status, _, err = cli("ping", *at, "--tls", "--timeout", "0.5")
    assert status == 1
    assert "does the server speak TLS? leave --tls out if not" in err
    status, _, err = cli("ping", *at, "--user", "nobody")
    assert status == 1
    assert "see --user and --ask-password, or REDIS_PASSWORD" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ping", "--port", "x"), "port='x'"),
        (("ping", "--port"), "--port"),
        (("ping", "--timeout", "0"), "--timeout=0"),
        (("ping", "--nonsense"), "--nonsense"),
        (("ping", "--count", "0"), "--count=0: give a whole number, 1 or more"),
        (("ping", "--interval", "-1"), "--interval=-1.0: give seconds, 0 or more"),
        (("ping", "--timeout", "inf"), "--timeout=inf: give seconds"),
        (("ping", "--socket", ""), "--socket='' is not valid"),
        (("health", "--max-memory", "2"), "--max-memory=2.0: give a number from 0 to 1"),
        (("health", "--max-latency", "nan"), "--max-latency=nan: give a number"),
        (("serve", "--listen", ""), "--listen is empty"),
        (("serve", "--interval", "nan"), "--interval=nan: give seconds above 0"),
        (("top", "--interval", "nan"), "--interval"),
        (("latency", "--interval", "nan"), "--interval"),
        (("bench", "--seconds", "nan"), "--seconds"),
        (("bench", "--svg", "nowhere/picture.svg"), "there is no folder 'nowhere'"),
        (("scan", ""), "the pattern is empty"),
        (("delete", "", "--yes"), "the pattern is empty"),
        (("bigkeys", ""), "the pattern is empty"),
        (("memory", "prefixes", ""), "the pattern is empty"),
        (("memory", "prefixes", "--separator", ""), "--separator is empty"),
        (("pubsub", ""), "the name of a channel is empty"),
        (("publish", "", "hello"), "the name of a channel is empty"),
        (("nonsense",), "nonsense"),
        (("delete",), "pattern"),
        (("scan", "--limit", "x"), "limit"),
    ],
)
def test_what_is_asked_wrongly(cli, arguments, said):
    status, out, err = cli(*arguments)
    assert status == 2
    assert said in err.lower()
    assert "Traceback" not in out + err


def test_connection_options_stand_anywhere(cli, server):
    port = server.kwargs["port"]
    for arguments in (("--port", port, "ping"), ("ping", f"--port={port}")):
        assert cli(*arguments)[0] == 0
    assert cli("scan", "--", "--json")[0] == 0  # a pattern, not an option


def test_ping_and_health_need_no_extra(environment):
    blocked = "import sys; sys.modules.update(typer=None, rich=None); "
    program = blocked + "from aiecs_redis.cli import main; sys.exit(main())"

    def run(*arguments):
        command = [sys.executable, "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)

    assert run("ping").stdout.startswith("PONG")
    assert run("health").returncode == 0
    done = run("info")
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "aiecs-redis: Every command but ping, health, serve and run needs typer:"
        " pip install 'aiecs-redis[cli]'"
    )
    for arguments, status in ((["--help"], 0), ([], 2)):
        done = run(*arguments)
        assert done.returncode == status
        said = done.stdout if status == 0 else done.stderr
        for word in ("ping", "health", "serve", "run", "--url", "'aiecs-redis[cli]'"):
            assert word in said
        assert "bigkeys" not in done.stdout + done.stderr
    assert run("--version").stdout.startswith("aiecs-redis ")


# --------------------------------------------------------------------- showing


def test_info(cli, ask):
    assert ask("info")["memory"]["used_memory"] > 0
    status, out, _ = cli("info", "clients")
    assert status == 0
    assert out.splitlines()[0].rstrip() == "Clients"
    assert "connected_clients" in out
    for form in (), ("--json",):
        status, out, err = cli("info", "nonsense", *form)
        assert (status, out) == (2, "")
        assert "keyspace" in err


def test_info_of_a_section_with_nothing_in_it(cli, ask, admin):
    assert cli("info", "Keyspace") == (0, "The server says nothing of keyspace.\n", "")
    assert ask("info", "keyspace") == {"keyspace": {}}
    admin.set("k", "v")
    assert "keys=1" in cli("info", "keyspace")[1].replace("'keys': ", "keys=")


def test_top(cli, ask, full):
    found = ask("top", "--count", "1", "--interval", "0.1")
    assert found["ops_per_second"] > 0
    assert found["keys"]
    assert "INFO" in found["commands"]
    status, out, _ = cli("top", "-c", "2", "-i", "0.1")
    assert status == 0
    assert out.count("calls/s") == 2


def test_latency(cli, ask):
    found = ask("latency", "-c", "20", "-i", "0")
    assert found["count"] == 20
    assert 0 < found["ms"]["fastest"] <= found["ms"]["median"] <= found["ms"]["slowest"]
    status, out, _ = cli("latency", "-c", "20", "-i", "0")
    assert status == 0
    assert "99 %" in out


def test_latency_of_a_user_who_may_not_ask_for_events(cli, ask, start_server, environment):
    server = start_server()
    at = ("--port", server.port, "--db", "0", "--user", "guest", "-c", "5", "-i", "0")
    with server.connect() as admin:
        admin.acl_setuser(
            "guest", enabled=True, passwords=["+s3cret"], commands=["+@all", "-latency"]
        )
    environment.setenv("REDIS_PASSWORD", "s3cret")
    assert ask("latency", *at)["events"] == []
    assert cli("latency", *at)[0] == 0


def test_slowlog(cli, ask, admin, start_server):
    server = start_server(config={"slowlog-log-slower-than": 0})
    with server.connect() as other:
        other.set("slow:key", b"\xff")
    at = ("--port", server.port, "--db", "0")
    found = ask("slowlog", *at)
    assert found["slower_than_microseconds"] == 0
    assert any(entry["command"].startswith("SET slow:key") for entry in found["entries"])
    _status, out, _ = cli("slowlog", *at, "--reset")
    assert "SET slow:key" in out
    assert "SET slow:key" not in cli("slowlog", *at)[1]


def test_bigkeys(cli, ask, full):
    found = ask("bigkeys", "-c", "3")
    assert len(found["keys"]) == 3
    sizes = [key["memory"] for key in found["keys"]]
    assert sizes == sorted(sizes, reverse=True)
    assert found["seen"] == full.dbsize()
    assert found["bytes"] >= sum(sizes)
    queue = ask("bigkeys", "queue")["keys"][0]
    assert (queue["kind"], queue["length"]) == ("list", 50)
    _status, out, _ = cli("bigkeys", "li*")
    assert "li[b]st" in out


def test_memory_by_prefix(cli, ask, full):
    found = {one["prefix"]: one for one in ask("memory", "prefixes")}
    assert found["user:*"]["keys"] == 120
    assert found["user:*"]["without_expiry"] == 60
    assert found["queue"]["keys"] == 1
    assert found["user:*"]["bytes"] > found["task:*"]["bytes"]
    deeper = {one["prefix"] for one in ask("memory", "prefixes", "user:*", "--depth", "2")}
    assert "user:7:*" in deeper
    estimated = ask("memory", "prefixes", "user:*", "--every", "10")[0]
    assert 100 <= estimated["keys"] <= 140
    _status, out, _ = cli("memory", "prefixes")
    assert "user:*" in out


def test_memory_usage_and_purge(cli, ask):
    assert ask("memory", "usage")["used_memory"] > 0
    assert "policy" in cli("memory", "usage")[1]
    assert ask("memory", "purge")["rss_after"] > 0
    assert cli("memory", "purge")[1].startswith("Resident memory: ")


# --------------------------------------------------------------- scan and delete


def test_scan(cli, full):
    status, out, _ = cli("scan", "user:*")
    assert status == 0
    assert sorted(out.split()) == sorted(f"user:{n}:name" for n in range(120))
    assert len(cli("scan", "user:*", "--limit", "7")[1].split()) == 7
    assert cli("scan", "--type", "list")[1] == "queue\n"
    assert "\\xff" in cli("scan", "bin*")[1]
    assert cli("scan", "nothing*") == (0, "", "")
    _, out, _ = cli("scan", "task:*", "--json")
    assert json.loads(out) == "task:1"


def test_delete_asks_first(cli, full, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    status, _, _err = cli("delete", "user:*")
    assert status == 1
    assert full.exists("user:1:name")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    status, out, _ = cli("delete", "user:1*", "--batch", "7")
    assert (status, out.strip()) == (0, "Deleted 31 keys.")


def test_delete(cli, ask, full, monkeypatch):
    before = full.dbsize()
    found = ask("delete", "user:*", "--dry-run")
    assert (found["matching"], found["deleted"], len(found["examples"])) == (120, 0, 5)
    assert found["estimated_bytes"] > 1000
    status, out, _ = cli("delete", "user:*", "-n")
    assert out.startswith("Would delete 120 keys, about ")
    status, _, err = cli("delete", "user:*", "--json")
    assert status == 2
    assert "--yes" in err
    assert full.dbsize() == before
    found = ask("delete", "user:*", "--yes", "--batch", "50")
    assert found["deleted"] == 120
    assert full.dbsize() == before - 120
    status, out, _ = cli("delete", "bin*", "-n")
    assert out.startswith("Would delete 1 key, about ")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    status, out, err = cli("delete", "bin*")
    assert "Delete it? [y/N]" in out + err
    assert out.endswith("Deleted 1 key.\n")
    assert cli("delete", "user:*", "-y")[1] == "No key matches user:*.\n"
    assert ask("delete", "*", "--type", "list", "--yes")["deleted"] == 1


# ------------------------------------------------------------------- listening


@contextlib.contextmanager
def repeating(call):
    """Do something every 20 ms in a thread, until the block ends."""
    stopped = threading.Event()

    def body():
        while not stopped.wait(0.02):
            call()

    thread = threading.Thread(target=body)
    thread.start()
    yield
    stopped.set()
    thread.join()


def test_monitor(cli, admin):
    with repeating(lambda: admin.set("watched", "1")):
        status, out, _ = cli("monitor", "--count", "2", "--contains", "watched", "--json")
    assert status == 0
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["command"] for line in lines] == ["SET watched 1"] * 2


def test_pubsub_and_publish(cli, ask, admin):
    with repeating(lambda: admin.publish("news:today", "hello")):
        _status, out, _ = cli("pubsub", "news:*", "--count", "2", "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["channel"], line["data"]) for line in lines] == [("news:today", "hello")] * 2
    assert ask("publish", "nobody", "hello") == {"receivers": 0}
    pubsub = admin.pubsub()
    pubsub.subscribe("somebody")
    pubsub.get_message(timeout=5)
    assert cli("publish", "somebody", "hi")[1] == "Received by 1.\n"
    pubsub.close()


# --------------------------------------------------------------- bench and doctor


def test_bench(cli, ask, admin, tmp_path):
    picture = tmp_path / "bench.svg"
    short = ("--seconds", "0.02", "--rounds", "1", "--tasks", "4")
    found = ask("bench", *short, "--svg", picture)
    assert [one["name"] for one in found["results"]] == [
        "GET, one task",
        "GET, 4 tasks",
        "SET, 4 tasks",
        "pipelines of 100 GET",
    ]
    assert all(one["ours"] > 0 and one["theirs"] > 0 for one in found["results"])
    root = ElementTree.fromstring(picture.read_text())
    assert len(root.findall("{*}rect")) == 1 + 2 + 4 * 2
    assert admin.dbsize() == 0
    status, out, _ = cli("bench", *short)
    assert status == 0
    assert out.count("times") == 4


def doctor(cli, *arguments):
    status, out, _ = cli("doctor", "--json", *arguments)
    return status, {finding["check"]: finding for finding in json.loads(out)}


def test_doctor(cli, start_server, environment):
    server = start_server()
    at = ("--port", server.port, "--db", "0")
    status, found = doctor(cli, *at)
    assert status == 0
    assert found["maxmemory"]["level"] == "warn"
    assert "CONFIG SET maxmemory" in found["maxmemory"]["remedy"]
    assert found["events"]["level"] == "note"
    assert found["server"]["level"] == "ok"
    with server.connect() as admin:
        info = admin.info("server")
    valkey = info.get("valkey_version")
    version = f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"
    assert found["server"]["text"] == version
    assert json.loads(cli("health", *at, "--json")[1])["version"] == version.split()[1]
    assert doctor(cli, *at, "--strict")[0] == 1
    with server.connect() as admin:
        admin.config_set("maxmemory", "100mb")
        admin.config_set("notify-keyspace-events", "Ex")
    status, found = doctor(cli, *at)
    assert "maxmemory" not in found
    assert found["eviction"]["level"] == "warn"
    assert found["events"]["level"] == "ok"
    with server.connect() as admin:
        admin.config_set("maxmemory", admin.info("memory")["used_memory"])
    status, found = doctor(cli, *at)
    assert (status, found["memory"]["level"]) == (1, "bad")
    status, out, _ = cli("doctor", *at)
    assert out.startswith("bad ")


def test_doctor_and_tls(cli, start_server):
    server = start_server(tls=True, requirepass="s3cret")
    ca = server.certificates.certificate("ca")
    url = f"rediss://:s3cret@127.0.0.1:{server.port}/0"
    status, found = doctor(cli, "--url", url, "--ca", ca)
    assert found["tls"]["level"] == "ok"
    assert found["password"]["level"] == "ok"
    status, found = doctor(cli, "--url", f"{url}?ssl_cert_reqs=none&ssl_check_hostname=false")
    assert (status, found["tls"]["level"]) == (1, "bad")


def test_alerts(cli, ask, start_server):
    assert cli("alerts", "--prometheus")[1].startswith("groups:\n")
    server = start_server(config={"maxmemory": "4mb", "maxmemory-policy": "allkeys-lru"})
    at = ("--port", server.port, "--db", "0")
    assert cli("alerts", *at)[:2] == (0, "No alert.\n")
    with server.connect() as admin:
        for n in range(100):
            admin.set(n, "x" * 100_000)
    status, out, _ = cli("alerts", *at, "--json")
    assert status == 1
    assert "memory" in [alert["rule"] for alert in json.loads(out)]


# ------------------------------------------------------------------ as a program


def program(*arguments, **options):
    command = [sys.executable, "-m", "aiecs_redis", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, **options)


def test_ctrl_c_ends_top(environment):
    process = program("top", "-i", "0.1", "--json")
    assert json.loads(process.stdout.readline())["ops_per_second"] >= 0
    process.send_signal(signal.SIGINT)
    process.stdout.read()
    assert process.wait(20) == 130


def test_a_reader_that_leaves(environment, full):
    process = program("scan", "--json", stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert process.wait(20) in (0, 1)
    assert "Traceback" not in error


def test_top_in_a_terminal(environment, full):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "aiecs_redis", "top", "-i", "0.1"],
        cwd=ROOT,
        stdout=slave,
        stderr=slave,
        stdin=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
    )
    os.close(slave)
    seen = b""
    while b"calls/s" not in seen:
        seen += os.read(master, 65536)
    assert b"hit rate" in seen
    process.send_signal(signal.SIGINT)
    with contextlib.suppress(OSError):
        while os.read(master, 65536):
            pass
    assert process.wait(20) == 130
    os.close(master)


def test_run_looks_at_its_own_arguments_only(environment, tmp_path, capfd):
    from aiecs_redis.__main__ import main as whole

    script = tmp_path / "program.py"
    script.write_text("import sys; print(sys.argv[1:])")
    done = subprocess.run(
        [sys.executable, "-m", "aiecs_redis", "run", str(script), "--json", "--host", "x"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['--json', '--host', 'x']\n", done.stderr
    assert whole(["ping"]) == 0


def test_main_leaves_no_loop_behind(cli):
    assert cli("ping")[0] == 0
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_what_serve_can_be_told(cli):
    status, out, _ = cli("serve", "--help")
    assert status == 0
    for words in ("address to answer on", "LISTEN", "its TCP port", "PORT", "(15)", "--url URL"):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bogus"], "'--bogus' is no option of it: name a script, or -m and a module"),
        (["-m"], "name a module after -m"),
    ],
)
def test_run_names_what_is_no_option(capfd, arguments, said):
    from aiecs_redis.__main__ import main as whole

    assert whole(["run", *arguments]) == 2
    assert capfd.readouterr().err.endswith(f"aiecs_redis run: {said}\n")


@pytest.mark.parametrize("options", [{"unix_socket": True}, {"tls": True}])
def test_every_command_over_a_socket_and_tls(cli, start_server, options):
    server = start_server(**options)
    if "tls" in options:
        at = ("--port", server.port, "--tls", "--ca", server.certificates.certificate("ca"))
    else:
        at = ("--socket", server.kwargs["unix_socket_path"])
    short = ("--seconds", "0.02", "--rounds", "1", "--tasks", "2")
    with server.connect() as admin:
        admin.set("a", "1")
    for command in (
        ("ping",),
        ("health",),
        ("info", "server"),
        ("top", "-c", "1", "-i", "0.1"),
        ("latency", "-c", "3"),
        ("slowlog",),
        ("scan",),
        ("bigkeys",),
        ("memory", "usage"),
        ("memory", "prefixes"),
        ("memory", "purge"),
        ("publish", "news", "hello"),
        ("alerts",),
        ("doctor",),
        ("bench", *short),
        ("delete", "a", "--yes"),
    ):
        status, out, err = cli(*command, *at, "--db", "0")
        assert status == 0, (command, err)
        assert out, command


@pytest.mark.parametrize("arguments, port", [(["--listen-port", "99999"], None), ([], "tcp")])
def test_serve_names_a_port_that_is_none(cli, monkeypatch, arguments, port):
    if port is not None:
        monkeypatch.setenv("PORT", port)
    status, _, err = cli("serve", *arguments)
    assert status == 2
    assert "--listen-port" in err
    assert (port or arguments[1]) in err


def test_slowlog_where_nobody_may_ask_for_the_configuration(cli, ask, start_server, environment):
    server = start_server()
    at = ("--port", server.port, "--db", "0", "--user", "guest")
    with server.connect() as admin:
        rights = ["+@all", "-config"]
        admin.acl_setuser("guest", enabled=True, passwords=["+s3cret"], commands=rights)
        environment.setenv("REDIS_PASSWORD", "s3cret")
        assert cli("slowlog", *at) == (0, "The server has noted none.\n", "")
        admin.config_set("slowlog-log-slower-than", 0)
        admin.set("slow:key", "1")
    found = ask("slowlog", *at)
    assert found["slower_than_microseconds"] is None
    assert any(entry["command"] == "SET slow:key 1" for entry in found["entries"])
    assert "SET slow:key" in cli("slowlog", *at)[1]


def test_names_of_keys_do_nothing_to_a_terminal(cli, admin, monkeypatch):
    admin.set("odd:\x1b[2J\n1", "x" * 5000)
    admin.set("odd:a\\[b]c", "x")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    for command in (
        ("delete", "odd:*", "--dry-run"),
        ("delete", "odd:*"),
        ("bigkeys", "odd:*"),
        ("memory", "prefixes", "odd:*"),
        ("scan", "odd:*"),
    ):
        _, out, err = cli(*command)
        assert "\x1b" not in out + err, command
        assert "odd:" in out + err
    assert "odd:a\\[b]c" in cli("bigkeys", "odd:*")[1]


def test_slowlog_that_is_switched_off(cli, start_server):
    server = start_server(config={"slowlog-log-slower-than": -1})
    status, out, _ = cli("slowlog", "--port", server.port)
    assert (status, out.strip()) == (
        0,
        "The server notes none: slowlog-log-slower-than is negative.",
    )
