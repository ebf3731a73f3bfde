"""Types of values that hold other values: lists, maps, structs, and what may be None."""

# The methods of the types are those that `ValueType` documents.
# ruff: noqa: D102

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
from pydantic import BaseModel

from graphs.state.fields import is_typed_dict, maker
from graphs.state.types import MisfitError, ValueType


class ListType(ValueType):
    """`list[T]`."""

    mutable = True

    def __init__(self, item: ValueType) -> None:
        self.item = item
        self.spec = {"list": item.spec}
        self.arrow = pa.list_(item.arrow)
        self.storage = pa.list_(item.storage)
        self.layout = f"list<{item.layout}>"
        self.direct = item.direct

    def settle(self, value: Any) -> Any:
        if not isinstance(value, list):
            raise MisfitError(f"should be a list, not {type(value).__name__}")
        return _settled(value, [(index, self.item, item, f"[{index}]") for index, item in enumerate(value)])

    def pack(self, value: Any) -> Any:
        return value if self.direct else [self.item.pack(item) for item in value]

    def unpack(self, value: Any) -> Any:
        return value if self.direct else [self.item.unpack(item) for item in value]

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return [self.item.plain(item, text=text) for item in value]


class MapType(ValueType):
    """`dict[str, T]`."""

    direct = False
    mutable = True

    def __init__(self, key: ValueType, item: ValueType) -> None:
        self.key = key
        self.item = item
        self.spec = {"map": item.spec}
        self.arrow = pa.map_(key.arrow, item.arrow)
        self.storage = pa.map_(key.storage, item.storage)
        self.layout = f"map<{item.layout}>"

    def settle(self, value: Any) -> Any:
        if not isinstance(value, dict):
            raise MisfitError(f"should be a dict, not {type(value).__name__}")
        for key in value:
            try:
                self.key.settle(key)
            except MisfitError as error:
                raise MisfitError(f"its key {key!r} {error}") from None
        return _settled(value, [(key, self.item, item, f"[{key!r}]") for key, item in value.items()])

    def pack(self, value: Any) -> Any:
        return [(key, self.item.pack(item)) for key, item in value.items()]

    def unpack(self, value: Any) -> Any:
        return {key: self.item.unpack(item) for key, item in value}

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return {key: self.item.plain(item, text=text) for key, item in value.items()}


class NullableType(ValueType):
    """`T | None`."""

    def __init__(self, item: ValueType) -> None:
        self.item = item
        self.spec = {"nullable": item.spec}
        self.arrow = item.arrow
        self.storage = item.storage
        self.layout = item.layout
        self.direct = item.direct
        self.mutable = item.mutable

    @property
    def inner(self) -> ValueType:
        return self.item

    def settle(self, value: Any) -> Any:
        return None if value is None else self.item.settle(value)

    def pack(self, value: Any) -> Any:
        return None if value is None else self.item.pack(value)

    def unpack(self, value: Any) -> Any:
        return None if value is None else self.item.unpack(value)

    def plain(self, value: Any, *, text: bool = False) -> Any:
        return None if value is None else self.item.plain(value, text=text)


class StructType(ValueType):
    """A nested model, TypedDict or dataclass.

    Args:
        python: The class.
        fields: Type of each field.
        spec: Its form in a spec.
        optional: Keys a TypedDict may lack.
    """

    direct = False
    mutable = True

    def __init__(self, python: Any, fields: Mapping[str, ValueType], spec: Any, optional: Iterable[str] = ()) -> None:
        self.python = python
        self.fields = dict(fields)
        self.spec = spec
        self.arrow = pa.struct([(name, field.arrow) for name, field in fields.items()])
        self.storage = pa.struct([(name, field.storage) for name, field in fields.items()])
        self.layout = f"struct<{','.join(f'{name}:{field.layout}' for name, field in fields.items())}>"
        self._optional = frozenset(optional)
        self._mapping = is_typed_dict(python)
        self._make = maker(python)

    def settle(self, value: Any) -> Any:
        if type(value) is not (dict if self._mapping else self.python):
            raise MisfitError(f"should be a {self.python.__name__} itself, not {type(value).__name__}")
        values = self._values(value)
        steps = [(name, field, values[name], f".{name}") for name, field in self.fields.items() if name in values]
        changed = _settled(values, steps)
        if changed is values:
            return value
        if self._mapping:
            return changed
        if isinstance(value, BaseModel):
            return value.model_copy(update={name: item for name, item in changed.items() if item is not values[name]})
        settled = copy.copy(value)
        for name, item in changed.items():
            object.__setattr__(settled, name, item)
        return settled

    def pack(self, value: Any) -> Any:
        values = self._values(value)
        return {name: field.pack(values[name]) for name, field in self.fields.items() if name in values}

    def unpack(self, value: Any) -> Any:
        return self._make(
            {
                name: field.unpack(value[name])
                for name, field in self.fields.items()
                if value[name] is not None or name not in self._optional
            }
        )

    def plain(self, value: Any, *, text: bool = False) -> Any:
        values = self._values(value)
        return {name: field.plain(values[name], text=text) for name, field in self.fields.items() if name in values}

    def _values(self, value: Any) -> dict[str, Any]:
        if self._mapping:
            return value  # type: ignore[no-any-return]
        try:
            return {name: getattr(value, name) for name in self.fields}
        except AttributeError as error:
            raise MisfitError(f"is incomplete: {error}") from None


def _settled(value: Any, items: Iterable[tuple[Any, ValueType, Any, str]]) -> Any:
    """`value`, or a copy of this list or dict with the items in it replaced that settling changes."""
    settled = value
    for key, kind, item, step in items:
        try:
            new = kind.settle(item)
        except MisfitError as error:
            raise error.inside(step) from None
        if new is not item:
            if settled is value:
                settled = value.copy()
            settled[key] = new
    return settled
