"""What was worked out once and never changes: in Redis for some minutes, with the last of it at hand in the process."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from actors.stores import keys
from actors.stores.link import RedisLink
from actors.stores.records import open_bytes, seal_bytes
from graphs.journal import CorruptRecord
from graphs.packing import pack, unpack

MAX_BYTES = 64 * 1024 * 1024


class Lru:
    """The blobs used last, up to a number of bytes.

    Args:
        max_bytes: Size of all of them; a larger blob is not kept.
        now: Seconds, by a clock that never goes back.
    """

    def __init__(self, max_bytes: int = MAX_BYTES, now: Callable[[], float] = time.monotonic) -> None:
        self.size_bytes = 0
        self._max_bytes = max_bytes
        self._now = now
        self._items: OrderedDict[str, tuple[bytes, float]] = OrderedDict()

    def get(self, key: str) -> bytes | None:
        """The blob, if it is there and its time is not over."""
        blob, until = self._items.get(key, (b"", 0.0))
        if until <= self._now():
            self.delete(key)
            return None
        self._items.move_to_end(key)
        return blob

    def set(self, key: str, blob: bytes, ttl_s: float) -> None:
        """Keep a blob for so long; those not used for the longest time make room."""
        self.delete(key)
        if len(blob) > self._max_bytes:
            return
        self._items[key] = blob, self._now() + ttl_s
        self.size_bytes += len(blob)
        while self.size_bytes > self._max_bytes:
            self.delete(next(iter(self._items)))

    def delete(self, key: str) -> None:
        """Forget a blob, if it is there."""
        blob, _ = self._items.pop(key, (b"", 0.0))
        self.size_bytes -= len(blob)


class RedisCacheAdapter:
    """Blobs in Redis, behind an LRU (port `Cache`)."""

    def __init__(self, link: RedisLink) -> None:
        self._link = link
        self._near = Lru()

    async def get(self, key: str) -> bytes | None:
        """The blob; None if it is not there, or damaged: then it has to be worked out again."""
        near = self._near.get(key)
        if near is not None:
            return near
        name = keys.cached(key)
        stored = await self._link.run(lambda: self._link.client.get(name))
        if stored is None:
            return None
        try:
            return unpack(open_bytes(stored, key=name))
        except (CorruptRecord, ValueError):
            return None

    async def set(self, key: str, blob: bytes, *, ttl_s: float) -> None:
        """Keep a blob for so long."""
        self._near.set(key, blob, ttl_s)
        name, sealed = keys.cached(key), seal_bytes(pack(blob))
        await self._link.run(lambda: self._link.client.set(name, sealed, px=max(1, round(ttl_s * 1_000))))

    async def delete(self, key: str) -> None:
        """Forget a blob, if it is there; other processes may have it at hand until its time is over."""
        self._near.delete(key)
        name = keys.cached(key)
        await self._link.run(lambda: self._link.client.delete(name))


class MemoryCache:
    """Blobs in an LRU alone (port `Cache`)."""

    def __init__(self) -> None:
        self._near = Lru()

    async def get(self, key: str) -> bytes | None:
        """The blob; None if it is not there."""
        return self._near.get(key)

    async def set(self, key: str, blob: bytes, *, ttl_s: float) -> None:
        """Keep a blob for so long."""
        self._near.set(key, blob, ttl_s)

    async def delete(self, key: str) -> None:
        """Forget a blob, if it is there."""
        self._near.delete(key)
