"""TLS: who cannot prove to be the server is refused, before a password has left; the rest works."""

import asyncio
import datetime
import shutil
import ssl
import subprocess

import pytest
import redis.asyncio.retry
from harness.measure import hung, run, sizes
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError

from aiecs_redis.testing import Certificates, FaultProxy, RedisServer

PASSWORD = "never to be seen"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


def make_expired(certificates):
    """A certificate for the right host, of the right authority, valid until yesterday."""
    folder = certificates.folder
    now = datetime.datetime.now(datetime.timezone.utc)
    dates = [(now - datetime.timedelta(days=n)).strftime("%y%m%d%H%M%SZ") for n in (10, 1)]
    (folder / "index.txt").write_text("")
    (folder / "expired.cnf").write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={folder}/index.txt\nnew_certs_dir={folder}\n"
        f"rand_serial=yes\ndefault_md=sha256\npolicy=any\ncopy_extensions=none\n"
        "[any]\ncommonName=supplied\n[ext]\nbasicConstraints=critical,CA:FALSE\n"
        "extendedKeyUsage=serverAuth\nsubjectAltName=DNS:localhost,IP:127.0.0.1\n"
    )
    command = ["openssl", "ca", "-batch", "-notext", "-config", str(folder / "expired.cnf")]
    command += ["-cert", certificates.certificate("ca"), "-keyfile", certificates.key("ca")]
    command += ["-startdate", dates[0], "-enddate", dates[1], "-extensions", "ext"]
    command += ["-in", str(folder / "server.csr"), "-out", certificates.certificate("expired")]
    subprocess.run(command, check=True, capture_output=True)


def make_for_other_address(certificates):
    certificates._make(
        "wrong-ip",
        "basicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
        "subjectAltName=IP:127.0.0.9,DNS:localhost.example",
        "ca",
    )


def put_up(certificates, name):
    """Make it the one in the server's configuration."""
    key = "server" if name == "expired" else name
    shutil.copy(certificates.certificate(name), certificates.certificate("shown"))
    shutil.copy(certificates.key(key), certificates.key("shown"))


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    certificates = Certificates(tmp_path_factory.mktemp("certificates"))
    make_expired(certificates)
    make_for_other_address(certificates)
    put_up(certificates, "server")
    options = {"certificates": certificates, "certificate": "shown"}
    with RedisServer(tls=True, requirepass=PASSWORD, **options) as server:
        yield server


@pytest.fixture
def shows(server):
    """`shows("expired")`: the certificate the server shows from now on; the right one later."""

    def shows(name):
        put_up(server.certificates, name)
        with server.connect(ssl_check_hostname=False, ssl_cert_reqs="none") as admin:
            admin.config_resetstat()
            # Any change makes it read both files; Redis 6.2 cannot change both names at once.
            timeout = int(admin.config_get("tls-session-cache-timeout").popitem()[1])
            admin.config_set("tls-session-cache-timeout", timeout + 1)

    yield shows
    shows("server")


# What the server shows, how the client goes there.
REFUSED = {
    "wrong host name": ("wrong-host", {"host": "localhost"}),
    "wrong host name, by address": ("wrong-host", {"host": "127.0.0.1"}),
    "wrong address": ("wrong-ip", {"host": "127.0.0.1"}),
    "wrong address, by name": ("wrong-ip", {"host": "localhost"}),
    "expired": ("expired", {}),
    "authority unknown": ("server", {"ssl_ca_certs": None}),
    "other authority": ("server", {"ssl_ca_certs": "stranger"}),
    "not signed at all": ("stranger", {}),
}
COUNTED = []


def no_retry():
    return redis.asyncio.retry.Retry(NoBackoff(), 0)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("case", REFUSED)
