"""Reducers: how a write changes a channel."""

from __future__ import annotations

import decimal
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from graphs.errors import SchemaError
from graphs.functions import reference, resolve
from graphs.messages import Message
from graphs.suggest import did_you_mean

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

# Wide enough to add any two decimals a channel can hold without rounding.
_DECIMALS = decimal.Context(prec=100)

_Apply = Callable[[Any, Any], Any]
_Combine = Callable[[list[Any]], list[Any]]


class Reducer:
    """Says what a channel holds after a write. Stands in `Annotated[list[str], append]`.

    Args:
        name: What a spec calls it; `module:qualname` for an own function.
        function: (old value, write) -> new value. Changes neither.
        combine: Successive writes, none of them None -> as few writes as possible with the same effect.
        wants: Kind of type it works on (`list`, `map`, `number`, `messages`); None: any.
    """

    def __init__(
        self, name: str, function: _Apply, *, combine: _Combine | None = None, wants: str | None = None
    ) -> None:
        self.name = name
        self.function = function
        self.wants = wants
        self._combine = combine

    def __call__(self, old: Any, new: Any) -> Any:
        """As `apply`."""
        return self.apply(old, new)

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[Any, ...]:
        return (Reducer, (self.name, self.function)) if self.own else (reducer_named, (self.name, {}))

    @property
    def own(self) -> bool:
        """Whether it is a user's function."""
        return ":" in self.name

    @property
    def loaded(self) -> bool:
        """Whether its function is at hand; if not, it is imported when it is first used."""
        return not isinstance(self.function, _Imported)

    def apply(self, old: Any, new: Any) -> Any:
        """The channel's value after `new` was written to `old`.

        What is written to None becomes the value as it is, without a call of an own function; a None that is written to
        a shipped reducer other than `last_value` is ignored.
        """
        if new is None and self.wants:
            return old
        return new if old is None and self.own else self.function(old, new)

    def combine(self, writes: list[Any]) -> list[Any]:
        """As few writes as possible with the effect of `writes` one after the other (floats: up to rounding)."""
        if self.wants:
            writes = [write for write in writes if write is not None]
        return self._combine(writes) if self._combine is not None and len(writes) > 1 else writes

    def fits(self, spec: Any) -> bool:
        """Whether it works on values of the type with this spec."""
        while isinstance(spec, dict) and "nullable" in spec:
            spec = spec["nullable"]
        match self.wants:
            case None:
                return True
            case "number":
                return spec in ("int64", "float64", "decimal")
            case "messages":
                return bool(spec == {"list": "message"})
            case kind:
                return isinstance(spec, dict) and kind in spec

    def start(self, spec: Any) -> Any:
        """What a channel without a default begins with, so that the reducer has something to work on.

        The empty value of a list, map, number or text; None for other types and for `last_value`.
        """
        if not self.wants and not self.own:
            return None
        if isinstance(spec, dict):
            return [] if "list" in spec else {} if "map" in spec else None
        return {"int64": 0, "float64": 0.0, "decimal": decimal.Decimal(0), "string": ""}.get(spec)


class _Imported:
    """A reducer function that is imported when it is first called."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._function: _Apply | None = None

    def __call__(self, old: Any, new: Any) -> Any:
        if self._function is None:
            self._function = resolve(self._name, {})
        return self._function(old, new)


def _concat(old: list[Any] | None, new: list[Any]) -> list[Any]:
    return [*old, *new] if old else list(new)


def _concat_all(writes: list[list[Any]]) -> list[Any]:
    return [[item for write in writes for item in write]]


def _union(old: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
    return {**old, **new} if old else dict(new)


def _union_all(writes: list[Mapping[str, Any]]) -> list[Any]:
    return [{key: value for write in writes for key, value in write.items()}]


def _plus(old: Any, new: Any) -> Any:
    if old is None:
        return new
    return _DECIMALS.add(old, new) if isinstance(new, decimal.Decimal) else old + new


def _sum(writes: list[Any]) -> list[Any]:
    sums: list[Any] = []
    for write in writes:
        total = _plus(sums[-1], write) if sums else write
        # A sum that the channel cannot hold stays in parts: the value it is added to may bring it back into range.
        if sums and _storable(total):
            sums[-1] = total
        else:
            sums.append(write)
    return sums


def _storable(number: Any) -> bool:
    if isinstance(number, decimal.Decimal):
        return number.adjusted() < 38
    return not isinstance(number, int) or INT64_MIN <= number <= INT64_MAX


def _merge_messages(old: list[Message] | None, new: list[Message]) -> list[Message]:
    merged = list(old or ())
    if not any(message.id for message in new):
        return merged + new
    places = {message.id: place for place, message in enumerate(merged) if message.id}
    for message in new:
        place = places.get(message.id) if message.id else None
        if place is not None:
            merged[place] = message
            continue
        if message.id:
            places[message.id] = len(merged)
        merged.append(message)
    return merged


last_value = Reducer("last_value", lambda _, new: new, combine=lambda writes: writes[-1:])
"""The write replaces the value. The reducer of channels that name none."""
append = Reducer("append", _concat, combine=_concat_all, wants="list")
"""The written items are put at the end of a list; a single item may be written as it is."""
add = Reducer("add", _plus, combine=_sum, wants="number")
"""The written number is added."""
merge = Reducer("merge", _union, combine=_union_all, wants="map")
"""The written keys are set in a `dict[str, ...]`, the others stay."""
add_messages = Reducer("add_messages", _merge_messages, combine=_concat_all, wants="messages")
"""Messages are put at the end of a `list[Message]`, or in the place of the one with the same id."""

_SHIPPED = {reducer.name: reducer for reducer in (last_value, append, add, merge, add_messages)}


def own_reducer(function: Callable[[Any, Any], Any]) -> Reducer:
    """The reducer that a two-argument function is.

    Raises:
        SchemaError: It cannot be called with two arguments.
    """
    name = reference(function)
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError) as error:
        raise SchemaError(f"reducer {name} must take two arguments, the old value and the write: {error}") from error
    return Reducer(name, function)


def reducer_named(name: str, functions: Mapping[str, Callable[..., Any]]) -> Reducer:
    """The reducer that a spec calls `name`.

    Args:
        name: A shipped reducer, or `module:qualname` of an own function.
        functions: Own functions by name; what is not in it is imported when it is first used.

    Raises:
        SchemaError: There is no such reducer.
    """
    if name in _SHIPPED:
        return _SHIPPED[name]
    if name in functions:
        return Reducer(name, functions[name])
    if ":" not in name:
        hint = did_you_mean(name, _SHIPPED) or f"; there are {', '.join(_SHIPPED)}, and own ones as module:function"
        raise SchemaError(f'no reducer "{name}"{hint}')
    return Reducer(name, _Imported(name))
