"""TLS: the certificate and the host name are verified unless one asks otherwise."""

import asyncio
import inspect
import os
import random
import ssl
import subprocess

import pytest
import redis.asyncio.retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError

import aiecs_redis
from aiecs_redis.testing import RedisServer


@pytest.fixture(scope="module")
def tls_server():
    """Asks for no client certificate."""
    with RedisServer(tls=True) as server:
        yield server


@pytest.fixture(scope="module")
def strict_server():
    """Wants a client certificate."""
    with RedisServer(tls=True, tls_auth_clients=True) as server:
        yield server


@pytest.fixture(scope="module")
def impostor():
    """Shows a certificate for another host."""
    with RedisServer(tls=True, certificate="wrong-host") as server:
        yield server


@pytest.fixture
def attempt(run_plain, impl):
    """`attempt(server, **options)` connects over TLS, once, and says something."""

    def attempt(server, **options):
        async def main():
            options.setdefault("host", "127.0.0.1")
            client = impl(
                port=server.port,
                ssl=True,
                retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
                **options,
            )
            try:
                return await client.echo("secretly")
            finally:
                await client.aclose()

        return run_plain(main)

    return attempt


@pytest.fixture
def ca(tls_server):
    return tls_server.certificates.certificate("ca")


def authority(server, name="ca"):
    return {"ssl_ca_certs": server.certificates.certificate(name)}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_verified(attempt, tls_server, host):
    assert attempt(tls_server, host=host, **authority(tls_server)) == b"secretly"


def test_authority_given_as_text(attempt, tls_server, ca):
    with open(ca) as file:
        assert attempt(tls_server, ssl_ca_data=file.read()) == b"secretly"


def needs(option):
    known = inspect.signature(redis.asyncio.Redis).parameters
    return pytest.mark.skipif(option not in known, reason=f"this redis-py has no {option}")


def link_by_hash(folder, certificate):
    """As OpenSSL looks for authorities in a folder."""
    name = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", certificate],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    os.symlink(certificate, folder / f"{name}.0")


@needs("ssl_ca_path")
def test_authority_given_as_a_folder(attempt, tls_server, ca, tmp_path):
    link_by_hash(tmp_path, ca)
    assert attempt(tls_server, ssl_ca_path=str(tmp_path)) == b"secretly"


@pytest.mark.parametrize("found", ["file", "folder"])
def test_the_authorities_of_the_system_are_those_of_python(
    attempt, tls_server, ca, monkeypatch, tmp_path, impl, found
):
    """Whatever OpenSSL the core was linked with: a wheel brings its own."""
    if impl is not aiecs_redis.Redis:
        pytest.skip("redis-py asks the OpenSSL of Python itself")
    link_by_hash(tmp_path, ca)
    usual = ssl.get_default_verify_paths()
    places = {"file": (ca, None), "folder": (None, str(tmp_path))}[found]
    monkeypatch.setattr(
        ssl,
        "get_default_verify_paths",
        lambda: usual._replace(cafile=places[0], capath=places[1]),
    )
    assert attempt(tls_server) == b"secretly"


def test_unknown_authority_is_refused(attempt, tls_server):
    """The system's authorities do not vouch for ours."""
    with pytest.raises(ConnectionError, match=r"(?i)certificate verify failed"):
        attempt(tls_server)


def test_other_authority_is_refused(attempt, tls_server):
    with pytest.raises(ConnectionError, match=r"(?i)certificate verify failed"):
        attempt(tls_server, **authority(tls_server, "stranger"))


def test_other_host_is_refused(attempt, impostor):
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConnectionError, match=r"(?i)mismatch|not valid for|verify failed"):
            attempt(impostor, host=host, **authority(impostor))


def test_host_name_may_be_ignored(attempt, impostor):
    assert attempt(impostor, ssl_check_hostname=False, **authority(impostor)) == b"secretly"


def test_without_host_name_the_authority_still_counts(attempt, impostor):
    with pytest.raises(ConnectionError, match=r"(?i)certificate verify failed"):
        attempt(impostor, ssl_check_hostname=False, **authority(impostor, "stranger"))


@pytest.mark.parametrize("requirement", ["none", ssl.CERT_NONE])
def test_nothing_is_verified_on_demand(attempt, impostor, requirement):
    options = {"ssl_cert_reqs": requirement, "ssl_check_hostname": False}
    assert attempt(impostor, **options) == b"secretly"


def client_certificate(server, name="client"):
    certificates = server.certificates
    return {
        "ssl_certfile": certificates.certificate(name),
        "ssl_keyfile": certificates.key(name),
    }


