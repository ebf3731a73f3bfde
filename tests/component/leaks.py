"""Looks for a text in everything that is stored, also where it is packed."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from graphs.packing import unpack

_FIRST = b"\xc1"
"""What a packed record begins with."""
_NOT_PACKED = (ValueError, zlib.error, pa.ArrowException, struct.error, OSError, OverflowError, MemoryError)


def opened(blob: bytes) -> Iterator[bytes]:
    """`blob`, and every packed record that is somewhere in it."""
    yield blob
    at = blob.find(_FIRST)
    while at >= 0:
        with contextlib.suppress(*_NOT_PACKED):
            yield unpack(blob[at:])
        at = blob.find(_FIRST, at + 1)


def held(value: Any, seen: set[int] | None = None) -> Iterator[bytes]:
    """All texts and bytes in an object, in what it holds, and so on."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return
    seen.add(id(value))
    match value:
        case bytes() | bytearray() | memoryview():
            yield bytes(value)
        case str():
            yield value.encode(errors="replace")
        case Mapping():
            for key, item in value.items():
                yield from held(key, seen)
                yield from held(item, seen)
        case list() | tuple() | set() | frozenset():
            for item in value:
                yield from held(item, seen)
        case _ if hasattr(value, "__struct_fields__"):
            for name in value.__struct_fields__:
                yield from held(getattr(value, name), seen)
        case _ if type(value).__module__.startswith(("actors.stores", "graphs")):
            for item in vars(value).values() if hasattr(value, "__dict__") else ():
                yield from held(item, seen)


def leaks(secret: str, blobs: Iterator[bytes]) -> list[bytes]:
    """The pieces in which a secret stands."""
    return [piece for blob in blobs for piece in opened(blob) if secret.encode() in piece]


def files(folder: Path) -> Iterator[bytes]:
    """The content of all files in a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            yield path.read_bytes()


def stored(redis: Any) -> Iterator[bytes]:
    """All that a Redis or Valkey holds."""
    for key in redis.scan_iter():
        yield key
        match redis.type(key):
            case b"string":
                yield redis.get(key)
            case b"hash":
                yield from (part for pair in redis.hgetall(key).items() for part in pair)
            case b"list":
                yield from redis.lrange(key, 0, -1)
            case b"stream":
                yield from (part for _, entry in redis.xrange(key) for pair in entry.items() for part in pair)
            case b"set":
                yield from redis.smembers(key)
            case b"zset":
                yield from redis.zrange(key, 0, -1)
