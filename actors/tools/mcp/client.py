"""The MCP tools of a process: running and listing them. The SDK is loaded when the first server is needed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.errors import PackageMissing, ToolError
from actors.tools.secrets import Secrets
from graphs.suggest import did_you_mean
from graphs.tools import Tool
from graphs.workflow.mcp import McpServer, McpTool, mcp_tool

if TYPE_CHECKING:
    from actors.tools.mcp.servers import McpServers


class McpClient:
    """The way to MCP servers.

    Args:
        secrets: What servers may be given.
        logs: Directory for what programs say on their standard error.
    """

    def __init__(self, secrets: Secrets, logs: Path) -> None:
        self._secrets = secrets
        self._logs = logs
        self._servers: McpServers | None = None

    async def tools(self, server: McpServer) -> list[McpTool]:
        """What `server` offers now; tools whose names are too long for ours are left out. Raises as `call`."""
        servers = await self._open()
        made = [
            mcp_tool(server, tool.name, tool.description or "", tool.input_schema)
            for tool in await servers.tools(server, anew=True)
        ]
        return [tool for tool in made if not tool.problems()]

    async def call(self, tool: McpTool, arguments: Mapping[str, Any], idempotency_key: str | None) -> Any:
        """What `tool` answers, as plain values.

        Raises:
            PackageMissing: The SDK is not installed.
            ToolUnavailable: The server cannot be reached, or was lost during the call.
            ToolTimeout: The call took too long.
            ToolError: The server has no such tool any more, the tool has failed, or the server refuses the call.
        """
        servers = await self._open()
        offered = [each.name for each in await servers.tools(tool.server)]
        if tool.tool not in offered:
            offered = [each.name for each in await servers.tools(tool.server, anew=True)]
        if tool.tool not in offered:
            hint = did_you_mean(tool.tool, offered) or f"; there are {', '.join(offered)}"
            raise ToolError(
                f"{tool.name}: MCP server {tool.server.name} offers no tool {tool.tool!r} any more{hint}",
                tool=tool.name,
                server=tool.server.name,
            )
        return await servers.call(tool.server, tool.tool, arguments, idempotency_key)

    async def close(self) -> None:
        """Close all connections, and stop the servers that were started."""
        if self._servers is not None:
            await self._servers.close()

    async def _open(self) -> McpServers:
        if self._servers is None:
            make = await asyncio.to_thread(_load)  # it takes half a second
            if self._servers is None:
                self._servers = make(self._logs, self._secrets)
        return self._servers


class McpExecutor:
    """Runs one tool of an MCP server.

    Args:
        tool: The tool.
        client: The way to its server.
    """

    def __init__(self, tool: McpTool, client: McpClient) -> None:
        self._tool = tool
        self._client = client

    async def execute(self, tool: Tool, arguments: Mapping[str, Any], *, idempotency_key: str | None) -> Any:
        """Call it; see `McpClient.call`."""
        return await self._client.call(self._tool, arguments, idempotency_key)


def _load() -> type[McpServers]:
    try:
        from actors.tools.mcp.servers import McpServers
    except ImportError as error:
        raise PackageMissing(
            f"MCP tools need the package mcp ({error}); install it with: pip install 'greenroom[mcp]'", package="mcp"
        ) from error
    return McpServers
