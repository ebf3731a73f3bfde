"""One connection to an MCP server, for as long as it lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, TypeVar

import anyio
import httpx2
import mcp_types
from mcp.client import Client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from actors.errors import ToolError, ToolTimeout, ToolUnavailable
from actors.tools.mcp.http import http_transport
from actors.tools.mcp.results import failure_of, output_of
from actors.tools.mcp.stdio import stdio_transport
from graphs.workflow.mcp import McpServer

_T = TypeVar("_T")

IDEMPOTENCY_KEY = "greenroom/idempotency-key"
"""Where a call's `_meta` has the key that is the same each time one step runs."""
MAX_PAGES = 100
LISTEN_AGAIN_S = 5.0
"""How long after a subscription to changes was lost it is begun anew."""
LIMIT = "max_result_bytes"
"""Part of what is said when a server sends too much: that is no loss that another try would mend."""

_BUSY = (429, 502, 503, 504)
_SAID_BY_STATUS = "Server returned an error response"
_CLOSED = "Connection closed"
"""What the SDK says of each request when there is no connection any more."""
_UNKNOWN_SESSION = "Session terminated"
"""What the SDK says when a server behind a URL has forgotten the session, as one that was started again has."""
_LOSSES = (httpx2.TransportError, ConnectionError, TimeoutError, anyio.ClosedResourceError, anyio.BrokenResourceError)


class SessionLost(Exception):
    """The connection is over, and the request was not carried out."""