def test_client_certificate(attempt, strict_server):
    options = {**authority(strict_server), **client_certificate(strict_server)}
    assert attempt(strict_server, **options) == b"secretly"


def test_client_certificate_missing(attempt, strict_server):
    with pytest.raises(ConnectionError):
        attempt(strict_server, **authority(strict_server))


def test_client_certificate_of_a_stranger(attempt, strict_server):
    options = {**authority(strict_server), **client_certificate(strict_server, "stranger")}
    with pytest.raises(ConnectionError):
        attempt(strict_server, **options)


@needs("ssl_password")
def test_encrypted_key(attempt, strict_server, tmp_path):
    key = tmp_path / "encrypted.key"
    subprocess.run(
        [
            *("openssl", "ec", "-aes256", "-passout", "pass:let me in", "-out", str(key)),
            *("-in", strict_server.certificates.key("client")),
        ],
        check=True,
        capture_output=True,
    )
    options = {
        **authority(strict_server),
        **client_certificate(strict_server),
        "ssl_keyfile": str(key),
    }
    assert attempt(strict_server, ssl_password="let me in", **options) == b"secretly"
    with pytest.raises(Exception, match=r"(?i)ssl|key|pass|decrypt"):
        attempt(strict_server, ssl_password="wrong", **options)


@pytest.mark.parametrize(
    "options",
    [
        {"ssl_ca_certs": "/no/such/file"},
        {"ssl_certfile": "/no/such/file", "ssl_keyfile": "/no/such/file"},
        {"ssl_ca_data": "no certificate"},
    ],
    ids=str,
)
def test_unreadable_files_are_told(attempt, tls_server, options):
    """redis-py raises what the ssl module does, or wraps it; but no hang and no crash."""
    with pytest.raises((ConnectionError, OSError, ValueError)):
        attempt(tls_server, **options)


def test_minimum_version(attempt, tls_server):
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        options = {"ssl_min_version": version, **authority(tls_server)}
        assert attempt(tls_server, **options) == b"secretly"


def test_minimum_version_the_server_does_not_have(attempt):
    with RedisServer(tls=True, config={"tls-protocols": "TLSv1.2"}) as server:
        assert attempt(server, **authority(server)) == b"secretly"
        with pytest.raises(ConnectionError):
            attempt(server, ssl_min_version=ssl.TLSVersion.TLSv1_3, **authority(server))


def test_ciphers(attempt, tls_server):
    options = {"ssl_ciphers": "ECDHE-ECDSA-AES256-GCM-SHA384", **authority(tls_server)}
    assert attempt(tls_server, **options) == b"secretly"


def test_tls_to_a_plain_server(attempt, core_server):
    """Which takes the greeting for the start of a command, and waits for the rest."""
    with pytest.raises((ConnectionError, TimeoutError)):
        attempt(core_server, socket_timeout=0.3, socket_connect_timeout=0.3)


def test_plain_to_a_tls_server(run_plain, impl, tls_server):
    async def main():
        client = impl(
            port=tls_server.port,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 0),
            socket_timeout=2,
            socket_connect_timeout=2,
        )
        with pytest.raises((redis.exceptions.RedisError, RuntimeError)):  # the last is uvloop's
            await client.ping()
        await client.aclose()

    run_plain(main)


def test_much_over_tls(run_plain, impl, tls_server, ca):
    """Replies and values beyond the size of a TLS record, many at a time, in every direction."""
    value = random.Random(1).getrandbits(8 << 20).to_bytes(1 << 20, "big")

    async def main():
        options = {"port": tls_server.port, "ssl": True, "ssl_ca_certs": ca}
        async with impl(**options) as client:
            await client.set("big", value)
            assert await client.get("big") == value
            results = await asyncio.gather(
                *(client.echo(value[: n * 1000]) for n in range(10)),
                *(client.get("big") for _ in range(3)),
            )
            assert [len(result) for result in results[:10]] == [n * 1000 for n in range(10)]
            assert results[10:] == [value] * 3
            assert await client.echo(b"x" * 16384) == b"x" * 16384

    run_plain(main)


def test_reconnect_over_tls(run_plain, impl, tls_server, ca):
    async def main():
        async with impl(port=tls_server.port, ssl=True, ssl_ca_certs=ca) as client:
            identity = await client.client_id()
            with tls_server.connect() as admin:
                admin.client_kill_filter(_id=identity)
            await asyncio.sleep(0.01)
            assert await client.echo("again") == b"again"

    run_plain(main)


def test_from_url(run_plain, impl, tls_server):
    async def main():
        async with impl.from_url(tls_server.url) as client:
            assert await client.echo("secretly") == b"secretly"

    run_plain(main)