def test_refused(impl, is_native, server, shows, case, version):
    certificate, options = REFUSED[case]
    options = {**server.kwargs, "retry": no_retry(), "ssl_min_version": version, **options}
    if options["ssl_ca_certs"] == "stranger":
        options["ssl_ca_certs"] = server.certificates.certificate("stranger")

    async def main():
        refused = 0
        for make in (
            lambda client: client.get("key"),
            lambda client: client.pipeline().get("key").execute(),
            lambda client: client.blpop("key", 1),
            lambda client: client.pubsub().subscribe("channel"),
        ):
            client = impl(**options)
            with pytest.raises(ConnectionError, match="(?i)certificate|verify") as raised:
                await make(client)
            refused += 1
            assert PASSWORD not in str(raised.value)
            await client.aclose()
        return refused

    shows(certificate)
    refused = run(main())
    with server.connect(ssl_check_hostname=False, ssl_cert_reqs="none") as admin:
        seen = admin.info("commandstats")
    # HELLO and AUTH are the observer's own: one connection before the CONFIG SET, one now.
    assert seen.get("cmdstat_get", {}).get("calls", 0) == 0
    assert seen.get("cmdstat_auth", {}).get("calls", 0) <= 1
    assert seen.get("cmdstat_hello", {}).get("calls", 0) <= 1
    if is_native:
        COUNTED.append(refused)


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_accepted(impl, server, version, host):
    async def main():
        async with impl(**{**server.kwargs, "host": host}, ssl_min_version=version) as client:
            return await client.echo("hello")

    assert run(main()) == b"hello"


@pytest.mark.parametrize("impl", [pytest.param("aiecs_redis", id="ours")], indirect=True)
@pytest.mark.parametrize("size", sizes(everyday=(20, 5), long=(100, 20)))
@pytest.mark.parametrize("pieces", [1, 7, 1000])
def test_records_in_pieces(impl, server, figure, size, pieces):
    """Every TLS record arrives in parts; callers give up in the middle."""
    tasks, rounds = size

    async def main(proxy):
        failures = 0
        async with impl(**{**server.kwargs, **proxy.kwargs}, socket_timeout=60) as client:

            async def one(n):
                nonlocal failures
                for turn in range(rounds):
                    text = f"{n}:{turn}:" + "x" * (n * 7)
                    if turn % 5 == 4:
                        future = asyncio.ensure_future(client.echo(text))
                        await asyncio.sleep(0.001)
                        future.cancel()
                    failures += await client.echo(text) != text.encode()

            running = [asyncio.create_task(one(n)) for n in range(tasks)]
            failures += await hung(running, 100)
            for task in running:
                task.result()
        return failures

    with FaultProxy(server.host, server.port) as proxy:
        proxy.to_client.chop = proxy.to_server.chop = pieces
        assert run(main(proxy), 120) == 0
    PIECES.append(tasks * rounds)


PIECES = []


@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_mutual(impl, is_native, start_server, version):
    server = start_server(tls=True, tls_auth_clients=True)
    certificates = server.certificates
    assert isinstance(certificates, Certificates)

    async def attempt(**options):
        settings = {**server.kwargs, "ssl_min_version": version, "retry": no_retry(), **options}
        async with impl(**settings) as client:
            return await client.echo("hello")

    assert run(attempt()) == b"hello"
    wrong = [{"ssl_certfile": None, "ssl_keyfile": None}]
    for name in ("stranger",):
        pair = {"ssl_certfile": certificates.certificate(name)}
        wrong.append({**pair, "ssl_keyfile": certificates.key(name)})
    for options in wrong:
        with pytest.raises(ConnectionError):
            run(attempt(**options))
        if is_native:
            COUNTED.append(1)


def test_figures(figure):
    """After the others."""
    if not COUNTED or not PIECES:
        pytest.skip("run the whole file")
    figure(
        "tls",
        f"{sum(COUNTED)} of {sum(COUNTED)} attempts refused ({len(REFUSED)} kinds of wrong "
        "certificate, client certificate missing or a stranger's; TLS 1.2 and 1.3), no password "
        f"sent before; {sum(PIECES):,} replies in pieces of 1, 7 and 1,000 bytes: 0 failures",
    )