class McpSession:
    """A connection. It lives in a task of its own, since what opens it has to close it.

    Args:
        server: The server, with secrets in the place of their names.
        log: File for the standard error of its program.
        shown: Makes texts of servers fit for people: without secrets.
    """

    def __init__(self, server: McpServer, log: Path, shown: Callable[[str], str]) -> None:
        self._server = server
        self._log = log
        self._shown = shown
        self._tools: tuple[mcp_types.Tool, ...] | None = None
        """None: to be asked for."""
        self._changes_count = 0
        """How often the server has said that its tools have changed."""
        self._status = 0
        """HTTP status of the last response."""
        self._end = ""
        """Why nothing comes from the server any more."""
        self._leaving = asyncio.Event()
        self._client: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
        self._life = asyncio.create_task(self._live(), name=f"MCP server {server.name}")

    @property
    def is_over(self) -> bool:
        """Whether nothing can be asked by it any more."""
        return bool(self._end)

    async def opened(self) -> None:
        """Return when the server has answered first.

        Raises:
            ToolUnavailable: It cannot be reached just now.
            ToolError: It does not want to, or is no MCP server.
        """
        try:
            await asyncio.shield(self._client)
        except Exception as error:
            raise self._failure("be connected to", error) from error

    async def tools(self, *, anew: bool = False) -> tuple[mcp_types.Tool, ...]:
        """What it offers. Raises as `call`.

        Args:
            anew: Ask it in any case, as not every server tells of changes; else only if it has told of one.
        """
        if anew:
            self._tools = None
        while (tools := self._tools) is None:
            before = self._changes_count
            tools = await self._ask("list its tools", self._list)
            if before == self._changes_count:
                self._tools = tools
        return tools

    async def call(self, tool: str, arguments: Mapping[str, Any], idempotency_key: str | None) -> Any:
        """What a tool answers. When the call is cut off, by whoever waits or by the time limit, the server is told.

        Raises:
            SessionLost: It was not called.
            ToolUnavailable: The connection is lost, and what came of the call unknown.
            ToolTimeout: It took too long.
            ToolError: The tool has failed, the server refuses the call, or its answer is none.
        """
        name, timeout_s = self._server.name, self._server.timeout_s
        meta: Any = None if idempotency_key is None else {IDEMPOTENCY_KEY: idempotency_key}
        result = await self._ask(
            f"call {tool}", lambda client: client.call_tool(tool, dict(arguments), timeout_s, meta=meta)
        )
        if result.is_error:
            text = self._shown(failure_of(result))
            raise ToolError(f"{name}.{tool}: {text}", tool=f"{name}.{tool}", server=name)
        return output_of(result)

    async def close(self) -> None:
        """Hang up, and stop the server if it is a program of this session."""
        self._leaving.set()
        if not self._client.done():
            self._life.cancel()
        try:
            await asyncio.wait([self._life])
        except asyncio.CancelledError:
            self._life.cancel()
            raise

    async def _ask(self, what: str, ask: Callable[[Client], Awaitable[_T]]) -> _T:
        if self._end:
            raise SessionLost(self._end)
        try:
            return await ask(self._client.result())
        except (MCPError, RuntimeError, ValidationError, *_LOSSES) as error:
            raise self._failure(what, error) from error

    def _failure(self, what: str, error: Exception) -> Exception:
        """What went wrong, in our words."""
        name, code = self._server.name, error.code if isinstance(error, MCPError) else None
        text = str(error) or type(error).__name__
        if code == mcp_types.REQUEST_TIMEOUT:
            limit_s = self._server.timeout_s
            text = f"MCP server {name} took longer than {limit_s} s to {what}; raise its timeout_s"
            return ToolTimeout(text, server=name, timeout_s=limit_s)
        if code == mcp_types.INVALID_REQUEST and text == _UNKNOWN_SESSION:
            self._ended("it has forgotten this session")
            return SessionLost(self._end)
        is_lost = code == mcp_types.CONNECTION_CLOSED or isinstance(error, _LOSSES)
        if text == _CLOSED:
            self._ended("the connection was closed")
            text = self._end
        elif text == _SAID_BY_STATUS:
            text, is_lost = f"it answers with HTTP status {self._status}", self._status in _BUSY
        if is_lost and self._server.command:
            text += f"; its log is {self._log}"
        kind = ToolUnavailable if is_lost and LIMIT not in text else ToolError
        return kind(f"MCP server {name} cannot {what}: {self._shown(text)}", server=name)

    async def _live(self) -> None:
        """Open the connection, and keep it until it is to be closed or has ended."""
        try:
            async with AsyncExitStack() as stack:
                client = await self._connected(stack)
                self._client.set_result(client)
                following = asyncio.create_task(self._follow(client), name=f"tools of MCP server {self._server.name}")
                try:
                    await self._leaving.wait()
                finally:
                    following.cancel()
                    await asyncio.wait([following])
        except Exception as error:  # noqa: BLE001 - whoever asks is told
            self._over(_cause(error))
        finally:
            self._over(SessionLost("it was closed"))

    async def _connected(self, stack: AsyncExitStack) -> Client:
        limit_s = self._server.connect_timeout_s
        client = Client(self._transport(), cache=None, message_handler=self._heard)
        try:
            async with asyncio.timeout(limit_s) as deadline:
                return await stack.enter_async_context(client)
        except TimeoutError as error:
            if deadline.expired():
                raise TimeoutError(f"no answer within {limit_s} s; raise its connect_timeout_s") from error
            raise

    def _transport(self) -> Any:
        if self._server.command:
            return stdio_transport(self._server, self._log, self._ended)
        return http_transport(self._server, self._answered)

    def _over(self, error: Exception) -> None:
        self._ended(str(error) or type(error).__name__)
        if not self._client.done():
            self._client.set_exception(error)
            self._client.exception()  # it may be that nobody waits any more

    async def _list(self, client: Client) -> tuple[mcp_types.Tool, ...]:
        found: list[mcp_types.Tool] = []
        cursor: str | None = None
        async with asyncio.timeout(self._server.timeout_s):
            for _ in range(MAX_PAGES):
                page = await client.list_tools(cursor=cursor)
                found += page.tools
                cursor = page.next_cursor
                if cursor is None:
                    break
        return tuple(found)

    async def _follow(self, client: Client) -> None:
        """Hear of changes of its tools from a server that tells them to subscribers."""
        if client.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            return
        while True:
            try:
                async with client.listen(tools_list_changed=True) as changes:
                    async for _ in changes:
                        self._changed()
            except SubscriptionLost:
                self._changed()  # what has happened meanwhile nobody will tell
                await asyncio.sleep(LISTEN_AGAIN_S)
            except MCPError:
                return  # it does not tell them
            else:
                return

    async def _heard(self, message: Any) -> None:
        """Hear what a server says unasked; all but changes of its tools is ignored."""
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self._changed()

    def _changed(self) -> None:
        self._changes_count += 1
        self._tools = None

    def _answered(self, status: int) -> None:
        self._status = status

    def _ended(self, why: str) -> None:
        self._end = self._end or why
        self._leaving.set()


def _cause(error: BaseException) -> Exception:
    """What a group of one error is about."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else RuntimeError(str(error))


logging.getLogger("mcp").setLevel(logging.CRITICAL)  # what matters is raised; a server's words are not for terminals
