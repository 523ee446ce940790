"""Alerts about a server: rules with hysteresis, and who is told.

    alerts = Alerts(redis_client, notify=[log_alerts(), Webhook("https://hooks.example.com/redis")])
    await alerts.start()

A rule measures one figure. It fires when the figure has been beyond its limit for `hold` seconds,
and is over when it has been back behind `clear` for as long; between the two nothing changes, so
that a value on the edge does not ring twice a minute. An alert is told once when it fires and once
when it is over. `python -m aiecs_redis alerts --prometheus` writes the same rules for Prometheus.
"""

from __future__ import annotations

import asyncio
import http.client
import inspect
import json
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union
from urllib.parse import urlsplit

from aiecs_redis import _checks as checks
from aiecs_redis._server_info import read_info
from aiecs_redis._tasks import stop, supervised
from aiecs_redis._underlying import check_client
from aiecs_redis.alert_rules import Rule, Sample, default_rules
from aiecs_redis.metrics import current_client

if TYPE_CHECKING:
    from aiecs_redis.client import Redis
    from aiecs_redis.cluster import RedisCluster
    from aiecs_redis.redis_client import RedisClient

__all__ = ["Alert", "Alerts", "Notify", "Webhook", "log_alerts"]

logger: logging.Logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    """What is told: a rule has begun to fire, or is over.

    Attributes:
        rule: the rule's name.
        firing: False when it is over.
        severity: "warning" or "critical".
        text: a sentence with the figure in it.
        value: the figure; None for an outage's end that brought none.
        at: Unix time.
    """

    rule: str
    firing: bool
    severity: str
    text: str
    value: float | None
    at: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "rule": self.rule,
            "status": "firing" if self.firing else "resolved",
            "severity": self.severity,
            "text": self.text,
            "value": self.value,
            "at": self.at,
        }


Notify = Callable[[Alert], Union[Awaitable[None], None]]


@dataclass
class _State:
    """Where a rule stands. `since`: monotonic seconds since which the figure asks for a change."""

    firing: bool = False
    since: float | None = None
    value: float | None = field(default=None)

    def update(self, rule: Rule, value: float | None, at: float) -> bool:
        """Take in a figure (None: not known, nothing changes); tell whether `firing` changed."""
        if value is None:
            return False
        self.value = value
        wants_change = rule.is_clear(value) if self.firing else rule.is_beyond(value)
        if not wants_change:
            self.since = None
            return False
        if self.since is None:
            self.since = at
        if at - self.since < rule.hold:
            return False
        self.firing, self.since = not self.firing, None
        return True


class Alerts:
    """Looks at a server from time to time, and tells when a rule begins to fire or is over.

    Args:
        client: a `RedisClient` (initialized), or an `aiecs_redis.Redis` or `RedisCluster`.
        rules: by default `default_rules()`.
        notify: functions, plain or async, that are called with each `Alert`. One that raises is
            logged, and the others are called nevertheless. By default they are logged.
        interval: seconds between two looks.
        timeout: seconds after which a server that says nothing counts as away.

    Raises:
        TypeError: the client is none, a rule is no `Rule`, or `notify` no list of functions.
        ValueError: two rules of one name, or a time that is not above 0.
    """

    def __init__(
        self,
        client: RedisClient | Redis | RedisCluster,
        rules: Iterable[Rule] | None = None,
        *,
        notify: Iterable[Notify] | None = None,
        interval: float = 15.0,
        timeout: float = 5.0,
    ) -> None:
        checks.seconds("interval", interval)
        checks.seconds("timeout", timeout)
        if callable(notify):
            raise TypeError(f"notify={notify!r}: give a list of functions, such as [log_alerts()]")
        self.rules: list[Rule] = list(default_rules() if rules is None else rules)
        for rule in self.rules:
            if not isinstance(rule, Rule):
                raise TypeError(f"{rule!r} among the rules is no Rule")
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError(f"two rules have one name: {', '.join(sorted(names))}")
        self._client = check_client(client)
        self._notify = [log_alerts()] if notify is None else list(notify)
        for told in self._notify:
            checks.function("one of notify", told)
        self._interval = interval
        self._timeout = timeout
        self._states = {rule.name: _State() for rule in self.rules}
        self._before: Sample | None = None
        self._task: asyncio.Task[None] | None = None
        self._looked: asyncio.Event | None = None  # since start(): whether the first look is over
        self._watcher: asyncio.Task[Any] | None = None

    @property
    def firing(self) -> list[str]:
        """Names of the rules that fire now."""
        return [name for name, state in self._states.items() if state.firing]

    async def start(self) -> None:
        """Look now, and then every `interval` seconds until `stop()`.

        Returns after the first look; concurrent calls wait for the same.
        """
        if self._task is None or self._task.done():  # with its loop, in a program that did not stop
            looked = self._looked = asyncio.Event()
            self._task = asyncio.create_task(supervised(self._watch(looked)))
            try:
                await looked.wait()
            except asyncio.CancelledError:
                await self.stop()
                raise
        elif self._looked is not None:
            await self._looked.wait()

    async def stop(self) -> None:
        """Look no longer. Twice does no harm; one of `notify` may call it."""
        task, self._task = self._task, None
        self._looked = None
        if asyncio.current_task() is not self._watcher:
            await stop(task)

    async def __aenter__(self) -> Alerts:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def _watch(self, looked: asyncio.Event) -> None:
        self._watcher = asyncio.current_task()
        try:
            while self._looked is looked:
                await self.check()
                looked.set()
                await asyncio.sleep(self._interval)
        finally:
            looked.set()

    async def sample(self) -> Sample:
        """Ask the server once. One that is away is a sample too, without figures."""
        try:
            client = await current_client(self._client)
            info = await asyncio.wait_for(read_info(client), self._timeout)
        except asyncio.TimeoutError:
            return Sample(time.monotonic(), None, f"no answer in {self._timeout:g} s")
        except Exception as exc:
            return Sample(time.monotonic(), None, f"{type(exc).__name__}: {exc}")
        return Sample(info.at, info)

    async def check(self) -> list[Alert]:
        """Look once, tell what has changed, and return it."""
        changed = self.evaluate(await self.sample())
        for alert in changed:
            for notify in self._notify:
                await _tell(notify, alert)
        return changed

    def evaluate(self, sample: Sample) -> list[Alert]:
        """Apply the rules to a sample, and return what has changed; nobody is told."""
        before, self._before = self._before, sample
        changed = []
        for rule in self.rules:
            state = self._states[rule.name]
            value = _measure(rule, before, sample)
            if state.update(rule, value, sample.at):
                text = _sentence(rule, value, state.firing)
                if sample.error and state.firing:
                    text = f"{text} ({sample.error})"
                changed.append(
                    Alert(rule.name, state.firing, rule.severity, text, value, time.time())
                )
        return changed


