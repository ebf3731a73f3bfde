"""`greenroom tools`: the builtin tools, run in this process."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec
import typer

from actors.tools.factory import build_tools
from graphs.tools import ParameterDefinition, Tool
from runtime.cli.inputs import json_object
from runtime.cli.output import ExitCode, JsonFlag, Output
from runtime.documents import as_yaml, plain

app = typer.Typer(help="Look at tools and run them.", no_args_is_help=True)

COLUMNS = ("name", "type", "version", "parameters", "description")


@app.command("ls")
def list_tools(as_json: JsonFlag = False) -> None:
    """List the tools that workflows can name."""
    out = Output(as_json=as_json)
    tools = build_tools().list_tools()
    out.table(COLUMNS, [plain(tool) for tool in tools] if as_json else [_row(tool) for tool in tools])


@app.command()
def run(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of a tool.")],
    arguments: Annotated[str, typer.Option("--arguments", metavar="JSON", help="Parameter -> value.")] = "{}",
    as_json: JsonFlag = False,
) -> None:
    """Run a tool in this process and print its output. The exit code is 1 if it fails."""
    out = Output(as_json=as_json)
    result = asyncio.run(build_tools().execute_tool(name, json_object(arguments, "--arguments")))
    if as_json:
        out.data(plain(result))
    elif result.success:
        typer.echo(_text(result.output))
    if result.error is not None:
        out.error(result.error)
        raise typer.Exit(ExitCode.FAILED)


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
