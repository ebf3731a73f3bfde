"""From Python annotations to the types of values that channels hold."""

from __future__ import annotations

import datetime as dt
import enum
import typing
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NewType, Union

import pydantic

from graphs.errors import SchemaError
from graphs.messages import Message
from graphs.state.containers import ListType, MapType, NullableType, StructType
from graphs.state.fields import Field, fields_of, has_fields
from graphs.state.types import JSON, SCALARS, TABLES, EnumType, MisfitError, ValueType

_ANYTHING = (Any, object, pydantic.JsonValue)
_INSTEAD: dict[Any, str] = {
    tuple: "use list[...], or a model with a field for each part",
    set: "use list[...]",
    frozenset: "use list[...]",
    complex: "use a model with two floats",
    dt.time: "use a string",
    dt.timedelta: "use a float of seconds",
}


def value_type(annotation: Any, path: str, problems: list[str]) -> ValueType:
    """The type of values that `annotation` describes.

    Args:
        annotation: A type as it stands in a class.
        path: Where it stands, for problems.
        problems: What has no mapping is added here, and stands as JSON in the result.
    """
    inner = bare(annotation)
    if isinstance(inner, type) and inner in TABLES:
        table = TABLES[inner]
        return NullableType(table) if _is_union(annotation) else table
    return _Reader(problems).read(annotation, path)


def bare(annotation: Any) -> Any:
    """`annotation` without `Annotated`, type aliases, `NewType` and `| None` around it."""
    while True:
        if typing.get_origin(annotation) is Annotated:
            annotation = typing.get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif _is_alias(annotation):
            annotation = annotation.__value__
        elif _is_union(annotation) and len(others := _but_none(annotation)) == 1 and others != [Any]:
            (annotation,) = others
        else:
            return annotation


class _Reader:
    def __init__(self, problems: list[str]) -> None:
        self._problems = problems
        self._open: list[Any] = []

    def read(self, annotation: Any, path: str) -> ValueType:
        if annotation in _ANYTHING:
            return JSON
        if isinstance(annotation, NewType):
            return self.read(annotation.__supertype__, path)
        if _is_alias(annotation):
            return self.read(annotation.__value__, path)
        if annotation in (list, dict):
            return self._generic(annotation, (Any,) if annotation is list else (str, Any), path)
        if isinstance(annotation, type) and typing.get_origin(annotation) is None:
            return self._class(annotation, path)
        return self._generic(typing.get_origin(annotation), typing.get_args(annotation), path, annotation)

    def _generic(self, origin: Any, args: tuple[Any, ...], path: str, annotation: Any = None) -> ValueType:
        if origin is Annotated:
            return self.read(args[0], path)
        if origin in (Union, UnionType):
            return self._union(args, path)
        if origin is Literal:
            return self._choice(args, path)
        if origin is list:
            return ListType(self.read(args[0], f"{path}[]"))
        if origin is dict:
            if args[0] is not str:
                return self._unmapped(path, f"dict keys must be str, and are {_name(args[0])}")
            return MapType(SCALARS[str], self.read(args[1], f"{path}[]"))
        return self._unmapped(path, _no_mapping(annotation if origin is None else origin, annotation))

    def _class(self, python: type, path: str) -> ValueType:
        if python in SCALARS:
            return SCALARS[python]
        if python is pydantic.AwareDatetime:
            return SCALARS[dt.datetime]
        if issubclass(python, enum.Enum):
            return self._enum([member.value for member in python], path, python)
        if python in self._open:
            return self._unmapped(path, f"{python.__name__} contains itself, which Arrow cannot hold; use Any")
        if not has_fields(python):
            return self._unmapped(path, _no_mapping(python, python))
        self._open.append(python)
        try:
            return self._struct(python, path)
        except SchemaError as error:
            return self._unmapped(path, error.message)
        finally:
            self._open.pop()

    def _struct(self, python: type, path: str) -> ValueType:
        fields = fields_of(python)
        types = {field.name: self.read(field.annotation, f"{path}.{field.name}") for field in fields}
        for field in fields:
            if field.optional and isinstance(types[field.name], NullableType):
                self._unmapped(
                    f"{path}.{field.name}", "a missing key and None are the same in Arrow; drop NotRequired or None"
                )
        spec = {field.name: self._field_spec(field, types[field.name], f"{path}.{field.name}") for field in fields}
        optional = [field.name for field in fields if field.optional]
        return StructType(python, types, "message" if python is Message else {"struct": spec}, optional)

    def _field_spec(self, field: Field, kind: ValueType, path: str) -> Any:
        if field.optional:
            return {"type": {"nullable": kind.spec}, "default": None}
        if field.required:
            return kind.spec
        if field.default is None:
            if isinstance(kind, NullableType) or kind is JSON:
                return {"type": kind.spec, "default": None}
            self._unmapped(path, "its default is None, but its type does not allow None; add `| None` to it")
            return kind.spec
        try:
            return {"type": kind.spec, "default": kind.plain(kind.settle(field.default), text=True)}
        except (MisfitError, UnicodeDecodeError) as error:
            self._unmapped(path, f"its default {error}")
            return kind.spec

    def _union(self, args: Iterable[Any], path: str) -> ValueType:
        others = [each for each in args if each is not NoneType]
        if Any in others:
            return JSON
        if len(others) > 1:
            names = " and ".join(map(_name, others))
            return self._unmapped(path, f"a union of {names} has no mapping; use one of them, or Any")
        item = self.read(others[0], path)
        return item if item is JSON or isinstance(item, NullableType) else NullableType(item)

    def _choice(self, values: tuple[Any, ...], path: str) -> ValueType:
        kind = self._enum([value for value in values if value is not None], path)
        return NullableType(kind) if None in values else kind

    def _enum(self, values: list[Any], path: str, python: type[enum.Enum] | None = None) -> ValueType:
        # Members of `class Kind(str, Enum)` are strings themselves; their values are plain ones.
        kinds = {type(value) for value in values}
        if kinds not in ({str}, {int}):
            return self._unmapped(path, "the values of an enum or Literal must all be strings or all be integers")
        return EnumType(values, python)

    def _unmapped(self, path: str, problem: str) -> ValueType:
        self._problems.append(f"{path}: {problem}")
        return JSON


def _no_mapping(kind: Any, annotation: Any) -> str:
    instead = _INSTEAD.get(kind, "use a mapped type, a model, or Any")
    if kind in TABLES:
        instead = "a table must be a channel of its own"
    return f"{_name(annotation)} has no mapping to Arrow; {instead}"


def _but_none(annotation: Any) -> list[Any]:
    return [each for each in typing.get_args(annotation) if each is not NoneType]


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (Union, UnionType)


def _is_alias(annotation: Any) -> bool:
    return hasattr(annotation, "__value__") and type(annotation).__name__ == "TypeAliasType"


def _name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)
