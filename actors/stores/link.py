"""The connections to one server: made, checked, retried and given back in one place."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from typing import Any, TypeVar
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from tenacity import AsyncRetrying, retry_if_exception, stop_after_delay

from actors.errors import StoreUnavailable
from actors.stores.faults import BACKOFF, closed, is_transient, unavailable
from graphs.errors import ValidationError

T = TypeVar("T")

MIN_VERSION = (6, 2)
COMMAND_TIMEOUT_S = 10.0
"""An answer that takes longer counts as lost."""
BLOCK_S = 5.0
"""Longest wait of one blocking read."""


_URL_OPTIONS = frozenset({"host", "port", "db", "username", "password", "path", "connection_class"})
_URL_HELP = (
    "write redis://[user:password@]host:port/db or unix:///path, "
    "with special characters in the password percent-encoded"
)


def server_name(url: str) -> str:
    """`url` without user, password and options. Raises `ValidationError` for what is no Redis URL."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "localhost", parts.port or 6379
        options = parse_url(url)
    except ValueError:
        # The text of the error may quote a part of the password, so it is not passed on.
        raise ValidationError(f"the store URL cannot be read; {_URL_HELP}") from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValidationError(f"the store URL has a / ? or # before its host; {_URL_HELP}")
    if unknown := sorted(name for name in options if not name.startswith("ssl_") and name not in _URL_OPTIONS):
        raise ValidationError(f"the store URL has unknown options: {', '.join(unknown)}; remove them", problems=unknown)
    if parts.scheme == "unix":
        return f"unix://{options.get('path', '')}"
    if parts.path.strip("/") and "db" not in options:
        raise ValidationError(f"the store URL ends in {parts.path}; write the number of a database there, such as /0")
    if ":" in host:
        host = f"[{host}]"
    return f"{parts.scheme}://{host}:{port}/{options.get('db', 0)}"


_PARTS: Mapping[str, Sequence[str]] = {"open": ("accept", "activate", "append")}
"""Script -> those it calls as functions: a script cannot call another one inside the server."""


def script_text(name: str) -> str:
    """Source of the script `name`."""
    text = files("actors.stores.scripts").joinpath(f"{name}.lua").read_text(encoding="utf-8")
    parts = (f"local function {part}(KEYS, ARGV)\n{script_text(part)}end\n" for part in _PARTS.get(name, ()))
    return "".join((*parts, text))


class RedisLink:
    """A pool of connections for commands and one for blocking reads, with one policy for failures.

    Every operation run here must be harmless when it is done twice: a lost answer is retried.
    """

    def __init__(self, url: str, *, deadline_s: float, connect_timeout_s: float, max_connections: int) -> None:
        self.server = server_name(url)
        self.deadline_s = deadline_s
        self._connect_timeout_s = connect_timeout_s
        self.client = self._client(url, max_connections)
        self.blocking = self._client(url, 1)
        # Waiting for a connection is not yet waiting for an answer: it comes before the timeout of an attempt.
        self._slots = asyncio.Semaphore(max_connections)
        self._closed = False

    def _client(self, url: str, max_connections: int) -> Redis:
        # RESP2: nothing here needs RESP3, whose push messages and maintenance handshake only add ways to fail.
        # No socket_timeout: redis-py would use asyncio.wait_for, which loses a cancellation in Python 3.11.
        return Redis.from_pool(
            BlockingConnectionPool.from_url(
                url,
                protocol=2,
                retry=Retry(NoBackoff(), 0),
                max_connections=max_connections,
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=self._connect_timeout_s,
            )
        )

    async def check(self) -> dict[str, Any]:
        """The server's INFO. One attempt. Raises `StoreUnavailable`, also for a server that is too old."""
        self._check_open()
        try:
            facts: dict[str, Any] = await timed(self.client.info, self._connect_timeout_s)
        except exceptions.RedisError as error:
            raise unavailable(error, self.server) from error
        version = str(facts["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION:
            raise StoreUnavailable(
                f"the store at {self.server} is Redis {version}; use Redis >= 6.2 or Valkey", url=self.server
            )
        return facts

    async def run(self, operation: Callable[[], Awaitable[T]]) -> T:
        """What `operation` on `client` returns; tried again until the deadline when the connection fails.

        Raises:
            StoreUnavailable: The deadline has passed, or the server refuses.
        """
        return await self._retried(partial(self.once, operation))

    async def once(self, operation: Callable[[], Awaitable[T]]) -> T:
        """One attempt of `run`. Raises redis-py's errors, and `StoreUnavailable` once this is closed."""
        async with self._slots:
            self._check_open()
            return await timed(operation, COMMAND_TIMEOUT_S)

    async def wait_for_news(self, operation: Callable[[], Awaitable[T]]) -> T:
        """As `run`, for one read on `blocking` that blocks up to `BLOCK_S`."""

        async def attempt() -> T:
            self._check_open()
            return await timed(operation, BLOCK_S + COMMAND_TIMEOUT_S)

        return await self._retried(attempt)

    def _check_open(self) -> None:
        # redis-py would quietly connect again.
        if self._closed:
            raise closed(self.server)

    async def _retried(self, attempt: Callable[[], Awaitable[T]]) -> T:
        try:
            try:
                return await attempt()
            except exceptions.RedisError as error:
                if not is_transient(error):
                    raise
            return await self._again(attempt)
        except exceptions.RedisError as error:
            raise unavailable(error, self.server) from error

    async def _again(self, attempt: Callable[[], Awaitable[T]]) -> T:
        async def again() -> T:  # tenacity awaits only what it can see to be a coroutine function
            return await attempt()

        retrying = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            wait=BACKOFF,
            stop=stop_after_delay(self.deadline_s),
            reraise=True,
        )
        return await retrying(again)

    def script(self, name: str) -> Callable[..., Awaitable[Any]]:
        """The script `name`, to be called with `keys` and `args`; loaded on first use and whenever it is gone."""
        script: Callable[..., Awaitable[Any]] = self.client.register_script(script_text(name))
        return script

    async def close(self) -> None:
        """Close all connections; operations under way and later ones fail with `StoreUnavailable`."""
        self._closed = True
        for client in (self.client, self.blocking):
            await client.aclose()


async def timed(operation: Callable[[], Awaitable[T]], timeout_s: float) -> T:
    """What `operation` returns; a timeout is an error of redis-py like the others."""
    try:
        async with asyncio.timeout(timeout_s):
            return await operation()
    except TimeoutError as error:
        raise exceptions.TimeoutError(f"no answer within {timeout_s:g} s") from error
