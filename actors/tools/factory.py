"""Makes tools: what they are, and what runs them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.blocking import BlockingPool
from actors.tools.builtin.calculator import calculator
from actors.tools.builtin.file_read import file_read_tool
from actors.tools.builtin.file_search import file_search_tool
from actors.tools.builtin.http_get import http_get_tool
from actors.tools.builtin.json_path import json_path
from actors.tools.builtin.moments import date_and_time
from actors.tools.builtin.read_result import read_result
from actors.tools.builtin.sql import sql
from actors.tools.builtin.text import text_search, text_slice
from actors.tools.builtin.text_stats import text_stats
from actors.tools.executor import FunctionExecutor, ToolExecutor
from actors.tools.http import HttpClient
from actors.tools.mcp.client import McpClient, McpExecutor
from actors.tools.native import tool_of
from actors.tools.rest import RestExecutor
from actors.tools.secrets import Secrets
from actors.tools.service import ToolService
from actors.tools.settings import ToolSettings
from graphs.errors import ValidationError
from graphs.tools import Tool, ToolType
from graphs.workflow.data_tools import DataTool
from graphs.workflow.mcp import McpTool

BUILTINS: tuple[Callable[..., Any], ...] = (
    calculator,
    date_and_time,
    json_path,
    read_result,
    sql,
    text_search,
    text_slice,
    text_stats,
)
"""Those that need nothing; `ToolFactory.builtins` has all."""

_THREADS = 64


class ToolFactory:
    """Makes tools of all kinds.

    Args:
        blocking: Threads for functions that are synchronous; its own if None.
        settings: What the tools may use and reach.
        http: Connections for those that need any; its own if None.
    """

    def __init__(
        self,
        blocking: BlockingPool | None = None,
        settings: ToolSettings | None = None,
        http: HttpClient | None = None,
    ) -> None:
        self._blocking = blocking or BlockingPool(_THREADS)
        self._settings = settings or ToolSettings()
        self._http = http or HttpClient()
        logs = Path(self._settings.logs or tempfile.gettempdir())
        self.mcp = McpClient(Secrets(self._settings.secrets), logs)
        """The way to MCP servers."""

    def builtins(self) -> Iterator[tuple[Tool, ToolExecutor]]:
        """All tools that are shipped."""
        reaching = (
            file_read_tool(self._settings),
            file_search_tool(self._settings),
            http_get_tool(self._settings, self._http),
        )
        for function in (*BUILTINS, *reaching):
            yield self.builtin(function)

    def builtin(self, function: Callable[..., Any]) -> tuple[Tool, ToolExecutor]:
        """A tool that is shipped."""
        described = msgspec.structs.replace(tool_of(function), tool_type=ToolType.BUILTIN)
        return described, FunctionExecutor(function, self._blocking)

    def native(self, function: Callable[..., Any]) -> tuple[Tool, ToolExecutor]:
        """The tool that a user's function is.

        Raises:
            ValidationError: Listing everything that keeps the function from being a tool.
        """
        return tool_of(function), FunctionExecutor(function, self._blocking)

    def data(self, tool: DataTool) -> tuple[Tool, ToolExecutor]:
        """The tool that data describes.

        Raises:
            ValidationError: Listing everything that is wrong with it.
        """
        problems = tool.problems()
        if problems:
            raise ValidationError(f'tool "{tool.name}": {"; ".join(problems)}', problems=problems, tool=tool.name)
        if isinstance(tool, McpTool):
            return tool.described(), McpExecutor(tool, self.mcp)
        return tool.described(), RestExecutor(tool, self._settings, self._http)

    async def close(self) -> None:
        """Stop the MCP servers that were started for its tools; connections that were given stay open."""
        await self.mcp.close()


def build_tools(functions: Iterable[Callable[..., Any]] = (), factory: ToolFactory | None = None) -> ToolService:
    """A service with the builtin tools, and a native tool for each of `functions`.

    Args:
        functions: What to make tools of.
        factory: What makes them; its own if None.

    Raises:
        ValidationError: One of the functions cannot be a tool.
        BusinessRuleViolation: Two of them, or one and a builtin tool, have one name.
    """
    service = ToolService()
    factory = factory or ToolFactory()
    for shipped in factory.builtins():
        service.register_tool(*shipped)
    for function in functions:
        service.register_tool(*factory.native(function))
    return service
