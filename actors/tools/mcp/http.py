"""The transport to an MCP server behind a URL: streamable HTTP as the SDK has it, with bounds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx2
from mcp.client._transport import TransportStreams
from mcp.client.streamable_http import streamable_http_client

from graphs.workflow.mcp import McpServer

CONNECT_S = 10.0


class TooLarge(httpx2.StreamError):
    """A response is larger than it may be."""


class _Bounded(httpx2.AsyncByteStream):
    """A response's body, up to so many bytes."""

    def __init__(self, inner: httpx2.AsyncByteStream, most_bytes: int) -> None:
        self._inner = inner
        self._most_bytes = most_bytes

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most_bytes
        async for chunk in self._inner:
            left -= len(chunk)
            if left < 0:
                raise TooLarge(f"more than max_result_bytes={self._most_bytes}")
            yield chunk

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def http_transport(server: McpServer, answered: Callable[[int], None]) -> AsyncIterator[TransportStreams]:
    """A way to `server`; requests are sent when there are messages.

    Args:
        server: The server, with secrets in the place of their names.
        answered: Told the HTTP status of each response.
    """

    async def look_at(response: httpx2.Response) -> None:
        answered(response.status_code)
        if not response.headers.get("content-type", "").startswith("text/event-stream"):  # its events are bounded
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Bounded(response.stream, server.max_result_bytes)

    async with (
        httpx2.AsyncClient(
            headers=server.headers,
            timeout=httpx2.Timeout(CONNECT_S, read=None),  # calls have a time limit of their own
            event_hooks={"response": [look_at]},
        ) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=server.max_result_bytes) as streams,
    ):
        yield streams
