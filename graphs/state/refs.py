"""Large values stand outside the states that hold them: a reference takes their place until somebody reads them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

LARGE_BYTES = 256 * 1024
"""Arrow bytes above which a value is kept outside of states and deltas."""


class ValueRef(msgspec.Struct, frozen=True):
    """A large value, named by what it is."""

    digest: str
    """SHA-256 of its encoded bytes, in hexadecimal."""
    size_bytes: int
    """How many there are."""


class NotLoaded(Exception):
    """Something pure needs values of which only references are there: load `channels`, and call it again."""

    def __init__(self, channels: Iterable[str]) -> None:
        self.channels = tuple(channels)
        super().__init__(f"not loaded: {', '.join(self.channels)}")


def ref_of(blob: bytes | memoryview) -> ValueRef:
    """The reference to an encoded value."""
    return ValueRef(hashlib.sha256(blob).hexdigest(), len(blob))


def holds_refs(value: Any) -> bool:
    """Whether `value`, or an item of this list, is only a reference."""
    return type(value) is ValueRef or (type(value) is list and ValueRef in map(type, value))


def refs_in(value: Any) -> list[ValueRef]:
    """The references that `value` is, or has as items."""
    if type(value) is ValueRef:
        return [value]
    return [item for item in value if type(item) is ValueRef] if type(value) is list else []


def loaded(state: Mapping[str, Any], channel: str) -> Any:
    """The value of a channel. Raises `NotLoaded`."""
    value = state[channel]
    if holds_refs(value):
        raise NotLoaded((channel,))
    return value
