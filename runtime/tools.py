"""Tools as drivers see them: their own ones, those that are shipped, and running them outside of any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from actors.network import SUPERVISOR
from actors.protocol import FetchPool, Pool, RunTool, ToolDone
from actors.tools.factory import ToolFactory, build_tools
from graphs.tools import Tool, ToolExecutionResult, ToolType
from graphs.workflow.endpoints import DataTool
from runtime.connection import Connection


class AsyncTools:
    """The tools of a driver.

    Args:
        connection: Its way to the actors.
        configured: The tools of its configuration.
    """

    def __init__(self, connection: Connection, configured: Iterable[DataTool] = ()) -> None:
        self._connection = connection
        self._factory = ToolFactory()
        self._service = build_tools(factory=self._factory)
        self._own: dict[str, Callable[..., Any] | DataTool] = {}
        self._packed: dict[str, bytes] = {}
        for tool in configured:
            self.register(tool)

    @property
    def own(self) -> Mapping[str, Callable[..., Any] | DataTool]:
        """What was registered or configured, by the names of the tools."""
        return self._own

    def register(self, tool: Callable[..., Any] | DataTool) -> Tool:
        """Make a tool known that this driver and the graphs it deploys can name.

        Args:
            tool: What `@tool` has decorated, a plain function with type hints, or a tool that is data.

        Raises:
            ValidationError: Listing everything that is wrong with it, or keeps the function from being a tool.
            BusinessRuleViolation: The name belongs to a builtin tool, or to another tool of the same version.
        """
        if isinstance(tool, DataTool):
            described, executor = self._factory.data(tool)
            self._service.register_tool(described, executor)
        else:
            described, executor = self._factory.native(tool)
            packed = self._connection.pack({described.name: tool})
            self._service.register_tool(described, executor)
            self._packed[described.name] = packed
        self._own[described.name] = tool
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
        own = self._own.get(name)
        request = RunTool(
            tool=name,
            arguments=msgspec.json.encode(dict(arguments)),
            function=b"" if isinstance(own, DataTool) else self._packed.get(name, b""),
            data=own.model_dump_json().encode() if isinstance(own, DataTool) else b"",
            settings=self._connection.tools,
        )
        return (await network.ask(pool.executors[0], request, ToolDone)).result
