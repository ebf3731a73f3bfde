"""HTTP for tools: pooled connections of a process, bounded in time and size, to where a tool may reach."""

from __future__ import annotations

import asyncio
import codecs
import logging
import ssl
import zlib
from collections.abc import Mapping

import httpcore
import httpx
import msgspec

from actors.tools.guard import AccessDenied, GuardedBackend, Resolver, resolve
from graphs.access import Access, same_origin
from graphs.workflow.requests import HttpRequest

MAX_CONNECTIONS = 100
"""Of one pool; more requests wait, within their time."""
MAX_REDIRECTS = 5
CONNECT_S = 10.0
_KEEPALIVE_S = 30.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_TEXT_TYPES = frozenset({"application/xml", "application/javascript", "application/x-www-form-urlencoded"})
_WINDOW_BITS = {"gzip": 31, "x-gzip": 31, "deflate": 47}


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whole."""

    url: str
    """Where it came from, after redirections."""
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes

    @property
    def content_type(self) -> str:
        """Without its parameters, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def is_json(self) -> bool:
        """Whether it says that it is JSON."""
        return self.content_type == "application/json" or self.content_type.endswith("+json")

    @property
    def is_text(self) -> bool:
        """Whether it says that it is text, of any kind."""
        kind = self.content_type
        return self.is_json or kind.startswith("text/") or kind in _TEXT_TYPES or kind.endswith("+xml")

    def text(self) -> str:
        """The body as text; what cannot be decoded is replaced."""
        kind = httpx.Response(self.status, headers={"content-type": self.headers.get("content-type", "")})
        try:
            return codecs.decode(self.body, kind.charset_encoding or "utf-8", "replace")
        except LookupError:
            return self.body.decode(errors="replace")


class HttpFailed(Exception):
    """There was no answer, or it broke off."""


class BadAnswer(Exception):
    """An answer is none, or larger than allowed; the rest of it was not read."""

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.status = status


class HttpClient:
    """Sends requests. Connections are opened when they are needed, and kept for a while.

    Args:
        resolver: Finds the addresses of hosts.
        trusted: Whose certificates count; None: those that browsers trust.
    """

    def __init__(self, resolver: Resolver = resolve, trusted: ssl.SSLContext | None = None) -> None:
        for name in ("httpcore", "hpack"):  # they would write headers, keys included
            logging.getLogger(name).setLevel(logging.WARNING)
        self._resolver = resolver
        self._trusted = trusted
        self._pools: dict[tuple[str, ...], httpcore.AsyncConnectionPool] = {}
        """Addresses allowed besides the public ones -> connections."""

    async def send(self, request: HttpRequest, access: Access, *, timeout_s: float, max_size_bytes: int) -> HttpAnswer:
        """Send a request, and read the answer whole.

        GET and HEAD follow redirections to where `access` allows; to another origin they take no header along.

        Raises:
            AccessDenied: It, or where it was sent on to, may not be reached.
            BadAnswer: It is larger than `max_size_bytes`, decompressed, or cannot be read.
            TimeoutError: It was not there in time.
            HttpFailed: There is none.
        """
        async with asyncio.timeout(timeout_s):
            for _ in range(MAX_REDIRECTS + 1):
                url = _url(request.url)
                refusal = access.url_refusal(str(url))
                if refusal is not None:
                    raise AccessDenied(refusal)
                answer = await self._send(request, url, access, max_size_bytes)
                location = answer.headers.get("location")
                if location is None or answer.status not in _REDIRECTS or request.method not in ("GET", "HEAD"):
                    return answer
                request = _redirected(request, url, location)
            raise BadAnswer(f"it redirects more than {MAX_REDIRECTS} times", answer.status)

    async def close(self) -> None:
        """Close all connections."""
        for pool in self._pools.values():
            await pool.aclose()

    async def _send(self, request: HttpRequest, url: httpx.URL, access: Access, max_size_bytes: int) -> HttpAnswer:
        headers = [
            ("Host", url.netloc.decode("ascii")),
            ("Accept-Encoding", "gzip"),
            ("User-Agent", "greenroom"),
        ]
        given = {name.lower() for name, _ in request.headers}
        headers = [each for each in headers if each[0].lower() not in given] + list(request.headers)
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        try:
            async with self._pool(access).stream(
                request.method,
                target,
                headers=[(name.encode("latin-1"), text.encode("latin-1")) for name, text in headers],
                content=request.body,
                extensions={"timeout": {"connect": CONNECT_S}},
            ) as response:
                kept = {name.decode("latin-1").lower(): text.decode("latin-1") for name, text in response.headers}
                body = await _body(response, kept.get("content-encoding", ""), max_size_bytes)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.ConnectTimeout) as error:
            raise HttpFailed(str(error) or type(error).__name__) from error
        return HttpAnswer(url=str(url), status=response.status, headers=kept, body=body)

    def _pool(self, access: Access) -> httpcore.AsyncConnectionPool:
        """Connections that lead to public addresses and to those that `access` allows."""
        allowed = access.allowed_addresses()
        if allowed not in self._pools:
            if self._trusted is None:
                self._trusted = httpx.create_ssl_context(trust_env=False)
            self._pools[allowed] = httpcore.AsyncConnectionPool(
                ssl_context=self._trusted,
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=MAX_CONNECTIONS // 5,
                keepalive_expiry=_KEEPALIVE_S,
                http2=True,
                network_backend=GuardedBackend(Access(networks=allowed), self._resolver),
            )
        return self._pools[allowed]


async def _body(response: httpcore.Response, encoding: str, max_size_bytes: int) -> bytes:
    """The body, decompressed; never more than `max_size_bytes` and one chunk of it are in memory."""
    name = encoding.strip().lower()
    if name not in ("", "identity", *_WINDOW_BITS):
        raise BadAnswer(f"its answer is packed as {name[:20]}, which was not asked for", response.status)
    unpack = zlib.decompressobj(_WINDOW_BITS[name]) if name in _WINDOW_BITS else None
    body = bytearray()
    async for chunk in response.aiter_stream():
        if unpack is None:
            body += chunk
        else:
            try:
                body += unpack.decompress(chunk, max_size_bytes + 1 - len(body))
            except zlib.error as error:
                raise BadAnswer("its answer cannot be unpacked", response.status) from error
        if len(body) > max_size_bytes:
            raise BadAnswer(f"its answer has more than {max_size_bytes} bytes", response.status)
    if unpack is not None and body and not unpack.eof:
        raise HttpFailed("its answer broke off")
    return bytes(body)


def _url(text: str) -> httpx.URL:
    try:
        return httpx.URL(text)
    except httpx.InvalidURL as error:
        raise AccessDenied("it is no URL") from error


def _redirected(request: HttpRequest, url: httpx.URL, location: str) -> HttpRequest:
    """The request that follows a redirection. Raises `AccessDenied` if it leaves the protection of TLS."""
    try:
        target = url.join(location)
    except httpx.InvalidURL as error:
        raise BadAnswer("it redirects to what is no URL") from error
    if url.scheme == "https" and target.scheme != "https":
        raise AccessDenied("it redirects from https to http")
    if target.fragment:
        target = target.copy_with(fragment=None)
    headers = request.headers if same_origin(str(url), str(target)) else ()
    return msgspec.structs.replace(request, url=str(target), headers=headers)
