"""Tool definitions, and arguments checked against them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from pydantic import BaseModel

from graphs.errors import ErrorInfo
from graphs.journal import Usage
from graphs.suggest import did_you_mean
from graphs.tools import (
    ParameterDefinition,
    ParameterType,
    Tool,
    ToolConfig,
    ToolExecutionResult,
    ToolMetadata,
    ToolType,
    validate_parameters,
    validate_tool_config,
)


@dataclass
class Point:
    x: int


class Place(BaseModel):
    at: Point


def config(**types: str) -> ToolConfig:
    """Required parameters of these types."""
    return ToolConfig(
        parameters={
            name: ParameterDefinition(name=name, parameter_type=ParameterType(kind)) for name, kind in types.items()
        }
    )


def optional(name: str, kind: str, default: Any = None) -> dict[str, ParameterDefinition]:
    parameter = ParameterDefinition(
        name=name, parameter_type=ParameterType(kind), required=False, default_value=default
    )
    return {name: parameter}


@pytest.mark.parametrize(
    ("kind", "given", "fitting"),
    [
        ("string", "x", "x"),
        ("string", 3, "3"),
        ("string", 1.5, "1.5"),
        ("number", 3, 3),
        ("number", 1.5, 1.5),
        ("number", "3", 3),
        ("number", " -2.5e3 ", -2500.0),
        ("boolean", False, False),
        ("boolean", "True", True),
        ("array", [1, "a"], [1, "a"]),
        ("array", (1, 2), [1, 2]),
        ("object", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("object", Point(x=1), {"x": 1}),
        ("object", Place(at=Point(x=1)), {"at": {"x": 1}}),
    ],
)
def test_arguments_that_fit(kind: str, given: Any, fitting: Any) -> None:
    arguments, problems = validate_parameters(config(p=kind), {"p": given})

    assert (arguments, problems) == ({"p": fitting}, [])
    assert type(arguments["p"]) is type(fitting)


@pytest.mark.parametrize(
    ("kind", "given", "shown"),
    [
        ("string", True, "a string, got True"),
        ("string", ["a"], "a string, got ['a']"),
        ("number", True, "a number, got True"),
        ("number", "3 apples", "a number, got '3 apples'"),
        ("number", "nan", "a number, got 'nan'"),
        ("number", "Infinity", "a number, got 'Infinity'"),
        ("number", "1_000", "a number, got '1_000'"),
        ("number", "", "a number, got ''"),
        ("boolean", 1, "a boolean, got 1"),
        ("boolean", "yes", "a boolean, got 'yes'"),
        ("array", "[1]", "an array, got '[1]'"),
        ("array", {"a": 1}, "an array, got {'a': 1}"),
        ("object", [1], "an object, got [1]"),
        ("object", {1: 2}, "an object, got {1: 2}"),
    ],
)
def test_arguments_that_do_not_fit(kind: str, given: Any, shown: str) -> None:
    assert validate_parameters(config(p=kind), {"p": given}) == ({}, [f"p: must be {shown}"])


def test_all_problems_are_found_at_once() -> None:
    parameters = config(expression="string", digits="number", deep="object").parameters | optional("tags", "array")

    arguments, problems = validate_parameters(
        ToolConfig(parameters=parameters), {"expresion": "1+1", "digits": "many", "deep": None, "tags": ["x"], "zzz": 1}
    )

    assert arguments == {"tags": ["x"]}
    assert problems == [
        "expression: is required",
        "digits: must be a number, got 'many'",
        "deep: is required, got null",
        'expresion: no such parameter; did you mean "expression"?',
        "zzz: no such parameter",
    ]


def test_defaults_are_filled_in_and_null_counts_as_not_given() -> None:
    tool_config = ToolConfig(
        parameters=optional("a", "number", 5) | optional("b", "string") | optional("c", "boolean", default=False)
    )

    assert validate_parameters(tool_config, {"c": None}) == ({"a": 5, "c": False}, [])
    assert tool_config.required_parameters == ()
    assert tool_config.optional_parameters == ("a", "b", "c")


def test_a_default_is_not_shared_between_calls() -> None:
    tool_config = ToolConfig(parameters=optional("tags", "array", []))

    validate_parameters(tool_config, {})[0]["tags"].append("mine")

    assert validate_parameters(tool_config, {}) == ({"tags": []}, [])


def test_long_values_are_cut_in_problems() -> None:
    _, problems = validate_parameters(config(p="number"), {"p": "x" * 10_000})

    assert problems == ["p: must be a number, got 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"]


def test_a_sound_tool_has_no_problems() -> None:
    assert validate_tool_config(Tool(id="t@1", name="my.tool-1", tool_type=ToolType.NATIVE)) == []


def test_all_problems_of_a_definition_are_found_at_once() -> None:
    tool = Tool(
        id="bad name@1",
        name="bad name",
        tool_type=ToolType.NATIVE,
        config=ToolConfig(
            parameters={
                "a": ParameterDefinition(name="b", parameter_type=ParameterType.STRING),
                "c": ParameterDefinition(name="c", parameter_type=ParameterType.NUMBER, default_value=3),
                **optional("d", "number", "three"),
            }
        ),
    )

    assert validate_tool_config(tool) == [
        'name: "bad name" is no tool name; use a letter or "_", then letters, digits, "_", "-" and ".", '
        "64 characters at most",
        'parameters.a.name: is "b", must be "a"',
        "parameters.c.default_value: a required parameter has none; make it optional",
        "parameters.d.default_value: must be a number, got 'three'",
    ]


def test_entities_survive_encoding() -> None:
    tool = Tool(
        id="t@1.0.0",
        name="t",
        tool_type=ToolType.NATIVE,
        config=ToolConfig(parameters=optional("d", "number", 3)),
        metadata=ToolMetadata(description="does it", author="ada", tags=("x",)),
    )
    result = ToolExecutionResult(
        success=False,
        error=ErrorInfo(code="ToolError", message="no"),
        execution_time_s=0.5,
        token_usage=Usage(prompt_tokens=1, completion_tokens=2, calls=1),
    )

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(tool), type=Tool) == tool
    assert msgspec.json.decode(msgspec.json.encode(tool), type=Tool) == tool
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(result), type=ToolExecutionResult) == result


def test_did_you_mean() -> None:
    assert did_you_mean("anwser", ["answer", "ask"]) == '; did you mean "answer"?'
    assert did_you_mean("x", ["answer"]) == ""
