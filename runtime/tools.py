"""Tools as drivers see them: their own ones, those that are shipped, and running them outside of any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from actors.network import SUPERVISOR
from actors.protocol import FetchPool, Pool, RunTool, ToolDone
from actors.tools.factory import ToolFactory, build_tools
from graphs.tools import Tool, ToolExecutionResult, ToolType
from runtime.connection import Connection


class AsyncTools:
    """The tools of a driver.

    Args:
        connection: Its way to the actors.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._factory = ToolFactory()
        self._service = build_tools(factory=self._factory)
        self._functions: dict[str, Callable[..., Any]] = {}
        self._packed: dict[str, bytes] = {}

    @property
    def functions(self) -> Mapping[str, Callable[..., Any]]:
        """What was registered, by the names of the tools."""
        return self._functions

    def register(self, function: Callable[..., Any]) -> Tool:
        """Make a Python function a tool that this driver and the graphs it deploys can name.

        Args:
            function: What `@tool` has decorated, or a plain function with type hints.

        Raises:
            ValidationError: Listing everything that keeps the function from being a tool.
            BusinessRuleViolation: The name belongs to a builtin tool, or to another tool of the same version.
        """
        described, executor = self._factory.native(function)
        packed = self._connection.pack({described.name: function})
        self._service.register_tool(described, executor)
        self._functions[described.name] = function
        self._packed[described.name] = packed
        return described

    def list(
        self,
        tags: Iterable[str] | None = None,
        tool_type: ToolType | str | None = None,
        name_contains: str | None = None,
    ) -> list[Tool]:
        """Tools by name: those that have all of `tags`, are of `tool_type`, and have `name_contains` in their name."""
        kind = None if tool_type is None else ToolType(tool_type)
        return self._service.list_tools(tags, kind, name_contains)

    async def execute(self, name: str, arguments: Mapping[str, Any]) -> ToolExecutionResult:
        """Run the tool `name` in an executor.

        Returns:
            What it answered; a failure is a result too, with `error` set.

        Raises:
            NotFoundError: No such tool.
        """
        self._service.find(name)
        network = self._connection.network
        pool = await network.ask(SUPERVISOR, FetchPool(kind="tool"), Pool)
        request = RunTool(
            tool=name, arguments=msgspec.json.encode(dict(arguments)), function=self._packed.get(name, b"")
        )
        return (await network.ask(pool.executors[0], request, ToolDone)).result
