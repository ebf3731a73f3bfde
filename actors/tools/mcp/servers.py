"""The MCP servers a process talks to: one connection to each, opened when it is needed, and again when it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import mcp_types
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from actors.errors import ToolUnavailable
from actors.tools.mcp.session import McpSession, SessionLost
from actors.tools.secrets import Secrets
from graphs.workflow.mcp import McpServer

_T = TypeVar("_T")

IDLE_S = 300.0
"""A connection that nobody has used for so long is closed, and with it the program at its end."""


class McpServers:
    """Connections by server.

    Args:
        logs: Directory for what programs say on their standard error.
        secrets: What servers may be given.
    """

    def __init__(self, logs: Path, secrets: Secrets) -> None:
        self._logs = logs
        self._secrets = secrets
        self._connections: dict[str, _Connection] = {}

    async def tools(self, server: McpServer, *, anew: bool = False) -> tuple[mcp_types.Tool, ...]:
        """What `server` offers; see `McpSession.tools`. Raises as `call`."""
        return await self._connection(server).ask(lambda session: session.tools(anew=anew))

    async def call(self, server: McpServer, tool: str, arguments: Mapping[str, Any], key: str | None) -> Any:
        """What a tool of `server` answers, as plain values, without the secrets that it repeats.

        Args:
            server: The server.
            tool: Its own name of the tool.
            arguments: Parameter -> value.
            key: The idempotency key of the call.

        Raises:
            ToolUnavailable: The server cannot be reached, or was lost during the call.
            ToolTimeout: The call took too long.
            ToolError: The tool has failed, or the server refuses the call.
        """
        output = await self._connection(server).ask(lambda session: session.call(tool, arguments, key))
        return self._secrets.without(output)

    async def close(self) -> None:
        """Close all connections, and stop the servers that were started."""
        connections, self._connections = self._connections, {}
        await asyncio.gather(*(connection.close() for connection in connections.values()))

    def _connection(self, server: McpServer) -> _Connection:
        key = server.model_dump_json()
        connection = self._connections.get(key)
        if connection is None:
            connection = _Connection(lambda: self._session(server), server.connect_timeout_s)
            self._connections[key] = connection
        return connection

    def _session(self, server: McpServer) -> McpSession:
        values = {ref: self._secrets.resolve(ref, f"MCP server {server.name}") for ref in server.secrets()}
        log = self._logs / f"mcp-{server.name}.log"
        return McpSession(server.with_secrets(values), log, self._secrets.shown)


class _Connection:
    """One session after the other with a server."""

    def __init__(self, begin: Callable[[], McpSession], connect_timeout_s: float) -> None:
        self._begin = begin
        self._connect_timeout_s = connect_timeout_s
        self._session: McpSession | None = None
        self._opening: asyncio.Task[McpSession] | None = None
        self._closing: asyncio.Task[None] | None = None
        self._users_count = 0
        self._idle: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def ask(self, request: Callable[[McpSession], Awaitable[_T]]) -> _T:
        """What `request` answers; it is made again if the session was over before it was made."""
        self._users_count += 1
        if self._idle is not None:
            self._idle.cancel()
        try:
            try:
                return await request(await self._open())
            except SessionLost:
                return await request(await self._open())
        except SessionLost as error:
            raise ToolUnavailable(f"the MCP server ends each session: {error}") from error
        finally:
            self._users_count -= 1
            if not self._users_count and not self._is_closed:
                self._idle = asyncio.get_running_loop().call_later(IDLE_S, self._let_go)

    async def close(self) -> None:
        """Close the session, whatever it is at; it is opened no more."""
        self._is_closed = True
        if self._idle is not None:
            self._idle.cancel()
        tasks = [task for task in (self._opening, self._closing) if task is not None]
        if self._opening is not None:
            self._opening.cancel()
        if tasks:
            await asyncio.wait(tasks)
        if self._session is not None:
            await self._session.close()

    def _let_go(self) -> None:
        if self._session is not None and not self._users_count:
            self._closing = asyncio.create_task(self._session.close(), name="closing of an idle MCP session")
            self._session = None

    async def _open(self) -> McpSession:
        if self._is_closed:
            raise ToolUnavailable("the process that talks to the MCP server is closing")
        if self._session is not None and not self._session.is_over:
            return self._session
        if self._opening is None or self._opening.done():
            self._opening = asyncio.create_task(self._reopen(), name="opening of an MCP session")
            self._opening.add_done_callback(_retrieve)
        return await asyncio.shield(self._opening)

    async def _reopen(self) -> McpSession:
        if self._session is not None:
            await self._session.close()
            self._session = None
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(ToolUnavailable),
            stop=stop_after_delay(self._connect_timeout_s),
            wait=wait_random_exponential(0.1, max=2),
            reraise=True,
        )
        session: McpSession = await retrying(self._try)
        self._session = session
        return session

    async def _try(self) -> McpSession:
        session = self._begin()
        try:
            await session.opened()
        except BaseException:
            await session.close()
            raise
        return session


def _retrieve(task: asyncio.Task[McpSession]) -> None:
    """Look at how a task ended that perhaps nobody waits for any more."""
    if not task.cancelled():
        task.exception()
