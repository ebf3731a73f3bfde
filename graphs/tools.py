"""What a tool is: its parameters, and whether arguments fit them. Running one is the business of `actors.tools`."""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import reprlib
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec
from pydantic import BaseModel

from graphs.errors import ErrorInfo
from graphs.journal import Usage
from graphs.json_schemas import schema_problems, value_problems
from graphs.suggest import did_you_mean

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


class ToolType(StrEnum):
    """Where a tool comes from."""

    BUILTIN = "builtin"  #: shipped with Greenroom
    NATIVE = "native"  #: a Python function of the user
    REST = "rest"  #: an HTTP endpoint
    MCP = "mcp"  #: a tool of an MCP server


class ParameterType(StrEnum):
    """Types of arguments: those of JSON. A boolean is no number."""

    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"
    ARRAY = "array"
    OBJECT = "object"
    ANY = "any"  #: what the schema of the parameter says, which allows several of them


class ParameterDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One parameter of a tool."""

    name: str
    parameter_type: ParameterType
    required: bool = True
    default_value: Any = None
    """Filled in where the argument is missing or null; None leaves it out."""
    description: str = ""
    schema: dict[str, Any] = {}
    """JSON schema (2020-12) of the argument, where more is known of it than its type."""


class ToolConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a tool takes."""

    parameters: dict[str, ParameterDefinition] = {}
    """Name -> definition, in the order of the signature."""
    definitions: dict[str, Any] = {}
    """What the schemas of the parameters refer to by `#/$defs/NAME`."""

    @property
    def required_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that must be given."""
        return tuple(name for name, parameter in self.parameters.items() if parameter.required)

    @property
    def optional_parameters(self) -> tuple[str, ...]:
        """Names of the parameters that may be left out."""
        return tuple(name for name, parameter in self.parameters.items() if not parameter.required)

    @property
    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of all arguments as one object: what models are told."""
        schema: dict[str, Any] = {
            "type": "object",
            "properties": {name: _parameter_schema(parameter) for name, parameter in self.parameters.items()},
            "required": list(self.required_parameters),
            "additionalProperties": False,
        }
        return schema | {"$defs": self.definitions} if self.definitions else schema


