"""Tools as drivers see them: their own ones, those that are shipped, and running them outside of any thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pydantic

from actors.network import SUPERVISOR
from actors.protocol import DiscoverTools, FetchPool, Message, Pool, RunTool, ToolDone, ToolsDiscovered
from actors.tools.factory import ToolFactory, build_tools
from graphs.errors import NotFoundError, ValidationError
from graphs.state.specs import problems_of
from graphs.suggest import did_you_mean
from graphs.tools import Tool, ToolExecutionResult, ToolType
from graphs.workflow.data_tools import DataTool
from graphs.workflow.mcp import McpServer, McpTool
from graphs.workflow.openapi import import_openapi
from runtime.connection import Connection
from runtime.deployment import read_document

_Reply = TypeVar("_Reply", bound=Message)


class AsyncTools:
    """The tools of a driver.

    Args:
        connection: Its way to the actors.
        configured: The tools of its configuration.
        servers: The MCP servers of its configuration, by name.
    """

    def __init__(
        self,
        connection: Connection,
        configured: Iterable[DataTool] = (),
        servers: Mapping[str, McpServer] | None = None,
    ) -> None:
        self._connection = connection
        self._servers = dict(servers or {})
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

    async def register_mcp(self, name: str, **options: Any) -> list[Tool]:
        """Make the tools of an MCP server known, as `name.tool`; an executor asks the server for them.

        Args:
            name: What the server is called here.
            **options: `command`, `args`, `env`, `cwd` of a program, or `url` and `headers`; and the other fields of
                `McpServer`.

        Raises:
            ValidationError: An option is unknown or wrong.
            ToolUnavailable: The server cannot be reached.
            ToolError: It refuses to tell its tools, or is no MCP server.
            PackageMissing: The SDK is not installed where the executor runs.
        """
        try:
            self._servers[name] = McpServer(name=name, **options)
        except pydantic.ValidationError as error:
            problems = problems_of(error, "mcp")
            raise ValidationError(f'MCP server "{name}": {"; ".join(problems)}', problems=problems) from None
        return await self.discover(name)

    async def discover(self, server: str) -> list[Tool]:
        """Ask a registered or configured MCP server for its tools, which replace those it had before.

        Raises:
            NotFoundError: There is no such server.
            ToolUnavailable: It cannot be reached, or as `register_mcp` says.
        """
        if server not in self._servers:
            hint = did_you_mean(server, self._servers) or "; register it first, or write it to the section mcp"
            raise NotFoundError(f'no MCP server "{server}"{hint}', kind="MCP server", key=server)
        spec = self._servers[server].model_dump_json().encode()
        request = DiscoverTools(server=spec, settings=self._connection.tools)
        found = await self._ask(request, ToolsDiscovered)
        for name in [name for name, own in self._own.items() if isinstance(own, McpTool) and own.server.name == server]:
            del self._own[name]
            self._service.unregister_tool(name)
        return [self.register(McpTool.model_validate_json(data)) for data in found.tools]

    async def discover_named(self, names: Iterable[str]) -> None:
        """Ask the MCP servers that these names of tools begin with, if there are such. Raises as `discover`."""
        for server in sorted({name.partition(".")[0] for name in names if "." in name} & self._servers.keys()):
            await self.discover(server)

    def import_openapi(self, document: Mapping[str, Any] | str | Path, **options: Any) -> list[Tool]:
        """Register the operations of an API as tools.

        Args:
            document: An OpenAPI document (3.0 or 3.1), or the path of its JSON or YAML file.
            **options: `base_url`, `include`, `tags`, `auth` and `prefix`, see `graphs.workflow.openapi.import_openapi`.

        Raises:
            DocumentInvalid: Listing everything that is wrong, each with its JSON pointer; nothing is registered then.
            WorkflowFileError: The file cannot be read.
        """
        content = document if isinstance(document, Mapping) else read_document(document)
        return [self.register(tool) for tool in import_openapi(content, **options)]

    def list(
        self,
        tags: Iterable[str] | None = None,
        tool_type: ToolType | str | None = None,
        name_contains: str | None = None,
    ) -> list[Tool]:
        """Tools by name: those that have all of `tags`, are of `tool_type`, and have `name_contains` in their name.

        Those of an MCP server of the configuration are among them once they are discovered.
        """
        kind = None if tool_type is None else ToolType(tool_type)
        return self._service.list_tools(tags, kind, name_contains)

    async def execute(self, name: str, arguments: Mapping[str, Any]) -> ToolExecutionResult:
        """Run the tool `name` in an executor.

        Returns:
            What it answered; a failure is a result too, with `error` set.

        Raises:
            NotFoundError: No such tool.
        """
        if name not in self._own:
            await self.discover_named([name])
        self._service.find(name)
        own = self._own.get(name)
        request = RunTool(
            tool=name,
            arguments=msgspec.json.encode(dict(arguments)),
            function=b"" if isinstance(own, DataTool) else self._packed.get(name, b""),
            data=own.model_dump_json().encode() if isinstance(own, DataTool) else b"",
            settings=self._connection.tools,
        )
        return (await self._ask(request, ToolDone)).result

    async def _ask(self, request: RunTool | DiscoverTools, expected: type[_Reply]) -> _Reply:
        network = self._connection.network
        pool = await network.ask(SUPERVISOR, FetchPool(kind="tool"), Pool)
        return await network.ask(pool.executors[0], request, expected)
