"""What has changed between two states, value by value, each with its path."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import zip_longest
from typing import Any

import msgspec
import pyarrow as pa

from graphs.state.schema import StateSchema

_ABSENT: Any = object()


class HistoryOperation(StrEnum):
    """What was done to a state, or to a value in it."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    RESTORE = "restore"  #: it is that of a former seq, or of another thread


class StateChange(msgspec.Struct, frozen=True, kw_only=True):
    """One value that was added, replaced or taken away."""

    field_path: str
    """Such as `messages[3].content`; keys that are no identifiers stand in brackets: `scores["two words"]`."""
    old_value: Any = None
    """None where there was nothing."""
    new_value: Any = None
    """None where nothing is left."""
    operation: HistoryOperation = HistoryOperation.UPDATE
    """Whether the value is new, another one, or gone."""


class StateHistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What one entry of a journal has changed in the state of its thread. Derived from the journal, never stored."""

    id: str
    """`{thread id}@{seq}`."""
    state_id: str
    """The thread whose state it is."""
    seq: int
    operation: HistoryOperation
    """`create` for the first entry; `delete` if all it did was to take values away."""
    timestamp: float
    """Unix seconds."""
    user_id: str
    """Who has updated the state; whose session it is, if nobody has."""
    node: str | None
    """The node that wrote; None for an input, a restore or an update."""
    by: str
    """Address of the executor or host that recorded it."""
    changes: tuple[StateChange, ...] = ()


def diff(old: Any, new: Any, path: str = "") -> list[StateChange]:
    """The changes that make `old` into `new`; both are plain: mappings, lists and scalars.

    Items of lists are compared place by place. What is new or gone is one change, however much is in it.
    """
    return list(_changes(old, new, path))


def state_diff(schema: StateSchema, old: Mapping[str, Any], new: Mapping[str, Any]) -> list[StateChange]:
    """The changes that make one state into another, as `diff` finds them in their plain forms.

    Quick where states share values: a channel that was not written, the items before those that were appended.
    A state without any channel is what was before the first.
    """
    found: list[StateChange] = []
    for name in schema.channels:
        before, after = old.get(name), new.get(name)
        if name not in old and after is not None:
            (value,) = schema.plain({name: after}).values()
            found.append(StateChange(field_path=name, new_value=value, operation=HistoryOperation.CREATE))
        elif before is not after:
            found += _channel_diff(schema, name, before, after)
    return found


def operation_of(changes: list[StateChange], *, first: bool, restored: bool) -> HistoryOperation:
    """What an entry with these changes has done to the state."""
    if restored:
        return HistoryOperation.RESTORE
    if first:
        return HistoryOperation.CREATE
    if changes and all(change.operation is HistoryOperation.DELETE for change in changes):
        return HistoryOperation.DELETE
    return HistoryOperation.UPDATE


def _channel_diff(schema: StateSchema, name: str, before: Any, after: Any) -> list[StateChange]:
    kept = 0
    if isinstance(before, list) and isinstance(after, list):
        while kept < min(len(before), len(after)) and before[kept] is after[kept]:
            kept += 1
        before, after = before[kept:], after[kept:]
    (old,) = schema.plain({name: before}).values()
    (new,) = schema.plain({name: after}).values()
    if isinstance(before, pa.Table) and isinstance(after, pa.Table) and old == new:
        # The plain form of a table is its size.
        changed = not before.equals(after)
        return [StateChange(field_path=name, old_value=old, new_value=new)] if changed else []
    if kept:
        return [
            change for place, was, now in _places(old, new) for change in _changes(was, now, f"{name}[{place + kept}]")
        ]
    return diff(old, new, name)


def _changes(old: Any, new: Any, path: str) -> Iterator[StateChange]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in (*old, *(key for key in new if key not in old)):
            yield from _changes(old.get(key, _ABSENT), new.get(key, _ABSENT), _step(path, key))
    elif isinstance(old, list | tuple) and isinstance(new, list | tuple):
        for place, before, after in _places(old, new):
            yield from _changes(before, after, f"{path}[{place}]")
    elif old is _ABSENT:
        yield StateChange(field_path=path, new_value=new, operation=HistoryOperation.CREATE)
    elif new is _ABSENT:
        yield StateChange(field_path=path, old_value=old, operation=HistoryOperation.DELETE)
    elif not _same(old, new):
        yield StateChange(field_path=path, old_value=old, new_value=new)


def _places(old: Any, new: Any) -> Iterator[tuple[int, Any, Any]]:
    for place, (before, after) in enumerate(zip_longest(old, new, fillvalue=_ABSENT)):
        yield place, before, after


def _step(path: str, key: Any) -> str:
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path}[{msgspec.json.encode(key, enc_hook=str).decode()}]"


def _same(old: Any, new: Any) -> bool:
    """Whether two scalars are the same: `True` is not 1, and NaN is NaN."""
    return type(old) is type(new) and bool(old == new or (old != old and new != new))  # noqa: PLR0124 - NaN