class ToolMetadata(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What people and models are told about a tool."""

    description: str = ""
    version: str = "1.0.0"
    author: str | None = None
    tags: tuple[str, ...] = ()


class Tool(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tool as data. Its executor, which does the work, is registered beside it."""

    id: str
    """`name@version`."""
    name: str
    """What graphs and models call it by."""
    tool_type: ToolType
    config: ToolConfig = ToolConfig()
    metadata: ToolMetadata = ToolMetadata()
    at_most_once: bool = False
    """Journalled before it is called, and never called again: what a crash interrupts has failed."""
    permissions: tuple[str, ...] = ()
    """What a session needs to have for it: one that lacks any of these cannot call it."""
    requires_approval: bool = False
    """Whether a person is asked each time before a workflow calls it."""


class ToolExecutionResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one execution went."""

    success: bool
    output: Any = None
    """What the tool answered, as plain values: those of JSON, bytes, dates and decimals. None after a failure."""
    error: ErrorInfo | None = None
    """Why it failed; None after a success."""
    execution_time_s: float = 0.0
    token_usage: Usage | None = None
    """Tokens it spent, for tools that ask models."""


def validate_tool_config(tool: Tool) -> list[str]:
    """All problems of a tool's definition, each beginning with its path; empty if it is sound."""
    problems = []
    if not _NAME.fullmatch(tool.name):
        problems.append(
            f'name: "{tool.name}" is no tool name; use a letter or "_", then letters, digits, "_", "-" and ".", '
            "64 characters at most"
        )
    definitions = tool.config.definitions
    problems += [
        f"definitions.{name}: {problem}"
        for name, schema in definitions.items()
        for problem in schema_problems(schema, definitions)
    ]
    for name, parameter in tool.config.parameters.items():
        path = f"parameters.{name}"
        if parameter.name != name:
            problems.append(f'{path}.name: is "{parameter.name}", must be "{name}"')
        problems += [f"{path}: {problem}" for problem in schema_problems(parameter.schema, definitions)]
        if parameter.default_value is None:
            continue
        if parameter.required:
            problems.append(f"{path}.default_value: a required parameter has none; make it optional")
        elif _coerce(parameter.parameter_type, parameter.default_value) is _UNFIT:
            problems.append(f"{path}.default_value: {_expected(parameter, parameter.default_value)}")
    return problems


def validate_parameters(config: ToolConfig, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fit `arguments` to the parameters of a tool.

    An argument of another type is converted where nothing can be lost or guessed: text that is a finite number for a
    number (`"3"` -> 3), a number for a string (3 -> `"3"`), the texts `true` and `false` for a boolean, a tuple for an
    array, a pydantic model or dataclass for an object. Null for an optional parameter counts as not given.

    Returns:
        The arguments to call the tool with, defaults filled in, in the order of the parameters; and all problems, each
        beginning with the parameter's name. The arguments are of use only if there are no problems.
    """
    fitting: dict[str, Any] = {}
    problems = []
    for name, parameter in config.parameters.items():
        given = arguments.get(name)
        if given is None:
            if parameter.required:
                problems.append(f"{name}: is required" + (", got null" if name in arguments else ""))
            elif parameter.default_value is not None:
                fitting[name] = copy.deepcopy(parameter.default_value)
            continue
        value = _coerce(parameter.parameter_type, given)
        if value is _UNFIT:
            problems.append(f"{name}: {_expected(parameter, given)}")
            continue
        fitting[name] = value
        if parameter.schema:
            problems += [
                f"{name}: {problem}" for problem in value_problems(value, parameter.schema, config.definitions)
            ]
    problems += [
        f"{name}: no such parameter{did_you_mean(str(name), config.parameters)}"
        for name in arguments
        if name not in config.parameters
    ]
    return fitting, problems


_UNFIT = object()


def _coerce(expected: ParameterType, value: Any) -> Any:
    """`value` as the expected type, or `_UNFIT`."""
    match expected:
        case ParameterType.STRING:
            if isinstance(value, str):
                return value
            return str(value) if _is_number(value) else _UNFIT
        case ParameterType.NUMBER:
            if isinstance(value, str):
                return _number_in(value)
            return value if _is_number(value) else _UNFIT
        case ParameterType.BOOLEAN:
            if isinstance(value, str):
                return {"true": True, "false": False}.get(value.strip().lower(), _UNFIT)
            return value if isinstance(value, bool) else _UNFIT
        case ParameterType.ARRAY:
            return list(value) if isinstance(value, list | tuple) else _UNFIT
        case ParameterType.OBJECT:
            return _object_in(value)
        case ParameterType.ANY:
            return value


def _parameter_schema(parameter: ParameterDefinition) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    if parameter.parameter_type is not ParameterType.ANY:
        schema["type"] = str(parameter.parameter_type)
    schema |= parameter.schema
    if parameter.description:
        schema["description"] = parameter.description
    if parameter.default_value is not None:
        schema["default"] = parameter.default_value
    return schema


def _object_in(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    fits = isinstance(value, Mapping) and all(isinstance(key, str) for key in value)
    return dict(value) if fits else _UNFIT


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number_in(text: str) -> Any:
    try:
        number = msgspec.convert(text.strip(), int | float, strict=False)
    except msgspec.ValidationError:
        return _UNFIT
    return _UNFIT if isinstance(number, float) and not math.isfinite(number) else number


def _expected(parameter: ParameterDefinition, value: Any) -> str:
    article = "an" if parameter.parameter_type in (ParameterType.ARRAY, ParameterType.OBJECT) else "a"
    return f"must be {article} {parameter.parameter_type}, got {reprlib.repr(value)}"
