"""MCP servers and their tools, as data that workflows and configurations hold."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec
from pydantic import BaseModel, ConfigDict, Field, model_validator

from graphs.tools import Tool, ToolType, validate_tool_config
from graphs.workflow.endpoints import ToolData

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,31}")
_UNSPEAKABLE = re.compile(r"[^A-Za-z0-9_.-]")
_SECRET = re.compile(r"\bsecret:[a-z][a-z0-9_]*")


class McpServer(BaseModel):
    """An MCP server: a program to be started, or a URL.

    Values of `env` and `headers` may name secrets of the configuration, such as `Bearer secret:token`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    """Its tools are called `name.tool`."""
    command: str = ""
    """Program that speaks MCP on its standard input and output."""
    args: tuple[str, ...] = ()
    env: dict[str, str] = {}
    """Variables besides PATH, HOME and their like: the server does not see the environment of the executor."""
    cwd: str = ""
    url: str = ""
    """Endpoint of streamable HTTP, instead of a command."""
    headers: dict[str, str] = {}
    """Sent with each request to `url`."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Most seconds a call may take."""
    connect_timeout_s: float = Field(default=30.0, gt=0)
    """Most seconds until the server has answered first; it is tried again and again meanwhile."""
    max_result_bytes: int = Field(default=16 * 2**20, ge=1024)
    """Most bytes one message of the server may have."""
    permissions: tuple[str, ...] = ()
    """What a session needs to have for its tools."""
    requires_approval: bool | tuple[str, ...] = False
    """Whether a person is asked each time before one of its tools is called; or the names of those tools."""

    @model_validator(mode="after")
    def _check(self) -> McpServer:
        problem = _problem(self)
        if problem:
            raise ValueError(problem)
        return self

    def __hash__(self) -> int:
        return hash((self.name, self.command, self.url))

    def secrets(self) -> set[str]:
        """The secrets it names, each as `secret:NAME`."""
        return {ref for text in (*self.env.values(), *self.headers.values()) for ref in _SECRET.findall(text)}

    def with_secrets(self, values: Mapping[str, str]) -> McpServer:
        """The server with these values, by `secret:NAME`, in the place of the names."""

        def filled(texts: Mapping[str, str]) -> dict[str, str]:
            return {key: _SECRET.sub(lambda found: values[found[0]], text) for key, text in texts.items()}

        return self.model_copy(update={"env": filled(self.env), "headers": filled(self.headers)})


class McpTool(ToolData):
    """A tool of an MCP server."""

    kind: Literal["mcp"] = "mcp"
    server: McpServer
    tool: str
    """What the server calls it."""

    def described(self) -> Tool:
        """The tool that it is."""
        return self._tool(ToolType.MCP)

    def problems(self) -> list[str]:
        """All that is wrong with it, each with its path; empty if it is sound."""
        return [*validate_tool_config(self.described()), *self._unknown_required()]


def mcp_tool(server: McpServer, name: str, description: str, schema: Mapping[str, Any]) -> McpTool:
    """What a server offers, as a tool.

    Args:
        server: The server.
        name: Its own name of the tool. What our names cannot have becomes `_`.
        description: What people and models are told about it.
        schema: JSON schema of the arguments. Where it is one we cannot check, only names and types are kept of it, and
            checking the rest is left to the server, which does that anyway.
    """
    properties = {key: each if isinstance(each, dict) else {} for key, each in schema.get("properties", {}).items()}
    asks = server.requires_approval
    content = msgspec.json.encode([description, schema], order="deterministic")
    made = McpTool(
        server=server,
        tool=name,
        name=f"{server.name}.{_UNSPEAKABLE.sub('_', name)}",
        description=description,
        version=hashlib.sha256(content).hexdigest()[:8],
        parameters=properties,
        required=tuple(key for key in schema.get("required", ()) if key in properties),
        definitions=schema.get("$defs", {}),
        permissions=server.permissions,
        requires_approval=asks if isinstance(asks, bool) else name in asks,
    )
    if not made.problems():
        return made
    plain = {key: _plain(each) for key, each in properties.items()}
    return made.model_copy(update={"parameters": plain, "definitions": {}})


def _plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """What everybody understands of the schema of one parameter."""
    known = {"string", "number", "integer", "boolean", "array", "object"}
    plain: dict[str, Any] = {"type": schema["type"]} if schema.get("type") in known else {}
    description = schema.get("description")
    return plain | {"description": description} if isinstance(description, str) else plain


def _problem(server: McpServer) -> str:
    if not _NAME.fullmatch(server.name):
        return (
            f'"{server.name}" is no name of a server; use a letter or "_", then letters, digits, "_" and "-", '
            "32 characters at most"
        )
    if bool(server.command) == bool(server.url):
        return "give either a command or a url"
    if not server.url:
        return "headers belong to a url, not to a command" if server.headers else ""
    if urlsplit(server.url).scheme not in {"http", "https"} or not urlsplit(server.url).hostname:
        return "the url must begin with http:// or https:// and a host"
    if "@" in urlsplit(server.url).netloc:
        return "the url holds a user or password; use headers, which may name secrets"
    alien = [field for field in ("args", "env", "cwd") if getattr(server, field)]
    return f"{', '.join(alien)} belong to a command, not to a url" if alien else ""
