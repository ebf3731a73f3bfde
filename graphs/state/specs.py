"""From the spec of a state, as YAML or JSON hold it, to Python annotations.

A type is a name (`string`, `int64`, `json`, ...) or a mapping with one key: `{list: T}`, `{map: T}`,
`{struct: {field: T}}`, `{enum: [...]}`, `{nullable: T}`. A field with more than a type is `{type: T, default: ...}`.
"""

from __future__ import annotations

import enum
import warnings
from collections.abc import Callable, Mapping
from dataclasses import MISSING
from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, BeforeValidator, ConfigDict, TypeAdapter, create_model

from graphs.messages import Message
from graphs.state.fields import Field
from graphs.state.types import SCALARS, TABLES
from graphs.suggest import did_you_mean

_NAMES: dict[str, Any] = {
    **{kind.spec: python for python, kind in (SCALARS | TABLES).items()},
    "json": Any,
    "message": Message,
}


def state_model(fields: list[Field]) -> type[BaseModel]:
    """A model for a state that has no class: nodes reach its channels as attributes."""
    return _model("State", fields)


def field_of(
    name: str, spec: Any, path: str, problems: list[str], *, more: frozenset[str] = frozenset()
) -> Field | None:
    """The field that `spec` describes; None if something is wrong with it.

    Args:
        name: Its name.
        spec: A type, or a mapping with `type` and perhaps `default`.
        path: Where it stands, for problems.
        problems: What is wrong is added here.
        more: Other keys that the mapping may have.
    """
    count = len(problems)
    if reason := _unusable(name):
        problems.append(f"{path}: {reason}")
        return None
    full = isinstance(spec, Mapping) and "type" in spec
    kind = annotation_of(spec["type"] if full else spec, f"{path}.type" if full else path, problems, _title(name))
    default = MISSING
    if full:
        known = {"type", "default", *more}
        problems += [f"{path}: no key {key!r}{did_you_mean(str(key), known)}" for key in spec if key not in known]
        if "default" in spec and len(problems) == count:
            default = _default(kind, spec["default"], f"{path}.default", problems)
    return Field(name=name, annotation=kind, default=default) if len(problems) == count else None


def annotation_of(spec: Any, path: str, problems: list[str], title: str) -> Any:
    """The annotation that a spec's type describes; `Any` where something is wrong, which is added to `problems`."""
    if isinstance(spec, str):
        if spec not in _NAMES:
            known = [*_NAMES, *_COMPOSED]
            problems.append(f'{path}: no type "{spec}"{did_you_mean(spec, known) or _there_are(known)}')
        return _NAMES.get(spec, Any)
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((key, inner),) = spec.items()
        if key in _COMPOSED:
            return _COMPOSED[key](inner, f"{path}.{key}", problems, title)
    problems.append(
        f"{path}: {spec!r} is no type; write a name such as string, or a mapping with one key of {', '.join(_COMPOSED)}"
    )
    return Any


def _list(spec: Any, path: str, problems: list[str], title: str) -> Any:
    return list[annotation_of(spec, path, problems, title)]  # type: ignore[misc]


def _map(spec: Any, path: str, problems: list[str], title: str) -> Any:
    return dict[str, annotation_of(spec, path, problems, title)]  # type: ignore[misc]


def _nullable(spec: Any, path: str, problems: list[str], title: str) -> Any:
    return annotation_of(spec, path, problems, title) | None


def _struct(spec: Any, path: str, problems: list[str], title: str) -> Any:
    if not isinstance(spec, Mapping):
        problems.append(f"{path}: must be a mapping of field names to types")
        return Any
    fields = [field_of(name, inner, f"{path}.{name}", problems) for name, inner in spec.items()]
    return _model(title, [field for field in fields if field is not None])


def _enum(spec: Any, path: str, problems: list[str], title: str) -> Any:
    values = spec if isinstance(spec, list | tuple) else ()
    if {type(value) for value in values} not in ({str}, {int}) or len(set(values)) < len(values):
        problems.append(
            f"{path}: must be a list of distinct strings, or of distinct integers; put words like yes in quotes"
        )
        return Any
    return Annotated[Literal[tuple(values)], BeforeValidator(_member_value)]


_COMPOSED: dict[str, Callable[[Any, str, list[str], str], Any]] = {
    "list": _list,
    "map": _map,
    "struct": _struct,
    "enum": _enum,
    "nullable": _nullable,
}


def _member_value(value: Any) -> Any:
    """Nodes may return members of their own `Enum`, which the spec knows only by value."""
    return value.value if isinstance(value, enum.Enum) else value


def _default(annotation: Any, value: Any, path: str, problems: list[str]) -> Any:
    try:
        return adapter(annotation).validate_python(value)
    except pydantic.ValidationError as error:
        problems += problems_of(error, path)
        return MISSING


def adapter(annotation: Any, config: ConfigDict | None = None) -> TypeAdapter[Any]:
    """The validator of an annotation. Classes that have a config of their own keep it, `config` is for the others."""
    try:
        return TypeAdapter(annotation, config=ConfigDict(**{**(config or {}), "arbitrary_types_allowed": True}))
    except pydantic.PydanticUserError as error:
        if error.code != "type-adapter-config-unused":
            raise
        return TypeAdapter(annotation)


def problems_of(error: pydantic.ValidationError, path: str) -> list[str]:
    """What pydantic found wrong with the value at `path`, such as `notes[2]: Input should be a valid string`."""
    found = []
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in detail["loc"])
        found.append(f"{path}{place}: {detail['msg'].removeprefix('Value error, ')}")
    return found


def _unusable(name: Any) -> str | None:
    """Why a field cannot have this name."""
    if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
        return f"{name!r} cannot be a name; use letters, digits and _, and begin with a letter"
    if name.startswith("model_") and hasattr(BaseModel, name):
        return f"{name!r} is a name that models use themselves; choose another"
    return None


def _model(title: str, fields: list[Field]) -> type[BaseModel]:
    definitions: dict[str, Any] = {
        field.name: (field.annotation, ... if field.default is MISSING else field.default) for field in fields
    }
    config = ConfigDict(protected_namespaces=(), arbitrary_types_allowed=True)
    with warnings.catch_warnings():
        # A channel called `copy` or `json` hides a method that nodes do not need.
        warnings.filterwarnings("ignore", message="Field name .* shadows")
        return create_model(title, __config__=config, **definitions)


def _title(name: Any) -> str:
    return "".join(part.capitalize() for part in str(name).split("_")) or "Struct"


def _there_are(names: list[str]) -> str:
    return f"; there are {', '.join(names)}"
