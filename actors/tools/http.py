"""HTTP for tools: one pool of connections in a process, bounded in time and size."""

from __future__ import annotations

import asyncio
import contextlib

import httpx
import msgspec

from graphs.workflow.requests import HttpRequest

MAX_CONNECTIONS = 100
CONNECT_S = 10.0
_TEXT_TYPES = frozenset({"application/xml", "application/javascript", "application/x-www-form-urlencoded"})


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What came back, whole."""

    status: int
    headers: dict[str, str]
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
        found = httpx.Response(self.status, headers={"content-type": self.headers.get("content-type", "")})
        try:
            return self.body.decode(found.charset_encoding or "utf-8", errors="replace")
        except LookupError:
            return self.body.decode(errors="replace")


class HttpFailed(Exception):
    """There was no answer, or it broke off."""


class TooLarge(Exception):
    """An answer is larger than allowed; the rest of it was not read."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class HttpClient:
    """Sends requests. Connections are opened when they are needed, and kept."""

    def __init__(self) -> None:
        self._client: httpx.AsyncClient | None = None

    async def send(self, request: HttpRequest, *, timeout_s: float, max_size_bytes: int) -> HttpAnswer:
        """Send a request, and read the answer whole. Redirections are not followed.

        Raises:
            TooLarge: It is larger than `max_size_bytes`, decompressed.
            TimeoutError: It was not there in time.
            HttpFailed: There is none.
        """
        client = self._opened()
        try:
            async with asyncio.timeout(timeout_s), contextlib.AsyncExitStack() as stack:
                sent = client.build_request(
                    request.method, request.url, headers=list(request.headers), content=request.body
                )
                response = await client.send(sent, stream=True)
                stack.push_async_callback(response.aclose)
                body = bytearray()
                async for chunk in response.aiter_bytes(chunk_size=65_536):
                    body += chunk
                    if len(body) > max_size_bytes:
                        raise TooLarge(response.status_code)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise HttpFailed(type(error).__name__) from error
        return HttpAnswer(status=response.status_code, headers=dict(response.headers), body=bytes(body))

    def _opened(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(
                http2=True,
                limits=httpx.Limits(max_connections=MAX_CONNECTIONS, max_keepalive_connections=20),
                timeout=httpx.Timeout(None, connect=CONNECT_S),
                # The environment is read in one place, and that is not here.
                trust_env=False,
            )
        return self._client

    async def close(self) -> None:
        """Close all connections."""
        if self._client is not None:
            await self._client.aclose()
