"""`greenroom tools`: tools that are shipped or configured, run in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
import typer

from actors.tools.factory import ToolFactory, build_tools
from actors.tools.service import ToolService
from graphs.errors import NotFoundError
from graphs.suggest import did_you_mean
from graphs.tools import ParameterDefinition, Tool, ToolExecutionResult, ToolType
from runtime.cli.imports import import_tools
from runtime.cli.inputs import json_object
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.config import Config, load_config
from runtime.documents import as_yaml, plain
from runtime.options import tool_settings

app = typer.Typer(help="Look at tools and run them.", no_args_is_help=True)

app.command("import")(import_tools)

COLUMNS = ("name", "type", "version", "parameters", "description")


ServerOption = Annotated[
    str | None, typer.Option("--server", metavar="NAME", help="Only the tools of this MCP server of the configuration.")
]


@app.command("ls")
def list_tools(
    server: ServerOption = None,
    kind: Annotated[ToolType | None, typer.Option("--type", help="Only tools of this kind.")] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="TAG", help="Only tools with this tag; repeatable: all of them."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="Only tools with this in their name.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """List the tools that workflows can name: shipped ones, and those of the configuration."""
    out = Output(as_json=as_json)
    config = load_config()
    tools = asyncio.run(_listed(config, server, tags=tags, tool_type=kind, name_contains=name))
    out.table(COLUMNS, [plain(tool) for tool in tools] if as_json else [_row(tool) for tool in tools])


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a tool.")],
    arguments: Annotated[str, typer.Option("--arguments", metavar="JSON", help="Parameter -> value.")] = "{}",
    as_json: JsonFlag = False,
) -> None:
    """Run a tool in this process and print its output. The exit code is 1 if it fails."""
    out = Output(as_json=as_json)
    result = asyncio.run(_run(load_config(), name, json_object(arguments, "--arguments")))
    if as_json:
        out.data(plain(result))
    elif result.success:
        typer.echo(_text(result.output))
    if result.error is not None:
        out.error(result.error)
        raise typer.Exit(ExitCode.FAILED)


async def _listed(config: Config, server: str | None, **filters: Any) -> list[Tool]:
    async with _tools(config, config.mcp if server is None else [server]) as tools:
        return [tool for tool in tools.list_tools(**filters) if server is None or tool.name.startswith(f"{server}.")]


async def _run(config: Config, name: str, arguments: dict[str, Any]) -> ToolExecutionResult:
    server = name.partition(".")[0]
    async with _tools(config, [server] if server in config.mcp else []) as tools:
        return await tools.execute_tool(name, arguments)


@asynccontextmanager
async def _tools(config: Config, servers: Iterable[str]) -> AsyncIterator[ToolService]:
    """The shipped tools, those of the configuration, and those of these MCP servers of it."""
    factory = ToolFactory(settings=tool_settings(config))
    try:
        service = build_tools(factory=factory)
        for tool in config.tools.values():
            service.register_tool(*factory.data(tool))
        for name in servers:
            if name not in config.mcp:
                hint = did_you_mean(name, config.mcp) or "; write it to the section mcp"
                raise NotFoundError(f'no MCP server "{name}"{hint}', kind="MCP server", key=name)
            for found in await factory.mcp.tools(config.mcp[name]):
                service.register_tool(*factory.data(found))
        yield service
    finally:
        await factory.close()


def _text(output: Any) -> str:
    value = plain(output)
    if isinstance(value, dict):
        return as_yaml(value).rstrip()
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _row(tool: Tool) -> dict[str, Any]:
    return {
        "name": tool.name,
        "type": str(tool.tool_type),
        "version": tool.metadata.version,
        "parameters": [_parameter(parameter) for parameter in tool.config.parameters.values()],
        "description": " ".join(tool.metadata.description.split()),
    }


def _parameter(parameter: ParameterDefinition) -> str:
    return f"{parameter.name}:{parameter.parameter_type}{'' if parameter.required else '?'}"
