"""Keyword arguments of `Redis`."""

from collections.abc import Callable, Mapping, Sequence
from ssl import TLSVersion, VerifyFlags, VerifyMode
from typing import Any, TypedDict

from redis.asyncio.retry import Retry
from redis.credentials import CredentialProvider
from redis.event import EventDispatcher
from redis.maint_notifications import MaintNotificationsConfig

from aiecs_redis._commands.newer import DriverInfo
from aiecs_redis.circuit_breaker import CircuitBreaker

class RedisOptions(TypedDict, total=False):
    """All but decode_responses and connection_pool, which decide on the type of replies."""

    # Where
    host: str
    port: int
    db: str | int
    unix_socket_path: str | None
    # Who
    username: str | None
    password: str | None
    credential_provider: CredentialProvider | None
    client_name: str | None
    lib_name: str | None
    lib_version: str | None
    driver_info: DriverInfo | None
    # Connections
    auto_close_connection_pool: bool | None
    single_connection_client: bool
    max_connections: int | None
    max_pending_bytes: int | None
    pool_timeout: float | None
    operation_timeout: float | None
    circuit_breaker: CircuitBreaker | None
    redis_connect_func: Callable[[Any], Any] | None
    socket_timeout: float | None
    socket_connect_timeout: float | None
    socket_read_size: int
    socket_keepalive: bool | None
    socket_keepalive_options: Mapping[int, int | bytes] | None
    health_check_interval: float
    # Errors
    retry: Retry | None
    retry_on_error: Sequence[type[Exception]] | None
    retry_on_timeout: bool
    # Protocol
    protocol: int | None
    legacy_responses: bool
    encoding: str
    encoding_errors: str
    event_dispatcher: EventDispatcher | None
    maint_notifications_config: MaintNotificationsConfig | None
    # TLS
    ssl: bool
    ssl_keyfile: str | None
    ssl_certfile: str | None
    ssl_cert_reqs: str | VerifyMode
    ssl_include_verify_flags: Sequence[VerifyFlags] | None
    ssl_exclude_verify_flags: Sequence[VerifyFlags] | None
    ssl_ca_certs: str | None
    ssl_ca_data: str | None
    ssl_ca_path: str | None
    ssl_check_hostname: bool
    ssl_min_version: TLSVersion | None
    ssl_ciphers: str | None
    ssl_password: str | None
