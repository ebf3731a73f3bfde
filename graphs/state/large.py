"""Which values of a write are so large that they are kept outside of it, and what then stands in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphs.state.arrow import decode_value, encode_value, encoded_size, item_sizes, least_size
from graphs.state.channel import Channel
from graphs.state.containers import ListType
from graphs.state.reducers import append, last_value
from graphs.state.refs import LARGE_BYTES, ValueRef
from graphs.state.schema import StateSchema
from graphs.state.types import ValueType


@dataclass(frozen=True, slots=True)
class LargeValue:
    """A large value of a write."""

    channel: str
    index: int | None
    """Which item of the channel's list it is; None if it is the whole value."""
    value: Any
    blob: memoryview
    """The value encoded."""


def at_least(schema: StateSchema, write: Mapping[str, Any], size_bytes: int) -> bool:
    """Whether it can be told at a glance that a value in `write`, which can be kept outside of it, is so large."""
    channels = ((schema.channel(name), value) for name, value in write.items())
    return any(
        channel.reducer is last_value and least_size(channel.type, value) > size_bytes for channel, value in channels
    )


def pack(schema: StateSchema, write: Mapping[str, Any]) -> tuple[bytes, list[LargeValue]]:
    """`write` as a delta if nothing in it is large, else no bytes and the large values.

    Large can be the value of a channel whose last write wins, and an item of a channel that appends. What another
    reducer makes of a write must be told wherever the write is applied, so it stays in its place.

    Raises:
        StateInvalid: A value does not fit its channel.
    """
    if not at_least(schema, write, LARGE_BYTES):
        delta = schema.encode_delta(write)
        if encoded_size(delta) <= LARGE_BYTES:
            return delta, []
    large = [found for name, value in write.items() for found in _large(schema.channel(name), value)]
    return (b"", large) if large else (schema.encode_delta(write), [])


def refer(write: Mapping[str, Any], large: Sequence[LargeValue], refs: Sequence[ValueRef]) -> dict[str, Any]:
    """`write` with `refs` in the places of the large values."""
    small = dict(write)
    for found, ref in zip(large, refs, strict=True):
        if found.index is None:
            small[found.channel] = ref
        else:
            if small[found.channel] is write[found.channel]:
                small[found.channel] = list(write[found.channel])
            small[found.channel][found.index] = ref
    return small


def small_state(
    schema: StateSchema,
    before: Mapping[str, Any],
    after: dict[str, Any],
    write: Mapping[str, Any],
    small: Mapping[str, Any],
) -> dict[str, Any]:
    """`after`, which is `before` after `write`, as it is after `small`: the same write with references in it."""
    changed = [name for name in write if small[name] is not write[name]]
    if not changed:
        return after
    old = {name: before.get(name) for name in changed}
    return {**after, **schema.apply(old, {name: small[name] for name in changed})}


def unpack(channel: Channel, blob: memoryview, *, item: bool) -> Any:
    """The large value in `blob`: of `channel`, or an item of its list. Raises `SchemaError`."""
    return decode_value(_item_type(channel) if item else channel.type, blob)


def _large(channel: Channel, value: Any) -> Iterator[LargeValue]:
    if value is None or type(value) is ValueRef:
        return
    if channel.reducer is last_value:
        blob = encode_value(channel.type, value)
        if encoded_size(blob) > LARGE_BYTES:
            yield LargeValue(channel.name, None, value, blob)
    elif channel.reducer is append:
        kind = _item_type(channel)
        present = [(index, item) for index, item in enumerate(value) if type(item) is not ValueRef]
        for (index, item), size in zip(present, item_sizes(kind, [item for _, item in present]), strict=True):
            if size > LARGE_BYTES:
                yield LargeValue(channel.name, index, item, encode_value(kind, item))


def _item_type(channel: Channel) -> ValueType:
    assert isinstance(channel.type.inner, ListType)
    return channel.type.inner.item
