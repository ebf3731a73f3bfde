"""MCP servers and their tools as data: what is sound, and what becomes of the schemas of servers."""

from __future__ import annotations

from typing import Any

import pydantic
import pytest

from graphs.tools import ParameterType, ToolType, validate_parameters
from graphs.workflow.mcp import McpServer, mcp_tool

SERVER = McpServer(name="files", command="mcp-files", permissions=("files",), requires_approval=("delete",))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "give either a command or a url"),
        ({"command": "x", "url": "http://a/b"}, "give either a command or a url"),
        ({"url": "ftp://a/b"}, "the url must begin with http:// or https:// and a host"),
        ({"url": "http://"}, "the url must begin with http:// or https:// and a host"),
        ({"url": "https://me:pass@a/b"}, "the url holds a user or password"),
        ({"url": "http://a/b", "args": ["x"], "cwd": "/"}, "args, cwd belong to a command, not to a url"),
        ({"command": "x", "headers": {"a": "b"}}, "headers belong to a url, not to a command"),
        ({"command": "x", "name": "a.b"}, '"a.b" is no name of a server'),
        ({"command": "x", "timeout_s": 0}, "greater than 0"),
        ({"command": "x", "shell": True}, "Extra inputs are not permitted"),
    ],
)
def test_what_no_server_can_be(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(pydantic.ValidationError, match=problem):
        McpServer(**{"name": "files", **options})


def test_secrets_are_named_and_filled_in() -> None:
    server = McpServer(name="web", url="https://a/b", headers={"Authorization": "Bearer secret:token", "X": "plain"})
    assert server.secrets() == {"secret:token"}
    assert server.with_secrets({"secret:token": "t"}).headers == {"Authorization": "Bearer t", "X": "plain"}
    program = McpServer(name="files", command="x", env={"A": "secret:a", "B": "nosecret:b"})
    assert program.secrets() == {"secret:a"}


def test_a_tool_keeps_the_schema_it_is_offered_with() -> None:
    schema = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "Where."},
            "lines": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": 10},
            "options": {"$ref": "#/$defs/Options"},
        },
        "required": ["path"],
        "$defs": {"Options": {"type": "object", "properties": {"deep": {"type": "boolean"}}}},
    }
    tool = mcp_tool(SERVER, "read", "Read a file.", schema).described()

    assert (tool.name, tool.tool_type, tool.metadata.description) == ("files.read", ToolType.MCP, "Read a file.")
    assert (tool.permissions, tool.requires_approval) == (("files",), False)
    assert tool.config.required_parameters == ("path",)
    assert tool.config.parameters["options"].parameter_type is ParameterType.OBJECT
    assert tool.config.json_schema["$defs"] == schema["$defs"]
    assert validate_parameters(tool.config, {"path": "a", "options": {"deep": True}}) == (
        {"path": "a", "lines": 10, "options": {"deep": True}},
        [],
    )
    _, problems = validate_parameters(tool.config, {"path": "a", "options": {"deep": 1}, "extra": 1})
    assert problems == ["options: deep: 1 is not of type 'boolean'", "extra: no such parameter"]


def test_a_dangerous_tool_asks_and_another_schema_is_another_version() -> None:
    first = mcp_tool(SERVER, "delete", "", {"type": "object"}).described()
    second = mcp_tool(SERVER, "delete", "", {"type": "object", "properties": {"path": {"type": "string"}}}).described()
    assert first.requires_approval
    assert first.metadata.version != second.metadata.version
    assert mcp_tool(SERVER, "delete", "", {"type": "object"}).described() == first


@pytest.mark.parametrize(
    "parameter",
    [
        {"type": "string", "$ref": "https://elsewhere/schema.json"},
        {"type": "string", "$ref": "#/definitions/Old"},
        {"type": "string", "minLength": "three"},
    ],
)
def test_of_a_schema_that_cannot_be_checked_names_and_types_are_kept(parameter: dict[str, Any]) -> None:
    tool = mcp_tool(SERVER, "read", "", {"properties": {"path": parameter}, "required": ["path"]})
    assert tool.problems() == []
    assert tool.parameters == {"path": {"type": "string"}}
    assert tool.described().config.required_parameters == ("path",)


def test_names_become_those_that_can_be_spoken() -> None:
    assert mcp_tool(SERVER, "read/all files", "", {}).name == "files.read_all_files"
    assert mcp_tool(SERVER, "x" * 80, "", {}).problems() != []
