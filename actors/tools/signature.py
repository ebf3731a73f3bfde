"""What a Python function takes, read from its signature and docstring: the parameters of the tool it becomes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import docstring_parser
import msgspec
from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from graphs import errors
from graphs.tools import ParameterDefinition, ParameterType, ToolConfig

IDEMPOTENCY_KEY = "idempotency_key"
"""A parameter of this name is no parameter of the tool: it receives the key of the execution, `str | None`."""

_JSON_TYPES = {"integer": ParameterType.NUMBER} | {str(kind): kind for kind in ParameterType}
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Signature(msgspec.Struct, frozen=True, kw_only=True):
    """How to call a function with a tool's arguments."""

    description: str
    """The docstring without its sections."""
    config: ToolConfig
    adapters: dict[str, TypeAdapter[Any]]
    """Parameter -> what converts plain values to its annotation."""
    undefaulted: frozenset[str]
    """Parameters the function itself has no default for."""
    takes_key: bool
    """Whether it wants the idempotency key."""

    def convert(self, arguments: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """`arguments`, checked against the tool's config, as the annotated types; and all problems."""
        converted: dict[str, Any] = {}
        problems = []
        for name, adapter in self.adapters.items():
            if name not in arguments:
                if name in self.undefaulted:
                    converted[name] = None
                continue
            try:
                converted[name] = adapter.validate_python(arguments[name])
            except ValidationError as error:
                problems += [
                    f"{'.'.join([name, *map(str, detail['loc'])])}: {detail['msg']}"
                    for detail in error.errors(include_url=False, include_context=False, include_input=False)
                ]
        return converted, problems


def read_signature(function: Callable[..., Any], name: str) -> Signature:
    """The signature of `function`, which becomes the tool `name`.

    Each parameter needs a type hint with one JSON type (string, number, boolean, array or object). A parameter with a
    default, or one that may be None, is optional.

    Raises:
        ValidationError: Listing every parameter that no tool can have.
    """
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError, ValueError) as error:
        raise _invalid(name, [f"its signature cannot be read: {error}"]) from error
    description, descriptions = _documented(function)
    definitions: dict[str, ParameterDefinition] = {}
    adapters: dict[str, TypeAdapter[Any]] = {}
    problems = []
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        problems.append("it yields; return the whole answer instead")
    for parameter in signature.parameters.values():
        if parameter.name == IDEMPOTENCY_KEY:
            continue
        try:
            adapter = _adapter(parameter)
            definitions[parameter.name] = _definition(parameter, adapter, descriptions.get(parameter.name, ""))
        except _Unfit as error:
            problems.append(f"{parameter.name}: {error}")
        else:
            adapters[parameter.name] = adapter
    if problems:
        raise _invalid(name, problems)
    return Signature(
        description=description,
        config=ToolConfig(parameters=definitions),
        adapters=adapters,
        undefaulted=frozenset(
            parameter.name for parameter in signature.parameters.values() if parameter.default is parameter.empty
        ),
        takes_key=IDEMPOTENCY_KEY in signature.parameters,
    )


class _Unfit(Exception):
    """A parameter that no tool can have."""


def _invalid(name: str, problems: list[str]) -> errors.ValidationError:
    return errors.ValidationError(f'tool "{name}": {"; ".join(problems)}', problems=problems, tool=name)


def _documented(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Description of the function, and of each parameter."""
    text = inspect.getdoc(function) or ""
    try:
        parsed = docstring_parser.parse(text)
    except docstring_parser.ParseError:
        return text, {}
    return parsed.description or "", {param.arg_name: param.description or "" for param in parsed.params}


def _adapter(parameter: inspect.Parameter) -> TypeAdapter[Any]:
    if parameter.kind not in _NAMED:
        raise _Unfit("arguments are given by name; write a named parameter")
    if parameter.annotation is parameter.empty:
        raise _Unfit("has no type hint; write one, such as `str`")
    try:
        return TypeAdapter(parameter.annotation)
    except (PydanticUserError, NameError) as error:
        raise _Unfit(str(error).partition("\n")[0]) from error


def _definition(parameter: inspect.Parameter, adapter: TypeAdapter[Any], description: str) -> ParameterDefinition:
    try:
        schema = adapter.json_schema(mode="serialization")
    except PydanticUserError as error:
        raise _Unfit(str(error).partition("\n")[0]) from error
    names = _type_names(schema, schema.get("$defs", {}))
    kinds = {_JSON_TYPES[name] for name in names if name in _JSON_TYPES}
    if len(kinds) != 1:
        raise _Unfit("must have exactly one of the types string, number, boolean, array and object; narrow its hint")
    return ParameterDefinition(
        name=parameter.name,
        parameter_type=kinds.pop(),
        required=parameter.default is parameter.empty and "null" not in names,
        default_value=_plain_default(parameter, adapter),
        description=description or schema.get("description", ""),
    )


def _type_names(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> set[str]:
    """JSON types a value of this JSON schema may have."""
    if "$ref" in schema:
        return _type_names(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "type" in schema:
        return {schema["type"]}
    options = schema.get("anyOf") or schema.get("oneOf") or ()
    return set().union(*(_type_names(option, definitions) for option in options))


def _plain_default(parameter: inspect.Parameter, adapter: TypeAdapter[Any]) -> Any:
    """The default as a plain value; None where it has no such form, so that the function's own default applies."""
    if parameter.default is parameter.empty or parameter.default is None:
        return None
    try:
        return adapter.dump_python(parameter.default, mode="json", warnings="error")
    except PydanticSerializationError:
        return None
