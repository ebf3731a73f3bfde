"""Templates over the state: the prompts of model nodes and the arguments of tool nodes.

The grammar is that of `str.format`, cut down to data: `{channel}`, `{channel.field}`, `{channel[0]}`, `{channel[key]}`
and format specs such as `{score:.2f}`; `{{` and `}}` stand for braces. Steps go through mappings, the fields of models
and dataclasses, and list indexes (`[-1]` is the last item), never through Python attributes.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import re
from collections.abc import Mapping
from enum import Enum
from string import Formatter
from typing import Any

import msgspec
from pydantic import BaseModel

from graphs.errors import GraphInvalid, StateInvalid
from graphs.state.refs import loaded
from graphs.suggest import did_you_mean

_FORMATTER = Formatter()
_CHANNEL = re.compile(r"[^\W\d]\w*")


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of `template` with `values` (channel -> value) filled in.

    Text, numbers and booleans go in as Python prints them, None as empty text, enums as their values, and lists,
    mappings and models as JSON.

    Raises:
        StateInvalid: A channel or a part of it is missing, or its value does not take the format spec.
        NotLoaded: Of a channel there is only a reference.
        GraphInvalid: The template itself is wrong.
    """
    pieces = []
    for literal, path, spec in _parse(template):
        pieces.append(literal)
        if path is not None:
            pieces.append(_text(_resolve(path, values), path, spec))
    return "".join(pieces)


def render_value(value: Any, values: Mapping[str, Any]) -> Any:
    """`value` with every text in it rendered, through lists and mappings.

    A text that is one lone field, such as `"{numbers}"`, becomes a copy of the channel's value and keeps its type.

    Raises:
        StateInvalid: As `render`.
        GraphInvalid: As `render`.
    """
    if isinstance(value, str):
        parsed = _parse(value)
        if len(parsed) == 1 and parsed[0][0] == "" and parsed[0][1] is not None and not parsed[0][2]:
            found = _resolve(parsed[0][1], values)
            return copy.deepcopy(found) if _composed(found) else found
        return render(value, values)
    if isinstance(value, Mapping):
        return {key: render_value(item, values) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render_value(item, values) for item in value]
    return value


def fields(template: str) -> set[str]:
    """Names of the channels `template` reads.

    Raises:
        GraphInvalid: The template is wrong; the message says where.
    """
    return {_channel(path) for _, path, _ in _parse(template) if path is not None}


def lookup(path: str, values: Mapping[str, Any]) -> Any:
    """The value at `path`, such as `messages[-1].tool_calls`.

    Raises:
        StateInvalid: As `render`.
        NotLoaded: As `render`.
    """
    return _resolve(path, values)


@functools.lru_cache(maxsize=1_024)
def steps(path: str) -> tuple[str, tuple[str | int, ...]]:
    """The channel a path begins with, and the fields and indexes that follow.

    Raises:
        GraphInvalid: It is no path; the message says where.
    """
    try:
        parts = [(literal, spec) for literal, _, spec in _parse(f"{{{path}}}")]
    except GraphInvalid:
        parts = []
    if parts != [("", "")]:
        raise _wrong(path, f'"{path}" is no path, such as messages[-1].tool_calls')
    taken: list[str | int] = []
    channel = _channel(path)
    _FORMATTER.get_field(path, (), {channel: _Anything(taken)})
    return channel, tuple(taken)


@functools.lru_cache(maxsize=1_024)
def _parse(template: str) -> tuple[tuple[str, str | None, str], ...]:
    """(literal, field path, format spec) for each part of the template."""
    try:
        parts = list(_FORMATTER.parse(template))
    except ValueError as error:
        raise _wrong(template, f"{error}; write {{{{ and }}}} for literal braces") from error
    for _, path, spec, conversion in parts:
        if path is None:
            continue
        channel = _channel(path)
        if not _CHANNEL.fullmatch(channel):
            raise _wrong(template, f"{{{path}}} names no channel; write {{{{ and }}}} for literal braces")
        if conversion:
            raise _wrong(template, f"{{{path}!{conversion}}}: conversions are not supported; remove !{conversion}")
        if spec and ("{" in spec or "}" in spec):
            raise _wrong(template, f"{{{path}:{spec}}}: a format spec cannot hold fields")
        try:
            _FORMATTER.get_field(path, (), {channel: _Anything([])})
        except ValueError as error:
            raise _wrong(template, f"{{{path}}}: {error}") from error
    return tuple((literal, path, spec or "") for literal, path, spec, _ in parts)


