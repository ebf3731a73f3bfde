"""Whether the values of one type can be written where another is expected; both as specs of states have them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.state.channel import Channel

_NUMBERS = (("int64", "float64"), ("int64", "decimal"), ("float64", "decimal"))


def fits_channel(given: Any, channel: Channel) -> bool:
    """Whether every value of type `given` may be written to `channel`: one that appends takes single items, too."""
    if fits(given, channel.type.spec):
        return True
    inner: Any = channel.type.inner.spec
    if channel.reducer.wants not in ("list", "messages") or not isinstance(inner, Mapping):
        return False
    return fits(given, inner["list"]) or (channel.holds_messages and given == "string")


def fits(given: Any, wanted: Any) -> bool:
    """Whether every value of type `given` is one of type `wanted`. What is not known before it is there, fits."""
    given, wanted = _bare(given), _bare(wanted)
    if given == wanted or "json" in (given, wanted):
        return True
    kind, inner = _split(wanted)
    given_kind, given_inner = _split(given)
    if kind == "nullable":
        return fits(given_inner if given_kind == "nullable" else given, inner)
    if given_kind == "enum":
        return _enum_fits(given_inner, wanted)
    if kind is None:
        return (given, wanted) in _NUMBERS
    if given_kind != kind:
        return _fields_fit_map(given_inner, inner, given_kind, kind)
    return _same_kind_fits(kind, given_inner, inner)


def _same_kind_fits(kind: str, given: Any, wanted: Any) -> bool:
    match kind:
        case "list" | "map":
            return fits(given, wanted)
        case "struct" if isinstance(given, Mapping) and isinstance(wanted, Mapping):
            missing = [name for name, spec in wanted.items() if name not in given and not _has_default(spec)]
            return not missing and all(name in wanted and fits(spec, wanted[name]) for name, spec in given.items())
        case _:
            return False


def _fields_fit_map(given: Any, wanted: Any, given_kind: str | None, kind: str) -> bool:
    is_pair = given_kind == "struct" and kind == "map" and isinstance(given, Mapping)
    return is_pair and all(fits(spec, wanted) for spec in given.values())


def _enum_fits(values: Any, wanted: Any) -> bool:
    kind, choices = _split(wanted)
    if not isinstance(values, list | tuple):
        return False
    if kind == "enum":
        return isinstance(choices, list | tuple) and all(value in choices for value in values)
    types = {"string": str, "int64": int}
    return isinstance(wanted, str) and wanted in types and all(isinstance(value, types[wanted]) for value in values)


def _bare(spec: Any) -> Any:
    """A type without the default that may stand beside it."""
    return spec["type"] if isinstance(spec, Mapping) and "type" in spec else spec


def _has_default(spec: Any) -> bool:
    return isinstance(spec, Mapping) and "default" in spec


def _split(spec: Any) -> tuple[str | None, Any]:
    """(kind, what is in it) of a composed type; (None, None) of a name."""
    if isinstance(spec, Mapping) and len(spec) == 1:
        ((kind, inner),) = spec.items()
        return str(kind), inner
    return None, None
