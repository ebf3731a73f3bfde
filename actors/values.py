"""Large values: taken out of what is written, kept in the store by content, and loaded for those who read them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any
from weakref import WeakValueDictionary

from actors.ports import ValueRepository
from graphs.journal import Cursor
from graphs.state.channel import Channel
from graphs.state.large import at_least, pack, refer, unpack
from graphs.state.refs import NotLoaded, ValueRef, refs_in
from graphs.state.schema import StateSchema
from graphs.workflow import planner
from graphs.workflow.plan import Plan

CACHE_BYTES = 256 * 1024 * 1024
_LONG_BYTES = 4 * 1024 * 1024


class Values:
    """The large values that a process has at hand.

    Args:
        repository: Where all of them are.
        cache_bytes: Most that is kept at hand, the least recently used goes first.
    """

    def __init__(self, repository: ValueRepository, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._repository = repository
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, memoryview] = OrderedDict()
        self._cached_bytes = 0
        self._fetching: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Digest -> lock of those who fetch it now."""

    def of(self, thread_id: str, schema: StateSchema) -> ThreadValues:
        """Those of a thread."""
        return ThreadValues(self, thread_id, schema)

    async def put(self, thread_id: str, blob: memoryview) -> ValueRef:
        """Store an encoded value; durable when it returns."""
        ref = await self._repository.put(thread_id, blob)
        self._keep(ref, blob)
        return ref

    async def get(self, thread_id: str, ref: ValueRef) -> memoryview:
        """An encoded value, fetched once for all who ask meanwhile. Raises `ValueMissing`, `CorruptRecord`."""
        blob = self._cache.get(ref.digest)
        if blob is not None:
            self._cache.move_to_end(ref.digest)
            return blob
        lock = self._fetching.setdefault(ref.digest, asyncio.Lock())
        async with lock:
            blob = self._cache.get(ref.digest)
            if blob is None:
                blob = await self._repository.get(thread_id, ref)
                self._keep(ref, blob)
        return blob

    def _keep(self, ref: ValueRef, blob: memoryview) -> None:
        if ref.size_bytes > self._cache_bytes or ref.digest in self._cache:
            return
        self._cache[ref.digest] = blob
        self._cached_bytes += ref.size_bytes
        while self._cached_bytes > self._cache_bytes:
            self._cached_bytes -= len(self._cache.popitem(last=False)[1])


class ThreadValues:
    """The large values of one thread. What it has loaded it keeps decoded until `keep_only` drops it."""

    def __init__(self, values: Values, thread_id: str, schema: StateSchema) -> None:
        self._values = values
        self._thread_id = thread_id
        self._schema = schema
        self._decoded: dict[tuple[str, str], Any] = {}
        """(channel, digest) -> value."""

    async def spill(self, write: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Store the large values in `write`; durable when it returns.

        Returns:
            The write with references in their places, and its delta.

        Raises:
            StateInvalid: A value does not fit its channel.
            StoreUnavailable: The store was away until the deadline.
        """
        if at_least(self._schema, write, _LONG_BYTES):  # it would hold up the others
            delta, large = await asyncio.to_thread(pack, self._schema, write)
        else:
            delta, large = pack(self._schema, write)
        if not large:
            return dict(write), delta
        refs = [await self._values.put(self._thread_id, found.blob) for found in large]
        for found, ref in zip(large, refs, strict=True):
            self._decoded[found.channel, ref.digest] = found.value
        small = refer(write, large, refs)
        return small, self._schema.encode_delta(small)

    async def load(self, state: Mapping[str, Any], channels: Collection[str] | None = None) -> dict[str, Any]:
        """`state` with the values of `channels` (None: all) in it, and no references to them.

        Raises:
            ValueMissing: A value is not in the store.
            CorruptRecord: A value is damaged.
            StoreUnavailable: The store was away until the deadline.
        """
        whole = dict(state)
        for name in self._schema.unloaded(state, channels):
            channel, value = self._schema.channel(name), state[name]
            if isinstance(value, ValueRef):
                whole[name] = await self._value(channel, value, item=False)
            else:
                whole[name] = [
                    await self._value(channel, item, item=True) if isinstance(item, ValueRef) else item
                    for item in value
                ]
        return whole

    async def advance(
        self, plan: Plan, cursor: Cursor, event: planner.Event, state: Mapping[str, Any], seq: int, *, now: float
    ) -> Cursor:
        """As `planner.advance`, with the values loaded on which it hangs what comes next. Raises as `load`, too.

        Values that `state` does not refer to are let go of.
        """
        seen = state
        while True:
            try:
                after = planner.advance(plan, cursor, event, seen, seq, now=now)
            except NotLoaded as missing:
                seen = await self.load(seen, missing.channels)
            else:
                self.keep_only(state)
                return after

    def keep_only(self, state: Mapping[str, Any]) -> None:
        """Let go of decoded values that `state` does not refer to."""
        if self._decoded:
            held = {(name, ref.digest) for name, value in state.items() for ref in refs_in(value)}
            self._decoded = {key: value for key, value in self._decoded.items() if key in held}

    async def _value(self, channel: Channel, ref: ValueRef, *, item: bool) -> Any:
        key = channel.name, ref.digest
        if key not in self._decoded:
            self._decoded[key] = unpack(channel, await self._values.get(self._thread_id, ref), item=item)
        return self._decoded[key]