def _wrong(template: str, problem: str) -> GraphInvalid:
    shown = template if len(template) <= 80 else template[:77] + "..."
    return GraphInvalid(f"template {shown!r}: {problem}", problems=[problem])


def _channel(path: str) -> str:
    return re.split(r"[.\[]", path, maxsplit=1)[0]


class _Anything:
    """Answers every step of a path, so that its form can be checked without a value, and notes it."""

    __slots__ = ("taken",)

    def __init__(self, taken: list[str | int]) -> None:
        object.__setattr__(self, "taken", taken)

    def __getattribute__(self, name: str) -> _Anything:
        object.__getattribute__(self, "taken").append(name)
        return self

    def __getitem__(self, key: int | str) -> _Anything:
        object.__getattribute__(self, "taken").append(key)
        return self


class _Place:
    """A value on the way along a path. Attribute access is a step in the data, whatever the name."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        object.__setattr__(self, "value", value)

    def __getattribute__(self, name: str) -> Any:
        return _Place(_field(_value(self), name))

    def __getitem__(self, key: int | str) -> Any:
        return _Place(_item(_value(self), key))


def _value(place: _Place) -> Any:
    return object.__getattribute__(place, "value")


def _resolve(path: str, values: Mapping[str, Any]) -> Any:
    channel = _channel(path)
    if channel not in values:
        problem = f'no channel "{channel}"{did_you_mean(channel, values)}'
        raise StateInvalid(f"template field {{{path}}}: {problem}", problems=[problem], channel=channel)
    try:
        place, _ = _FORMATTER.get_field(path, (), {channel: _Place(loaded(values, channel))})
    except LookupError as error:
        problem = f'channel "{channel}": {error.args[0]}'
        raise StateInvalid(f"template field {{{path}}}: {problem}", problems=[problem], channel=channel) from error
    value = _value(place)
    return value.value if isinstance(value, Enum) else value


def _field(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        known: Mapping[str, Any] = value
    elif isinstance(value, BaseModel):
        known = {field: value.__dict__[field] for field in type(value).model_fields if field in value.__dict__}
    elif dataclasses.is_dataclass(value):
        known = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    else:
        raise LookupError(f'{_kind(value)} has no field "{name}"')
    if name not in known:
        raise LookupError(f'no field "{name}"{did_you_mean(name, [str(key) for key in known])}')
    return known[name]


def _item(value: Any, key: int | str) -> Any:
    if not isinstance(value, list | tuple):
        return _field(value, str(key))
    try:
        index = int(key)
    except ValueError:
        raise LookupError(f'a list has no item "{key}"; use a number') from None
    if not -len(value) <= index < len(value):
        raise LookupError(f"no item {index} in a list of {len(value)}")
    return value[index]


def _composed(value: Any) -> bool:
    return isinstance(value, Mapping | list | tuple | BaseModel) or dataclasses.is_dataclass(value)


def _kind(value: Any) -> str:
    return "null" if value is None else f"a value of type {type(value).__name__}"


def _text(value: Any, path: str, spec: str) -> str:
    if not spec:
        if value is None:
            return ""
        return msgspec.json.encode(value, enc_hook=_plain).decode() if _composed(value) else str(value)
    try:
        return format(value, spec)
    except (TypeError, ValueError) as error:
        problem = f'channel "{_channel(path)}": {error}'
        raise StateInvalid(
            f"template field {{{path}:{spec}}}: {problem}", problems=[problem], channel=_channel(path)
        ) from error


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