def _measure(rule: Rule, before: Sample | None, now: Sample) -> float | None:
    try:
        value = rule.measure(before, now)
        return None if value is None else float(value)
    except Exception:
        logger.exception("The alert rule %s cannot be measured", rule.name)
        return None


def _sentence(rule: Rule, value: float | None, firing: bool) -> str:
    try:
        return rule.sentence(value, firing)
    except Exception:  # a template of the user's: the alert matters more than its words
        logger.exception("The alert rule %s has no sentence", rule.name)
        return f"{rule.name} is {value}"


async def _tell(notify: Notify, alert: Alert) -> None:
    try:
        result = notify(alert)
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("Cannot pass on the alert %s", alert.rule)


def log_alerts(log: logging.Logger | None = None) -> Notify:
    """Return a function that logs alerts: critical as an error, the end of one as info.

    Args:
        log: logger to use; this module's own by default.
    """
    target = log or logger

    def notify(alert: Alert) -> None:
        if not alert.firing:
            target.info("Redis alert %s is over: %s", alert.rule, alert.text)
        else:
            level = logging.ERROR if alert.severity == "critical" else logging.WARNING
            target.log(level, "Redis alert %s: %s", alert.rule, alert.text)

    return notify


class _NoRedirections(urllib.request.HTTPRedirectHandler):
    """A redirected POST arrives elsewhere as a GET, with our headers and without the alert."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """None: the answer is an error."""


_opener = urllib.request.build_opener(_NoRedirections)


class Webhook:
    """Sends each alert to a URL, as JSON by POST, in a thread of its own.

    A redirection is not followed, it is a failure.

    Args:
        url: http or https.
        headers: further ones, such as Authorization; they are never shown.
        timeout: seconds.
        attempts: how often to try; a second passes before the second, two before the third.

    Raises:
        TypeError: the URL is no str.
        ValueError: it is no http(s) URL, or a number makes no sense.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
        attempts: int = 3,
    ) -> None:
        if not isinstance(url, str):
            raise TypeError(f"a webhook's URL is a str, not {type(url).__name__}")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("a webhook's URL begins with http:// or https:// and names a host")
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("a webhook's URL has other characters than ASCII's written as %20")
        checks.seconds("timeout", timeout)
        checks.whole("attempts", attempts, 1)
        self._url = url
        self._where = parts.hostname  # the rest of the URL is often a secret
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout = timeout
        self._attempts = attempts

    def __repr__(self) -> str:
        return f"<Webhook at {self._where}>"

    async def __call__(self, alert: Alert) -> None:
        """Send it.

        Raises:
            OSError: every attempt failed; names the host and the reason.
        """
        body = json.dumps(alert.as_dict()).encode()
        reason: object = None
        for attempt in range(self._attempts):
            if attempt:
                await asyncio.sleep(attempt)
            try:
                await asyncio.get_running_loop().run_in_executor(None, self._post, body)
                return
            except urllib.error.HTTPError as exc:
                reason = f"HTTP status {exc.code} {exc.reason}"
                exc.close()
            except http.client.HTTPException as exc:  # no HTTP, or the end in the middle of it
                reason = type(exc).__name__
            except OSError as exc:
                reason = getattr(exc, "reason", None) or exc
        raise OSError(f"the webhook at {self._where} failed: {reason}")

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(self._url, data=body, headers=self._headers, method="POST")
        with _opener.open(request, timeout=self._timeout):
            pass
